"""The store of reports: what is there already, what is set aside, what is forgotten."""

from __future__ import annotations

import os
import sqlite3
import zlib
from pathlib import Path

import pytest

from postfix_mtasts.adapters import reportsums
from postfix_mtasts.adapters.reportdb import DATABASE, UNREADABLE, ReportDb
from postfix_mtasts.adapters.reportsums import ReportRow, Window
from postfix_mtasts.core.tlsreport import COUNT_LIMIT, Hints, read_reports
from postfix_mtasts.core.trust import NONE, UNCHECKED, Trust
from postfix_mtasts.errors import StoreError
from tests.support.fakes.reports import DAY, JUNE, detail, document, policy

NOW = float(JUNE + 2 * DAY)
ALL = Window(0, JUNE + 9999 * DAY)


def take(store: ReportDb, data: bytes, trust: Trust = UNCHECKED, now: float = NOW) -> int:
    return store.take(data, Hints(), read_reports(data), trust, now)


def stored(store: ReportDb) -> list[ReportRow]:
    return list(reportsums.reports(store, ALL))


def test_a_report_comes_back_as_it_went_in(tmp_path: Path) -> None:
    """Policies, results, period and marks."""
    with ReportDb(tmp_path / "store") as store:
        assert take(store, document(policy(5, 3, detail(2)), policy(7, 0, type="tlsa"))) == 1
        (row,) = stored(store)
    assert (row.organization, row.report_id, row.begin, row.end) == ("Sender Inc.", "1", JUNE, JUNE + DAY - 1)
    assert [(found.type, found.counted) for found in row.policies] == [("sts", True), ("tlsa", False)]
    assert (row.successful, row.failed, row.results) == (5, 3, {"certificate-expired": 2})
    assert len(row.odd) == 2
    assert (row.conflict, row.dkim, row.dkim_domain, row.received) == (False, "unchecked", None, NOW)


def test_the_directory_is_closed_to_others(tmp_path: Path) -> None:
    """Mode 0700, and the database 0600."""
    with ReportDb(tmp_path / "a" / "store"):
        assert (tmp_path / "a" / "store").stat().st_mode & 0o777 == 0o700
        assert (tmp_path / "a" / "store" / DATABASE).stat().st_mode & 0o777 == 0o600


SAME = [
    ("the same bytes", document(policy(1)), 0, False),
    ("other bytes that say the same", document(policy("1")), 0, False),
    ("another count", document(policy(2)), 1, True),
    ("another day", document(policy(1), day=JUNE + DAY), 1, True),
    ("another id", document(policy(1), id="2"), 1, False),
    ("the same id of another sender", document(policy(1), organization="Other"), 1, False),
]


@pytest.mark.parametrize(("title", "data", "new", "conflict"), SAME, ids=[row[0] for row in SAME])
def test_what_is_one_report(title: str, data: bytes, new: int, conflict: bool, tmp_path: Path) -> None:
    """Organization, id, period and content; the same id with another period or content is marked, and kept."""
    with ReportDb(tmp_path) as store:
        assert take(store, document(policy(1))) == 1
        assert take(store, data) == new
        rows = stored(store)
    assert len(rows) == 1 + new
    assert {row.conflict for row in rows} == {conflict}


def test_reports_without_an_id_do_not_contradict_each_other(tmp_path: Path) -> None:
    """No id is not the same id."""
    with ReportDb(tmp_path) as store:
        take(store, document(policy(1), id=""))
        take(store, document(policy(2), id=""))
        assert [row.conflict for row in stored(store)] == [False, False]


def test_a_report_learns_that_it_is_authentic_and_never_loses_it(tmp_path: Path) -> None:
    """A copy by another way may pass where the first did not."""
    with ReportDb(tmp_path) as store:
        for trust in (UNCHECKED, Trust("pass", "sender.example"), NONE, Trust("pass", "other.example")):
            take(store, document(policy(1)), trust)
        (row,) = stored(store)
    assert (row.dkim, row.dkim_domain) == ("pass", "sender.example")


def test_a_report_without_a_period_begins_when_it_came(tmp_path: Path) -> None:
    """And is one report, however often it comes."""
    data = b'{"report-id": 1, "organization-name": "S", "policies": []}'
    with ReportDb(tmp_path) as store:
        assert [take(store, data), take(store, data, now=NOW + 5)] == [1, 0]
        assert stored(store)[0].begin == NOW


def test_the_document_is_kept_once(tmp_path: Path) -> None:
    """As it came, for a better reader."""
    data = b"[" + document(policy(1)) + b", " + document(policy(2), id="2") + b"]"
    with ReportDb(tmp_path) as store:
        assert take(store, data) == 2
        rows = store.query("SELECT data FROM documents")
    assert [zlib.decompress(packed) for (packed,) in rows] == [data]


def test_sums_beyond_64_bits_are_exact(tmp_path: Path) -> None:
    """SQLite's sum() fails there, and a few hostile reports are enough."""
    items = [policy(COUNT_LIMIT, domain=f"d{number}.example") for number in range(100)]
    with ReportDb(tmp_path) as store:
        take(store, document(*items))
        store.query("UPDATE policies SET successful = ?", [2**62])
        ((_, successful, _),) = reportsums.sums(store, ALL, "source")
    assert successful == 100 * 2**62


