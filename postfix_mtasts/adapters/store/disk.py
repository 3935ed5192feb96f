"""The embedded store: policies in a diskcache directory.

Rule 1: one process holds the store (place.py); nothing is renamed, written or
        begun anew before that is certain.
Rule 2: what can be read is read: where the database cannot be written, on a
        full disk or a read-only mount, it is opened for reading alone.
Rule 3: a damaged database is set aside under another name. load() then gives
        what can be read of it (salvage.py), for the caller to write again.

Rows are written through diskcache and read by a connection of our own: that
takes 250,000 rows in pieces without holding a transaction open, and passes
over rows that are not text where diskcache would act on them.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ...core.entry import Entry
from ...core.names import Domain
from ...errors import InputError, StoreDamagedError, StoreError
from . import database
from .database import RAW, Writer
from .place import DATABASE, Place
from .rows import ROW_LIMIT, decode, encode
from .salvage import salvage

_BATCH = 200  # rows read at once
_LEAST = -(2**63)  # a rowid

# A row's key and value where they are text of ours, else NULL.
_TEXTS = (
    "CASE WHEN typeof(key) = 'text' AND length(key) <= 253 THEN key END,"
    f" CASE WHEN raw = 1 AND mode = {RAW} AND filename IS NULL AND typeof(value) = 'text'"
    f" AND length(value) <= {ROW_LIMIT} THEN value END"
)
_GET = f"SELECT {_TEXTS} FROM Cache WHERE key = ? AND raw = 1"
_LOAD = f"SELECT rowid, {_TEXTS} FROM Cache WHERE rowid > ? ORDER BY rowid LIMIT {_BATCH}"
_COUNT = "SELECT count(*) FROM Cache"
_TABLES = "SELECT count(*) FROM sqlite_master WHERE name = 'Cache'"


class DiskStore:
    """core.ports.Store in *directory*, which is made if it is not there.

    Raises, at once: StoreBusyError where another process holds it, StoreError
    where this user can never use it. A damaged database is set aside, and
    `damage` says so; one that cannot be written now is only read, and check()
    tries again.
    """

    def __init__(self, directory: Path) -> None:
        self._place = Place(directory)
        self.directory = self._place.directory
        self.damage = ""
        self._database = self.directory / DATABASE
        self._damaged: list[Path] = []  # databases to be salvaged by load()
        self._broken = ""  # why the database is not to be opened; it has to be set aside
        self._inode = 0  # of the database that is open
        self._writer: Writer | None = None
        self._reader: sqlite3.Connection | None = None
        self._frozen = False  # the reader sees the database as it was at its opening
        self._closed = False
        try:
            self._place.hold()
            self._open()
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        try:
            with self._errors():
                self._connect_reader()
        except StoreDamagedError as error:
            aside = self.renew(salvaged=True)
            self.damage = f"{error}; set aside as {aside}" if aside else str(error)
        except StoreError:
            pass  # who asks next is told

    def get(self, domain: Domain) -> Entry | None:
        with self._reading() as reader:
            row = reader.execute(_GET, (domain,)).fetchone() if reader is not None else None
        if row is None:
            return None
        try:
            return _entry(*row)
        except InputError:
            return None

    def put(self, entries: Sequence[Entry]) -> None:
        rows = [(entry.domain, encode(entry)) for entry in entries]
        with self._writing() as cache:
            for key, value in rows:
                cache.set(key, value)

    def delete(self, domains: Sequence[Domain]) -> None:
        with self._writing() as cache:
            for domain in domains:
                cache.delete(domain)

    def load(self, skipped: Callable[[str], None]) -> Iterator[Entry]:
        self._verify()
        last = _LEAST
        while rows := self._rows(last):
            for rowid, key, value in rows:
                if rowid <= last:
                    raise self._damage(f"row {rowid} comes after row {last}")
                last = rowid
                try:
                    yield _entry(key, value)
                except InputError as error:
                    skipped(f"{_decoded(key)!r}: {error}")
        for damaged in self._damaged:
            yield from salvage(damaged)

    def _verify(self) -> None:
        with self._reading() as reader:
            if reader is not None:
                database.check(reader, self._database)

    def _rows(self, last: int) -> list[tuple[int, bytes | None, bytes | None]]:
        with self._reading() as reader:
            return reader.execute(_LOAD, (last,)).fetchall() if reader is not None else []

    def count(self) -> int:
        with self._reading() as reader:
            return int(reader.execute(_COUNT).fetchone()[0]) if reader is not None else 0

    def check(self) -> None:
        with self._errors():
            self._check_place()
            self._connect()
            self._check_inode()

    def renew(self, salvaged: bool) -> str:
        self._disconnect()
        moved = self._place.moved()
        self._place.hold()
        if moved:
            self._broken = ""
            with contextlib.suppress(StoreDamagedError):  # then what came in its place is set aside
                self._verify()
                return ""
            self._disconnect()
        aside = self._set_aside()
        if salvaged:
            self._damaged.append(Path(aside or self._database))
        return aside

    def _set_aside(self) -> str:
        """Move the database out of the way; empty: that is not possible now, and is tried again before it is opened."""
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        aside = f"{self._database}.damaged-{stamp}"
        while os.path.lexists(aside):
            aside += "+"
        try:
            for suffix in ("", "-wal", "-shm"):  # in this order: SQLite drops a -wal that has no database
                with contextlib.suppress(FileNotFoundError):
                    os.rename(f"{self._database}{suffix}", f"{aside}{suffix}")
        except OSError as error:
            self._broken = f"damaged, and cannot be set aside: {error.strerror or error}"
            return ""
        self._broken, self._inode = "", 0
        self._damaged = [Path(aside) if path == self._database else path for path in self._damaged]
        return aside

    def close(self) -> None:
        self._closed = True
        self._disconnect()
        self._place.release()

    # -- connections --------------------------------------------------------

    def _connect(self) -> Writer:
        """Return the connection that writes; do whatever it takes to have one."""
        if self._closed:
            raise StoreError(f"{self.directory}: the store is closed")
        if self._writer is None:
            self._check_place()
            if self._broken and not self._set_aside():
                raise StoreError(f"{self._database}: {self._broken}")
            database.clean(self._database)
            self._writer = Writer(self.directory)
            self._inode = self._found_inode()
            if self._frozen:
                self._drop_reader()
        return self._writer

    def _connect_reader(self) -> sqlite3.Connection | None:
        """Return the connection that reads; None where there is nothing to read."""
        if self._reader is not None:
            return self._reader
        try:
            with self._errors():
                self._connect()
        except StoreDamagedError:
            raise
        except StoreError:
            if self._closed:
                raise
        if self._broken or not self._database.exists():
            return None
        reader, self._frozen = database.open_reader(self._database)
        if self._writer is None and not reader.execute(_TABLES).fetchone()[0]:
            reader.close()  # a full disk was in the way of the very first opening
            return None
        self._reader = reader
        return reader

    def _disconnect(self) -> None:
        self._drop_reader()
        self._drop_writer()

    def _drop_reader(self) -> None:
        if self._reader is not None:
            with contextlib.suppress(sqlite3.Error):
                self._reader.close()
            self._reader = None

    def _drop_writer(self) -> None:
        if self._writer is not None:
            with contextlib.suppress(sqlite3.Error):
                self._writer.close()
            self._writer = None

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection | None]:
        try:
            with self._errors():
                yield self._connect_reader()
        except StoreError:
            self._drop_reader()
            raise

    @contextlib.contextmanager
    def _writing(self) -> Iterator[Writer]:
        """One transaction. After a failure the connection goes: diskcache does not roll a failed COMMIT back."""
        try:
            with self._errors():
                cache = self._connect()
                self._check_inode()
                with cache.transact():
                    yield cache
        except StoreError:
            self._drop_writer()
            raise

    def _check_place(self) -> None:
        """Another process may hold what the path leads to now."""
        if self._place.moved():
            raise self._damage("its directory was removed or replaced while in use")

    def _check_inode(self) -> None:
        """SQLite would go on writing into a file that was removed under it."""
        if self._found_inode() != self._inode:
            raise self._damage("removed or replaced while in use")

    def _found_inode(self) -> int:
        try:
            return os.stat(self._database).st_ino
        except FileNotFoundError:
            return 0

    def _damage(self, what: str) -> StoreDamagedError:
        return StoreDamagedError(f"{self._database}: {what}")

    def _errors(self) -> contextlib.AbstractContextManager[None]:
        return database.errors(self._database)


def _entry(key: bytes | None, value: bytes | None) -> Entry:
    """Raises: InputError."""
    if key is None or value is None:
        raise InputError("row that is not text of ours")
    return decode(_decoded(key), _decoded(value))


def _decoded(text: bytes | None) -> str:
    return "" if text is None else text.decode("utf-8", "replace")
