"""What is new, what got worse, what is gone, in words for a person."""

from __future__ import annotations

from pathlib import Path

import pytest

from postfix_mtasts.adapters.reportdb import ReportDb
from postfix_mtasts.adapters.reportsums import Window
from postfix_mtasts.core.tlsreport import Hints, read_reports
from postfix_mtasts.core.trust import UNCHECKED
from postfix_mtasts.reports.digest import LINES, Digest, before_of, compare, percent, text
from tests.support.fakes.reports import DAY, JUNE, detail, document, policy

START = JUNE + 100.0 * DAY


def digest_of(directory: Path, past: list[bytes], present: list[bytes]) -> Digest:
    with ReportDb(directory, durable=False) as store:
        for arrived, documents in ((START - DAY, past), (START + DAY, present)):
            for data in documents:
                store.take(data, Hints(), read_reports(data), UNCHECKED, arrived)
        window = Window(0, START + 30 * DAY, received=(START, START + 30 * DAY))
        return compare(store, window, before_of(window, START))


def about(failed: int, result: str = "certificate-expired", good: int = 100, **more: str) -> bytes:
    return document(policy(good - failed, failed, detail(failed, result), **more), id=f"{failed}{result}{more}")


SECTIONS = [
    ("nothing before", [], [about(5)], "new"),
    ("another result before", [about(5, "tlsa-invalid")], [about(5)], "new"),
    ("another domain before", [about(5, domain="other.example")], [about(5)], "new"),
    ("more of it", [about(5)], [about(20)], "worse"),
    ("as much of it", [about(5)], [about(6)], "still"),
    ("more, of many more sessions", [about(5)], [about(20, good=1000)], "still"),
    ("none of it any more", [about(5)], [document(policy(100))], "gone"),
    ("no report about the domain any more", [about(5)], [document(policy(9, domain="other.example"))], ""),
]


@pytest.mark.parametrize(("title", "past", "present", "section"), SECTIONS, ids=[row[0] for row in SECTIONS])
def test_a_problem_stands_where_it_belongs(
    title: str, past: list[bytes], present: list[bytes], section: str, tmp_path: Path
) -> None:
    """By its share of the domain's sessions in the month before."""
    digest = digest_of(tmp_path, past, present)
    for name in ("new", "worse", "still", "gone"):
        told = [problem.result for problem in getattr(digest, name)]
        if name == section:
            assert told == ["certificate-expired"]
        elif name != "gone":
            assert told == []


def test_the_words(tmp_path: Path) -> None:
    """As a colleague would write them."""
    digest = digest_of(tmp_path, [about(5, "tlsa-invalid")], [about(5)])
    assert text(digest, "the last 7 days") == (
        "In the last 7 days, 1 organization sent 1 TLS report about 100 sessions: 5\n"
        "sessions failed (5.0 %).\n\n"
        "NEW\n\n"
        "  example.org: certificate-expired\n"
        "  5 sessions failed at mx1.example.org, told by Sender Inc., since\n"
        "  2026-06-01. The mail host presented a certificate that has expired.\n"
        "  What to do: Renew the certificate and reload the mail server, on each\n"
        "  address of the MX host; see why the renewal failed.\n\n"
        "GONE\n\n"
        "  example.org: tlsa-invalid: nobody tells of it any more (5 failures\n  before).\n\n"
        "More about all of it: postfix-mtasts report show\n"
    )


def test_all_is_well(tmp_path: Path) -> None:
    """In one sentence."""
    assert text(digest_of(tmp_path, [], [document(policy(1))]), "the last 7 days").startswith(
        "All is well. In the last"
    )


def test_no_report_at_all(tmp_path: Path) -> None:
    """It is told, not taken for well."""
    assert text(digest_of(tmp_path, [], []), "the last 7 days").startswith("No TLS report about your domains arrived")


def test_hostile_reports_do_not_make_it_long(tmp_path: Path) -> None:
    """200 lines, whatever arrives; and no terminal codes."""
    evil = "\x1b[2J\u202e" + "x" * 900
    present = [about(5, f"{evil}{number}", domain=f"{evil}{number}") for number in range(60)]
    past = [about(3, f"{evil}{number}", domain=f"{evil}{number}") for number in range(40)]
    said = text(digest_of(tmp_path, past, present), "the last 7 days")
    assert len(said.splitlines()) <= LINES
    assert said.replace("\n", "").isprintable()
    assert said.isascii()


PERCENTS = [(0.0, "0.0 %"), (0.00001, "under 0.1 %"), (0.172, "17.2 %"), (0.99999, "99.9 %"), (1.0, "100.0 %")]


@pytest.mark.parametrize(("share", "want"), PERCENTS)
def test_percent(share: float, want: str) -> None:
    """Never 0 where there is something."""
    assert percent(share) == want
