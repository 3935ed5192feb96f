"""What `report import` finds in files, directories, mbox and Maildir."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from postfix_mtasts.adapters import mailfiles
from postfix_mtasts.adapters.mailfiles import Item, items

FROM = b"From a@b.example Mon Jun  1 00:00:00 2026\n"


def told(path: Path) -> list[tuple[str, bytes, bool]]:
    return [(os.path.relpath(item.name, path), item.data, item.is_mail) for item in items(str(path))]


def test_a_directory_is_read_with_all_below_it_in_the_order_of_names(tmp_path: Path) -> None:
    """By the ends of names, and mbox by its first line; the rest is left alone."""
    (tmp_path / "sub").mkdir()
    for name, data in {
        "b.eml": b"Subject: b\n\n",
        "a.json": b"{}",
        "notes.txt": b"{}",
        "README": b"From here on\n",
        "sub/c.ZIP": b"PK\x03\x04",
        "sub/old": FROM + b"Subject: 1\n\nbody\n\n" + FROM + b"Subject: 2\n\n",
    }.items():
        (tmp_path / name).write_bytes(data)
    assert told(tmp_path) == [
        ("a.json", b"{}", False),
        ("b.eml", b"Subject: b\n\n", True),
        ("sub/c.ZIP", b"PK\x03\x04", False),
        ("sub/old, mail 1", b"Subject: 1\n\nbody\n\n", True),
        ("sub/old, mail 2", b"Subject: 2\n\n", True),
    ]


def test_a_maildir_is_read_whatever_its_names(tmp_path: Path) -> None:
    """cur and new, not tmp; folders below it too."""
    for folder in ("cur", "new", "tmp", ".Reports/cur", ".Reports/new", ".Reports/tmp"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "1.M1P1.host:2,S").write_bytes(folder.encode())
    (tmp_path / "dovecot.index").write_bytes(b"x")
    assert [data for _, data, is_mail in told(tmp_path) if is_mail] == [
        b".Reports/cur",
        b".Reports/new",
        b"cur",
        b"new",
    ]


def test_the_new_mails_of_a_maildir_alone(tmp_path: Path) -> None:
    """One of its folders may be named."""
    for folder in ("cur", "new", "tmp"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "1.M1P1.host").write_bytes(folder.encode())
    assert [item.data for item in items(str(tmp_path / "new") + "/")] == [b"new"]


MBOX = [
    ("one mail", FROM + b"A: 1\n\nx\n", [b"A: 1\n\nx\n"]),
    ("From_ in a body without a date", FROM + b"A: 1\n\n\nFrom here on\n", [b"A: 1\n\n\nFrom here on\n"]),
    ("From_ in a body without an empty line", FROM + b"A: 1\n\nx\n" + FROM, [b"A: 1\n\nx\n" + FROM]),
    ("quoted From_", FROM + b"A: 1\n\n>From x\n>>From y\n", [b"A: 1\n\nFrom x\n>From y\n"]),
    ("CRLF", FROM.replace(b"\n", b"\r\n") + b"A: 1\r\n\r\n" + FROM + b"B: 2\r\n", [b"A: 1\r\n\r\n", b"B: 2\r\n"]),
    ("a name that is not an address", b"From MAILER-DAEMON Mon Jun  1 00:00:00 2026\nA: 1\n", [b"A: 1\n"]),
]


@pytest.mark.parametrize(("title", "data", "want"), MBOX, ids=[row[0] for row in MBOX])
def test_an_mbox_is_cut_at_true_from_lines(title: str, data: bytes, want: list[bytes], tmp_path: Path) -> None:
    """An empty line before, a date at the end."""
    path = tmp_path / "mbox"
    path.write_bytes(data)
    assert [item.data for item in items(str(path))] == want


def test_a_from_line_at_the_head_of_one_mail_is_not_an_mbox(tmp_path: Path) -> None:
    """.eml is one mail, whatever it begins with."""
    path = tmp_path / "a.eml"
    path.write_bytes(FROM + b"A: 1\n\n\n" + FROM + b"B: 2\n")
    assert [item.data for item in items(str(path))] == [path.read_bytes()]


def test_what_cannot_be_read_becomes_an_item_with_the_reason(tmp_path: Path) -> None:
    """And never an exception."""
    os.mkfifo(tmp_path / "fifo")
    assert [item.fault for item in items(str(tmp_path / "absent"))] == ["No such file or directory"]
    assert [item.fault for item in items(str(tmp_path / "fifo"))] == ["neither a file nor a directory"]
    assert list(items(str(tmp_path))) == []


def test_a_mail_that_is_too_large_is_not_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a file and in an mbox; the next mail is read."""
    monkeypatch.setattr(mailfiles, "MAIL_LIMIT", 100)
    (tmp_path / "a.eml").write_bytes(b"x" * 101)
    (tmp_path / "b.mbox").write_bytes(FROM + b"y\n" * 51 + b"\n" + FROM + b"C: 3\n")
    assert [(item.fault, item.data) for item in items(str(tmp_path))] == [
        ("over 64 MiB", b""),
        ("over 64 MiB", b""),
        ("", b"C: 3\n"),
    ]


def test_odd_names_of_files(tmp_path: Path) -> None:
    """No UTF-8, and a line end."""
    name = os.fsencode(tmp_path) + b"/\xff\n.eml"
    with open(name, "wb") as file:
        file.write(b"A: 1\n\n")
    assert list(items(str(tmp_path))) == [Item(os.fsdecode(name), b"A: 1\n\n", True)]


def test_a_link_to_a_directory_is_not_followed(tmp_path: Path) -> None:
    """It may lead back."""
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "a.eml").write_bytes(b"A: 1\n\n")
    assert len(list(items(str(tmp_path)))) == 1
