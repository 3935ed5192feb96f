"""The embedded store: a diskcache directory that holds text and nothing else.

Rule 1: what is found in the directory is data, never code and never a path:
        no row is unpickled, no row makes a file be read or removed, and the
        settings found in the database are thrown away before diskcache,
        which would run them as PRAGMA statements, sees them.
Rule 2: nothing is evicted and nothing expires; a policy goes by delete() alone.
Rule 3: a commit is on the disk (synchronous=FULL): neither kill -9 nor a
        power cut loses what put() returned for.
Rule 4: one process holds the store, by a lock that the kernel gives back
        whatever becomes of that process.
Rule 5: a full disk, a failing disk or a locked file is an error now, and
        tried again; a malformed database is damage, and set aside.

Rows are written through diskcache and read by a connection of our own: that
takes 250,000 rows in pieces without holding a transaction open, and passes
over rows that are not text where diskcache would act on them.

Source: diskcache 5.4 to 5.6, core.py; https://www.sqlite.org/rescode.html
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import sqlite3
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import diskcache

from ...core.entry import Entry
from ...core.names import Domain
from ...errors import InputError, StoreBusyError, StoreError
from .rows import ROW_LIMIT, StoreDamagedError, decode, encode

DATABASE = "cache.db"  # diskcache's name for it
LOCK = "lock"

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
_RAW = 1  # diskcache's mode of a value that is in the row as it is
_BUSY_TIMEOUT = 5.0  # seconds that a lock of someone's sqlite3 shell is waited for
_BATCH = 200  # rows read at once
_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)

# A row's key and value where they are text of ours, else NULL.
_TEXTS = (
    "CASE WHEN typeof(key) = 'text' AND length(key) <= 253 THEN key END,"
    f" CASE WHEN raw = 1 AND mode = {_RAW} AND filename IS NULL AND typeof(value) = 'text'"
    f" AND length(value) <= {ROW_LIMIT} THEN value END"
)
_GET = f"SELECT {_TEXTS} FROM Cache WHERE key = ? AND raw = 1"
_LOAD = f"SELECT rowid, {_TEXTS} FROM Cache WHERE rowid > ? ORDER BY rowid LIMIT {_BATCH}"


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
        return 0, _RAW, None, value

    def fetch(self, mode: int, filename: str | None, value: object, read: bool) -> str:
        if mode != _RAW or filename is not None or type(value) is not str or read:
            raise InputError("a value that is not text")
        return value

    def remove(self, file_path: str) -> None:
        """No row of ours has a file; what a planted one names stays."""


class _Cache(diskcache.Cache):  # type: ignore[misc]
    """A Cache that leaves no connection open where it cannot be made."""

    def __init__(self, directory: Path) -> None:
        try:
            super().__init__(str(directory), timeout=_BUSY_TIMEOUT, disk=TextDisk, **_SETTINGS)
        except BaseException:
            self.close()
            raise


class DiskStore:
    """adapters.store.Store in *directory*, which is made if it is not there.

    Raises, at once: StoreBusyError where another process holds it, StoreError
    where it cannot be used. A damaged database is set aside, and `damage` says so.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = Path(os.path.abspath(directory))
        self.damage = ""
        self._database = self.directory / DATABASE
        self._inode = 0  # of the database that is open
        self._lock = -1
        self._writer: _Cache | None = None
        self._reader: sqlite3.Connection | None = None
        self._closed = False
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        try:
            self._connect()
        except StoreDamagedError as error:
            self.damage = f"{error}; set aside as {self.set_aside()}"
        with self._errors():
            self._connect_reader()

    def get(self, domain: Domain) -> Entry | None:
        with self._reading() as reader:
            row = reader.execute(_GET, (domain,)).fetchone()
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
        last = -1
        while True:
            with self._reading() as reader:
                rows = reader.execute(_LOAD, (last,)).fetchall()
            if not rows:
                return
            last = rows[-1][0]
            for _, key, value in rows:
                try:
                    yield _entry(key, value)
                except InputError as error:
                    skipped(f"{_decoded(key)!r}: {error}")

    def count(self) -> int:
        with self._reading() as reader:
            return int(reader.execute("SELECT count(*) FROM Cache").fetchone()[0])

    def set_aside(self) -> str:
        self._disconnect()
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        aside = f"{self._database}.damaged-{stamp}"
        while os.path.lexists(aside):
            aside += "+"
        with self._errors():
            for suffix in ("", "-wal", "-shm"):  # in this order: SQLite drops a -wal that has no database
                with contextlib.suppress(FileNotFoundError):
                    os.rename(f"{self._database}{suffix}", f"{aside}{suffix}")
        self._connect()
        return aside

    def close(self) -> None:
        self._closed = True
        self._disconnect()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    # -- connections --------------------------------------------------------

    def _connect(self) -> _Cache:
        """The connection that writes, and whatever it takes to have one."""
        if self._closed:
            raise StoreError(f"{self.directory}: the store is closed")
        if self._writer is None:
            _prepare(self.directory)
            self._lock = _take_lock(self.directory, self._lock)
            with self._errors():
                _clean(self._database)
                self._writer = _Cache(self.directory)
                self._inode = os.stat(self._database).st_ino
        return self._writer

    def _connect_reader(self) -> sqlite3.Connection:
        """The connection that reads; it stays where the other fails, on a full disk."""
        if self._reader is None:
            self._connect()
            self._reader = _connection(self._database, "ro")
        return self._reader

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
    def _reading(self) -> Iterator[sqlite3.Connection]:
        try:
            with self._errors():
                yield self._connect_reader()
        except StoreError:
            self._drop_reader()
            raise

    @contextlib.contextmanager
    def _writing(self) -> Iterator[_Cache]:
        """One transaction. After a failure the connection goes: diskcache does not roll a failed COMMIT back."""
        try:
            with self._errors():
                cache = self._connect()
                self._check_place()
                with cache.transact():
                    yield cache
        except StoreError:
            self._drop_writer()
            raise

    def _check_place(self) -> None:
        """SQLite would go on writing into a file that was removed under it."""
        try:
            inode = os.stat(self._database).st_ino
        except FileNotFoundError:
            inode = 0
        if inode != self._inode:
            raise StoreDamagedError(f"{self._database}: removed or replaced while in use")

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn what SQLite, diskcache and the kernel raise into a StoreError."""
        try:
            yield
        except (sqlite3.Error, sqlite3.Warning, diskcache.Timeout, OSError) as error:
            raise _translated(error, self._database) from error


def _translated(error: BaseException, database: Path) -> StoreError:
    """Name the first cause: diskcache hides it behind Timeout, or behind a ROLLBACK that failed too."""
    while isinstance(error.__context__, sqlite3.Error | OSError):
        error = error.__context__
    code: int = getattr(error, "sqlite_errorcode", 0)
    name = f" ({error.sqlite_errorname})" if code else ""  # type: ignore[attr-defined]
    kind = StoreDamagedError if code & 0xFF in _DAMAGE else StoreError  # the low byte is the primary code
    return kind(f"{database}: {getattr(error, 'strerror', None) or error}{name}")


def _prepare(directory: Path) -> None:
    """Make *directory* with mode 0700, or see that it is ours and give it that mode."""
    if os.path.expandvars(directory) != str(directory):
        raise StoreError(f"{directory}: diskcache would replace the $ name; choose a path without one")
    try:
        with contextlib.suppress(FileExistsError):
            directory.mkdir(mode=0o700, parents=True)
        found = directory.stat()
        if not stat.S_ISDIR(found.st_mode):
            raise StoreError(f"{directory}: not a directory; name one, or a path where one can be made")
        for name in (".", LOCK, DATABASE, f"{DATABASE}-wal", f"{DATABASE}-shm"):
            _check_owner(directory, name)
        if stat.S_IMODE(found.st_mode) != 0o700:
            directory.chmod(0o700)
    except OSError as error:
        raise _unusable(directory, error) from error


def _check_owner(directory: Path, name: str) -> None:
    """Refuse a file of the store that another user owns: SQLite would only say that it cannot open it."""
    path, user = directory / name, os.geteuid()
    try:
        owner = path.lstat().st_uid
    except FileNotFoundError:
        return
    if owner != user and (user != 0 or path == directory):  # root may use all files, but not take over the store
        raise StoreError(
            f"{path}: belongs to {_user(owner)}, not to {_user(user)} who runs this; "
            f"run it as the owner, or `chown -R {_user(user)} {directory}`"
        )


def _user(uid: int) -> str:
    """Return the user's name; the number if there is none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _take_lock(directory: Path, held: int) -> int:
    """Return the descriptor that holds the lock: *held*, unless it is -1 or its file was removed."""
    try:
        lock = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _unusable(directory, error) from error
    if held >= 0 and os.path.sameopenfile(held, lock):
        os.close(lock)
        return held
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.pread(lock, 20, 0).strip()
        os.close(lock)
        if not isinstance(error, BlockingIOError):
            raise _unusable(directory, error) from error
        who = f"process {holder.decode()}" if holder.isdigit() else "another process"
        raise StoreBusyError(f"{directory}: in use by {who}; one process at a time can hold a store") from None
    with contextlib.suppress(OSError):  # on a full disk the lock holds too, only the message is poorer
        os.ftruncate(lock, 0)
        os.pwrite(lock, b"%d\n" % os.getpid(), 0)
    if held >= 0:
        os.close(held)
    return lock


