"""A short run of tests/fuzz/damage.py; `python -m tests.fuzz.damage 20000` is a long one."""

from __future__ import annotations

from tests.fuzz.damage import rounds

STORES = 150


def test_a_damaged_store_is_lived_with() -> None:
    """At the end of each the daemon's store runs, holds what is readable, and writes."""
    assert rounds(STORES).total() == STORES
