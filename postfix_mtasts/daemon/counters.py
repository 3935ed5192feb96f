"""Count lookups, fetches and queries: plain integers that only the event loop writes."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from itertools import accumulate

BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0)  # seconds


Cell = list[int]  # one number, counted up by the answer path


class Counts:
    """The daemon's counters; metrics.py gives them their Prometheus names."""

    def __init__(self) -> None:
        self._lookups: defaultdict[tuple[str, str], Cell] = defaultdict(lambda: [0])
        self.fetches: Counter[str] = Counter()  # by result
        self.dns_queries: Counter[tuple[str, str]] = Counter()  # by type and result
        self.reports: Counter[str] = Counter()  # datagrams for a TLSRPT collector, sent or unsent
        self.shared: Counter[tuple[str, str]] = Counter()  # by what was asked of the shared store, and result
        self.errors = 0
        self.cold_seconds = 0.0  # all cold lookups together
        self._cold = [0] * (len(BOUNDS) + 1)  # cold lookups, by the bound they stay under

    def lookups(self, map_name: str, answer: str) -> Cell:
        """Return the cell that counts one kind of answer on one map; connections add to it."""
        return self._lookups[map_name, answer]

    def all_lookups(self) -> dict[tuple[str, str], int]:
        return {key: cell[0] for key, cell in self._lookups.items()}

    def cold(self, seconds: float) -> None:
        """Count a lookup that waited *seconds* for the network."""
        self.cold_seconds += seconds
        self._cold[bisect_left(BOUNDS, seconds)] += 1

    def cold_buckets(self) -> list[tuple[str, int]]:
        """Return pairs of an upper bound in seconds and the number of cold lookups that took no longer."""
        return list(zip([*map(str, BOUNDS), "+Inf"], accumulate(self._cold), strict=True))

    def dns(self, rdtype: str, result: str, number: int) -> None:
        self.dns_queries[rdtype, result] += number
