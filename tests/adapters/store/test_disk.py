"""The diskcache store: what it keeps, what it refuses, and what it does with a broken disk."""

from __future__ import annotations

import os
import pickle
import pwd
import resource
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from postfix_mtasts.adapters.store.database import TextDisk
from postfix_mtasts.adapters.store.disk import DiskStore
from postfix_mtasts.adapters.store.rows import encode
from postfix_mtasts.core.entry import Entry
from postfix_mtasts.core.names import Domain
from postfix_mtasts.errors import InputError, StoreBusyError, StoreDamagedError, StoreError
from tests.support.fakes.entries import entry

EXAMPLE = Domain("example.com")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def store(directory: Path) -> Iterator[DiskStore]:
    with closing(DiskStore(directory)) as opened:
        yield opened


def loaded(store: DiskStore) -> list[Entry]:
    return list(store.load(lambda sentence: None))


def sql(directory: Path, statement: str, *values: object) -> list[Any]:
    """Do to the database what someone with sqlite3 could."""
    with closing(sqlite3.connect(directory / "cache.db", isolation_level=None)) as connection:
        return connection.execute(statement, values).fetchall()


def plant(
    directory: Path, key: object, value: object, mode: int = 1, raw: int = 1, filename: str | None = None
) -> None:
    sql(directory, "DELETE FROM Cache WHERE key = ?", key)
    sql(
        directory,
        "INSERT INTO Cache (key, raw, mode, filename, value, store_time) VALUES (?, ?, ?, ?, ?, 0)",
        key,
        raw,
        mode,
        filename,
        value,
    )


def test_what_is_put_is_there_after_the_next_opening(directory: Path) -> None:
    """The plain case: put, get, load, delete, count."""
    first, second = entry(), entry("example.net", mode="none")
    with closing(DiskStore(directory)) as store:
        store.put([first, second])
        assert store.get(EXAMPLE) == first
    with closing(DiskStore(directory)) as store:
        assert (store.damage, store.count()) == ("", 2)
        assert loaded(store) == [first, second]
        store.delete([EXAMPLE, Domain("never.example")])
        assert store.get(EXAMPLE) is None
        assert loaded(store) == [second]


def test_a_later_put_takes_the_place_of_an_earlier_one(store: DiskStore) -> None:
    """One domain, one row."""
    store.put([entry(record_id="1"), entry(record_id="2")])
    store.put([entry(record_id="3")])
    assert (store.count(), store.get(EXAMPLE)) == (1, entry(record_id="3"))


def test_a_load_goes_on_while_the_store_is_written(store: DiskStore) -> None:
    """It holds no transaction: what it has not come to yet is as it is then."""
    entries = [entry(f"d{number}.example") for number in range(450)]
    store.put(entries)
    load = store.load(lambda sentence: None)
    got = [next(load)]
    store.delete([Domain("d449.example")])
    store.put([entry("late.example")])
    got += load
    assert got == [*entries[:-1], entry("late.example")]


# -- what is planted in the database --------------------------------------------


