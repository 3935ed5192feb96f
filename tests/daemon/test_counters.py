"""daemon/counters.py: what is counted, and in which form it is told."""

from __future__ import annotations

import pytest

from postfix_mtasts.daemon.counters import BOUNDS, Counts


def test_a_cell_is_what_the_answer_path_adds_to() -> None:
    """The same cell each time, so that a kept reply may hold it."""
    counts = Counts()
    cell = counts.lookups("postfix", "secure")
    cell[0] += 2
    assert counts.lookups("postfix", "secure") is cell
    counts.lookups("postfix", "notfound")[0] += 1
    assert counts.all_lookups() == {("postfix", "secure"): 2, ("postfix", "notfound"): 1}


WAITS = [(0.0, 0), (BOUNDS[0], 0), (BOUNDS[0] + 0.001, 1), (BOUNDS[-1], len(BOUNDS) - 1), (1_000.0, len(BOUNDS))]


@pytest.mark.parametrize(("seconds", "first"), WAITS)
def test_a_cold_lookup_counts_under_every_bound_that_it_kept(seconds: float, first: int) -> None:
    """As a Prometheus histogram has it: each bucket holds those below it, and the last one all."""
    counts = Counts()
    counts.cold(seconds)
    buckets = counts.cold_buckets()
    assert [bound for bound, _ in buckets] == [*map(str, BOUNDS), "+Inf"]
    assert [number for _, number in buckets] == [0] * first + [1] * (len(BOUNDS) + 1 - first)
    assert counts.cold_seconds == seconds


def test_names_asked_of_dns_are_counted_by_type_and_result() -> None:
    """The workers tell several at once."""
    counts = Counts()
    counts.dns("TXT", "nxdomain", 3)
    counts.dns("TXT", "nxdomain", 1)
    counts.dns("A", "noerror", 1)
    assert counts.dns_queries == {("TXT", "nxdomain"): 4, ("A", "noerror"): 1}
