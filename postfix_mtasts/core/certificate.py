"""A certificate as a server presented it, and what a sender thinks of it.

Values only: adapters/certificates.py reads them from DER. Whether a chain
leads to a trusted root is OpenSSL's to say, at the handshake; it stops at the
first fault, so name and dates are looked at here once more, to tell all.

Source: RFC 6125 section 6.4 (DNS-ID), RFC 6698 section 2.1 (TLSA).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..faults import Fault, Seen
from .dnsdata import Tlsa

_DIGESTS = {1: hashlib.sha256, 2: hashlib.sha512}  # by matching type


@dataclass(frozen=True, slots=True)
class Certificate:
    """One certificate; texts in it are remote and bounded."""

    names: tuple[str, ...]  # its DNS names, as they stand
    common_name: str
    issuer: str
    not_before: float  # UTC seconds since 1970
    not_after: float
    issuer_url: bool  # it says where its issuer's certificate can be had (AIA)
    der: bytes
    public_key: bytes  # SubjectPublicKeyInfo, DER


@dataclass(frozen=True, slots=True)
class Shown:
    """What a server showed in a handshake, unread."""

    version: str  # "TLSv1.3"
    chain: tuple[bytes, ...]  # DER, as sent, the server's own certificate first


@dataclass(frozen=True, slots=True)
class Presented:
    """What a server showed in a handshake, read."""

    version: str  # "TLSv1.3"
    chain: tuple[Certificate, ...]  # as sent, the server's own first; empty if none could be read

    @property
    def leaf(self) -> Certificate | None:
        return self.chain[0] if self.chain else None


def covers(name: str, host: str) -> bool:
    """Whether a DNS name of a certificate is good for *host*: a wildcard stands for the whole first label."""
    name, host = name.lower().rstrip("."), host.lower().rstrip(".")
    if name.startswith("*."):
        first, dot, rest = host.partition(".")
        return bool(first and dot) and rest == name[2:] and "." in rest
    return name == host


def faults(presented: Presented, host: str, now: float, refused: Seen | None) -> tuple[Seen, ...]:
    """All that a sender has against the certificate for *host*.

    Args:
        refused: why the handshake was refused; where it was not, there is nothing to say.
    """
    leaf = presented.leaf
    if refused is None:
        return ()
    if leaf is None:
        return (refused,)
    found = []
    if now > leaf.not_after:
        found.append(Seen(Fault.CERTIFICATE_EXPIRED, host))
    elif now < leaf.not_before:
        found.append(Seen(Fault.CERTIFICATE_NOT_YET, host))
    if not any(covers(name, host) for name in leaf.names):
        common = covers(leaf.common_name, host)
        found.append(Seen(Fault.CERTIFICATE_COMMON_NAME if common else Fault.CERTIFICATE_NAME, host))
    if refused.fault not in (Fault.CERTIFICATE_NAME, *(seen.fault for seen in found)):
        found.append(_untrusted(presented, leaf, refused))
    return tuple(found)


def _untrusted(presented: Presented, leaf: Certificate, refused: Seen) -> Seen:
    """Tell a missing intermediate from a CA that nobody knows."""
    if refused.fault is not Fault.CERTIFICATE_ISSUER:
        return refused
    if len(presented.chain) == 1 and leaf.issuer_url:
        return Seen(Fault.CERTIFICATE_CHAIN, refused.subject, leaf.issuer)
    return Seen(Fault.CERTIFICATE_CA, refused.subject, leaf.issuer)


def matches_tlsa(records: Iterable[Tlsa], presented: Presented) -> bool:
    """Whether a TLSA record matches: usage 3 the server's own certificate, usage 2 any that it sent."""
    return any(_matches(record, presented.chain) for record in records)


def _matches(record: Tlsa, chain: Sequence[Certificate]) -> bool:
    if record.matching not in (0, *_DIGESTS) or record.usage not in (2, 3) or record.selector not in (0, 1):
        return False
    candidates = chain[:1] if record.usage == 3 else chain
    parts = (each.der if record.selector == 0 else each.public_key for each in candidates)
    digest = _DIGESTS.get(record.matching)
    return any((digest(part).digest() if digest else part) == record.data for part in parts)


def tlsa_for(certificate: Certificate) -> str:
    """The data of the TLSA record 3 1 1 that matches."""
    return f"3 1 1 {hashlib.sha256(certificate.public_key).hexdigest()}"
