"""What the reports of a window add up to: per result, per source, and by any one key.

Rule 1: the sums of each table equal the totals, but for the one by policy,
        which shows sessions that are told under two policy types twice.
Rule 2: failures alone have a result and an MX host; successes have "" there.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from ..adapters import reportsums
from ..adapters.reportdb import ReportDb
from ..adapters.reportsums import FailedRow, Window
from ..core.findings.reports import UNSPECIFIED, Explained, explain_result

KEYS = ("result", "source", "day", "mx", "policy", "domain")  # what rows() can sum by

_DOMAIN = re.compile(r"[a-z0-9][a-z0-9.-]{0,252}")
_REASONS = 3  # of one result, told in the sender's words


@dataclass(frozen=True, slots=True)
class Result:
    """One kind of failure."""

    result: str  # as reports have it; "" where none is named
    sessions: int
    sources: tuple[str, ...]  # organizations, those with most failures first
    mx: tuple[str, ...]  # "" where a report names none
    domains: tuple[str, ...]
    first: float  # begin of the first report that tells of it
    last: float
    meaning: str
    advice: str
    reasons: tuple[str, ...]  # in the senders' words


@dataclass(frozen=True, slots=True)
class Source:
    """One organization that sends reports."""

    source: str
    sessions: int
    failed: int
    addresses: tuple[str, ...]  # that it failed to send from


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table; sessions == successful + failed."""

    key: dict[str, str]
    successful: int
    failed: int

    @property
    def sessions(self) -> int:
        return self.successful + self.failed


@dataclass(frozen=True, slots=True)
class Summary:
    """A window of time as a whole."""

    window: Window
    reports: int
    successful: int
    failed: int
    first: float | None  # begin of the first report
    last: float | None
    odd: int  # reports that do not add up
    conflicts: int  # reports that contradict another
    results: tuple[Result, ...]  # the worst first
    sources: tuple[Source, ...]  # those with most failures first

    @property
    def sessions(self) -> int:
        return self.successful + self.failed

    @property
    def share(self) -> float:
        """Failed sessions of all."""
        return self.failed / self.sessions if self.sessions else 0.0


class Facts:
    """What the store says of a window; nothing is asked twice. Every use may raise StoreError."""

    def __init__(self, store: ReportDb, window: Window) -> None:
        self.store, self.window = store, window
        self._sums: dict[str, list[tuple[tuple[str, ...], int, int]]] = {}

    def sums(self, by: str) -> list[tuple[tuple[str, ...], int, int]]:
        """Key, successful and failed sessions."""
        if by not in self._sums:
            self._sums[by] = reportsums.sums(self.store, self.window, by)
        return self._sums[by]

    @cached_property
    def failed(self) -> list[FailedRow]:
        return reportsums.failed(self.store, self.window) if any(row[2] for row in self.sums("source")) else []


def result_of(row: FailedRow) -> str:
    return row.result if row.explained else UNSPECIFIED


def explained(result: str, domains: Sequence[str]) -> Explained:
    """The words for a result, with the domain's name in the commands to run where it is about one."""
    words = explain_result(result)
    if len(domains) != 1 or not _DOMAIN.fullmatch(domains[0]):
        return words
    return Explained(*(text.replace("DOMAIN", domains[0]) for text in (words.meaning, words.advice)))


def summarize(facts: Facts) -> Summary:
    """Raises: StoreError."""
    store, window, by_source, failures = facts.store, facts.window, facts.sums("source"), facts.failed
    totals = reportsums.totals(store, window)
    addresses = reportsums.addresses(store, window) if failures else {}
    said = reportsums.reasons(store, window, _REASONS) if failures else {}
    odd, conflicts = reportsums.marked(store, window)
    sources = [
        Source(source, successful + failed, failed, tuple(addresses.get(source, ())))
        for (source,), successful, failed in by_source
    ]
    return Summary(
        window=window,
        reports=totals.reports,
        successful=sum(row[1] for row in by_source),
        failed=sum(row[2] for row in by_source),
        first=totals.first,
        last=totals.last,
        odd=odd,
        conflicts=conflicts,
        results=tuple(results(failures, said)),
        sources=tuple(sorted(sources, key=lambda source: (-source.failed, -source.sessions, source.source))),
    )


def results(failures: Iterable[FailedRow], said: dict[tuple[str, str], list[str]]) -> list[Result]:
    """Failed sessions per result, the worst first."""
    by_result: dict[str, list[FailedRow]] = defaultdict(list)
    for row in failures:
        by_result[result_of(row)].append(row)
    found = []
    for result, rows in by_result.items():
        domains = _most((row.domain, row.failed) for row in rows)
        words = explained(result, domains)
        reasons = dict.fromkeys(text for row in rows for text in said.get((result, row.mx), ()))
        found.append(
            Result(
                result=result,
                sessions=sum(row.failed for row in rows),
                sources=_most((row.source, row.failed) for row in rows),
                mx=_most((row.mx, row.failed) for row in rows),
                domains=domains,
                first=min(row.first for row in rows),
                last=max(row.last for row in rows),
                meaning=words.meaning,
                advice=words.advice,
                reasons=tuple(reasons)[:_REASONS],
            )
        )
    return sorted(found, key=lambda result: (-result.sessions, result.result))


def _most(counted: Iterable[tuple[str, int]]) -> tuple[str, ...]:
    """Names by their sums, the largest first."""
    sums: dict[str, int] = defaultdict(int)
    for name, number in counted:
        sums[name] += number
    return tuple(sorted(sums, key=lambda name: (-sums[name], name)))


def rows(facts: Facts, by: str) -> list[Row]:
    """Sum by one of KEYS: days in their order, else the most failures first. Raises: StoreError."""
    if by in ("result", "mx"):
        found = _failure_rows(facts, by)
    else:
        names = ("domain", "type", "policy") if by == "policy" else (by,)
        found = [Row(dict(zip(names, key, strict=True)), good, bad) for key, good, bad in facts.sums(by)]
    if by == "day":
        return sorted(found, key=lambda row: row.key["day"])
    return sorted(found, key=lambda row: (-row.failed, -row.successful, *row.key.values()))


def _failure_rows(facts: Facts, by: str) -> list[Row]:
    successful = sum(row[1] for row in facts.sums("source"))
    sums: dict[str, int] = defaultdict(int)
    for row in facts.failed:
        sums[result_of(row) if by == "result" else row.mx] += row.failed
    if successful:
        sums[""] += 0
    return [Row({by: name}, 0 if name else successful, failed) for name, failed in sums.items()]
