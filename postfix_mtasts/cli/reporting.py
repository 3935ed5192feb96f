"""How `report` prints: lists, sums and progress, as text, JSON and CSV."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from time import monotonic
from typing import Any, TextIO

from ..adapters.reportdb import SetAside
from ..adapters.reportsums import ReportRow
from ..core.quoting import json_line, quote
from ..core.reporttimes import time_text
from ..reports.intake import Taken
from .tables import Cell, Table, show
from .text import shown

OK, NOTHING = 0, 1

_EVERY = 0.2  # seconds between two signs of life
_NAME = 40  # characters
_TABLE = 200  # lines of text at once: columns fit those


class Progress:
    """Counts what was imported; on a terminal it shows how far it is."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._live, self._said = stream, stream.isatty(), 0.0
        self.new = self.known = self.unreadable = 0

    def count(self, name: str, taken: Taken) -> None:
        self.new += taken.new
        self.known += taken.known
        self.unreadable += len(taken.faults)
        for fault in taken.faults:
            self._clear()
            print(f"{quote(name)}: {shown(fault)}", file=self._stream)
        if self._live and monotonic() - self._said > _EVERY:
            self._said = monotonic()
            self._stream.write(f"\r\x1b[K{self.end()} ...")
            self._stream.flush()

    def _clear(self) -> None:
        if self._live:
            self._stream.write("\r\x1b[K")

    def end(self) -> str:
        """The last line."""
        return f"{self.new + self.known} read, {self.new} new, {self.known} already there, {self.unreadable} unreadable"


def list_unreadable(entries: Sequence[SetAside], as_json: bool) -> int:
    if as_json:
        for entry in entries:
            print(
                json_line(
                    {
                        "received": time_text(entry.received),
                        "name": entry.name,
                        "reason": entry.reason,
                        "file": entry.file,
                    }
                )
            )
    elif entries:
        rows = [
            [
                Cell(time_text(entry.received)),
                Cell(quote(entry.name)),
                Cell(shown(entry.reason)),
                Cell(quote(entry.file)),
            ]
            for entry in entries
        ]
        show([Table(("received", "name", "reason", "file"), rows)])
    else:
        print("nothing unreadable was received in this time")
    return OK if entries else NOTHING


def list_reports(reports: Iterable[ReportRow], as_json: bool) -> int:
    found, rows = False, []
    for report in reports:
        found = True
        if as_json:
            print(json_line(_report(report)))
            continue
        rows.append(_line(report))
        if len(rows) == _TABLE:
            show([Table(_HEADER, rows)])
            rows = []
    if rows:
        show([Table(_HEADER, rows)])
    if not found and not as_json:
        print("no report begins in this time; see --since")
    return OK if found else NOTHING


def name(text: str) -> str:
    """A name out of a report, for a column."""
    return shown(text if len(text) <= _NAME else text[:_NAME] + "...") or "(none)"


_HEADER = ("day", "source", "domains", "sessions", "failed", "dkim", "remarks")


def _line(report: ReportRow) -> list[Cell]:
    remarks = [*(["conflict: another report has the same id"] if report.conflict else []), *report.odd]
    domains = report.domains
    told = ", ".join(name(domain) for domain in domains[:2]) + (
        f" and {len(domains) - 2} more" if len(domains) > 2 else ""
    )
    dkim = report.dkim if report.dkim_domain is None else f"{report.dkim} {quote(report.dkim_domain)}"
    return [
        Cell(time_text(report.begin)[:10]),
        Cell(name(report.organization or report.submitter)),
        Cell(told or "(none)"),
        Cell(str(report.successful + report.failed)),
        Cell(str(report.failed), "red" if report.failed else ""),
        Cell(dkim),
        Cell(shown("; ".join(remarks))),
    ]


def _report(report: ReportRow) -> dict[str, Any]:
    return {
        "organization": report.organization,
        "submitter": report.submitter,
        "report_id": report.report_id,
        "begin": time_text(report.begin),
        "end": time_text(report.end),
        "domains": report.domains,
        "policies": [
            {
                "type": policy.type,
                "domain": policy.domain,
                "successful": policy.successful,
                "failed": policy.failed,
                "counted": policy.counted,
            }
            for policy in report.policies
        ],
        "successful": report.successful,
        "failed": report.failed,
        "results": report.results,
        "odd": list(report.odd),
        "conflict": report.conflict,
        "dkim": report.dkim,
        "dkim_domain": report.dkim_domain,
        "received": time_text(report.received),
    }
