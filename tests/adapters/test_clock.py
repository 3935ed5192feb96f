"""adapters/clock.py: the machine's own clocks."""

from __future__ import annotations

import time

from postfix_mtasts.adapters.clock import SystemClock
from postfix_mtasts.core.ports import Clock


def test_both_clocks_are_the_machines() -> None:
    """UTC for what is stored and told, and one that nobody can set for what this process waits for."""
    clock: Clock = SystemClock()
    before = time.time(), time.monotonic()
    now = clock.wall(), clock.monotonic()
    after = time.time(), time.monotonic()
    assert before[0] <= now[0] <= after[0]
    assert before[1] <= now[1] <= after[1]
