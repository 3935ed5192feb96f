"""Policy + DANE + map -> what Postfix is told, and why. (interface; being written)"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from .policy import Policy


class Kind(StrEnum):
    SECURE = "secure"  # OK secure match=...
    DANE_ONLY = "dane-only"  # OK dane-only
    NOTFOUND = "notfound"
    TEMP = "temp"
    PERM = "perm"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to tell Postfix, why, and how long it may be repeated without thinking again."""

    kind: Kind
    reason: str  # one sentence; what TEMP and PERM send, and logs and `query` show
    lasts: float  # seconds from now
    policy: Policy | None = None  # with SECURE
