"""The TLS reports of the published domains, as `serve` and `publish set` look at them.

The store is report's; where there is none yet, nothing is made.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from ..adapters import reportsums
from ..adapters.reportdb import DATABASE, ReportDb
from ..adapters.reportsums import Window
from ..core.findings.reports import RESULTS
from ..core.names import Domain
from ..errors import StoreError
from ..reports.page import look, render
from ..reports.summary import result_of

DAY = 86_400.0
SHOWN = 30 * DAY  # of the page
OTHER = "other"  # the label of results that RFC 8460 does not name


def recent_failures(directory: str, domain: Domain, since: float, until: float) -> list[str]:
    """Return a sentence for each kind of failure that was reported of *domain*. Raises: StoreError."""
    if not _exists(directory):
        return []
    with ReportDb(directory) as store:
        rows = reportsums.failed(store, Window(since, until, domain))
    sessions: dict[str, int] = {}
    for row in rows:
        sessions[result_of(row)] = sessions.get(result_of(row), 0) + row.failed
    return [f"{number} failed sessions were reported: {result}" for result, number in sorted(sessions.items())]


class ReportViews:
    """What the administrator's port shows of the reports."""

    def __init__(self, directory: str, domains: Callable[[], Collection[Domain]], clock: Callable[[], float]) -> None:
        """*domains*: those that are published; no other becomes a label, since anybody may send a report."""
        self._directory, self._domains, self._clock = directory, domains, clock

    def page(self) -> str:
        """Return the page of the last 30 days. Raises: StoreError."""
        if not _exists(self._directory):
            raise StoreError(f"no TLS report has been received yet ({self._directory})")
        now = self._clock()
        with ReportDb(self._directory) as store:
            return render(look(store, Window(now - SHOWN, now)), now)

    def metrics(self) -> Iterator[Metric]:
        """Return the sums of all that is kept; a store that cannot be read has none."""
        reports = CounterMetricFamily("mtasts_reports", "TLS reports kept.", labels=["domain"])
        sessions = CounterMetricFamily(
            "mtasts_report_sessions", "Sessions that reports tell of.", labels=["domain", "outcome"]
        )
        failures = CounterMetricFamily(
            "mtasts_report_failures", "Failed sessions, by result.", labels=["domain", "result"]
        )
        last = GaugeMetricFamily("mtasts_report_last_timestamp_seconds", "Begin of the last report.", labels=["domain"])
        try:
            if _exists(self._directory):
                with ReportDb(self._directory) as store:
                    self._fill(store, reports, sessions, failures, last)
        except StoreError:
            pass  # it is told of where reports are taken in
        yield from (reports, sessions, failures, last)

    def _fill(
        self,
        store: ReportDb,
        reports: CounterMetricFamily,
        sessions: CounterMetricFamily,
        failures: CounterMetricFamily,
        last: GaugeMetricFamily,
    ) -> None:
        for domain in sorted(self._domains()):
            window = Window(float("-inf"), float("inf"), domain)
            totals = reportsums.totals(store, window)
            reports.add_metric([domain], totals.reports)
            if totals.last is not None:
                last.add_metric([domain], totals.last)
            for _, successful, failed in reportsums.sums(store, window, "domain"):
                sessions.add_metric([domain, "successful"], successful)
                sessions.add_metric([domain, "failed"], failed)
            by_result: dict[str, int] = {}
            for row in reportsums.failed(store, window):
                result = result_of(row) if result_of(row) in RESULTS else OTHER
                by_result[result] = by_result.get(result, 0) + row.failed
            for result, number in sorted(by_result.items()):
                failures.add_metric([domain, result], number)


def _exists(directory: str) -> bool:
    try:
        return (Path(directory) / DATABASE).exists()
    except OSError as error:
        raise StoreError(f"{directory}: {error.strerror or error}; run this as the store's owner, or root") from None
