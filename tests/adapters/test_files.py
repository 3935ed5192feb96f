"""adapters/files.py: whole or not at all, and nothing lost that cannot be read."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from postfix_mtasts.adapters.files import StateFolder, look_into, make_private, write_whole


def test_a_file_is_replaced_with_its_mode(tmp_path: Path) -> None:
    """And nothing stays beside it."""
    path = tmp_path / "state"
    write_whole(path, b"one")
    write_whole(path, b"two", 0o644)
    assert path.read_bytes() == b"two"
    assert path.stat().st_mode & 0o777 == 0o644
    assert os.listdir(tmp_path) == ["state"]


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And removes its own."""
    path = tmp_path / "state"
    write_whole(path, b"one")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_whole(path, b"two")
    assert path.read_bytes() == b"one"
    assert os.listdir(tmp_path) == ["state"]


def test_a_private_folder_is_closed_to_others(tmp_path: Path) -> None:
    """Its parents are made too."""
    folder = make_private(tmp_path / "a" / "b")
    assert folder.stat().st_mode & 0o777 == 0o700
    assert make_private(folder) == folder


def test_objects_come_back_by_name(tmp_path: Path) -> None:
    """Over a restart, until they are removed."""
    folder = StateFolder(tmp_path / "state")
    folder.save("example.com", {"a": 1})
    folder.save("example.net", {"b": "\N{SNOWMAN}"})
    folder.remove("example.com")
    folder.remove("example.com")
    assert StateFolder(tmp_path / "state").load() == {"example.net": {"b": "\N{SNOWMAN}"}}


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"\xff", b"[" * 100_000], ids=repr)
def test_a_damaged_object_is_set_aside_and_kept(damage: bytes, tmp_path: Path) -> None:
    """Under another name, while the others are read."""
    folder = StateFolder(tmp_path)
    folder.save("good.example", {"a": 1})
    (tmp_path / "bad.example.json").write_bytes(damage)
    assert look_into(tmp_path) == {"good.example": {"a": 1}}
    assert folder.load() == {"good.example": {"a": 1}}
    assert (tmp_path / "bad.example.damaged").read_bytes() == damage


def test_looking_into_a_folder_that_is_not_there_makes_none(tmp_path: Path) -> None:
    """A command must leave nothing behind."""
    assert look_into(tmp_path / "absent") == {}
    assert os.listdir(tmp_path) == []


@dataclass(frozen=True, slots=True)
class Row:
    name: str | None
    number: int
    at: float
    fine: bool = True
    more: tuple[str, ...] = ()


GOOD = {"name": None, "number": 1, "at": 2.5}

ROWS = [
    ("as it was written", {}, True),
    ("a whole number of seconds", {"at": 3}, True),
    ("a number in quotes", {"number": "1"}, False),
    ("a truth in the place of a number", {"number": True}, False),
    ("a fraction in the place of a count", {"number": 1.5}, False),
    ("no number of seconds", {"at": float("nan")}, False),
    ("seconds without end", {"at": float("inf")}, False),
    ("more seconds than a float can hold", {"at": 10**400}, False),
    ("null where a number is due", {"at": None}, False),
    ("a list in the place of a name", {"name": ["x"]}, False),
    ("a word in the place of a truth", {"fine": "false"}, False),
    ("text in the place of many", {"more": "abc"}, False),
    ("an unknown key", {"other": 1}, False),
]


@pytest.mark.parametrize(("title", "change", "taken"), ROWS, ids=[row[0] for row in ROWS])
def test_a_row_with_a_value_of_another_type_is_as_if_absent(
    title: str, change: dict[str, object], taken: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One log line names it; the others are read."""
    folder = StateFolder(tmp_path)
    folder.save("a.example", GOOD)
    folder.save("b.example", GOOD | change)
    assert [name for name, _ in folder.rows(Row)] == (["a.example", "b.example"] if taken else ["a.example"])
    assert [record.getMessage().split()[:2] for record in caplog.records] == (
        [] if taken else [["state-unreadable", "name=b.example"]]
    )
