"""Read what can be read of a damaged database, without SQLite.

A damaged schema, header or tree keeps SQLite from rows that are whole. Here
each page is looked at by itself, in the database and in its write-ahead log:
one that has the form of a leaf of a table gives up the rows in it. What a row
says is believed if rows.decode() does, which checks its sum. Of several rows
of a domain, whose pages may be older and newer, the latest fetch wins.

Source: https://www.sqlite.org/fileformat2.html sections 1.6 (pages), 2.1
(records) and 4 (write-ahead log); diskcache 5.4 to 5.6 for the columns.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

from ...core.entry import Entry
from ...errors import InputError
from .rows import ROW_LIMIT, decode

PAGE = 4096  # bytes: SQLite's default since 3.12, which diskcache leaves as it is
_LOG_HEADER, _FRAME_HEADER = 32, 24  # bytes of the log, and of the log in front of each page
_LEAF = 0x0D  # of a table
_INLINE = PAGE - 35  # bytes of the largest payload without overflow pages
_LEAST_INLINE = (PAGE - 12) * 32 // 255 - 23  # bytes in the leaf of one that has some
_PAYLOAD_LIMIT = ROW_LIMIT + 1_000  # bytes
_COLUMNS = 12
_KEY, _RAW, _MODE, _FILENAME, _VALUE = 1, 2, 9, 10, 11  # of diskcache's table Cache
_NULL, _ONE = 0, 9  # serial types
_SIZES = (0, 1, 2, 3, 4, 6, 8, 8, 0, 0)  # bytes of the serial types up to 9

_Follow = Callable[[int], bytes]  # an overflow page, by its number


def salvage(database: Path) -> Iterator[Entry]:
    """Yield the entries that can be read, each domain once. Never raises."""
    newest: dict[str, tuple[float, float]] = {}
    for entry in _entries(database):
        newest[entry.domain] = max(newest.get(entry.domain, (-1.0, -1.0)), (entry.fetched_at, entry.used_at))
    for entry in _entries(database):
        if newest.get(entry.domain) == (entry.fetched_at, entry.used_at):
            del newest[entry.domain]
            yield entry


def _entries(database: Path) -> Iterator[Entry]:
    with ExitStack() as opened:
        tree, journal = opened.enter_context(_File(database)), opened.enter_context(_File(Path(f"{database}-wal")))
        frames = range(_LOG_HEADER, journal.size, _FRAME_HEADER + PAGE)
        logged: dict[int, int] = {}  # the last place in the log of a page
        for at in frames:
            logged[int.from_bytes(journal.read(at, 4), "big")] = at + _FRAME_HEADER

        def in_tree(number: int) -> bytes:
            return tree.read((number - 1) * PAGE, PAGE)

        def in_log(number: int) -> bytes:
            return journal.read(logged[number], PAGE) if number in logged else in_tree(number)

        for at in range(0, tree.size, PAGE):
            yield from _rows(tree.read(at, PAGE), in_tree)
        for at in frames:
            yield from _rows(journal.read(at + _FRAME_HEADER, PAGE), in_log)


class _File:
    """A file, read in pieces; what cannot be read is empty."""

    def __init__(self, path: Path) -> None:
        self._descriptor, self.size = -1, 0
        with suppress(OSError):
            self._descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            found = os.fstat(self._descriptor)
            self.size = found.st_size if stat.S_ISREG(found.st_mode) else 0

    def __enter__(self) -> _File:
        return self

    def __exit__(self, *_: object) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)

    def read(self, at: int, size: int) -> bytes:
        if not 0 <= at < self.size:
            return b""
        try:
            return os.pread(self._descriptor, size, at)
        except OSError:
            return b""


def _rows(page: bytes, follow: _Follow) -> Iterator[Entry]:
    """Yield the entries of a page, if it is a leaf of a table."""
    if len(page) < PAGE or page[0] != _LEAF:
        return
    for number in range(min(int.from_bytes(page[3:5], "big"), PAGE // 6)):
        at = int.from_bytes(page[8 + 2 * number : 10 + 2 * number], "big")
        with suppress(InputError, IndexError):
            yield _entry(_payload(page, at, follow))


def _payload(page: bytes, at: int, follow: _Follow) -> bytes:
    """Return the record of the cell at *at*, its overflow pages included. Raises: IndexError, InputError."""
    size, at = _number(page, at)
    _, at = _number(page, at)  # the rowid
    if size > _PAYLOAD_LIMIT:
        raise InputError(f"a row of {size} bytes")
    if size <= _INLINE:
        return page[at : at + size]
    inline = _LEAST_INLINE + (size - _LEAST_INLINE) % (PAGE - 4)
    if inline > _INLINE:
        inline = _LEAST_INLINE
    payload, rest = page[at : at + inline], page[at + inline : at + inline + 4]
    while len(payload) < size:
        more = follow(int.from_bytes(rest, "big"))
        if len(more) < PAGE:
            raise InputError("an overflow page that is not there")
        payload, rest = payload + more[4:], more[:4]
    return payload[:size]


def _entry(record: bytes) -> Entry:
    """Raises: IndexError, InputError."""
    head, at = _number(record, 0)
    kinds: list[int] = []
    while at < head and len(kinds) < _COLUMNS:
        kind, at = _number(record, at)
        kinds.append(kind)
    if (kinds[_RAW], kinds[_MODE], kinds[_FILENAME]) != (_ONE, _ONE, _NULL):
        raise InputError("not a row of text")
    sizes = [_SIZES[kind] if kind < len(_SIZES) else (kind - 12) // 2 for kind in kinds]
    key = record[head + sum(sizes[:_KEY]) :][: sizes[_KEY]]
    value = record[head + sum(sizes[:_VALUE]) :][: sizes[_VALUE]]
    return decode(key.decode("utf-8", "replace"), value.decode("utf-8", "replace"))


def _number(data: bytes, at: int) -> tuple[int, int]:
    """Read a varint: its value, and where it ends. Raises: IndexError."""
    value = 0
    for _ in range(8):
        byte = data[at]
        at += 1
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at
    return value << 8 | data[at], at + 1
