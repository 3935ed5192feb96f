"""A policy in time (RFC 8461 sections 3.2, 3.3, 5.1 and 10.2). (interface; being written)"""

from __future__ import annotations

from dataclasses import dataclass

from .names import Domain
from .policy import Policy


@dataclass(frozen=True, slots=True)
class Entry:
    domain: Domain
    policy: Policy
    record_id: str
    fetched_at: float  # UTC seconds since 1970
    used_at: float  # UTC seconds since 1970, a whole number of days
