"""The store of TLS reports: one SQLite database, and beside it what could not be read.

Rule 1: one transaction takes a report in, whole: whatever ends the process,
        there is no half of a report that would count as already there.
Rule 2: what take() and set_aside() returned for is on the disk, if the store
        was opened with *durable*.
Rule 3: any number of processes may use the store at once. Each waits for the
        others as long as BUSY_TIMEOUT; longer is StoreError.
Rule 4: a command run by root acts as the store's owner: files that root made
        would be closed to those who run as the owner.
Rule 5: raw documents are kept, so that a better reader can read them again.

Sums are asked for in reportsums.py. Sizes and texts are the reader's business.

Source: https://www.sqlite.org/wal.html, https://www.sqlite.org/rescode.html
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..core.tlsreport import Hints, Report
from ..core.trust import Trust
from ..errors import StoreError

DATABASE = "reports.db"
UNREADABLE = "unreadable"  # the directory of what could not be read
BUSY_TIMEOUT = 15.0  # seconds
VERSION = 1  # of the schema

_SCHEMA = """
CREATE TABLE memory (name TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID;
CREATE TABLE documents (id INTEGER PRIMARY KEY, hash BLOB NOT NULL UNIQUE, hints TEXT NOT NULL, data BLOB NOT NULL);
CREATE TABLE reports (
  id INTEGER PRIMARY KEY AUTOINCREMENT, fingerprint BLOB NOT NULL UNIQUE, document INTEGER NOT NULL,
  organization TEXT NOT NULL, submitter TEXT NOT NULL, source TEXT NOT NULL, report_id TEXT NOT NULL,
  begin REAL NOT NULL, end REAL NOT NULL, contact TEXT NOT NULL, odd TEXT NOT NULL,
  dkim TEXT NOT NULL, dkim_domain TEXT, received REAL NOT NULL);
CREATE INDEX reports_begin ON reports (begin);
CREATE INDEX reports_identity ON reports (source, report_id);
CREATE INDEX reports_document ON reports (document);
CREATE TABLE policies (
  id INTEGER PRIMARY KEY, report INTEGER NOT NULL REFERENCES reports (id) ON DELETE CASCADE,
  type TEXT NOT NULL, domain TEXT NOT NULL, policy TEXT NOT NULL, mx TEXT NOT NULL,
  successful INTEGER NOT NULL, failed INTEGER NOT NULL, unexplained INTEGER NOT NULL, counted INTEGER NOT NULL);
CREATE INDEX policies_report ON policies (report);
CREATE INDEX policies_domain ON policies (domain);
CREATE TABLE failures (
  policy INTEGER NOT NULL REFERENCES policies (id) ON DELETE CASCADE, result TEXT NOT NULL,
  said INTEGER NOT NULL, failed INTEGER NOT NULL,
  sender TEXT NOT NULL, mx TEXT NOT NULL, receiver TEXT NOT NULL, reason TEXT NOT NULL);
CREATE INDEX failures_policy ON failures (policy);
CREATE TABLE unreadable (
  id INTEGER PRIMARY KEY AUTOINCREMENT, hash TEXT NOT NULL UNIQUE,
  received REAL NOT NULL, name TEXT NOT NULL, reason TEXT NOT NULL);
"""


@dataclass(frozen=True, slots=True)
class SetAside:
    """Something that was received and could not be read."""

    received: float
    name: str
    reason: str
    file: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One document with its reports, to be stored."""

    data: bytes | bytearray
    hints: Hints
    reports: Sequence[Report]
    trust: Trust


class ReportDb:
    """The reports in one directory.

    Args:
        durable: whether each change is on the disk before its call returns; else a power cut may
            lose the last ones, but never half of one.

    Raises: StoreError, as do all methods.
    """

    def __init__(self, directory: str | Path, durable: bool = True) -> None:
        self.directory = Path(directory)
        with _errors(self.directory):
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._owner = _owner(self.directory)
        with self._acting():
            self._database = self._open(durable)

    def _open(self, durable: bool) -> sqlite3.Connection:
        path = self.directory / DATABASE
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
        database = sqlite3.connect(path, timeout=BUSY_TIMEOUT, isolation_level=None)
        try:
            database.execute("PRAGMA foreign_keys = ON")
            database.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            version = database.execute("PRAGMA user_version").fetchone()[0] or self._create(database)
            if version != VERSION:
                raise StoreError(f"{path}: made by another version of this program (schema {version}, not {VERSION})")
        except BaseException:
            database.close()
            raise
        return database

    def _create(self, database: sqlite3.Connection) -> int:
        """Make the tables, unless another process was faster; returns the schema's version."""
        lock = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)  # switching to WAL does not wait for others
            if database.execute("PRAGMA user_version").fetchone()[0] == 0:
                database.execute("PRAGMA auto_vacuum = INCREMENTAL")
                database.execute("PRAGMA journal_mode = WAL")
                database.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version = {VERSION}; COMMIT;")
                os.fsync(lock)  # the file's name
            version: int = database.execute("PRAGMA user_version").fetchone()[0]
            return version
        finally:
            os.close(lock)

    def close(self) -> None:
        with self._acting():
            self._database.close()

    def __enter__(self) -> ReportDb:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @contextlib.contextmanager
    def _acting(self) -> Iterator[None]:
        """Act as the store's owner, and turn what fails into StoreError."""
        with _errors(self.directory), _as_user(self._owner):
            yield

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._acting():
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield self._database
            except BaseException:
                with contextlib.suppress(sqlite3.Error):  # SQLite may have rolled back by itself
                    self._database.execute("ROLLBACK")
                raise
            self._database.execute("COMMIT")

    def query(self, sql: str, parameters: Iterable[Any] = ()) -> list[tuple[Any, ...]]:
        """All rows of one SELECT; for reportsums.py."""
        with self._acting():
            return self._database.execute(sql, tuple(parameters)).fetchall()

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[None]:
        """Hold one state of the store: what queries within it say agrees."""
        with self._acting():
            self._database.execute("BEGIN")
        try:
            yield
        finally:
            with self._acting():
                self._database.execute("COMMIT")

    # Taking in.

    def take(self, data: bytes | bytearray, hints: Hints, reports: Sequence[Report], trust: Trust, now: float) -> int:
        """Store the reports of one document; returns how many of them are new."""
        return self.take_all([Entry(data, hints, reports, trust)], now)[0]

    def take_all(self, entries: Iterable[Entry], now: float) -> list[int]:
        """Store the reports of several documents by one transaction; returns for each how many are new.

        A report that is already there learns that it is authentic, if this one is.
        """
        packed = [(entry, hashlib.sha256(entry.data).digest(), zlib.compress(entry.data)) for entry in entries]
        with self._transaction() as database:
            return [_take(database, entry, hash, data, now) for entry, hash, data in packed]

    def set_aside(self, chunks: Iterable[bytes], name: str, reason: str, now: float) -> bool:
        """Keep what cannot be read; returns False if the same bytes are there already."""
        with self._acting():
            hash = self._write(chunks)
        with self._transaction() as database:
            return bool(
                database.execute(
                    "INSERT OR IGNORE INTO unreadable (hash, received, name, reason) VALUES (?, ?, ?, ?)",
                    (hash, now, name, reason),
                ).rowcount
            )

    def _write(self, chunks: Iterable[bytes]) -> str:
        """Bring the bytes to the disk under the name of their hash; returns it."""
        folder = self.directory / UNREADABLE
        folder.mkdir(mode=0o700, exist_ok=True)
        part = folder / f".{os.getpid()}.part"
        try:
            hash = hashlib.sha256()
            with open(part, "wb") as file:
                for chunk in chunks:
                    hash.update(chunk)
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, folder / hash.hexdigest())
        finally:
            part.unlink(missing_ok=True)
        directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
        return hash.hexdigest()

    def unreadable(self, since: float, until: float) -> list[SetAside]:
        """What was set aside in a time, the first first."""
        rows = self.query(
            "SELECT received, name, reason, hash FROM unreadable WHERE received >= ? AND received < ? ORDER BY id",
            (since, until),
        )
        return [SetAside(at, name, why, str(self.directory / UNREADABLE / hash)) for at, name, why, hash in rows]

    # Forgetting and remembering.

    def forget(self, before: float, by_arrival: bool = False) -> tuple[int, int]:
        """Delete the reports that begin, and what was set aside, before a time; returns the numbers of both.

        Args:
            by_arrival: reports count by when they were received, so that old mail which
                was imported just now stays.
        """
        with self._transaction() as database:
            old = "received < ?" if by_arrival else "min(begin, received) < ?"  # a begin in the future must not last
            reports = database.execute(f"DELETE FROM reports WHERE {old}", (before,)).rowcount
            database.execute("DELETE FROM documents WHERE id NOT IN (SELECT document FROM reports)")
            hashes = database.execute("DELETE FROM unreadable WHERE received < ? RETURNING hash", (before,)).fetchall()
        with self._acting():
            self._sweep(before)
            self._database.executescript("PRAGMA incremental_vacuum")  # execute() would free one page
        return reports, len(hashes)

    def _sweep(self, before: float) -> None:
        """Remove the files that no row names and that are older than *before*, those of killed processes included."""
        folder = self.directory / UNREADABLE
        known = {hash for (hash,) in self._database.execute("SELECT hash FROM unreadable")}
        with contextlib.suppress(FileNotFoundError), os.scandir(folder) as files:
            for file in files:
                with contextlib.suppress(FileNotFoundError):
                    if file.name not in known and file.stat(follow_symlinks=False).st_mtime < before:
                        os.unlink(file.path)

    def remembered(self, name: str) -> float | None:
        """A number that remember() kept."""
        row = self.query("SELECT value FROM memory WHERE name = ?", (name,))
        return row[0][0] if row else None

    def remember(self, name: str, value: float) -> None:
        with self._transaction() as database:
            database.execute("INSERT OR REPLACE INTO memory (name, value) VALUES (?, ?)", (name, value))


