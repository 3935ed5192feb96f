"""DNS answers as values, whoever asked for them.

Names are lower case without the final dot; the root is "".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class DnsAnswer(Generic[T]):
    """What DNS says of one name and type; an answer without records is an answer too."""

    records: tuple[T, ...]  # empty: NXDOMAIN, or NOERROR without records of the type
    secure: bool  # the resolver vouches for all of it (AD bit, RFC 4035 section 3.2.3)
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
