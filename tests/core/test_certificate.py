"""core/certificate.py: what a sender has against a certificate, and whether a TLSA record matches it."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from postfix_mtasts.core.certificate import Certificate, Presented, covers, faults, matches_tlsa, tlsa_for
from postfix_mtasts.core.dnsdata import Tlsa
from postfix_mtasts.faults import Fault, Seen

HOST = "mx.example.com"
NOW = 1_700_000_000.0
GOOD = Certificate((HOST,), "", "Test CA", NOW - 10, NOW + 10, True, b"DER", b"KEY")
CA = replace(GOOD, names=(), der=b"CA", public_key=b"CAKEY")
REFUSED = {fault: Seen(fault, HOST) for fault in Fault}


def shown(certificate: Certificate = GOOD, *chain: Certificate) -> Presented:
    return Presented("TLSv1.3", (certificate, *chain))


COVERS = [
    (HOST, HOST, True),
    ("MX.Example.COM", HOST, True),
    ("mx.example.com.", HOST, True),
    ("*.example.com", HOST, True),
    ("*.example.com", "a.mx.example.com", False),
    ("*.example.com", "example.com", False),
    ("*.com", "example.com", False),
    ("m*.example.com", HOST, False),
    ("example.com", HOST, False),
    ("", HOST, False),
]


@pytest.mark.parametrize(("name", "host", "want"), COVERS)
def test_a_name_covers_a_host(name: str, host: str, want: bool) -> None:
    """RFC 6125 section 6.4: a wildcard stands for the whole first label."""
    assert covers(name, host) is want


FAULTS: list[tuple[str, Presented, Fault | None, list[Fault]]] = [
    ("a good one", shown(), None, []),
    ("one of more names than are read, which OpenSSL took", shown(replace(GOOD, names=("a.b",))), None, []),
    ("expired", shown(replace(GOOD, not_after=NOW - 1)), Fault.CERTIFICATE_EXPIRED, [Fault.CERTIFICATE_EXPIRED]),
    ("not yet valid", shown(replace(GOOD, not_before=NOW + 1)), Fault.CERTIFICATE_NOT_YET, [Fault.CERTIFICATE_NOT_YET]),
    ("another name", shown(replace(GOOD, names=("a.b",))), Fault.CERTIFICATE_NAME, [Fault.CERTIFICATE_NAME]),
    (
        "a common name only",
        shown(replace(GOOD, names=(), common_name=HOST)),
        Fault.CERTIFICATE_NAME,
        [Fault.CERTIFICATE_COMMON_NAME],
    ),
    (
        "expired, and of another name, which OpenSSL does not come to",
        shown(replace(GOOD, not_after=NOW - 1, names=("a.b",))),
        Fault.CERTIFICATE_EXPIRED,
        [Fault.CERTIFICATE_EXPIRED, Fault.CERTIFICATE_NAME],
    ),
    ("an intermediate expired", shown(), Fault.CERTIFICATE_EXPIRED, [Fault.CERTIFICATE_EXPIRED]),
    ("self-signed", shown(), Fault.CERTIFICATE_SELF_SIGNED, [Fault.CERTIFICATE_SELF_SIGNED]),
    ("a missing intermediate", shown(), Fault.CERTIFICATE_ISSUER, [Fault.CERTIFICATE_CHAIN]),
    (
        "an unknown CA that says no URL",
        shown(replace(GOOD, issuer_url=False)),
        Fault.CERTIFICATE_ISSUER,
        [Fault.CERTIFICATE_CA],
    ),
    ("an unknown CA with its intermediate", shown(GOOD, CA), Fault.CERTIFICATE_ISSUER, [Fault.CERTIFICATE_CA]),
    ("one that cannot be read", Presented("", ()), Fault.CERTIFICATE_OTHER, [Fault.CERTIFICATE_OTHER]),
]


@pytest.mark.parametrize(("title", "given", "refused", "want"), FAULTS, ids=[row[0] for row in FAULTS])
def test_all_that_is_wrong_is_told(title: str, given: Presented, refused: Fault | None, want: list[Fault]) -> None:
    """OpenSSL stops at the first."""
    found = faults(given, HOST, NOW, REFUSED[refused] if refused is not None else None)
    assert [seen.fault for seen in found] == want


SHA256 = hashlib.sha256
TLSA = [
    ("3 1 1", Tlsa(3, 1, 1, SHA256(b"KEY").digest()), True),
    ("3 0 1", Tlsa(3, 0, 1, SHA256(b"DER").digest()), True),
    ("3 1 2", Tlsa(3, 1, 2, hashlib.sha512(b"KEY").digest()), True),
    ("3 1 0", Tlsa(3, 1, 0, b"KEY"), True),
    ("2 1 1 of the CA", Tlsa(2, 1, 1, SHA256(b"CAKEY").digest()), True),
    ("3 1 1 of the CA", Tlsa(3, 1, 1, SHA256(b"CAKEY").digest()), False),
    ("another key", Tlsa(3, 1, 1, bytes(32)), False),
    ("a PKIX usage", Tlsa(1, 1, 1, SHA256(b"KEY").digest()), False),
    ("an unknown selector", Tlsa(3, 2, 1, SHA256(b"KEY").digest()), False),
    ("an unknown matching type", Tlsa(3, 1, 3, SHA256(b"KEY").digest()), False),
]


@pytest.mark.parametrize(("title", "record", "want"), TLSA, ids=[row[0] for row in TLSA])
def test_a_tlsa_record_matches(title: str, record: Tlsa, want: bool) -> None:
    """RFC 6698 section 2.1; one that matches is enough."""
    assert matches_tlsa([record], shown(GOOD, CA)) is want
    assert matches_tlsa([record, Tlsa(3, 1, 1, SHA256(b"KEY").digest())], shown(GOOD, CA))


def test_the_record_to_publish_matches() -> None:
    """What dane-mismatch advises."""
    usage, selector, matching, data = tlsa_for(GOOD).split()
    assert matches_tlsa([Tlsa(int(usage), int(selector), int(matching), bytes.fromhex(data))], shown())
