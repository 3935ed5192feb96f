"""The daemon's counters under their Prometheus names.

Counts are plain integers that the loop keeps; nothing here is called by the
answer path. A scrape takes a snapshot on the loop and renders it elsewhere.
Every label value comes from a fixed set: configured maps, answers, modes,
result types, DNS types and results.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)

from ... import __version__
from .survey import Survey


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that is exported, as it was at one moment on the loop."""

    lookups: Mapping[tuple[str, str], int]  # by map and answer
    cold_buckets: Sequence[tuple[str, int]]  # upper bound in seconds, lookups that took no longer
    cold_seconds: float
    fetches: Mapping[str, int]  # by result
    dns_queries: Mapping[tuple[str, str], int]  # by type and result
    dns_up: bool  # whether any resolver answers
    reports: Mapping[str, int]  # sent or unsent
    policies: Survey
    negatives: int
    connections: int
    errors: int
    workers: int  # processes
    worker_deaths: int
    refresh_due: int
    refresh_lag: float


class Collector:
    """Renders one snapshot for prometheus_client."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        now = self._snapshot
        yield _counter("mtasts_lookups", "Lookups answered.", ["map", "answer"], now.lookups)
        cold = HistogramMetricFamily("mtasts_lookup_seconds", "Time that cold lookups took.")
        cold.add_metric([], buckets=list(now.cold_buckets), sum_value=now.cold_seconds)
        yield cold
        modes = {(mode,): number for mode, number in now.policies.modes.items()}
        yield _gauge("mtasts_policies", "Policies held, by mode.", ["mode"], modes)
        yield _gauge("mtasts_negative_entries", "Domains remembered to have no policy.", [], {(): now.negatives})
        results = {(result,): number for result, number in now.fetches.items()}
        yield _counter("mtasts_fetches", "Policy fetches, by result.", ["result"], results)
        yield _counter("mtasts_dns_queries", "Names asked of DNS.", ["type", "result"], now.dns_queries)
        yield _gauge("mtasts_dns_up", "Whether any resolver answers.", [], {(): now.dns_up})
        reports = {(result,): number for result, number in now.reports.items()}
        yield _counter("mtasts_reports", "Failed fetches told to a TLSRPT collector.", ["result"], reports)
        yield _gauge("mtasts_refresh_due", "Policies that are due for the refresher.", [], {(): now.refresh_due})
        yield _gauge("mtasts_refresh_lag_seconds", "How long the first has been due.", [], {(): now.refresh_lag})
        failing = now.policies.failing
        yield _gauge("mtasts_refresh_failing", "Policies whose last fetch failed.", [], {(): failing})
        if (nearest := now.policies.nearest) is not None:
            yield _gauge("mtasts_policy_expiry_seconds", "Seconds until the first policy expires.", [], {(): nearest})
        yield _gauge("mtasts_connections", "Connections open.", [], {(): now.connections})
        yield _counter("mtasts_errors", "Errors of the daemon's own.", [], {(): now.errors})
        yield _gauge("mtasts_workers", "Worker processes.", [], {(): now.workers})
        deaths = "Worker processes that ended by themselves or stood still."
        yield _counter("mtasts_worker_deaths", deaths, [], {(): now.worker_deaths})
        build = InfoMetricFamily("mtasts_build", "Which daemon this is.")
        build.add_metric([], {"version": __version__})
        yield build


def _counter(name: str, text: str, labels: Sequence[str], values: Mapping[Any, int]) -> Metric:
    family = CounterMetricFamily(name, text, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family


def _gauge(name: str, text: str, labels: Sequence[str], values: Mapping[Any, float]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family