def _take(database: sqlite3.Connection, entry: Entry, hash: bytes, packed: bytes, now: float) -> int:
    new, document = 0, None
    for report in entry.reports:
        fingerprint = report.fingerprint()
        if database.execute("SELECT 1 FROM reports WHERE fingerprint = ?", (fingerprint,)).fetchone():
            if entry.trust.dkim == "pass":
                database.execute(
                    "UPDATE reports SET dkim = ?, dkim_domain = ? WHERE fingerprint = ? AND dkim != 'pass'",
                    (entry.trust.dkim, entry.trust.domain, fingerprint),
                )
            continue
        if document is None:
            document = _insert_document(database, hash, entry.hints, packed)
        _insert(database, document, fingerprint, report, entry.trust, now)
        new += 1
    return new


def _insert_document(database: sqlite3.Connection, hash: bytes, hints: Hints, packed: bytes) -> int:
    (row,) = database.execute(
        "INSERT INTO documents (hash, hints, data) VALUES (?, ?, ?)"
        " ON CONFLICT (hash) DO UPDATE SET hash = hash RETURNING id",
        (hash, json.dumps(asdict(hints)), packed),
    ).fetchone()
    return int(row)


def _insert(
    database: sqlite3.Connection, document: int, fingerprint: bytes, report: Report, trust: Trust, now: float
) -> None:
    begin = now if report.begin is None else report.begin
    (number,) = database.execute(
        "INSERT INTO reports (fingerprint, document, organization, submitter, source, report_id, begin, end, contact,"
        " odd, dkim, dkim_domain, received) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING id",
        (
            *(fingerprint, document, report.organization, report.submitter, report.source, report.report_id),
            *(begin, begin if report.end is None else report.end, report.contact, json.dumps(report.odd)),
            *(trust.dkim, trust.domain, now),
        ),
    ).fetchone()
    for policy in report.policies:
        (row,) = database.execute(
            "INSERT INTO policies (report, type, domain, policy, mx, successful, failed, unexplained, counted)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING id",
            (
                *(number, policy.type, policy.domain, "; ".join(policy.policy), ", ".join(policy.mx)),
                *(policy.successful, policy.failed, policy.unexplained, policy.counted),
            ),
        ).fetchone()
        database.executemany(
            "INSERT INTO failures VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            ((row, f.result, f.said, f.failed, f.sender, f.mx, f.receiver, f.reason) for f in policy.failures),
        )


# Users.


def _owner(directory: Path) -> tuple[int, int] | None:
    """The user and group to act as: those of the directory's owner, if this is root and the owner is not."""
    if os.geteuid() != 0:
        return None
    with _errors(directory):
        status = directory.stat()
    return (status.st_uid, status.st_gid) if status.st_uid != 0 else None


@contextlib.contextmanager
def _as_user(user: tuple[int, int] | None) -> Iterator[None]:
    if user is None or os.geteuid() != 0:  # nested: acting already
        yield
        return
    uid, gid = user
    groups = os.getgroups()
    os.setgroups([gid])
    os.setegid(gid)
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


@contextlib.contextmanager
def _errors(directory: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise StoreError(f"{directory}: {error}") from error
    except OSError as error:
        raise StoreError(f"{error.filename or directory}: {error.strerror or error}") from error
