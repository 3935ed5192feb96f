"""What SQLite's errors mean: a disk that fails now, or a database that is damaged."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from postfix_mtasts.adapters.store import database
from postfix_mtasts.adapters.store.disk import DiskStore
from postfix_mtasts.errors import StoreDamagedError, StoreError
from tests.support.fakes.entries import entry

PASSING = ["FULL", "IOERR_WRITE", "BUSY", "LOCKED", "CANTOPEN", "NOMEM", "PROTOCOL", "INTERRUPT"]
DAMAGE = ["CORRUPT", "CORRUPT_VTAB", "NOTADB", "ERROR", "SCHEMA", "CONSTRAINT_UNIQUE", "TOOBIG", "MISMATCH", "FORMAT"]


def error_of(name: str) -> sqlite3.Error:
    error = sqlite3.OperationalError("said so")
    error.sqlite_errorcode = getattr(sqlite3, f"SQLITE_{name}")
    error.sqlite_errorname = f"SQLITE_{name}"
    return error


@pytest.mark.parametrize("name", PASSING + DAMAGE)
def test_what_an_error_means(name: str) -> None:
    """A full disk is tried again; what is wrong with a fixed statement is wrong with the database."""
    with (
        pytest.raises(StoreError, match=rf"^/x/cache.db: said so \(SQLITE_{name}\)$") as caught,
        database.errors(Path("/x/cache.db")),
    ):
        raise error_of(name)
    assert isinstance(caught.value, StoreDamagedError) is (name in DAMAGE)


def test_read_only_is_damage_where_the_file_can_be_written(tmp_path: Path) -> None:
    """A flipped byte of the header says so; a read-only mount says the same of a file that cannot be."""
    (tmp_path / "cache.db").touch()
    for path, damaged in ((tmp_path / "cache.db", True), (tmp_path / "gone", False)):
        with pytest.raises(StoreError) as caught, database.errors(path):
            raise error_of("READONLY")
        assert isinstance(caught.value, StoreDamagedError) is damaged


def test_text_that_is_not_utf_8_is_damage() -> None:
    """SQLite names what it found in a damaged schema, and Python cannot make text of it."""
    with pytest.raises(StoreDamagedError), database.errors(Path("/x")):
        b"\xff".decode()


def test_the_first_cause_is_named() -> None:
    """diskcache hides it behind a time-out of its own."""

    def set_row() -> None:
        try:
            raise error_of("FULL")
        except sqlite3.Error:
            raise database.diskcache.Timeout from None

    with pytest.raises(StoreError, match="SQLITE_FULL"), database.errors(Path("/x")):
        set_row()


SCHEMAS = [
    ("a column of another name", "value BLOB)", "talue BLOB)"),
    ("text that is not UTF-8", "access_count", "access_\xffount"),
    ("an unreadable statement", "CREATE TABLE Cache", "CREATE TABLF Cache"),
]


@pytest.mark.parametrize(("title", "old", "new"), SCHEMAS, ids=[case[0] for case in SCHEMAS])
def test_a_damaged_schema_is_begun_anew(tmp_path: Path, title: str, old: str, new: str) -> None:
    """What failed for ever before: the policies are read, and written into a new database."""
    with closing(DiskStore(tmp_path)) as store:
        store.put([entry()])
    content = (tmp_path / "cache.db").read_bytes()
    assert old.encode() in content
    (tmp_path / "cache.db").write_bytes(content.replace(old.encode(), new.encode("latin-1"), 1))
    with closing(DiskStore(tmp_path)) as store:
        try:
            found = [*store.load(lambda sentence: None)]
            store.put([])
            store.put([entry("new.example")])
        except StoreDamagedError:
            store.renew(salvaged=True)
            found = [*store.load(lambda sentence: None)]
            store.put([entry("new.example")])
        assert found == [entry()]
        assert store.get(entry("new.example").domain) == entry("new.example")


def test_rowids_that_do_not_grow_end_the_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One flipped byte made it endless. The check finds that before; this is for what the check does not see."""
    monkeypatch.setattr(database, "check", lambda *_: None)
    with closing(DiskStore(tmp_path)) as store:
        monkeypatch.setattr(store, "_rows", lambda last: [(7, b"a.example", b"{}")])
        with pytest.raises(StoreDamagedError, match="row 7 comes after row 7"):
            list(store.load(lambda sentence: None))
