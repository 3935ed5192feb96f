"""What the store of reports holds in a window of time: rows and sums, by SQL.

Sums are of the policies that count (core/tlsreport.py, rule 2), but for those
by policy, which show the others too. What they mean is for reports/ to say.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ..core.tlsreport import Sums
from .reportdb import ReportDb

BATCH = 500  # reports read at once

# Exact beyond 64 bits, which a few hostile reports reach: SQLite's own sum() fails then.
_HIGH, _LOW = "sum({0} >> 32)", "sum({0} & 4294967295)"


_CONFLICT = (
    "(r.report_id != '' AND EXISTS (SELECT 1 FROM reports o"
    " WHERE o.source = r.source AND o.report_id = r.report_id AND o.id != r.id))"
)


@dataclass(frozen=True, slots=True)
class Window:
    """Which reports are looked at."""

    since: float  # since <= begin < until, UTC seconds since 1970
    until: float
    domain: str | None = None
    dkim: str | None = None
    received: tuple[float, float] | None = None  # since and until, by arrival
    numbers: tuple[int, int] | None = None  # over the first, up to the second: numbers grow as reports arrive

    def sql(self, domain: bool = True) -> tuple[str, list[Any]]:
        """A condition on reports r and, with *domain*, policies p."""
        parts: list[str] = ["r.begin >= ? AND r.begin < ?"]
        values: list[Any] = [self.since, self.until]
        if self.received:
            parts.append("r.received >= ? AND r.received < ?")
            values += self.received
        if self.numbers:
            parts.append("r.id > ? AND r.id <= ?")
            values += self.numbers
        if self.dkim is not None:
            parts.append("r.dkim = ?")
            values.append(self.dkim)
        if self.domain is not None:
            inner = "p.domain = ?" if domain else "r.id IN (SELECT report FROM policies WHERE domain = ?)"
            parts.append(inner)
            values.append(self.domain)
        return " AND ".join(parts), values


@dataclass(frozen=True, slots=True)
class Totals:
    reports: int
    first: float | None  # begin of the first report
    last: float | None


@dataclass(frozen=True, slots=True)
class PolicyRow:
    type: str
    domain: str
    successful: int
    failed: int
    counted: bool


@dataclass(frozen=True, slots=True)
class ReportRow(Sums):
    """One report as `report list` shows it."""

    organization: str
    submitter: str
    report_id: str
    begin: float
    end: float
    policies: tuple[PolicyRow, ...]
    results: dict[str, int]  # as the details say
    odd: tuple[str, ...]
    conflict: bool  # another report has the same source and id
    dkim: str
    dkim_domain: str | None
    received: float

    @property
    def domains(self) -> list[str]:
        return sorted({policy.domain for policy in self.policies})


def totals(store: ReportDb, window: Window) -> Totals:
    condition, values = window.sql(domain=False)
    rows = store.query(f"SELECT count(*), min(begin), max(begin) FROM reports r WHERE {condition}", values)
    return Totals(*rows[0])


def latest(store: ReportDb) -> int:
    """The number of the report that was stored last."""
    return int(store.query("SELECT coalesce(max(id), 0) FROM reports")[0][0])


_KEYS = {
    "source": "r.source",
    "domain": "p.domain",
    "day": "date(min(max(r.begin, 0), 253402300799), 'unixepoch')",
    "policy": "p.domain, p.type, p.policy",
}


def sums(store: ReportDb, window: Window, by: str) -> list[tuple[tuple[str, ...], int, int]]:
    """Key, successful and failed sessions by source, domain, day or policy."""
    condition, values = window.sql()
    counted = "" if by == "policy" else " AND p.counted"
    rows = store.query(
        f"SELECT {_KEYS[by]}, {_HIGH.format('p.successful')}, {_LOW.format('p.successful')},"
        f" {_HIGH.format('p.failed')}, {_LOW.format('p.failed')}"
        f" FROM reports r JOIN policies p ON p.report = r.id WHERE {condition}{counted} GROUP BY {_KEYS[by]}",
        values,
    )
    return [(row[:-4], (row[-4] << 32) + row[-3], (row[-2] << 32) + row[-1]) for row in rows]


@dataclass(frozen=True, slots=True)
class FailedRow:
    """Failed sessions that agree in all this."""

    domain: str
    source: str
    result: str
    mx: str
    failed: int
    first: float  # begin of the first report that tells of them
    last: float
    explained: bool  # False: no detail tells more


def failed(store: ReportDb, window: Window) -> list[FailedRow]:
    """Failed sessions by domain, source, result and MX host; those that no detail explains too."""
    condition, values = window.sql()
    joined = "FROM reports r JOIN policies p ON p.report = r.id"
    rows = store.query(
        f"SELECT p.domain, r.source, f.result, f.mx, {_HIGH.format('f.failed')}, {_LOW.format('f.failed')},"
        f" min(r.begin), max(r.begin), 1 {joined} JOIN failures f ON f.policy = p.id"
        f" WHERE {condition} AND p.counted AND f.failed > 0 GROUP BY 1, 2, 3, 4"
        f" UNION ALL SELECT p.domain, r.source, '', '', {_HIGH.format('p.unexplained')},"
        f" {_LOW.format('p.unexplained')}, min(r.begin), max(r.begin), 0 {joined}"
        f" WHERE {condition} AND p.counted AND p.unexplained > 0 GROUP BY 1, 2",
        values + values,
    )
    return [
        FailedRow(domain, source, result, mx, (high << 32) + low, first, last, bool(explained))
        for domain, source, result, mx, high, low, first, last, explained in rows
    ]


def addresses(store: ReportDb, window: Window) -> dict[str, list[str]]:
    """The sending addresses that failed, by source."""
    condition, values = window.sql()
    rows = store.query(
        "SELECT DISTINCT r.source, f.sender FROM reports r JOIN policies p ON p.report = r.id"
        f" JOIN failures f ON f.policy = p.id WHERE {condition} AND p.counted AND f.sender != '' ORDER BY 1, 2",
        values,
    )
    found: dict[str, list[str]] = {}
    for source, address in rows:
        found.setdefault(source, []).append(address)
    return found


def reasons(store: ReportDb, window: Window, limit: int) -> dict[tuple[str, str], list[str]]:
    """What senders say of the failures in their own words, by result and MX host: the most frequent few."""
    condition, values = window.sql()
    rows = store.query(
        "SELECT f.result, f.mx, f.reason FROM reports r JOIN policies p ON p.report = r.id"
        f" JOIN failures f ON f.policy = p.id WHERE {condition} AND p.counted AND f.failed > 0 AND f.reason != ''"
        " GROUP BY 1, 2, 3 ORDER BY count(*) DESC",
        values,
    )
    found: dict[tuple[str, str], list[str]] = {}
    for result, mx, reason in rows:
        if len(said := found.setdefault((result, mx), [])) < limit:
            said.append(reason)
    return found


def marked(store: ReportDb, window: Window) -> tuple[int, int]:
    """How many reports do not add up, and how many contradict another."""
    condition, values = window.sql(domain=False)
    (row,) = store.query(
        f"SELECT coalesce(sum(odd != '[]'), 0), coalesce(sum({_CONFLICT}), 0) FROM reports r WHERE {condition}", values
    )
    return row[0], row[1]


def reports(store: ReportDb, window: Window) -> Iterator[ReportRow]:
    """The reports one by one, by begin."""
    condition, values = window.sql(domain=False)
    ids = [row[0] for row in store.query(f"SELECT id FROM reports r WHERE {condition} ORDER BY begin, id", values)]
    for start in range(0, len(ids), BATCH):
        yield from _batch(store, ids[start : start + BATCH])


def _batch(store: ReportDb, ids: list[int]) -> Iterator[ReportRow]:
    wanted = f"IN ({', '.join('?' * len(ids))})"
    policies: dict[int, list[PolicyRow]] = {}
    for report, type, domain, successful, failed, counted in store.query(
        f"SELECT report, type, domain, successful, failed, counted FROM policies WHERE report {wanted} ORDER BY id", ids
    ):
        policies.setdefault(report, []).append(PolicyRow(type, domain, successful, failed, bool(counted)))
    results: dict[int, dict[str, int]] = {}
    for report, result, high, low in store.query(
        f"SELECT p.report, f.result, {_HIGH.format('f.said')}, {_LOW.format('f.said')} FROM policies p"
        f" JOIN failures f ON f.policy = p.id WHERE p.report {wanted} GROUP BY 1, 2",
        ids,
    ):
        results.setdefault(report, {})[result] = (high << 32) + low
    for number, organization, submitter, report_id, begin, end, odd, conflict, *rest in store.query(
        f"SELECT id, organization, submitter, report_id, begin, end, odd, {_CONFLICT}, dkim, dkim_domain,"
        f" received FROM reports r WHERE id {wanted} ORDER BY begin, id",
        ids,
    ):
        yield ReportRow(
            *(organization, submitter, report_id, begin, end, tuple(policies.get(number, ()))),
            *(results.get(number, {}), tuple(json.loads(odd)), bool(conflict), *rest),
        )
