"""DKIM signatures of report mails, by dkimpy over our own DNS client.

Rule 1: each signature is tried; one that passes is enough. Whatever odd keys
        and signatures make dkimpy raise, the next one is tried.
Rule 2: what DNS did not say is SILENT, never FAIL: who is silent proves nothing.
Rule 3: dkimpy gets bounded input only. Its patterns take time that grows with
        the square of a run of blanks, so relaxed bodies come already relaxed.

A key for the service type tlsrpt is accepted and not demanded: many senders
have none (RFC 8460 section 3). How far a signer can be trusted is not decided here.

Source: RFC 6376, RFC 8301 (no SHA-1, 1024 bits at least), RFC 8460 section 3.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import Any

import dkim

from ..core.dnsdata import DnsAnswer
from ..core.tlsreport import clean, normal_domain
from ..core.trust import FAIL, NONE, SILENT, UNCHECKED, Trust
from ..errors import DnsError

SIZE_LIMIT = 16 * 1024 * 1024  # bytes of a mail; a longer one stays unchecked
_HEADER_LIMIT = 64 * 1024
_SIGNATURE_LIMIT = 8 * 1024  # bytes of one DKIM-Signature
_SIGNATURES = 8  # tried of one mail
_KEYS = 1_000  # remembered

_SILENT = logging.getLogger("dkimpy")
_SILENT.addHandler(logging.NullHandler())
_SILENT.propagate = False


class Signatures:
    """Verifies mails; remembers the keys.

    Args:
        txt: asks DNS for TXT records; raises DnsError.
    """

    def __init__(self, txt: Callable[[str], DnsAnswer[bytes]]) -> None:
        self._txt = txt
        self._keys: dict[str, bytes | DnsError] = {}

    def verify(self, mail: bytes) -> Trust:
        """Say who signed *mail*. Never raises."""
        if len(mail) > SIZE_LIMIT:
            return UNCHECKED
        if mail.startswith((b"From ", b">From ")):
            mail = mail.partition(b"\n")[2]
        head, _, body = _crlf(mail).partition(b"\r\n\r\n")
        if len(head) > _HEADER_LIMIT:
            return FAIL
        signatures = re.findall(rb"^dkim-signature[ \t]*:((?:.|\r\n[ \t])*)", head, re.IGNORECASE | re.MULTILINE)
        outcome = FAIL if signatures else NONE
        for number, signature in enumerate(signatures[:_SIGNATURES]):
            if len(signature) > _SIGNATURE_LIMIT or re.search(rb"(?:^|;)\s*a\s*=\s*[a-z0-9]*-sha1\b", signature):
                continue
            relaxed = re.search(rb"(?:^|;)\s*c\s*=\s*[a-z]+/relaxed\b", signature) is not None
            try:
                message = dkim.DKIM(head + b"\r\n\r\n", logger=_SILENT, tlsrpt=True)
                message.body = _relaxed(body) if relaxed else body
                passed = message.verify(idx=number, dnsfunc=self._key)
            except DnsError:
                outcome = SILENT
                continue
            except Exception:  # noqa: BLE001 - dkimpy raises what the hostile key or signature provokes
                continue
            if passed:
                return Trust("pass", normal_domain(clean(message.domain.decode("ascii", "replace"))))
        return outcome

    def _key(self, name: bytes, timeout: Any = None) -> bytes:
        """dkimpy's way to DNS: one key record, or nothing. Raises: DnsError."""
        text = name.decode("ascii", "replace").lower()
        known = self._keys.get(text)
        if known is None:
            try:
                records = self._txt(text).records
                known = next((record for record in records if b"p=" in record), b"")
            except DnsError as error:
                known = error
            if len(self._keys) >= _KEYS:
                self._keys.clear()
            self._keys[text] = known
        if isinstance(known, DnsError):
            raise known
        return known


def _crlf(mail: bytes) -> bytes:
    """The lines as they were signed: pipe(8) and files have LF for CRLF."""
    return re.sub(rb"\r?\n", b"\r\n", mail)


def _relaxed(body: bytes) -> bytes:
    """RFC 6376 section 3.4.4, but for the empty lines at the end."""
    return re.sub(rb"[\t ]+", b" ", body).replace(b" \r\n", b"\r\n")
