"""adapters/certificates.py: certificates read from DER, whatever is in it."""

from __future__ import annotations

import ssl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from postfix_mtasts.adapters.certificates import CHAIN, presented, read
from postfix_mtasts.core.certificate import Shown
from tests.support.servers.certificates import DAY, Authority


def der_of(pem: bytes) -> bytes:
    return x509.load_pem_x509_certificate(pem[pem.index(b"-----BEGIN CERT") :]).public_bytes(Encoding.DER)


LEAF = der_of(
    Authority("Test CA").issue("mx.example.test", "*.example.test", common_name="cn.example.test", ends=5 * DAY)
)


def test_what_is_read_of_a_certificate() -> None:
    """Names, issuer, dates as UTC seconds, keys."""
    certificate = read(LEAF)
    assert certificate is not None
    assert certificate.names == ("mx.example.test", "*.example.test")
    assert (certificate.common_name, certificate.issuer) == ("cn.example.test", "Test CA")
    assert certificate.not_after == ssl.cert_time_to_seconds(_ends(LEAF))
    assert (certificate.issuer_url, certificate.der) == (False, LEAF)
    assert certificate.public_key in LEAF


def _ends(der: bytes) -> str:
    parsed = x509.load_der_x509_certificate(der)
    ends = parsed.not_valid_after_utc if hasattr(parsed, "not_valid_after_utc") else parsed.not_valid_after
    return ends.strftime("%b %d %H:%M:%S %Y GMT")


@given(st.binary(max_size=300) | st.integers(0, len(LEAF) - 1).map(lambda at: LEAF[:at] + b"\xff" + LEAF[at + 1 :]))
def test_no_bytes_raise(der: bytes) -> None:
    """A certificate is hostile input."""
    certificate = read(der)
    assert certificate is None or certificate.der == der


def test_a_chain_is_read_to_its_limit() -> None:
    """And no further than the first that cannot be read."""
    chain = presented(Shown("TLSv1.3", (LEAF,) * 50))
    assert chain is not None
    assert len(chain.chain) == CHAIN
    broken = presented(Shown("TLSv1.3", (LEAF, b"", LEAF)))
    assert broken is not None
    assert len(broken.chain) == 1
    assert presented(None) is None


@pytest.mark.parametrize("name", ["\x1b[2Jevil", "a" * 5_000])
def test_text_is_bounded(name: str) -> None:
    """Terminal codes are the printer's to quote; length is bounded here."""
    certificate = read(der_of(Authority(name[:60]).issue(common_name=name[:60])))
    assert certificate is not None
    assert len(certificate.issuer) <= 202
