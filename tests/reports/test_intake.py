"""What becomes of a mail: stored, already there, set aside, or tried again; by DKIM, and by age."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest

from postfix_mtasts.adapters import reportsums
from postfix_mtasts.adapters.mailfiles import Item
from postfix_mtasts.adapters.reportdb import ReportDb
from postfix_mtasts.adapters.reportsums import Window
from postfix_mtasts.core.trust import FAIL, NONE, SILENT, UNCHECKED, Trust
from postfix_mtasts.errors import UnavailableError
from postfix_mtasts.reports.intake import Intake
from tests.support.fakes.reports import DAY, JUNE, document, mail, policy

PASS = Trust("pass", "sender.example")
REPORT = mail(document(policy(5)))
ALL = Window(0, 2e9)


class Saying:
    """A verifier that says this of each mail, and counts them."""

    def __init__(self, trust: Trust) -> None:
        self.trust, self.asked = trust, 0

    def verify(self, mail: bytes) -> Trust:
        self.asked += 1
        return self.trust


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ReportDb]:
    with ReportDb(tmp_path) as store:
        yield store


def intake(store: ReportDb, trust: Trust | None, required: bool = False, now: float = JUNE + 2 * DAY) -> Intake:
    return Intake(store, Saying(trust) if trust else None, required, 30 * DAY, lambda: now)


def outcomes(store: ReportDb) -> list[tuple[str, str | None]]:
    return [(row.dkim, row.dkim_domain) for row in reportsums.reports(store, ALL)]


def reasons(store: ReportDb) -> list[str]:
    return [entry.reason for entry in store.unreadable(0, 2e9)]


NOT_REQUIRED = [
    ("pass", PASS, ("pass", "sender.example")),
    ("fail", FAIL, ("fail", None)),
    ("none", NONE, ("none", None)),
    ("DNS is silent", SILENT, ("unchecked", None)),
    ("DKIM is off", None, ("unchecked", None)),
]


@pytest.mark.parametrize(("title", "trust", "want"), NOT_REQUIRED, ids=[row[0] for row in NOT_REQUIRED])
def test_the_outcome_stands_at_the_report(
    title: str, trust: Trust | None, want: tuple[str, str | None], store: ReportDb
) -> None:
    """Each is stored where none is refused."""
    assert intake(store, trust).mail(io.BytesIO(REPORT)).new == 1
    assert outcomes(store) == [want]


REQUIRED = [("fail", FAIL, "DKIM: fail"), ("none", NONE, "DKIM: none"), ("too large", UNCHECKED, "DKIM: unchecked")]


@pytest.mark.parametrize(("title", "trust", "reason"), REQUIRED, ids=[row[0] for row in REQUIRED])
def test_where_dkim_is_required_what_does_not_pass_is_set_aside(
    title: str, trust: Trust, reason: str, store: ReportDb
) -> None:
    """Kept, and not counted."""
    intake(store, trust, required=True).mail(io.BytesIO(REPORT))
    assert (outcomes(store), reasons(store)) == ([], [reason])


def test_where_dkim_is_required_and_dns_is_silent_it_is_tried_again(store: ReportDb) -> None:
    """Nothing is stored, nothing is set aside."""
    with pytest.raises(UnavailableError):
        intake(store, SILENT, required=True).mail(io.BytesIO(REPORT))
    assert (outcomes(store), reasons(store)) == ([], [])


def test_imported_mails_are_verified_and_never_refused(store: ReportDb) -> None:
    """Files that are no mails have no signature to look for."""
    items = [Item("a.eml", REPORT, True), Item("b.json", document(policy(1), id="2"), False), Item("c", fault="x")]
    found = dict(intake(store, FAIL, required=True).items(items))
    assert {name: (taken.new, taken.faults) for name, taken in found.items()} == {
        "a.eml": (1, ()),
        "b.json": (1, ()),
        "c": (0, ("x",)),
    }
    assert outcomes(store) == [("fail", None), ("unchecked", None)]
    assert reasons(store) == []


def test_other_mail_is_not_verified(store: ReportDb) -> None:
    """A flood of it asks nothing of DNS."""
    verifier = Saying(PASS)
    taken = Intake(store, verifier, True, DAY, lambda: JUNE).mail(io.BytesIO(b"Subject: hello\n\nhello\n"))
    assert (taken.faults, verifier.asked) == (("not a TLS report",), 0)


def test_a_document_that_was_posted(store: ReportDb) -> None:
    """New, there already, or kept aside; DKIM is not asked of it."""
    posted = intake(store, None, required=True)
    data = document(policy(5))
    assert [posted.document(data, "a.json.gz").new, posted.document(data, "").known] == [1, 1]
    assert posted.document(b"<html>", "a.json").faults == ("not JSON",)
    assert reasons(store) == ["not JSON"]


def test_a_hundred_mails_and_one_are_all_told_of(store: ReportDb) -> None:
    """More than one transaction takes."""
    items = [Item(str(number), document(policy(1), id=str(number // 2)), False) for number in range(203)]
    taken = list(intake(store, None).items(items))
    assert [name for name, _ in taken] == [str(number) for number in range(203)]
    assert (sum(each.new for _, each in taken), sum(each.known for _, each in taken)) == (102, 101)


def test_what_has_been_here_for_too_long_is_forgotten_once_a_day(store: ReportDb) -> None:
    """By when it came; the first day forgets nothing that came today."""
    intake(store, None, now=JUNE).mail(io.BytesIO(REPORT))
    for now, left in ((JUNE, 1), (JUNE + 29 * DAY, 1), (JUNE + 30.5 * DAY, 0)):
        intake(store, None, now=now).forget_daily()
        assert len(outcomes(store)) == left
    intake(store, None, now=JUNE).mail(io.BytesIO(REPORT))
    intake(store, None, now=JUNE + 31.4 * DAY).forget_daily()
    assert len(outcomes(store)) == 1, "it is not a day since the last time"
