"""Files, directories, mbox and Maildir that `report import` reads mails and reports from.

Rule 1: a file is what its content says; names choose only what is looked at in a directory.
Rule 2: nothing is held beyond one mail: an mbox of gigabytes is read mail by mail.
Rule 3: what cannot be read becomes an Item with the reason, and the rest is read.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from .mailbox import MAIL_LIMIT

SUFFIXES = (".eml", ".json", ".gz", ".zip", ".mbox")

_MAILDIR = ("cur", "new")
_FROM = re.compile(rb"From \S+.* [0-9]{2}:[0-9]{2}(?::[0-9]{2})? .*[0-9]{4}\s*\Z", re.DOTALL)
_QUOTED_FROM = re.compile(rb"^>(>*From )", re.MULTILINE)
_ARCHIVES = (b"\x1f\x8b", b"PK\x03\x04")
_TOO_LARGE = f"over {MAIL_LIMIT >> 20} MiB"


@dataclass(frozen=True, slots=True)
class Item:
    """One mail or file, or why there is none."""

    name: str  # for people: a path, and the number of the mail in an mbox
    data: bytes = b""
    is_mail: bool = False
    fault: str = ""


def items(path: str) -> Iterator[Item]:
    """Yield what is at *path*, directories recursively, in the order of names. Never raises OSError."""
    if os.path.isdir(path):
        yield from _directory(path)
    else:
        yield from _file(path)


def _directory(path: str) -> Iterator[Item]:
    try:
        names = sorted(os.listdir(os.fsencode(path)))
    except OSError as error:
        yield Item(path, fault=error.strerror or str(error))
        return
    if os.path.basename(path.rstrip("/")) in _MAILDIR and _is_maildir(os.path.join(path, os.pardir)):
        yield from _mails(path)
        return
    paths = [os.path.join(path, os.fsdecode(name)) for name in names]
    maildir = _is_maildir(path)
    for inner in paths:
        name = os.path.basename(inner)
        if os.path.isdir(inner):
            if os.path.islink(inner) or (maildir and name == "tmp"):
                continue
            yield from _mails(inner) if maildir and name in _MAILDIR else _directory(inner)
        elif os.path.isfile(inner) and (name.lower().endswith(SUFFIXES) or (not maildir and _is_mbox(inner))):
            yield from _file(inner)


def _is_maildir(path: str) -> bool:
    return all(os.path.isdir(os.path.join(path, name)) for name in _MAILDIR)


def _mails(path: str) -> Iterator[Item]:
    """The mails of a Maildir's cur or new, whatever their names."""
    for name in sorted(os.listdir(os.fsencode(path))):
        inner = os.path.join(path, os.fsdecode(name))
        if os.path.isfile(inner) and not name.startswith(b"."):
            yield from _file(inner, is_mail=True)


def _is_mbox(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return bool(_FROM.match(file.readline(1_000)))
    except OSError:
        return False


def _file(path: str, is_mail: bool = False) -> Iterator[Item]:
    try:
        if not os.path.isfile(path) and os.path.exists(path):
            yield Item(path, fault="neither a file nor a directory")
            return
        with open(path, "rb") as file:
            first = file.readline(1_000)
            file.seek(0)
            is_mail = is_mail or path.lower().endswith(".eml")
            if not is_mail and _FROM.match(first):
                yield from _mbox(path, file)
                return
            data = file.read(MAIL_LIMIT + 1)
    except OSError as error:
        yield Item(path, fault=error.strerror or str(error))
        return
    if len(data) > MAIL_LIMIT:
        yield Item(path, fault=_TOO_LARGE)
    else:
        yield Item(path, data, is_mail or not _is_document(path, data))


def _is_document(path: str, data: bytes) -> bool:
    """Whether a file without a mail's name holds no mail: by its content, or by its name where that says nothing."""
    begin = data[:1_000].lstrip(b"\xef\xbb\xbf \t\r\n")
    return begin.startswith((*_ARCHIVES, b"{", b"[")) or path.lower().endswith((".json", ".gz", ".zip"))


def _mbox(path: str, file: BinaryIO) -> Iterator[Item]:
    """Cut an mbox at From_ lines with a date that stand after an empty line, and undo their quoting."""
    number, lines, size, empty = 0, list[bytes](), 0, True
    while line := file.readline(MAIL_LIMIT):
        if empty and line.startswith(b"From ") and _FROM.match(line[:1_000]):
            if number:
                yield _mail(path, number, lines, size)
            number, lines, size = number + 1, [], 0
        else:
            size += len(line)
            if size <= MAIL_LIMIT:
                lines.append(line)
        empty = not line.strip(b"\r\n")
    yield _mail(path, number, lines, size)


def _mail(path: str, number: int, lines: list[bytes], size: int) -> Item:
    name = f"{path}, mail {number}"
    if size > MAIL_LIMIT:
        return Item(name, fault=_TOO_LARGE)
    return Item(name, _QUOTED_FROM.sub(rb"\1", b"".join(lines)), True)