def _unusable(directory: Path, error: OSError) -> StoreError:
    return StoreError(
        f"{directory}: {error.strerror or error}; the store needs a directory that user {os.geteuid()} can write to"
    )


def _connection(database: Path, mode: str) -> sqlite3.Connection:
    """Open an existing database; its texts come as bytes, since they may be no UTF-8."""
    connection = sqlite3.connect(
        f"{database.as_uri()}?mode={mode}", uri=True, timeout=_BUSY_TIMEOUT, isolation_level=None
    )
    connection.text_factory = bytes
    return connection


def _clean(database: Path) -> None:
    """See that what is there is a database of diskcache, and remove the settings it brings along."""
    if not database.exists():
        return
    with contextlib.closing(_connection(database, "rw")) as connection:
        kinds = dict(connection.execute("SELECT name, type FROM sqlite_master").fetchall())
        for table, columns in _SHAPES.items():
            kind = kinds.get(table.encode(), b"")
            if not kind:
                continue  # the process that began it was killed; diskcache goes on from there
            try:
                if kind != b"table":
                    raise StoreDamagedError(f"{database}: not the database of a policy store: {table} is no table")
                connection.execute(f"SELECT {columns} FROM {table} LIMIT 0")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_ERROR:
                    raise
                raise StoreDamagedError(f"{database}: not the database of a policy store: {error}") from error
        if b"Settings" in kinds:
            connection.execute("DELETE FROM Settings")


def _entry(key: bytes | None, value: bytes | None) -> Entry:
    """Raises: InputError."""
    if key is None or value is None:
        raise InputError("row that is not text of ours")
    return decode(_decoded(key), _decoded(value))


def _decoded(text: bytes | None) -> str:
    return "" if text is None else text.decode("utf-8", "replace")
