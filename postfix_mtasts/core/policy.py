"""The policy file (RFC 8461 sections 3.2 and 4.1). (interface; being written)"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Mode(StrEnum):
    ENFORCE = "enforce"
    TESTING = "testing"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Policy:
    mode: Mode
    mx: tuple[str, ...]  # usable patterns: lower case, "host.name" or "*.host.name", no repeats, in order
    max_age: int  # seconds, cut to 31557600
    text: str  # the policy's lines, blanks trimmed, blank lines left out, joined by "\n"
    unusable: tuple[str, ...] = ()  # mx values that never reach Postfix, as they stood


def parse_policy(body: bytes) -> Policy:
    """Raises: PolicySyntaxError."""
    raise NotImplementedError
