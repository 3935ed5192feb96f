"""One window of reports as a page: charts and tables, drawn by templates.

Rule 1: the page is whole: no script, nothing loaded from elsewhere.
Rule 2: text from reports is shown as text: Jinja2 escapes it, and what
        cannot be seen or changes the direction of writing is spelled out.
Rule 3: what a chart or table leaves out is one mark or line, `other`.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from ..adapters.reportdb import ReportDb
from ..adapters.reportsums import Window
from ..core.reporttimes import day_text, time_text
from .digest import percent
from .summary import Facts, Row, Summary, rows, summarize

MARKS = 12  # of one chart of bars
DAYS = 62  # of the chart by day
LINES = 200  # of one table

_CUT = 200  # characters of one text
_NAMES = 6  # named of many
_HIDDEN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")  # Unicode's categories of what cannot be seen
_MARKS = ("Mn", "Me")  # what is written over the character before it
_STACKED = 3  # marks over one character; more would cover the lines above
OTHER = "other"


@dataclass(frozen=True, slots=True)
class Mark:
    """One bar of a chart; bounds are shares of the largest bar."""

    key: str
    successful: int
    failed: int
    height: float = 0.0
    failed_height: float = 0.0

    @property
    def sessions(self) -> int:
        return self.successful + self.failed


@dataclass(frozen=True, slots=True)
class View:
    """What the page shows."""

    summary: Summary
    days: tuple[Mark, ...]
    charts: dict[str, tuple[Mark, ...]]  # by result, source and mx
    tables: dict[str, list[Row]]  # by day, mx, policy and domain


def look(store: ReportDb, window: Window) -> View:
    """Gather what the page shows. Raises: StoreError."""
    facts = Facts(store, window)
    summary = summarize(facts)
    tables = {by: rows(facts, by) for by in ("day", "result", "source", "mx", "policy", "domain")}
    charts = {by: _bars(tables[by], by) for by in ("result", "source", "mx")}
    return View(summary, _days(tables["day"]), charts, tables)


def _bars(found: Sequence[Row], by: str) -> tuple[Mark, ...]:
    """The rows with most failures, and the rest as one."""
    marks = [Mark(row.key[by], row.successful, row.failed) for row in found]
    if len(marks) > MARKS:
        marks = [*marks[: MARKS - 1], _rest(marks[MARKS - 1 :])]
    largest = max((mark.failed if by != "source" else mark.sessions for mark in marks), default=0) or 1
    return tuple(_scaled(mark, largest) for mark in marks)


def _days(found: Sequence[Row]) -> tuple[Mark, ...]:
    """Each day from the first to the last, those without a report too; what is before DAYS days is one mark."""
    known = {row.key["day"]: Mark(row.key["day"], row.successful, row.failed) for row in found}
    if not known:
        return ()
    last = datetime.fromisoformat(max(known)).replace(tzinfo=UTC)
    span = min(DAYS - 1, (last - datetime.fromisoformat(min(known)).replace(tzinfo=UTC)).days)
    names = [f"{last - timedelta(days=back):%Y-%m-%d}" for back in range(span, -1, -1)]
    marks = [known.pop(name, Mark(name, 0, 0)) for name in names]
    if known:
        marks.insert(0, _rest(list(known.values())))
    largest = max(mark.sessions for mark in marks) or 1
    return tuple(_scaled(mark, largest) for mark in marks)


def _rest(marks: Sequence[Mark]) -> Mark:
    return Mark(OTHER, sum(mark.successful for mark in marks), sum(mark.failed for mark in marks))


def _scaled(mark: Mark, largest: int) -> Mark:
    return Mark(mark.key, mark.successful, mark.failed, mark.sessions / largest, mark.failed / largest)


def render(view: View, now: float) -> str:
    """The whole page."""
    return _environment().get_template("page.html").render(**_context(view), now=time_text(now))


def section(view: View) -> str:
    """The page's main part without head and style, for a page of others (STYLE is `style.css`)."""
    return _environment().get_template("report.html").render(**_context(view))


def style() -> str:
    return _environment().get_template("style.css").render()


def _context(view: View) -> dict[str, Any]:
    return {"view": view, "summary": view.summary, "lines": LINES, "names": _NAMES}


def visible(text: object) -> str:
    """Spell out what cannot be seen, and cut what is long."""
    said = str(text)
    if len(said) > _CUT:
        said = said[:_CUT] + "..."
    shown, marks = [], 0
    for char in said:
        category = unicodedata.category(char)
        marks = marks + 1 if category in _MARKS else 0
        hidden = category in _HIDDEN or marks > _STACKED
        shown.append(f"\\u{{{ord(char):x}}}" if hidden else char)
    return "".join(shown)


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader(__package__ or "", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "visible": visible,
        "day": day_text,
        "time": lambda seconds: time_text(max(seconds, 0)),
        "number": lambda number: f"{number:,}",
        "percent": percent,
    }
    return environment