class Trap:
    """Makes a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.path), "w")


PICKLE, BINARY, TEXT, RAW = 4, 2, 3, 1


def test_the_trap_works(tmp_path: Path) -> None:
    """Without this the next tests would prove nothing."""
    pickle.loads(pickle.dumps(Trap(tmp_path / "sprung"))).close()
    assert (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("title", "key", "raw", "mode"),
    [
        ("a pickled value", "example.com", 1, PICKLE),
        ("a pickled key", b"pickle", 0, RAW),
        ("a pickled key and value", b"pickle", 0, PICKLE),
    ],
)
def test_a_pickle_is_never_loaded(directory: Path, title: str, key: object, raw: int, mode: int) -> None:
    """Not by the opening, a load, a get, a put over it or a delete."""
    sprung = directory / "sprung"
    trap = pickle.dumps(Trap(sprung))
    DiskStore(directory).close()
    plant(directory, trap if key == b"pickle" else key, trap, mode=mode, raw=raw)
    skipped: list[str] = []
    with closing(DiskStore(directory)) as store:
        assert list(store.load(skipped.append)) == []
        assert store.get(EXAMPLE) is None
        store.put([entry()])
        assert store.get(EXAMPLE) == entry()
        store.delete([EXAMPLE])
    assert len(skipped) == 1
    assert "not text of ours" in skipped[0]
    assert not sprung.exists()


def test_the_disk_refuses_pickles_and_files_by_itself(tmp_path: Path) -> None:
    """Whoever reads through diskcache is as safe."""
    disk, trap = TextDisk(str(tmp_path)), pickle.dumps(Trap(tmp_path / "sprung"))
    for call in (
        lambda: disk.fetch(PICKLE, None, trap, False),
        lambda: disk.fetch(TEXT, "file", None, False),
        lambda: disk.fetch(BINARY, "file", None, True),
        lambda: disk.get(trap, False),
    ):
        with pytest.raises(InputError, match="not text"):
            call()
    for write in (lambda: disk.put(Trap(tmp_path)), lambda: disk.store(Trap(tmp_path), False)):
        with pytest.raises(TypeError):
            write()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mode", [RAW, BINARY, TEXT, PICKLE])
def test_a_planted_file_name_is_neither_read_nor_removed(directory: Path, tmp_path: Path, mode: int) -> None:
    """diskcache would read the file, and remove it when the row is written or deleted."""
    victim = tmp_path / "victim"
    victim.write_text(encode(entry()))
    DiskStore(directory).close()
    plant(directory, "example.com", None, mode=mode, filename=str(victim))
    with closing(DiskStore(directory)) as store:
        assert (loaded(store), store.get(EXAMPLE)) == ([], None)
        store.put([entry()])
        plant(directory, "example.com", None, mode=mode, filename=str(victim))
        store.delete([EXAMPLE])
    assert victim.exists()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("disk_fetch", "x"),
        ("disk_unknown", 1),
        ("eviction_policy", "least-recently-used"),
        ("sqlite_journal_mode = delete; --", "x"),
        ("sqlite_journal_mode", "off; DROP TABLE Cache"),
        ("_local", "x"),
        ("cull_limit", 1000),
        ("size_limit", "x"),
        ("count", "x"),
    ],
)
def test_settings_found_in_the_database_count_for_nothing(directory: Path, key: str, value: object) -> None:
    """diskcache makes PRAGMA statements, arguments and attributes of them."""
    with closing(DiskStore(directory)) as store:
        store.put([entry()])
    sql(directory, "INSERT OR REPLACE INTO Settings VALUES (?, ?)", key, value)
    with closing(DiskStore(directory)) as store:
        assert (store.damage, loaded(store)) == ("", [entry()])
        settings = dict(sql(directory, "SELECT key, value FROM Settings"))
    assert (settings["eviction_policy"], settings["cull_limit"]) == ("none", 0)
    assert settings["sqlite_journal_mode"] == "wal"
    assert not settings.keys() & {"disk_fetch", "disk_unknown", "_local"}


UNREADABLE = [
    ("a row of a later version", "example.com", '{"v": 2, "shape": "unknown"}', "version 2"),
    ("a row that is no JSON", "example.com", "{", "not JSON"),
    ("a row that is a blob", "example.com", b"{}", "not text of ours"),
    ("a row that is a number", "example.com", 7, "not text of ours"),
    ("text that is no UTF-8", "example.com", None, "'example.com': row"),
    ("an endless row", "example.com", "x" * 400_001, "not text of ours"),
    ("a key that is no domain", "_", encode(entry()), "'_'"),
    ("an endless key", "x" * 10_000, encode(entry()), "''"),
]


@pytest.mark.parametrize(("title", "key", "value", "why"), UNREADABLE, ids=[case[0] for case in UNREADABLE])
def test_a_row_that_cannot_be_read_is_passed_over_and_kept(
    directory: Path, title: str, key: str, value: object, why: str
) -> None:
    """The rest is read; what a later version wrote is there when it comes back."""
    DiskStore(directory).close()
    plant(directory, key, value)
    if value is None:
        sql(directory, "UPDATE Cache SET value = CAST(x'22ff22' AS TEXT)")
    before = sql(directory, "SELECT key, CAST(value AS BLOB) FROM Cache")
    skipped: list[str] = []
    with closing(DiskStore(directory)) as store:
        store.put([entry("example.net")])
        assert list(store.load(skipped.append)) == [entry("example.net")]
        assert store.get(EXAMPLE) is None
    assert len(skipped) == 1
    assert why in skipped[0]
    assert sql(directory, "SELECT key, CAST(value AS BLOB) FROM Cache ORDER BY rowid LIMIT 1") == before


@pytest.mark.parametrize(("mode", "filename"), [(BINARY, None), (TEXT, None), (PICKLE, None), (RAW, "a/file")])
def test_a_text_that_claims_to_be_something_else_is_no_row_of_ours(
    directory: Path, mode: int, filename: str | None
) -> None:
    """We never wrote it so."""
    DiskStore(directory).close()
    plant(directory, "example.com", encode(entry()), mode=mode, filename=filename)
    with closing(DiskStore(directory)) as store:
        assert (loaded(store), store.get(EXAMPLE)) == ([], None)


# -- the directory and its lock ---------------------------------------------------


@pytest.mark.parametrize("mode", [0o777, 0o750, 0o701])
def test_the_directory_is_ours_alone(directory: Path, mode: int) -> None:
    """Made with mode 0700, and given it where it is wider."""
    DiskStore(directory).close()
    assert directory.stat().st_mode & 0o7777 == 0o700
    directory.chmod(mode)
    DiskStore(directory).close()
    assert directory.stat().st_mode & 0o7777 == 0o700


def test_a_directory_of_someone_else_is_refused(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says whose it is and what would be right."""
    directory.mkdir()
    user = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: user + 1)
    name = pwd.getpwuid(user).pw_name
    with pytest.raises(StoreError, match=rf"{directory}: belongs to {name}, .* run it as the owner, or `chown -R "):
        DiskStore(directory)


