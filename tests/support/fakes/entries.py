"""Entries written out, for tests that need one and do not care how policies are parsed."""

from __future__ import annotations

from collections.abc import Sequence

from postfix_mtasts.core.entry import Entry
from postfix_mtasts.core.names import Domain
from postfix_mtasts.core.policy import Mode, Policy

NOW = 1_700_000_000.0  # UTC seconds: 2023-11-14T22:13:20Z
DAY = 86_400


def policy(mode: str = "enforce", mx: Sequence[str] = ("mx.example.com",), max_age: int = 7 * DAY) -> Policy:
    lines = ["version: STSv1", f"mode: {mode}", *(f"mx: {pattern}" for pattern in mx), f"max_age: {max_age}"]
    return Policy(Mode(mode), max_age, "\n".join(lines).encode())


def entry(
    domain: str = "example.com",
    record_id: str = "20231114",
    fetched_at: float = NOW,
    used_at: float = NOW // DAY * DAY,
    mode: str = "enforce",
    mx: Sequence[str] = ("mx.example.com",),
    max_age: int = 7 * DAY,
) -> Entry:
    return Entry(Domain(domain), policy(mode, mx, max_age), record_id, fetched_at, used_at)
