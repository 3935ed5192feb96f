"""What to tell Postfix of a domain, and why: the value between deciding and answering.

resolving/answering.py makes verdicts, answer.py puts them into Postfix's words.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from .policy import Policy


class Kind(StrEnum):
    """The five things that Postfix can be told."""

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
    policy: Policy | None = None  # with SECURE, and only then

    def __post_init__(self) -> None:
        if (self.policy is not None) is not (self.kind is Kind.SECURE):
            raise ValueError(f"a verdict of kind {self.kind} with{'out' if self.policy is None else ''} a policy")
