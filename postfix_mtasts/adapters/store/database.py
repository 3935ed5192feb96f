"""diskcache and SQLite, tamed: the connections that a store uses, and what their errors mean.

Rule 1: what is found in the database is data, never code and never a path:
        no row is unpickled, no row makes a file be read or removed, and the
        settings found there are thrown away before diskcache, which would
        run them as PRAGMA statements, sees them.
Rule 2: nothing is evicted and nothing expires; a policy goes by delete() alone.
Rule 3: a commit is on the disk (synchronous=FULL): neither kill -9 nor a
        power cut loses what was written.
Rule 4: a full disk, a failing disk or a locked file is an error now, and
        tried again. All statements here are fixed, so whatever else SQLite
        finds wrong with one is damage to the database.

Source: diskcache 5.4 to 5.6, core.py; https://www.sqlite.org/rescode.html
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import diskcache

from ...errors import InputError, StoreDamagedError, StoreError

_SETTINGS = {
    "eviction_policy": "none",
    "cull_limit": 0,
    "size_limit": 2**62,
    "statistics": 0,
    "tag_index": 0,
    "disk_min_file_size": 2**30,  # bytes: no value becomes a file
    "sqlite_auto_vacuum": 1,
    "sqlite_cache_size": 2**11,  # pages of 4 KiB
    "sqlite_journal_mode": "wal",
    "sqlite_mmap_size": 0,  # a failing disk is an error then; with mmap it is SIGBUS
    "sqlite_synchronous": 2,  # FULL
}
_SHAPES = {"Settings": "key, value", "Cache": "rowid, key, raw, mode, filename, value"}
RAW = 1  # diskcache's mode of a value that is in the row as it is
BUSY_TIMEOUT = 5.0  # seconds that a lock of someone's sqlite3 shell is waited for

# Errors that say nothing of what is in the database.
_PASSING = (
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_ABORT,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_INTERRUPT,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_NOLFS,
    sqlite3.SQLITE_AUTH,
)


class TextDisk(diskcache.Disk):  # type: ignore[misc]  # diskcache has no types
    """Keys and values are text in the row; what else a row claims to be is refused."""

    def put(self, key: object) -> tuple[str, bool]:
        if type(key) is not str:
            raise TypeError(f"a key is a str, not {type(key).__name__}")
        return key, True

    def get(self, key: object, raw: bool) -> str:
        if not raw or type(key) is not str:
            raise InputError("a key that is not text")
        return key

    def store(self, value: object, read: bool, key: object = None) -> tuple[int, int, None, str]:
        if type(value) is not str or read:
            raise TypeError(f"a value is a str, not {type(value).__name__}")
        return 0, RAW, None, value

    def fetch(self, mode: int, filename: str | None, value: object, read: bool) -> str:
        if mode != RAW or filename is not None or type(value) is not str or read:
            raise InputError("a value that is not text")
        return value

    def remove(self, file_path: str) -> None:
        """Do nothing: no row of ours has a file, and what a planted one names stays."""


class Writer(diskcache.Cache):  # type: ignore[misc]
    """A Cache that leaves no connection open where it cannot be made."""

    def __init__(self, directory: Path) -> None:
        try:
            super().__init__(str(directory), timeout=BUSY_TIMEOUT, disk=TextDisk, **_SETTINGS)
        except BaseException:
            self.close()
            raise


def open_reader(database: Path) -> tuple[sqlite3.Connection, bool]:
    """Open *database* for reading; True: as it lies there, since a full disk or a read-only mount allows no more.

    A connection of the second kind sees nothing of later writes, and of what
    a killed process left in the write-ahead log only what was taken over.
    """
    connection = connect(database, "ro")
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        return connection, False
    except sqlite3.OperationalError as error:
        connection.close()
        if _primary(error) not in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR):
            raise
    except BaseException:
        connection.close()
        raise
    return connect(database, "ro&immutable=1"), True


def connect(database: Path, mode: str) -> sqlite3.Connection:
    """Open an existing database; its texts come as bytes, since they may not be UTF-8."""
    connection = sqlite3.connect(
        f"{database.as_uri()}?mode={mode}", uri=True, timeout=BUSY_TIMEOUT, isolation_level=None
    )
    connection.text_factory = bytes
    return connection


def clean(database: Path) -> None:
    """See that what is there is a database of diskcache, and remove the settings it brings along."""
    if not database.exists():
        return
    with contextlib.closing(connect(database, "rw")) as connection:
        kinds = dict(connection.execute("SELECT name, type FROM sqlite_master").fetchall())
        for table, columns in _SHAPES.items():
            kind = kinds.get(table.encode(), b"")
            if not kind:
                continue  # the process that began it was killed; diskcache goes on from there
            if kind != b"table":
                raise StoreDamagedError(f"{database}: not the database of a policy store: {table} is not a table")
            connection.execute(f"SELECT {columns} FROM {table} LIMIT 0")
        if b"Settings" in kinds:
            connection.execute("DELETE FROM Settings")


def check(connection: sqlite3.Connection, database: Path) -> None:
    """Compare all pages, rows and indexes with each other: 54 ms for 100,000 rows. Raises: StoreDamagedError."""
    found = connection.execute("PRAGMA integrity_check(1)").fetchall()
    if found != [(b"ok",)]:
        said = b" ".join(found[0][0].split()) if found else b"no answer"
        raise StoreDamagedError(f"{database}: malformed: {said[:200].decode('ascii', 'backslashreplace')}")


@contextlib.contextmanager
def errors(database: Path) -> Iterator[None]:
    """Turn what SQLite, diskcache and the kernel raise into a StoreError."""
    try:
        yield
    except (sqlite3.Error, sqlite3.Warning, diskcache.Timeout, OSError, UnicodeDecodeError) as error:
        raise _translated(error, database) from error


def _translated(error: BaseException, database: Path) -> StoreError:
    """Name the first cause: diskcache hides it behind Timeout, or behind a ROLLBACK that failed too."""
    while isinstance(error.__context__, sqlite3.Error | OSError | UnicodeDecodeError):
        error = error.__context__
    code: int = getattr(error, "sqlite_errorcode", 0)
    name = f" ({error.sqlite_errorname})" if code else ""  # type: ignore[attr-defined]
    kind = StoreDamagedError if _is_damage(error, database) else StoreError
    return kind(f"{database}: {getattr(error, 'strerror', None) or error}{name}")


def _is_damage(error: BaseException, database: Path) -> bool:
    if isinstance(error, UnicodeDecodeError):  # SQLite names what it found in a damaged schema
        return True
    if not isinstance(error, sqlite3.Error) or isinstance(error, sqlite3.ProgrammingError):
        return False
    code = _primary(error)
    if code == sqlite3.SQLITE_READONLY:  # its header says so, and not the file system
        return os.access(database, os.W_OK)
    return code not in _PASSING


def _primary(error: BaseException) -> int:
    """Return the primary result code: the low byte."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF
