"""DNS answers as values, whoever asked for them.

Names are lower case without the final dot; the root is "".
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

T = TypeVar("T")


class DnsResult(StrEnum):
    """What became of a question: the label `result` of mtasts_dns_queries_total.

    Of several servers' failures, the first one here is told.
    """

    NOERROR = "noerror"
    NODATA = "nodata"  # the name exists, without records of the type
    NXDOMAIN = "nxdomain"
    BOGUS = "bogus"  # the resolver says that DNSSEC validation failed (RFC 8914)
    SERVFAIL = "servfail"
    REFUSED = "refused"
    FORMERR = "formerr"
    NOTIMP = "notimp"
    BADVERS = "badvers"
    OTHER = "other"  # any other response code
    LAME = "lame"  # no records, from a server that neither recurses nor is authoritative
    BROKEN = "broken"  # an answer that cannot be read
    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"  # nobody listens there, or no way leads there

    @property
    def answered(self) -> bool:
        """Whether a server said anything."""
        return self not in (DnsResult.TIMEOUT, DnsResult.UNREACHABLE)


class Validation(StrEnum):
    """Whether DANE can rest on the resolver (RFC 7672 section 1.3.1)."""

    VALIDATES = "validates"  # AD comes back for the root's keys, and counts
    NOT_TRUSTED = "not-trusted"  # AD comes back and does not count (dns.trust_ad)
    NO_AD = "no-ad"  # the resolver answers, and does not validate
    NO_ANSWER = "no-answer"  # no resolver answers


@dataclass(frozen=True, slots=True)
class DnsAnswer(Generic[T]):
    """What DNS says of one name and type; an answer without records is an answer too."""

    records: tuple[T, ...]  # empty: NXDOMAIN, or NOERROR without records of the type
    secure: bool  # a resolver of which AD counts vouches for all of it (RFC 4035 section 3.2.3)
    ttl: float  # seconds: the smallest TTL, aliases included; without records by RFC 2308 section 5
    name: str  # the final name, after aliases
    exists: bool = True  # False: NXDOMAIN


@dataclass(frozen=True, slots=True)
class Mx:
    preference: int
    host: str  # "" is the null MX (RFC 7505)


@dataclass(frozen=True, slots=True)
class Tlsa:
    """RFC 6698 section 2.1."""

    usage: int
    selector: int
    matching: int
    data: bytes
