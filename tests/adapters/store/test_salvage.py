"""What is read of a damaged database, page by page."""

from __future__ import annotations

import random
import shutil
from contextlib import closing
from pathlib import Path

import pytest

from postfix_mtasts.adapters.store.disk import DiskStore
from postfix_mtasts.adapters.store.salvage import PAGE, salvage
from postfix_mtasts.core.entry import Entry
from postfix_mtasts.core.names import Domain
from postfix_mtasts.core.policy import parse_policy
from tests.support.fakes.entries import NOW, entry

MANY = [entry(f"d{number}.example") for number in range(300)]


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A database with MANY policies, as a stop leaves it."""
    with closing(DiskStore(tmp_path / "store")) as store:
        store.put(MANY)
    return tmp_path / "store" / "cache.db"


def by_domain(entries: list[Entry]) -> list[Entry]:
    return sorted(entries, key=lambda each: each.domain)


def test_all_of_a_whole_database(database: Path) -> None:
    """Each policy once."""
    assert by_domain([*salvage(database)]) == by_domain(MANY)


def test_the_schema_is_not_needed(database: Path) -> None:
    """SQLite reads nothing without its first page."""
    with database.open("r+b") as file:
        file.write(b"\xff" * PAGE)
    assert by_domain([*salvage(database)]) == by_domain(MANY)


@pytest.mark.parametrize("size", [5_000, 60_000])
def test_policies_that_take_several_pages(tmp_path: Path, size: int) -> None:
    """Their overflow pages are followed."""
    text = f"version: STSv1\nmode: none\nmax_age: 1\nx: {'y' * size}"
    big = Entry(Domain("big.example"), parse_policy(text.encode()), "1", NOW, NOW)
    with closing(DiskStore(tmp_path)) as store:
        store.put([big])
    assert [*salvage(tmp_path / "cache.db")] == [big]


def test_the_log_of_a_killed_process_is_read_too(tmp_path: Path) -> None:
    """Its rows are the newer ones."""
    with closing(DiskStore(tmp_path / "running")) as store:
        store.put([entry(fetched_at=NOW - 60), entry("old.example")])
        store._disconnect()  # takes the log over into the database
        store.put([entry(fetched_at=NOW)])
        shutil.copytree(tmp_path / "running", tmp_path / "killed")
    assert (tmp_path / "killed" / "cache.db-wal").stat().st_size
    assert by_domain([*salvage(tmp_path / "killed" / "cache.db")]) == [entry(fetched_at=NOW), entry("old.example")]


def test_what_is_not_there_is_nothing(tmp_path: Path) -> None:
    """Nor is a directory, or an empty file."""
    assert [*salvage(tmp_path / "none")] == []
    assert [*salvage(tmp_path)] == []
    (tmp_path / "empty").touch()
    assert [*salvage(tmp_path / "empty")] == []


def test_no_bytes_make_it_raise(database: Path) -> None:
    """Noise in every page, and in the places where its cells begin."""
    whole, chance = database.read_bytes(), random.Random(1)
    for _ in range(30):
        content = bytearray(whole)
        for page in range(0, len(content), PAGE):
            for _ in range(20):
                content[page + chance.randrange(chance.choice((16, 120, PAGE)))] = chance.randrange(256)
        database.write_bytes(content)
        assert all(found in MANY for found in salvage(database))
