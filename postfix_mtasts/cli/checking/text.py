"""A report of `check` as the owner of the domain reads it: each stage, what was seen, what is wrong, what to do.

Lines of WIDTH columns at most, in ASCII. Remote text goes through `text.shown`,
so that it can neither send a terminal code nor take more than LIMIT characters.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from ...core.findings.owner import Finding, Severity, Verdict
from ...resolving.audit.audit import Report, Stage
from ...resolving.audit.judge import worst
from ..text import shown

WIDTH = 80
_HEAD = 28  # columns of "policy host  12345 ms  ok   "
_ANSWER = 160  # characters of an answer that are shown

_GREEN, _RED, _YELLOW, _BOLD, _PLAIN = "\x1b[32m", "\x1b[31m", "\x1b[33m", "\x1b[1m", "\x1b[0m"
_MARKS = {
    None: ("ok", _GREEN),
    Severity.WARNING: ("--", _YELLOW),
    Severity.UNKNOWN: ("??", _YELLOW),
    Severity.ERROR: ("no", _RED),
}
_COLOURS = {Severity.ERROR: _RED, Severity.WARNING: _YELLOW, Severity.UNKNOWN: _YELLOW, Severity.INFO: ""}
_VERDICTS = {
    Verdict.OK: "fine",
    Verdict.WARNING: "fine, with warnings",
    Verdict.ERROR: "not protected as it should be",
    Verdict.UNKNOWN: "could not be determined",
}

PORT_25 = (
    "No mail host of any domain could be reached at port 25. Many networks block it for all but mail servers: "
    "check again from your mail server, or with --no-mail."
)


def stage(found: Stage, colour: bool) -> Iterator[str]:
    """One stage, as soon as it is over."""
    mark, paint = _MARKS[worst(found.findings)]
    if colour:
        mark = f"{paint}{mark}{_PLAIN}"
    head = f"{found.section:<12} {found.seconds * 1000:6.0f} ms  {mark}   "
    for seen in found.lines or ("",):
        for line in textwrap.wrap(shown(seen), WIDTH - _HEAD, break_on_hyphens=False) or [""]:
            yield f"{head}{line}".rstrip()
            head = " " * _HEAD
    for each in found.findings:
        yield from finding(each, colour)


def finding(found: Finding, colour: bool) -> Iterator[str]:
    """One finding with its advice and reference."""
    place = "" if found.subject in found.text else f"{shown(found.subject)}: "
    title = (
        f"{found.severity}: {found.code}: {place}{shown(found.text)}{'' if found.advice else f' ({found.reference})'}"
    )
    lines = _indented(title, 4, 4)
    paint = _COLOURS[found.severity]
    if colour and paint:
        lines = [line.replace(found.severity, f"{paint}{found.severity}{_PLAIN}", 1) for line in lines[:1]] + lines[1:]
    yield from lines
    if found.advice:
        reference = "" if found.reference in found.text else f" ({found.reference})"
        yield from _indented(f"-> {shown(found.advice)}{reference}", 4, 7)


def title(domain: str, colour: bool) -> str:
    return f"{_BOLD}{domain}{_PLAIN}" if colour else domain


def end(report: Report, colour: bool) -> Iterator[str]:
    """What Postfix gets, and the verdict."""
    maps: dict[str, list[str]] = {}
    for name, answer in report.answers.items():
        maps.setdefault(answer, []).append(name)
    for answer, names in maps.items():
        text = answer if len(answer) <= _ANSWER else f"{answer[:_ANSWER]}..."
        yield from _indented(f"{', '.join(names)}: {shown(text)}", 0, 4)
    counts = [
        f"{number} {severity}{'s' if number != 1 and severity is not Severity.INFO else ''}"
        for severity in (Severity.ERROR, Severity.UNKNOWN, Severity.WARNING, Severity.INFO)
        if (number := sum(each.severity is severity for each in report.findings))
    ]
    told = f"{report.domain}: {_VERDICTS[report.verdict]} ({', '.join(counts) or 'nothing found'})"
    yield from (f"{_BOLD}{line}{_PLAIN}" if colour else line for line in _indented(told, 0, 4))
    yield ""


def hint(words: str) -> list[str]:
    return _indented(words, 0, 0)


def whole(report: Report, colour: bool) -> Iterator[str]:
    yield title(report.domain, colour)
    for each in report.stages:
        yield from stage(each, colour)
    yield from end(report, colour)


def findings(found: Sequence[Finding], colour: bool) -> Iterator[str]:
    for each in found:
        yield from finding(each, colour)


def _indented(text: str, first: int, rest: int) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=" " * first, subsequent_indent=" " * rest, break_on_hyphens=False)
