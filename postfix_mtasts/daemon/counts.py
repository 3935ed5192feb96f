"""What is counted: plain integers, written by the event loop alone."""

from __future__ import annotations

from collections import Counter, defaultdict

from .frames import Counter as Cell


class Counts:
    """The daemon's counters; metrics.py gives them their Prometheus names."""

    def __init__(self) -> None:
        self._lookups: defaultdict[tuple[str, str], Cell] = defaultdict(lambda: [0])
        self.fetches: Counter[str] = Counter()  # by result
        self.dns_queries: Counter[tuple[str, str]] = Counter()  # by type and result
        self.errors = 0

    def lookups(self, map_name: str, answer: str) -> Cell:
        """The cell that counts one kind of answer on one map; the answer path adds to it."""
        return self._lookups[map_name, answer]

    def all_lookups(self) -> dict[tuple[str, str], int]:
        return {key: cell[0] for key, cell in self._lookups.items()}

    def dns(self, rdtype: str, result: str, number: int) -> None:
        self.dns_queries[rdtype, result] += number
