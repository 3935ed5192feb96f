"""DKIM of report mails, by dkimpy over literal TXT records."""

from __future__ import annotations

import base64
import re
from collections import Counter
from collections.abc import Callable

import dkim
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from postfix_mtasts.adapters.signatures import Signatures
from postfix_mtasts.core.dnsdata import DnsAnswer
from postfix_mtasts.core.trust import FAIL, NONE, SILENT, UNCHECKED, Trust
from postfix_mtasts.errors import DnsError
from postfix_mtasts.faults import Fault
from tests.support.fakes.reports import document, mail, policy

KEY = rsa.generate_private_key(65537, 2048)
SHORT = rsa.generate_private_key(65537, 1024)
PEM = KEY.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
)
MAIL = mail(document(policy(5)))


def published(key: rsa.RSAPrivateKey = KEY, tags: bytes = b"v=DKIM1; k=rsa; ") -> bytes:
    der = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return tags + b"p=" + base64.b64encode(der)


def signed(message: bytes = MAIL, domain: bytes = b"sender.example", body: bytes = b"relaxed") -> bytes:
    crlf = re.sub(rb"\r?\n", b"\r\n", message)
    return bytes(dkim.sign(crlf, b"s1", domain, PEM, canonicalize=(b"relaxed", body))) + crlf


class Txt:
    """Answers for one key, or fails."""

    def __init__(self, *records: bytes, fault: Fault | None = None) -> None:
        self.records, self.fault, self.asked = records, fault, Counter[str]()

    def __call__(self, name: str) -> DnsAnswer[bytes]:
        self.asked[name.rstrip(".")] += 1
        if self.fault:
            raise DnsError(self.fault)
        return DnsAnswer(self.records, False, 60.0, name)


PASS = Trust("pass", "sender.example")
SILENCE = Fault.DNS_SERVFAIL

OUTCOMES: list[tuple[str, bytes, Txt, Trust]] = [
    ("a good signature", signed(), Txt(published()), PASS),
    ("lines that end in LF, as pipe(8) gives them", signed().replace(b"\r\n", b"\n"), Txt(published()), PASS),
    ("a From_ line in front", b"From x@y Mon Jun  1 00:00:00 2026\n" + signed(), Txt(published()), PASS),
    ("a simple body", signed(body=b"simple"), Txt(published()), PASS),
    ("a key for tlsrpt alone", signed(), Txt(published(tags=b"v=DKIM1; s=tlsrpt; ")), PASS),
    ("a key without a version", signed(), Txt(published(tags=b"")), PASS),
    ("another record beside the key", signed(), Txt(b"hello", published()), PASS),
    ("the second signature is good", b"DKIM-Signature: v=1; a=x\r\n" + signed(), Txt(published()), PASS),
    ("a changed body", signed().replace(b"A TLS report", b"A bad report"), Txt(published()), FAIL),
    ("a changed header", signed().replace(b"Subject: R", b"Subject: X"), Txt(published()), FAIL),
    ("no key", signed(), Txt(), FAIL),
    ("a revoked key", signed(), Txt(b"v=DKIM1; p="), FAIL),
    ("another key", signed(), Txt(published(SHORT)), FAIL),
    ("a key that is nonsense", signed(), Txt(b"v=DKIM1; p=AAAA"), FAIL),
    ("a key of another version", signed(), Txt(published(tags=b"v=DKIM2; ")), FAIL),
    ("SHA-1", signed().replace(b"a=rsa-sha256", b"a=rsa-sha1"), Txt(published()), FAIL),
    ("a signature that is nonsense", b"DKIM-Signature: \xff;;=;\r\n" + MAIL, Txt(published()), FAIL),
    ("a signature of a megabyte", b"DKIM-Signature: v=1; b=" + b" " * 1_000_000 + b"\r\n" + MAIL, Txt(), FAIL),
    ("no signature", MAIL, Txt(published()), NONE),
    ("nothing", b"", Txt(published()), NONE),
    ("DNS does not say", signed(), Txt(fault=SILENCE), SILENT),
    ("too large to look at", signed() + b"x" * (16 << 20), Txt(published()), UNCHECKED),
]


@pytest.mark.parametrize(("title", "message", "txt", "want"), OUTCOMES, ids=[row[0] for row in OUTCOMES])
def test_outcome(title: str, message: bytes, txt: Callable[[str], DnsAnswer[bytes]], want: Trust) -> None:
    """Pass, fail, none, unchecked; nothing is raised."""
    assert Signatures(txt).verify(message) == want


def test_a_key_is_asked_for_once() -> None:
    """For a thousand mails of one sender, silence included."""
    for txt in (Txt(published()), Txt(fault=SILENCE)):
        signatures = Signatures(txt)
        assert len({signatures.verify(signed()) for _ in range(3)}) == 1
        assert txt.asked == {"s1._domainkey.sender.example": 1}


def test_runs_of_blanks_take_no_time() -> None:
    """dkimpy's own pattern for relaxed bodies takes hours for this one."""
    assert Signatures(Txt(published())).verify(signed() + b" " * 4_000_000) == FAIL
