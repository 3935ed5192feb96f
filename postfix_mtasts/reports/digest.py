"""What came in since the last time, written for a person: what is new, what got worse, what to do.

A problem is one result at one domain. It is new if nobody told of it in the
month before, worse if its share of the sessions grew by half, and gone if
reports about the domain came and none tells of it any more.
"""

from __future__ import annotations

import textwrap
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from ..adapters import reportsums
from ..adapters.reportdb import ReportDb
from ..adapters.reportsums import FailedRow, Window
from ..core.quoting import escape
from ..core.reporttimes import day_text
from .summary import explained, result_of

LINES = 200  # of one digest
MONTH = 30 * 86400.0

_WIDTH = 76
_SHOWN = 8  # problems told of in full, in each section
_NAMES = 3  # named of many
_GREW = 1.5


@dataclass(frozen=True, slots=True)
class Problem:
    """One result at one domain."""

    domain: str
    result: str
    failed: int
    sessions: int  # of the domain
    sources: tuple[str, ...]
    mx: tuple[str, ...]
    first: float  # begin of the first report that tells of it

    @property
    def share(self) -> float:
        return self.failed / self.sessions if self.sessions else 1.0


@dataclass(frozen=True, slots=True)
class Digest:
    """What is to be told."""

    reports: int
    sources: int
    successful: int
    failed: int
    new: tuple[Problem, ...]
    worse: tuple[Problem, ...]
    still: tuple[Problem, ...]
    gone: tuple[Problem, ...]  # as they were


def compare(store: ReportDb, now: Window, before: Window) -> Digest:
    """Hold what arrived now against what arrived before. Raises: StoreError."""
    by_source = reportsums.sums(store, now, "source")
    problems, past = _problems(store, now), _problems(store, before)
    heard = {domain for (domain,), _, _ in reportsums.sums(store, now, "domain")}
    known = {key: problem for key, problem in problems.items() if key in past}
    worse = {key for key, problem in known.items() if problem.share > _GREW * past[key].share}
    return Digest(
        reports=reportsums.totals(store, now).reports,
        sources=len(by_source),
        successful=sum(row[1] for row in by_source),
        failed=sum(row[2] for row in by_source),
        new=_worst(problem for key, problem in problems.items() if key not in past),
        worse=_worst(known[key] for key in worse),
        still=_worst(problem for key, problem in known.items() if key not in worse),
        gone=_worst(problem for key, problem in past.items() if key not in problems and problem.domain in heard),
    )


def before_of(window: Window, start: float) -> Window:
    """The month of arrivals before the one that begins at *start*, or before its first number."""
    if window.numbers is not None:
        return replace(window, since=0.0, numbers=(0, window.numbers[0]), received=(start - MONTH, start + MONTH))
    return replace(window, since=0.0, received=(start - MONTH, start))


def _problems(store: ReportDb, window: Window) -> dict[tuple[str, str], Problem]:
    sessions = {domain: good + bad for (domain,), good, bad in reportsums.sums(store, window, "domain")}
    rows: dict[tuple[str, str], list[FailedRow]] = defaultdict(list)
    for row in reportsums.failed(store, window):
        rows[row.domain, result_of(row)].append(row)
    return {
        (domain, result): Problem(
            domain=domain,
            result=result,
            failed=sum(row.failed for row in found),
            sessions=sessions.get(domain, 0),
            sources=_names(found, lambda row: row.source),
            mx=_names(found, lambda row: row.mx),
            first=min(row.first for row in found),
        )
        for (domain, result), found in rows.items()
    }


def _names(rows: Sequence[FailedRow], name: Callable[[FailedRow], str]) -> tuple[str, ...]:
    """Those with most failures first."""
    sums: dict[str, int] = defaultdict(int)
    for row in rows:
        sums[name(row)] += row.failed
    return tuple(sorted((name for name in sums if name), key=lambda name: (-sums[name], name)))


def _worst(problems: Iterator[Problem]) -> tuple[Problem, ...]:
    return tuple(sorted(problems, key=lambda problem: (-problem.failed, problem.domain, problem.result)))


# In words.


def text(digest: Digest, period: str) -> str:
    """The whole digest, of LINES lines at most.

    Args:
        period: when it arrived: "the last 7 days", "the time since the last digest".
    """
    return "\n".join(_lines(digest, period)[: LINES - 1]) + "\n"


def _lines(digest: Digest, period: str) -> list[str]:
    sessions = digest.successful + digest.failed
    if not digest.reports:
        return [*_wrapped(f"No TLS report about your domains arrived in {period}."), ""]
    told = f"In {period}, {_number(digest.sources, 'organization')} sent {_number(digest.reports, 'TLS report')}"
    told += f" about {_number(sessions, 'session')}: "
    if not digest.failed:
        return [*_wrapped(f"All is well. {told}none failed."), *_section("Gone", digest.gone, _gone)]
    told += f"{_number(digest.failed, 'session')} failed ({percent(digest.failed / sessions)})."
    return [
        *_wrapped(told),
        *_section("New", digest.new, _problem),
        *_section("Got worse", digest.worse, _problem),
        *_section("Still there", digest.still, _problem),
        *_section("Gone", digest.gone, _gone),
        "",
        *_wrapped("More about all of it: postfix-mtasts report show"),
    ]


def _section(title: str, problems: Sequence[Problem], say: Callable[[Problem], Iterator[str]]) -> Iterator[str]:
    if not problems:
        return
    yield from ("", title.upper())
    for problem in problems[:_SHOWN]:
        yield ""
        yield from say(problem)
    if len(problems) > _SHOWN:
        yield from ("", f"  ... and {len(problems) - _SHOWN} more")


def _problem(problem: Problem) -> Iterator[str]:
    words = explained(problem.result, [problem.domain])
    at = f" at {_listed(problem.mx)}" if problem.mx else ""
    yield f"  {_title(problem)}"
    sources = _listed(problem.sources) if problem.sources else "an unnamed sender"
    told = f"{_number(problem.failed, 'session')} failed{at}, told by {sources},"
    yield from _wrapped(f"{told} since {day_text(problem.first)}. {words.meaning}", "  ")
    yield from _wrapped(f"What to do: {words.advice}", "  ")


def _gone(problem: Problem) -> Iterator[str]:
    yield from _wrapped(f"{_title(problem)}: nobody tells of it any more ({problem.failed:,} failures before).", "  ")


def _title(problem: Problem) -> str:
    return f"{_shown(problem.domain) or '(no domain)'}: {_shown(problem.result) or '(no result type)'}"


def _wrapped(said: str, indent: str = "") -> list[str]:
    return textwrap.wrap(said, _WIDTH, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)


def _listed(names: Sequence[str]) -> str:
    told = [_shown(name) for name in names[:_NAMES]]
    if len(names) > _NAMES:
        told.append(f"{len(names) - _NAMES} more")
    return told[0] if len(told) == 1 else f"{', '.join(told[:-1])} and {told[-1]}"


def _shown(name: str) -> str:
    return escape(name if len(name) <= 60 else name[:60] + "...")


def _number(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def percent(share: float) -> str:
    """A share for people: never 0 % where there is something, never 100 % where something is left."""
    if 0 < share < 0.001:
        return "under 0.1 %"
    return f"{min(share * 100, 99.9) if share < 1 else 100:.1f} %"
