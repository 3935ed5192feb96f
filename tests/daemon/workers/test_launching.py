"""daemon/workers/launching.py: how a worker comes to be, and that it goes with those it came from."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from postfix_mtasts.config.settings import DnsSettings, FetchSettings
from postfix_mtasts.daemon.workers.launching import Child, Launcher, start_afresh
from postfix_mtasts.daemon.workers.wire import Orders, orders_to_json
from postfix_mtasts.daemon.workers.worker import Trust
from tests.support.waiting import wait_until

ROOT = str(Path(__file__).parents[3])


class Talk:
    """A worker made by *launch*, spoken to over its socket."""

    def __init__(self, launch: Launcher) -> None:
        self.ours, theirs = socket.socketpair()
        self.ours.settimeout(30)
        with theirs:
            self.child: Child = asyncio.run(_launched(launch, theirs))
        self._lines = self.ours.makefile("rb")
        self.say(orders_to_json(Orders(DnsSettings(), FetchSettings(), 15.0)))

    def say(self, line: object) -> None:
        self.ours.sendall(json.dumps(line).encode() + b"\n")

    def hear(self) -> object:
        """The next line; None: it has ended."""
        line = self._lines.readline()
        return json.loads(line) if line else None

    def close(self) -> None:
        self._lines.close()
        self.ours.close()


async def _launched(launch: Launcher, theirs: socket.socket) -> Child:
    return await launch(theirs, None)


@pytest.fixture
def afresh() -> Iterator[Talk]:
    talk = Talk(start_afresh)
    yield talk
    talk.child.end()
    talk.close()


def test_a_worker_started_afresh(afresh: Talk) -> None:
    """It says its process id, and ends when it is told to."""
    assert afresh.hear() == {"ready": afresh.child.pid}
    assert afresh.child.end() == "it ended with status -9"
    assert afresh.hear() is None


def test_it_ends_with_its_socket(afresh: Talk) -> None:
    """Nobody is there to be answered."""
    assert afresh.hear() == {"ready": afresh.child.pid}
    afresh.ours.shutdown(socket.SHUT_WR)
    assert afresh.hear() is None


FORKING = """
import asyncio, json, os, signal, socket, sys, threading
from postfix_mtasts.daemon.workers.launching import Forkserver
from tests.daemon.workers.test_launching import Talk
kept = os.open("/dev/null", os.O_RDONLY)
forks = Forkserver(None)
"""


def run(script: str) -> list[object]:
    """What *script* prints, each line as JSON; in a process of its own: pytest's may have threads."""
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", FORKING + script],
        env={**os.environ, "PYTHONPATH": ROOT},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_workers_that_are_forked() -> None:
    """Each is a process of its own, and ends when it is told to; the forkserver forks the next."""
    first, second, end, gone = run("""
for _ in range(2):
    talk = Talk(forks)
    print(json.dumps(talk.hear() == {"ready": talk.child.pid}))
print(json.dumps(talk.child.end()))
print(json.dumps(talk.hear()))
talk.child.end()
forks.close()
""")
    assert (first, second, end, gone) == (True, True, "it ended", None)


def test_a_forked_worker_holds_nothing_of_the_daemon() -> None:
    """Sockets that systemd passed stay the daemon's; standard input is nobody's."""
    (names,) = run("""
talk = Talk(forks)
pid = talk.hear()["ready"]
held = [os.readlink(f"/proc/{pid}/fd/{name}") for name in os.listdir(f"/proc/{pid}/fd") if int(name) not in (1, 2)]
print(json.dumps(sorted(held)))
forks.close()
""")
    assert isinstance(names, list)
    assert [name for name in names if not name.startswith("socket:")] == ["/dev/null"]
    assert len(names) == 2, "its own socket"


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"])
def test_without_the_forkserver_workers_are_started_afresh(sign: signal.Signals) -> None:
    """Its own workers end with it, so that none is left behind."""
    ready, ended, fresh = run(f"""
talk = Talk(forks)
print(json.dumps(talk.hear() == {{"ready": talk.child.pid}}))
os.kill(forks._pid, {int(sign)})
other = Talk(forks)
print(json.dumps(talk.hear()))
print(json.dumps(other.hear() == {{"ready": other.child.pid}}))
other.child.end()
""")
    assert (ready, ended, fresh) == (True, None, True)


def test_a_forkserver_that_stands_still_holds_up_nothing() -> None:
    """The loop answers Postfix while it waits; two workers that are wanted at once both come."""
    meanwhile, pids = run("""
async def main():
    os.kill(forks._pid, signal.SIGSTOP)
    ours, theirs = zip(*[socket.socketpair() for _ in range(2)])
    launching, turns = [asyncio.create_task(forks(each, None)) for each in theirs], 0
    while not launching[0].done():
        await asyncio.sleep(0.01)
        turns += 1
    print(json.dumps(turns > 1))
    children = [await each for each in launching]
    print(json.dumps(len({child.pid for child in children})))
    for child in children:
        child.end()
    for each in (*ours, *theirs):
        each.close()
asyncio.run(main())
forks.close()
""")
    assert (meanwhile, pids) == (True, 2)


@pytest.mark.parametrize("stopped", [False, True], ids=["at rest", "stopped"])
def test_nothing_outlives_the_daemon(stopped: bool) -> None:
    """Forkserver and workers end when it is killed."""
    (pids,) = run(f"""
talk = Talk(forks)
pids = [talk.hear()["ready"], forks._pid]
print(json.dumps(pids), flush=True)
if {stopped}:
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
os._exit(0)
""")
    assert isinstance(pids, list)
    wait_until(lambda: all(map(has_ended, pids)), "they have ended")


def has_ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in ("Z", "X")
    except (FileNotFoundError, ProcessLookupError):  # it goes between opening and reading
        return True


def test_the_trust_store_is_loaded_again_when_it_has_changed(tmp_path: Path) -> None:
    """And only then; where it cannot be read, the worker says why."""
    trust, file = Trust(), tmp_path / "ca.pem"
    file.write_text("no certificate")
    assert trust.context(str(file)) is None
    assert trust.context(str(tmp_path / "none.pem")) is None
    system = trust.context(None)
    assert system is not None
    assert trust.context(None) is system
