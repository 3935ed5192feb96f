"""publishing/policyfiles.py: which files count, and when."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from postfix_mtasts.core.names import Domain
from postfix_mtasts.publishing.policyfiles import NOTHING_READ, Reading, examine, read_folder

GOOD = b"version: STSv1\r\nmode: testing\r\nmx: mx.example.com\r\nmax_age: 86400\r\n"
D = Domain("example.com")


def looks(folder: Path, number: int, before: Reading = NOTHING_READ) -> Reading:
    """The reading after *number* looks at a folder that stands still."""
    for _ in range(number):
        before = read_folder(folder, before)
    return before


def test_a_file_counts_once_it_stood_still(tmp_path: Path) -> None:
    """Half of one that is being written is never served."""
    (tmp_path / "example.com.txt").write_bytes(GOOD)
    first = looks(tmp_path, 1)
    assert first.files == {}
    assert looks(tmp_path, 1, first).files[D].text == GOOD


def test_a_file_that_changes_keeps_its_old_text_until_it_stands_still(tmp_path: Path) -> None:
    """And has the new one then."""
    (tmp_path / "example.com.txt").write_bytes(GOOD)
    before = looks(tmp_path, 2)
    (tmp_path / "example.com.txt").write_bytes(GOOD + b"mx: two.example.com\r\n")
    changing = looks(tmp_path, 1, before)
    assert changing.files[D].text == GOOD
    assert looks(tmp_path, 1, changing).files[D].text.endswith(b"two.example.com\r\n")


def test_a_command_takes_files_at_the_first_sight(tmp_path: Path) -> None:
    """It reads the folder once."""
    (tmp_path / "example.com.txt").write_bytes(GOOD)
    reading = read_folder(tmp_path, NOTHING_READ, settled=True)
    assert reading.files[D].text == GOOD
    assert reading.is_gone(Domain("other.example"))


def test_a_file_is_gone_once_two_looks_missed_it(tmp_path: Path) -> None:
    """An editor that swaps files leaves none there for a moment."""
    file = tmp_path / "example.com.txt"
    file.write_bytes(GOOD)
    before = looks(tmp_path, 2)
    file.unlink()
    once = looks(tmp_path, 1, before)
    assert not once.is_gone(D)
    assert looks(tmp_path, 1, once).is_gone(D)


def test_at_the_start_nothing_is_gone_at_the_first_look(tmp_path: Path) -> None:
    """What the history knows stays until two looks agree."""
    assert not looks(tmp_path, 1).is_gone(D)
    assert looks(tmp_path, 2).is_gone(D)


def test_a_folder_that_cannot_be_read_withdraws_nothing(tmp_path: Path) -> None:
    """It is a fault, and all else is as before."""
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "example.com.txt").write_bytes(GOOD)
    before = looks(tmp_path / "policies", 2)
    (tmp_path / "policies").rename(tmp_path / "elsewhere")
    for _ in range(3):
        before = read_folder(tmp_path / "policies", before)
        assert before.files[D].text == GOOD
        assert "No such file" in before.fault
        assert not before.is_gone(D)


def test_a_link_to_another_domain_s_file_gives_an_alias_its_policy(tmp_path: Path) -> None:
    """And the alias changes with the file."""
    (tmp_path / "example.com.txt").write_bytes(GOOD)
    (tmp_path / "alias.example.txt").symlink_to("example.com.txt")
    before = looks(tmp_path, 2)
    assert before.files[Domain("alias.example")].text == GOOD
    (tmp_path / "example.com.txt").write_bytes(GOOD + b"mx: two.example.com\r\n")
    assert looks(tmp_path, 2, before).files[Domain("alias.example")].text.endswith(b"two.example.com\r\n")


IGNORED = ["README", "example.com.txt~", ".example.com.txt.swp", "example.com", "notes.txt", "EXAMPLE.COM.txt", ".txt"]


@pytest.mark.parametrize("name", IGNORED)
def test_files_of_other_names_are_ignored(name: str, tmp_path: Path) -> None:
    """Whatever they hold."""
    (tmp_path / name).write_bytes(GOOD)
    assert read_folder(tmp_path, NOTHING_READ, settled=True).files == {}


REFUSED = [
    ("an empty file", b"", "version is missing"),
    ("no policy", b"hello\n", "line 1"),
    ("an unknown mode", GOOD.replace(b"testing", b"report"), "mode 'report'"),
    ("too long", GOOD + b"\r\n" * 40_000, "64 KiB"),
    ("not UTF-8", b"\xff" + GOOD, "not UTF-8"),
]


@pytest.mark.parametrize(("title", "text", "why"), REFUSED, ids=[row[0] for row in REFUSED])
def test_what_senders_refuse_is_refused_here(title: str, text: bytes, why: str) -> None:
    """With the reason."""
    file = examine(text)
    assert file.policy is None
    assert why in file.fault


@pytest.mark.parametrize("kind", ["a pipe", "a folder", "a link to nowhere"])
def test_what_is_not_a_file_is_a_fault_and_holds_nothing_up(kind: str, tmp_path: Path) -> None:
    """A pipe has nobody who writes."""
    path = tmp_path / "example.com.txt"
    {"a pipe": os.mkfifo, "a folder": os.mkdir, "a link to nowhere": lambda p: os.symlink("nowhere", p)}[kind](path)
    file = read_folder(tmp_path, NOTHING_READ, settled=True).files[D]
    assert file.policy is None
    assert file.fault