@pytest.mark.parametrize("name", ["lock", "cache.db", "cache.db-wal", "cache.db-shm"])
def test_a_file_of_someone_else_is_named(name: str, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon that root ran by hand leaves such files in a directory that the package then makes the service's."""
    DiskStore(directory).close()
    (directory / name).touch()
    lstat, owner = Path.lstat, os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    monkeypatch.setattr(Path, "lstat", lambda path: _owned(lstat(path), owner if path.name == name else owner + 1))
    with pytest.raises(StoreError, match=rf"^{directory}/{name}: belongs to {pwd.getpwuid(owner).pw_name}, not to "):
        DiskStore(directory)


def _owned(found: os.stat_result, uid: int) -> os.stat_result:
    """The same, owned by *uid*."""
    return os.stat_result((*found[:4], uid, *found[5:]))


def test_a_directory_that_cannot_be_used_is_named(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file in its place, a file in its path, a lock that is none, a name that diskcache would change."""
    directory.touch()
    with pytest.raises(StoreError, match=f"{directory}: not a directory"):
        DiskStore(directory)
    with pytest.raises(StoreError, match=f"{directory}/below: Not a directory; .* can write"):
        DiskStore(directory / "below")
    (tmp_path / "other" / "cache.db").mkdir(parents=True)
    with pytest.raises(StoreError, match=r"other/cache\.db: not a regular file; remove it"):
        DiskStore(tmp_path / "other")
    monkeypatch.setenv("HOME", "/elsewhere")
    with pytest.raises(StoreError, match="choose a path without"):
        DiskStore(tmp_path / "$HOME")


def test_one_holder_at_a_time(store: DiskStore, directory: Path) -> None:
    """The other is told who holds it."""
    with pytest.raises(StoreBusyError, match=f"{directory}: in use by process {os.getpid()}"):
        DiskStore(directory)
    store.close()
    DiskStore(directory).close()


def test_a_closed_store_says_so(store: DiskStore) -> None:
    """And does not open itself again."""
    store.close()
    store.close()
    for call in (lambda: store.put([entry()]), lambda: store.get(EXAMPLE), lambda: loaded(store), store.count):
        with pytest.raises(StoreError, match="is closed"):
            call()


CHILD = """
import sys
from pathlib import Path
from postfix_mtasts.adapters.store.disk import DiskStore
from tests.support.fakes.entries import entry
store = DiskStore(Path(sys.argv[1]))
for number in range(10_000):
    store.put([entry(f"d{number}.example")])
    print(number, flush=True)
"""


def test_kill_9_loses_nothing_that_was_put_and_frees_the_lock(directory: Path) -> None:
    """Killed in the middle of writing: every put that returned is there, and the store opens."""
    with subprocess.Popen([sys.executable, "-c", CHILD, str(directory)], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        while int(child.stdout.readline()) < 50:
            pass
        with pytest.raises(StoreBusyError, match=f"process {child.pid}"):
            DiskStore(directory)
        child.send_signal(signal.SIGKILL)
        said = 51 + len(child.stdout.read().split())
    with closing(DiskStore(directory)) as store:
        assert store.damage == ""
        assert said <= len(loaded(store)) <= said + 1


# -- damage -------------------------------------------------------------------------


def garbage(database: Path) -> None:
    database.write_bytes(b"no database at all " * 1000)


def header_only(database: Path) -> None:
    database.write_bytes(database.read_bytes()[:4096])


def cut(database: Path) -> None:
    database.write_bytes(database.read_bytes()[:-20_000])


def other_program(database: Path) -> None:
    database.unlink()
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("CREATE TABLE Cache (url TEXT)")


def views(database: Path) -> None:
    database.unlink()
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("CREATE VIEW Settings AS SELECT 1 AS key, 2 AS value")


@pytest.mark.parametrize("harm", [garbage, header_only, cut, other_program, views])
def test_a_damaged_store_is_set_aside_at_the_opening(directory: Path, harm: Any) -> None:
    """Under a name that says so, with its bytes; a new one is begun."""
    with closing(DiskStore(directory)) as store:
        store.put([entry(f"d{number}.example") for number in range(500)])
    harm(directory / "cache.db")
    bytes_before = (directory / "cache.db").read_bytes()
    readable = 400 if harm is cut else 0
    with closing(DiskStore(directory)) as store:
        (aside,) = directory.glob("cache.db.damaged-[0-9]*Z")
        assert store.damage.startswith(f"{directory}/cache.db: ")
        assert store.damage.endswith(f"; set aside as {aside}")
        assert aside.read_bytes() == bytes_before
        assert store.count() == 0
        assert readable <= len(loaded(store)) <= readable + 50, "what can be read of it comes with the load"
        store.put([entry()])
    with closing(DiskStore(directory)) as store:
        assert (store.damage, loaded(store)) == ("", [entry()])


def malformed(directory: Path) -> None:
    """Overwrite all pages but the first in the file, past the process that has it open."""
    database = directory / "cache.db"
    size = database.stat().st_size
    with database.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (size - 4096))


@pytest.mark.parametrize("call", ["get", "put", "load", "delete"])
def test_damage_found_while_running_is_told_apart(directory: Path, call: str) -> None:
    """StoreDamagedError, and set_aside() begins anew."""
    with closing(DiskStore(directory)) as store:
        store.put([entry(f"d{number}.example") for number in range(500)])
    with closing(DiskStore(directory)) as store:
        malformed(directory)
        calls: dict[str, Any] = {
            "get": lambda: store.get(Domain("d7.example")),
            "put": lambda: store.put([entry("d7.example")]),
            "load": lambda: loaded(store),
            "delete": lambda: store.delete([Domain("d7.example")]),
        }
        with pytest.raises(StoreDamagedError, match=r"cache\.db: .*(malformed|not a database)"):
            calls[call]()
        aside = store.renew(salvaged=False)
        assert Path(aside).exists()
        store.put([entry()])
        assert loaded(store) == [entry()]
        assert Path(store.renew(salvaged=False)) != Path(aside)


def test_a_database_removed_under_us_is_damage(store: DiskStore, directory: Path) -> None:
    """SQLite would go on writing into the removed file."""
    store.put([entry()])
    for path in directory.iterdir():
        path.unlink()
    directory.rmdir()
    for call in (store.check, lambda: store.put([entry("example.net")])):
        with pytest.raises(StoreDamagedError, match="removed or replaced"):
            call()
    store.renew(salvaged=False)
    store.put([entry("example.net")])
    assert loaded(store) == [entry("example.net")]
    assert directory.stat().st_mode & 0o7777 == 0o700
    with pytest.raises(StoreBusyError):
        DiskStore(directory)


@pytest.mark.parametrize("how", ["removed", "replaced"])
def test_of_two_daemons_none_sets_the_store_of_the_other_aside(store: DiskStore, directory: Path, how: str) -> None:
    """The lock is taken before anything is renamed: the first one is told who has the place now."""
    store.put([entry()])
    directory.rename(directory.with_name("old"))
    with closing(DiskStore(directory)) as second:
        second.put([entry("second.example")])
        for _ in range(2):
            with pytest.raises(StoreDamagedError, match="removed or replaced"):
                store.check()
            with pytest.raises(StoreBusyError, match=f"in use by process {os.getpid()}"):
                store.renew(salvaged=False)
        second.check()
        assert loaded(second) == [entry("second.example")]
    if how == "removed":
        for path in directory.iterdir():
            path.unlink()
        directory.rmdir()
    assert store.renew(salvaged=False) == ""
    store.put([entry()])
    assert entry() in loaded(store)
    assert (entry("second.example") in loaded(store)) is (how == "replaced"), "what is there is kept"
    assert not list(directory.glob("*damaged*"))


# -- a disk that fails --------------------------------------------------------------


@contextmanager
def no_file_grows_beyond(size: int) -> Iterator[None]:
    """As on a full disk, for this process alone."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_no_damage(store: DiskStore, directory: Path) -> None:
    """StoreError while it lasts; what was stored can be read, and writing goes on when there is room."""
    store.put([entry()])
    many = [entry(f"d{number}.example") for number in range(2000)]
    with no_file_grows_beyond(200_000):
        for _ in range(2):
            with pytest.raises(StoreError, match=r"cache\.db: .*(full|disk I/O error)") as caught:
                store.put(many)
            assert not isinstance(caught.value, StoreDamagedError)
            assert loaded(store) == [entry()]
    store.put(many)
    assert store.count() == 2001


@pytest.mark.parametrize("statement", ["BEGIN EXCLUSIVE", "BEGIN IMMEDIATE"])
def test_a_database_locked_by_a_shell_is_no_damage(
    directory: Path, statement: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody's sqlite3 shell holds a transaction open."""
    monkeypatch.setattr("postfix_mtasts.adapters.store.database.BUSY_TIMEOUT", 0.0)
    with (
        closing(DiskStore(directory)) as store,
        closing(sqlite3.connect(directory / "cache.db", isolation_level=None)) as shell,
    ):
        shell.execute(statement)
        with pytest.raises(StoreError, match="database is locked") as caught:
            store.put([entry()])
        assert not isinstance(caught.value, StoreDamagedError)
        shell.execute("ROLLBACK")
        store.put([entry()])
        assert loaded(store) == [entry()]
