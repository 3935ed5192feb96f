"""Policy domains, and what a key from Postfix names. (interface; being written)"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NewType

Domain = NewType("Domain", str)  # lower-case LDH labels (A-labels), two or more, no final dot, 253 at most


@dataclass(frozen=True, slots=True)
class NextHop:
    """A key that names a policy domain."""

    domain: Domain
    port: str  # "25" unless the key says otherwise: a number 1 to 65535 or a service name


@dataclass(frozen=True, slots=True)
class NoDomain:
    """A key that names no policy domain: the answer is NOTFOUND, at once."""

    reason: str


def parse_domain(text: str) -> Domain:
    """Raises: DomainError. For command lines and stored entries."""
    raise NotImplementedError


def parse_key(key: bytes) -> NextHop | NoDomain:
    """Never raises."""
    raise NotImplementedError
