"""The page: whole, without script, and hostile text is text."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from postfix_mtasts.adapters.reportdb import ReportDb
from postfix_mtasts.adapters.reportsums import Window
from postfix_mtasts.core.tlsreport import Hints, read_reports
from postfix_mtasts.core.trust import UNCHECKED
from postfix_mtasts.reports.page import DAYS, MARKS, look, render, section, visible
from tests.support.fakes.reports import DAY, JUNE, detail, document, policy

ALL = Window(0, JUNE + 9999 * DAY)


def page_of(directory: Path, *documents: bytes, window: Window = ALL) -> str:
    with ReportDb(directory, durable=False) as store:
        for data in documents:
            store.take(data, Hints(), read_reports(data), UNCHECKED, float(JUNE))
        return render(look(store, window), float(JUNE))


class Charts(HTMLParser):
    """Marks by chart, and whatever else is of interest."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.marks: dict[str, list[tuple[str, int, int]]] = {}
        self.texts: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append(tag)
        if chart := given.get("data-chart"):
            assert tag == "svg"
            self.marks[chart] = []
        if "data-key" in given:
            mark = (str(given["data-key"]), int(given["data-successful"] or ""), int(given["data-failed"] or ""))
            self.marks[[*self.marks][-1]].append(mark)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_the_charts_tell_what_the_tables_do(tmp_path: Path) -> None:
    """Each mark has its key and its counts; days without a report are there too."""
    page = page_of(
        tmp_path,
        document(policy(90, 10, detail(10))),
        document(policy(50, 2, detail(2, "tlsa-invalid", "mx2.example.org")), day=JUNE + 2 * DAY, organization="Other"),
    )
    assert Charts(page).marks == {
        "day": [("2026-06-01", 90, 10), ("2026-06-02", 0, 0), ("2026-06-03", 50, 2)],
        "result": [("certificate-expired", 0, 10), ("tlsa-invalid", 0, 2), ("", 140, 0)],
        "mx": [("mx1.example.org", 0, 10), ("mx2.example.org", 0, 2), ("", 140, 0)],
        "source": [("Sender Inc.", 90, 10), ("Other", 50, 2)],
    }


def test_what_a_chart_leaves_out_is_one_mark(tmp_path: Path) -> None:
    """Called other, so that the sums stay."""
    documents = [
        document(
            policy(1, 1, detail(1, f"r{n}", f"mx{n}.example.org")), day=JUNE + n * DAY, organization=f"S{n}", id=str(n)
        )
        for n in range(100)
    ]
    marks = Charts(page_of(tmp_path, *documents)).marks
    for chart, limit in (("day", DAYS + 1), ("result", MARKS), ("mx", MARKS), ("source", MARKS)):
        assert len(marks[chart]) == limit
        assert [mark[0] for mark in marks[chart]].count("other") == 1
        assert sum(mark[1] for mark in marks[chart]) == 100
        assert sum(mark[2] for mark in marks[chart]) == 100


def test_all_is_well(tmp_path: Path) -> None:
    """Said first; no empty table of failures."""
    page = page_of(tmp_path, document(policy(5)))
    assert "All is well: none of 5 sessions failed" in page
    assert "What to do" not in page
    assert set(Charts(page).marks) == {"day", "source"}


def test_nothing_found(tmp_path: Path) -> None:
    """The page says so, and where to look."""
    assert "No report begins in this time." in page_of(tmp_path)


EVIL = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'&{{7*7}}{% x %}\u202e\u2066\x1b[2J\x9b\x7f"
EVIL += "\u200b\ufeff\u2028"


def test_hostile_text_is_text_in_every_field(tmp_path: Path) -> None:
    """No element, attribute, template, control or direction comes out of a report."""
    bad = policy(1, 3, detail(2, EVIL, EVIL, sender=EVIL, reason=EVIL), domain=EVIL, type=EVIL, lines=[EVIL])
    window = Window(0, JUNE + DAY, domain=None)
    page = page_of(tmp_path, document(bad, id=EVIL, organization=EVIL), window=window)
    found = Charts(page)
    assert not {"script", "img", "iframe", "link", "object", "base", "form"} & set(found.tags)
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]", page)
    shown = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'&{{7*7}}{% x %}\\u{202e}\\u{2066}\\u{1b}[2J"
    assert sum(shown in text for text in found.texts) > 8
    assert found.marks["source"][0][0].startswith(shown)


def test_a_domain_of_the_command_line_is_text_too(tmp_path: Path) -> None:
    """It stands in the title."""
    page = page_of(tmp_path, window=Window(0, 1, domain="<script>"))
    assert "script" not in Charts(page).tags


def test_the_page_loads_nothing(tmp_path: Path) -> None:
    """It may be opened from a mail, and a strict policy holds."""
    page = page_of(tmp_path, document(policy(5, 1, detail(1))))
    assert "default-src 'none'; style-src 'unsafe-inline'" in page
    assert not re.search(r'(?:src|href)="(?!#)|url\(|@import', page)


def test_the_main_part_serves_a_page_of_others(tmp_path: Path) -> None:
    """Without head and title."""
    with ReportDb(tmp_path) as store:
        assert section(look(store, ALL)).lstrip().startswith('<section class="verdict empty">')


VISIBLE = [
    ("plain ü 漢", "plain ü 漢"),
    ("\x00\ue000", "\\u{0}\\u{e000}"),
    ("e\u0301\u0302\u0303\u0304x\u0301", "e\u0301\u0302\u0303\\u{304}x\u0301"),
    ("x" * 500, "x" * 200 + "..."),
]


@pytest.mark.parametrize(("text", "want"), VISIBLE)
def test_visible(text: str, want: str) -> None:
    """What cannot be seen or covers its neighbours is spelled out; what is long is cut."""
    assert visible(text) == want