def test_what_is_set_aside_is_kept_once(tmp_path: Path) -> None:
    """Under a name of ours, with the reason."""
    with ReportDb(tmp_path) as store:
        assert store.set_aside([b"half ", b"a mail"], "../../etc/passwd", "damaged gzip", NOW)
        assert not store.set_aside([b"half a mail"], "again", "damaged gzip", NOW + 1)
        (entry,) = store.unreadable(0, NOW + 2)
    assert (entry.name, entry.reason, entry.received) == ("../../etc/passwd", "damaged gzip", NOW)
    assert Path(entry.file).parent == tmp_path / UNREADABLE
    assert Path(entry.file).read_bytes() == b"half a mail"
    assert [path.name for path in (tmp_path / UNREADABLE).iterdir()] == [Path(entry.file).name]


def test_forget_takes_reports_documents_and_files(tmp_path: Path) -> None:
    """Of what is older; a begin in the future does not help."""
    with ReportDb(tmp_path) as store:
        take(store, document(policy(1, 1, detail(1))), now=NOW)
        take(store, document(policy(1), id="future", day=JUNE + 5000 * DAY), now=NOW)
        take(store, document(policy(1), id="new", day=JUNE + 10 * DAY), now=NOW + 11 * DAY)
        store.set_aside([b"old"], "", "x", NOW)
        os.utime(store.unreadable(0, NOW + 1)[0].file, (NOW, NOW))
        assert store.forget(JUNE + 5 * DAY) == (2, 1)
        assert [row.report_id for row in stored(store)] == ["new"]
        assert [
            store.query(f"SELECT count(*) FROM {table}")[0][0] for table in ("documents", "policies", "failures")
        ] == [1, 1, 0]
    assert list((tmp_path / UNREADABLE).iterdir()) == []


def test_forget_gives_the_room_back(tmp_path: Path) -> None:
    """The file becomes smaller."""
    with ReportDb(tmp_path, durable=False) as store:
        for number in range(50):
            take(store, document(*[policy(1, domain=f"d{n}.example") for n in range(50)], id=str(number)))
    before = (tmp_path / DATABASE).stat().st_size
    with ReportDb(tmp_path) as store:
        assert store.forget(NOW + DAY) == (50, 0)
    assert (tmp_path / DATABASE).stat().st_size < before / 3


def test_forget_by_arrival_keeps_old_mail_that_was_imported_just_now(tmp_path: Path) -> None:
    """As `receive` does by itself."""
    with ReportDb(tmp_path) as store:
        take(store, document(policy(1)), now=NOW + 1000 * DAY)
        assert store.forget(NOW + 600 * DAY, by_arrival=True) == (0, 0)
        assert store.forget(NOW + 600 * DAY) == (1, 0)


def test_a_store_of_another_version_is_left_alone(tmp_path: Path) -> None:
    """Better no answer than a wrong one."""
    ReportDb(tmp_path).close()
    with sqlite3.connect(tmp_path / DATABASE) as database:
        database.execute("PRAGMA user_version = 9")
    database.close()
    with pytest.raises(StoreError, match="another version"):
        ReportDb(tmp_path)


UNUSABLE = [
    ("a file that is not a database", lambda path: (path / DATABASE).write_bytes(b"x" * 5000), "not a database"),
    ("a directory in its place", lambda path: (path / DATABASE).mkdir(), "directory"),
    ("a link in its place", lambda path: (path / DATABASE).symlink_to("/etc/passwd"), "symbolic link"),
]


@pytest.mark.parametrize(("title", "spoil", "want"), UNUSABLE, ids=[row[0] for row in UNUSABLE])
def test_a_store_that_cannot_be_used_says_why(title: str, spoil: object, want: str, tmp_path: Path) -> None:
    """With its place."""
    spoil(tmp_path)  # type: ignore[operator]
    with pytest.raises(StoreError, match=want) as caught:
        ReportDb(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_numbers_are_remembered(tmp_path: Path) -> None:
    """By name."""
    with ReportDb(tmp_path) as store:
        assert store.remembered("x") is None
        store.remember("x", 5)
        store.remember("x", 7.5)
        assert store.remembered("x") == 7.5


WINDOWS = [
    ("all", Window(0, NOW), ["a", "b"]),
    ("since is in it", Window(JUNE, NOW), ["a", "b"]),
    ("until is not", Window(0, JUNE + DAY), ["a"]),
    ("a domain", Window(0, NOW, domain="other.example"), ["b"]),
    ("an outcome of DKIM", Window(0, NOW, dkim="pass"), ["a"]),
    ("received since", Window(0, NOW, received=(NOW, NOW + DAY)), []),
]


@pytest.mark.parametrize(("title", "window", "want"), WINDOWS, ids=[row[0] for row in WINDOWS])
def test_a_window_shows_what_is_in_it(title: str, window: Window, want: list[str], tmp_path: Path) -> None:
    """since <= begin < until."""
    with ReportDb(tmp_path) as store:
        take(store, document(policy(1), id="a"), Trust("pass", "s.example"), now=JUNE + DAY)
        take(store, document(policy(1, domain="other.example"), policy(2), id="b", day=JUNE + DAY), now=JUNE + DAY)
        assert [row.report_id for row in reportsums.reports(store, window)] == want
        assert reportsums.totals(store, window).reports == len(want)
