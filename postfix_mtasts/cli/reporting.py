"""How `report` prints: lists, sums and progress, as text, JSON and CSV."""

from __future__ import annotations

import csv
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from time import monotonic
from typing import Any, TextIO

from ..adapters.reportdb import SetAside
from ..adapters.reportsums import ReportRow
from ..core.quoting import json_line, quote
from ..core.reporttimes import day_text, time_text
from ..reports.digest import percent
from ..reports.intake import Taken
from ..reports.summary import Result, Row, Summary
from .tables import Cell, Table, show
from .text import shown

OK, NOTHING = 0, 1

_EVERY = 0.2  # seconds between two signs of life
_NAME = 40  # characters
_NAMES = 4  # of many
_RESULTS = 30  # told of in words; RFC 8460 has eleven
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what spreadsheets run
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


# Sums.


def summary_json(summary: Summary) -> dict[str, Any]:
    """What `report show --json` prints."""
    return totals_json(summary) | {
        "results": [
            {
                "result": result.result,
                "sessions": result.sessions,
                "sources": list(result.sources),
                "mx": list(result.mx),
                "meaning": result.meaning,
                "advice": result.advice,
            }
            for result in summary.results
        ],
        "sources": [
            {
                "source": source.source,
                "sessions": source.sessions,
                "failed": source.failed,
                "addresses": list(source.addresses),
            }
            for source in summary.sources
        ],
    }


def totals_json(summary: Summary) -> dict[str, Any]:
    return {
        "since": time_text(max(summary.window.since, 0)),
        "until": time_text(max(summary.window.until, 0)),
        "domain": summary.window.domain,
        "reports": summary.reports,
        "sessions": summary.sessions,
        "successful": summary.successful,
        "failed": summary.failed,
        "share": round(summary.share, 6),
        "first": None if summary.first is None else time_text(summary.first),
        "last": None if summary.last is None else time_text(summary.last),
    }


def row_json(row: Row) -> dict[str, Any]:
    return {**row.key, "sessions": row.sessions, "successful": row.successful, "failed": row.failed}


def print_csv(rows: Sequence[dict[str, Any]], names: Sequence[str]) -> None:
    """Rows under their names; no cell is a formula to a spreadsheet."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(names)
    for row in rows:
        writer.writerow([_cell(row[name]) for name in names])


def _cell(value: Any) -> str:
    text = "; ".join(value) if isinstance(value, list) else str(value)
    return f"'{text}" if text.startswith(_FORMULA) else text


def print_summary(summary: Summary) -> None:
    """Whether anything is wrong, then what, since when, from whom, and what to do."""
    width = max(60, min(shutil.get_terminal_size().columns, 100))

    def wrapped(label: str, text: str) -> None:
        print(
            textwrap.fill(
                text, width, initial_indent=f"  {label:<8}", subsequent_indent=" " * 10, break_on_hyphens=False
            )
        )

    print("\n".join(textwrap.wrap(" ".join(_verdict(summary)), width)))
    for result in summary.results[:_RESULTS]:
        print(f"\n{name(result.result)}: {result.sessions:,} failed")
        wrapped("when", _when(result))
        wrapped("from", _named(result.sources))
        wrapped("at", _named(result.mx))
        if summary.window.domain is None:
            wrapped("domain", _named(result.domains))
        wrapped("means", result.meaning)
        wrapped("do", result.advice)
        for reason in result.reasons:
            wrapped("said", shown(reason))
    if len(summary.results) > _RESULTS:
        print(f"\n{len(summary.results) - _RESULTS:,} more results: `report show --by result`")
    if summary.sources:
        print()
        show([_sources(summary)])


def _verdict(summary: Summary) -> Iterator[str]:
    if summary.failed:
        yield f"{summary.failed:,} of {summary.sessions:,} sessions failed ({percent(summary.share)})."
    else:
        yield f"All is well: none of {summary.sessions:,} sessions failed."
    sources, reports = len(summary.sources), summary.reports
    yield f"{reports:,} report{'' if reports == 1 else 's'} from {sources:,} organization{'' if sources == 1 else 's'}"
    if summary.window.domain is not None:
        yield f"about {name(summary.window.domain)}"
    first, last = day_text(summary.first or 0), day_text(summary.last or 0)
    yield f"tell{'s' if reports == 1 else ''} of {first}." if first == last else f"tell of {first} to {last}."
    if summary.odd:
        yield f"{summary.odd:,} of the reports {'has' if summary.odd == 1 else 'have'} remarks."
    if summary.conflicts:
        yield f"{summary.conflicts:,} of the reports contradict another with the same id."
    if summary.odd or summary.conflicts:
        yield "`report list` tells which."


def _when(result: Result) -> str:
    first, last = day_text(result.first), day_text(result.last)
    return f"on {first}" if first == last else f"since {first}, last on {last}"


def _named(names: Sequence[str]) -> str:
    told = ", ".join(name(text) if text else "not named" for text in names[:_NAMES])
    return told + (f" and {len(names) - _NAMES} more" if len(names) > _NAMES else "")


def _sources(summary: Summary) -> Table:
    rows = [
        [
            Cell(name(source.source)),
            Cell(f"{source.sessions:,}"),
            Cell(f"{source.failed:,}", "red" if source.failed else ""),
            Cell(_named(source.addresses)),
        ]
        for source in summary.sources[:_TABLE]
    ]
    return Table(("source", "sessions", "failed", "failed to send from"), rows)


def print_rows(rows: Sequence[Row], by: str) -> None:
    """One table, by one key."""
    names = list(rows[0].key)
    cells = [
        [Cell(name(text)) for text in row.key.values()]
        + [Cell(f"{number:,}") for number in (row.sessions, row.successful)]
        + [Cell(f"{row.failed:,}", "red" if row.failed else "")]
        for row in rows
    ]
    show([Table((*names, "sessions", "successful", "failed"), cells)])
