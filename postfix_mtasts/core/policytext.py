"""A policy file to be published, from its parts (RFC 8461 section 3.2).

What is composed here, core.policy reads; the lines end in CRLF, as the RFC has
them.
"""

from __future__ import annotations

from collections.abc import Sequence

from .policy import Mode


def compose(mode: Mode, mx: Sequence[str], max_age: int) -> bytes:
    """Return the policy file. *max_age*: seconds; *mx*: patterns, none needed for mode none."""
    lines = ["version: STSv1", f"mode: {mode}", *(f"mx: {pattern}" for pattern in mx), f"max_age: {max_age}"]
    return "".join(line + "\r\n" for line in lines).encode("ascii")
