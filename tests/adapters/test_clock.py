"""adapters/clock.py: the machine's own clocks."""

from __future__ import annotations

import ast
import time
from collections.abc import Iterator
from pathlib import Path

import postfix_mtasts
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


PACKAGE = Path(postfix_mtasts.__path__[0])
CLOCKS = ("time", "monotonic", "time_ns", "monotonic_ns", "perf_counter", "sleep")
OF_THEIR_OWN = (  # programs that put themselves together, and what runs in them
    "adapters",
    "cli",
    "publishing",
    "resolving/audit",
    "resolving/world.py",
    "daemon/workers/worker.py",
    "daemon/workers/threads.py",
    "daemon/workers/turns.py",
)


def clock_reads(path: Path) -> Iterator[str]:
    """Each place in *path* that takes a clock of the machine, by itself or to hand it on."""
    taken = {*(f"time.{name}" for name in CLOCKS), "datetime.now", "datetime.utcnow"}
    for node in ast.walk(ast.parse(path.read_text())):
        imported = isinstance(node, ast.ImportFrom) and node.module == "time"
        if imported or (isinstance(node, ast.Attribute) and ast.unparse(node) in taken):
            yield f"{path.relative_to(PACKAGE)}:{node.lineno}"


def test_the_daemon_takes_its_clock_from_build() -> None:
    """Else a test that moves the time would not move all of it."""
    paths = [path for path in PACKAGE.rglob("*.py") if not str(path.relative_to(PACKAGE)).startswith(OF_THEIR_OWN)]
    assert len(paths) > 60
    assert [place for path in paths for place in clock_reads(path)] == []
