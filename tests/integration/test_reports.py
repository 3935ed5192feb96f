"""`report receive` in bad minutes: many at once, killed, a full disk, a locked store. Nothing is lost."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from postfix_mtasts.adapters import reportsums
from postfix_mtasts.adapters.reportdb import DATABASE, ReportDb
from postfix_mtasts.adapters.reportsums import Window
from tests.support.fakes.reports import detail, document, mail, policy
from tests.support.servers.daemon import ENVIRONMENT

ALL = Window(0, 2e9)
CROWD, ROUNDS = 50, 50


def message(number: int) -> bytes:
    return mail(document(policy(90, 10, *[detail(1, mx=f"mx{n}.example.org") for n in range(10)]), id=str(number)))


class Store:
    """Where `report receive` is told to store."""

    def __init__(self, directory: Path, config: Path) -> None:
        self.directory = directory
        config.write_text(f"reports: {{directory: {directory}, dkim: false}}\n")
        self._command = [sys.executable, "-m", "postfix_mtasts", "report", "receive", "--config", str(config)]

    def start(self, data: bytes) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(self._command, env=ENVIRONMENT, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
        assert process.stdin is not None
        try:
            process.stdin.write(data)
            process.stdin.close()
        except BrokenPipeError:  # it was killed, or could not even begin
            pass
        return process

    def receive(self, data: bytes) -> tuple[int, str]:
        """Exit code, and what was said."""
        with self.start(data) as process:
            assert process.stderr is not None
            said = process.stderr.read().decode()
        return process.returncode, said

    def ids(self) -> list[str]:
        """The reports that are stored, whole: each with its policy and its ten failures."""
        with ReportDb(self.directory) as store:
            rows = list(reportsums.reports(store, ALL))
        for row in rows:
            assert (row.successful, row.failed, row.results) == (90, 10, {"certificate-expired": 10})
        return sorted((row.report_id for row in rows), key=int)

    def check(self) -> None:
        database = sqlite3.connect(self.directory / DATABASE)
        try:
            assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert database.execute("PRAGMA foreign_key_check").fetchall() == []
        finally:
            database.close()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store", tmp_path / "config.yml")


def test_fifty_at_once_into_a_store_that_is_not_there_yet(store: Store) -> None:
    """They make it together, and each stores its report."""
    with ThreadPoolExecutor(CROWD) as crowd:
        outcomes = list(crowd.map(store.receive, [message(number) for number in range(CROWD)]))
    assert [code for code, _ in outcomes] == [0] * CROWD, [said for code, said in outcomes if code]
    assert store.ids() == [str(number) for number in range(CROWD)]
    store.check()


def test_the_same_mail_twenty_times_at_once_is_one_report(store: Store) -> None:
    """And each delivery succeeds."""
    with ThreadPoolExecutor(CROWD) as crowd:
        outcomes = list(crowd.map(store.receive, [message(1)] * 20))
    assert {code for code, _ in outcomes} == {0}
    assert store.ids() == ["1"]


@pytest.mark.timeout(600)
def test_killed_at_any_moment_a_mail_is_stored_at_the_next_try(store: Store) -> None:
    """What a killed process left is whole or nothing; Postfix tries again, and counts nothing twice."""

    def time_to_store(number: int) -> float:
        began = time.monotonic()
        assert store.receive(message(number))[0] == 0
        return time.monotonic() - began

    usual = time_to_store(0)
    moments = random.Random(1)
    killed = 0
    for number in range(1, ROUNDS + 1):
        process = store.start(message(number))
        try:
            process.wait(usual * moments.uniform(0.2, 1.1))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
        assert process.stderr is not None
        process.stderr.close()
        assert set(store.ids()) <= {str(each) for each in range(number + 1)}
        usual = time_to_store(number)  # this machine may be busy now, and idle then
    assert killed > ROUNDS // 5, f"only {killed} of {ROUNDS} were killed in time"
    assert store.ids() == [str(number) for number in range(ROUNDS + 1)]
    store.check()


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Store]:
    """A store on a file system of 1 MiB, that a file fills up."""
    mount = tmp_path / "disk"
    mount.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(mount)], check=True)
    try:
        yield Store(mount / "store", tmp_path / "config.yml")
    finally:
        subprocess.run(["umount", "--lazy", str(mount)], check=True)


def fill(directory: Path) -> Path:
    """Leave no byte free."""
    path = directory / "filler"
    with open(path, "wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            return path


def test_on_a_full_disk_postfix_tries_again(full_disk: Store) -> None:
    """Whatever is received; and once there is room, nothing is missing."""
    plain = b"Subject: hello\n\n" + os.urandom(8000).hex().encode()
    filler = fill(full_disk.directory.parent)
    for data in (message(1), plain):
        code, said = full_disk.receive(data)
        assert code == 75, said
        assert len(said.splitlines()) == 1
        assert "Traceback" not in said
    filler.unlink()
    assert full_disk.receive(message(1))[0] == 0
    filler = fill(full_disk.directory.parent)
    codes = [full_disk.receive(data)[0] for data in (message(2), plain)]
    assert codes == [75, 75]
    filler.unlink()
    assert [full_disk.receive(data)[0] for data in (message(2), plain, message(1))] == [0, 0, 0]
    assert full_disk.ids() == ["1", "2"]
    with ReportDb(full_disk.directory) as opened:
        assert [Path(entry.file).read_bytes() for entry in opened.unreadable(0, 2e9)] == [plain]
    full_disk.check()


def test_a_disk_that_fills_up_loses_no_report_that_was_accepted(full_disk: Store) -> None:
    """Each exit code 0 is a stored report, each 75 is none that counts as already there."""
    accepted, number = [], 0
    while True:
        number += 1
        code, _ = full_disk.receive(message(number).replace(b"A TLS report", os.urandom(20_000).hex().encode()))
        if code:
            break
        accepted.append(str(number))
        (full_disk.directory.parent / f"filler{number}").write_bytes(b"x" * 65_536)
    assert code == 75
    assert accepted
    for path in full_disk.directory.parent.glob("filler*"):
        path.unlink()
    assert full_disk.ids() == accepted
    assert full_disk.receive(message(number))[0] == 0
    assert full_disk.ids() == [*accepted, str(number)]


def test_a_locked_store_is_waited_for_and_then_tried_again(store: Store, tmp_path: Path) -> None:
    """Nobody waits for ever, and nothing is lost."""
    assert store.receive(message(0))[0] == 0
    lock = sqlite3.connect(store.directory / DATABASE, isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    code, said = store.receive(message(1))
    assert (code, "database is locked" in said) == (75, True)
    waiting = store.start(message(2))
    lock.execute("COMMIT")
    lock.close()
    assert waiting.wait() == 0
    assert waiting.stderr is not None
    waiting.stderr.close()
    assert store.receive(message(1))[0] == 0
    assert store.ids() == ["0", "1", "2"]


def test_a_mail_that_is_cut_off_by_a_signal_is_deferred(store: Store) -> None:
    """SIGTERM in the middle of the mail: pipe(8) defers on a signal."""
    command = store._command
    process = subprocess.Popen(command, env=ENVIRONMENT, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(message(1)[:100])
    process.stdin.flush()
    process.terminate()
    assert process.wait() == -signal.SIGTERM
    process.stdin.close()
    assert process.stderr is not None
    process.stderr.close()
    assert not (store.directory / "unreadable").exists()
