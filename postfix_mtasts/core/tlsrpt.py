"""TLS reporting: who wants reports, and what a failed policy fetch looks like in one.

A domain asks for reports with exactly one TXT record at _smtp._tls.DOMAIN;
the datagram is the one that libtlsrpt sends for Postfix, version 1, which
tlsrpt-collectd reads.

Source: RFC 8460 sections 3 (record) and 4.3.2.2 (result types); RFC 8461 section 6.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import RecordError
from ..faults import Fault, clip
from .names import Domain
from .outcome import ResultType
from .policy import Policy

RECORD_LIMIT = 2_000  # characters; a record that is longer asks for nothing sensible
REASON_LIMIT = 200  # characters
DATAGRAM_LIMIT = 60_000  # bytes; beyond that policy lines are left out

_VERSION = re.compile(rb"v=TLSRPTv1[ \t]*;")
_FIELD = re.compile(r"([A-Za-z0-9][A-Za-z0-9_.-]{0,31})=([!-:<>-~]+)")  # tlsrpt-ext-name "=" tlsrpt-ext-value
_URI = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(?:[A-Za-z0-9._~:/?#\[\]@$&'()*+=!-]|%[0-9A-Fa-f]{2})*")  # RFC 3986
_SCHEMES = ("mailto", "https")
_CODES = {ResultType.FETCH_ERROR: 301, ResultType.INVALID: 302, ResultType.WEBPKI_INVALID: 303}
_STS, _FAILURE = 2, 1  # policy-type; final result


@dataclass(frozen=True, slots=True)
class TlsrptRecord:
    """The one valid record of a domain."""

    text: str
    rua: tuple[str, ...]  # URIs to send reports to, one at least, as they stand


def read_record(texts: Sequence[bytes]) -> TlsrptRecord | None:
    """Return the domain's record, or None where no TXT record is a TLSRPT one.

    Args:
        texts: each TXT record's strings, joined without blanks.

    Raises: RecordError, if there are several, or if the one is malformed.
    """
    ours = [text for text in texts if _VERSION.match(text)]
    if not ours:
        return None
    if len(ours) > 1:
        raise RecordError(Fault.TLSRPT_SEVERAL, value=str(len(ours)))
    if len(ours[0]) > RECORD_LIMIT:
        raise RecordError(Fault.TLSRPT_TOO_LONG, value=f"{RECORD_LIMIT:,}")
    text = ours[0].decode("latin-1")
    fields = [field.strip(" \t") for field in text.split(";")]
    if not fields[-1]:  # the last ";" may be left out
        fields.pop()
    rua = _read_fields(fields[1:])
    if rua is None:
        raise RecordError(Fault.TLSRPT_NO_RUA)
    return TlsrptRecord(text, rua)


def select_record(texts: Sequence[bytes]) -> str | None:
    """The one valid record among TXT records, or None: the domain wants no reports (RFC 8460 section 3)."""
    try:
        record = read_record(texts)
    except RecordError:
        return None
    return record.text if record is not None else None


def _read_fields(fields: Sequence[str]) -> tuple[str, ...] | None:
    """The URIs of the first rua, or None; extensions may stand before it. Raises: RecordError."""
    found: tuple[str, ...] | None = None
    for field in fields:
        if field.startswith("rua="):
            uris = tuple(_read_uri(uri.strip(" \t")) for uri in field.removeprefix("rua=").split(","))
            found = found or uris
        elif not _FIELD.fullmatch(field):
            raise RecordError(Fault.TLSRPT_FIELD, value=clip(field))
    return found


def _read_uri(uri: str) -> str:
    """Raises: RecordError."""
    if not uri:
        raise RecordError(Fault.TLSRPT_EMPTY_URI)
    match = _URI.fullmatch(uri)
    if match is None:
        raise RecordError(Fault.TLSRPT_NOT_URI, value=clip(uri))
    if match[1].lower() not in _SCHEMES:
        raise RecordError(Fault.TLSRPT_SCHEME, value=clip(uri))
    if uri.lower().startswith("mailto://"):
        raise RecordError(Fault.TLSRPT_SLASHES, value=clip(uri))
    if "!" in uri:
        raise RecordError(Fault.TLSRPT_UNESCAPED, value=clip(uri))
    return uri


def datagram(domain: Domain, record: str, policy: Policy | None, result_type: ResultType, reason: str) -> bytes:
    """The failed fetch of a policy, for a collector.

    Args:
        record: the domain's TLSRPT record.
        policy: the cached policy that stays in force, if there is one.
    """
    lines = policy.text.split("\n") if policy is not None else []
    patterns = list(policy.mx) if policy is not None else []
    while True:
        report = {
            "policy-type": _STS,
            "policy-domain": domain,
            "policy-string": lines,
            "mx-host": patterns,
            "t": 1,
            "failure-details": [{"c": _CODES[result_type], "f": reason[:REASON_LIMIT]}],
            "f": _FAILURE,
        }
        sent = json.dumps({"dpv": "1", "d": domain, "pr": record, "policies": [report]}).encode()
        if len(sent) <= DATAGRAM_LIMIT or not lines:
            return sent
        lines, patterns = lines[: len(lines) // 2], patterns[: len(patterns) // 2]
