"""daemon/workers/process.py: a real process, its lines, and whether it moves."""

from __future__ import annotations

import asyncio
import functools
import os
import signal
import socket
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from postfix_mtasts.config.settings import DnsSettings, FetchSettings
from postfix_mtasts.core.names import Domain
from postfix_mtasts.daemon.workers import process as module
from postfix_mtasts.daemon.workers.launching import Child, Launcher, start_afresh
from postfix_mtasts.daemon.workers.process import LINE_LIMIT, Task, WorkerProcess
from postfix_mtasts.daemon.workers.wire import Discover, Orders, Tlsrpt
from tests.support.servers.dnsserver import DnsServer

PATIENCE = 30.0  # seconds
ORDERS = Orders(DnsSettings(), FetchSettings(), 15.0)


class World:
    """A worker process, what it said, and why it was lost."""

    def __init__(self, orders: Orders = ORDERS, launch: Launcher = start_afresh) -> None:
        self.said: list[dict[str, Any]] = []
        self.lost: list[str] = []
        self.process = WorkerProcess(
            orders, lambda _, line: self.said.append(line), lambda _, why: self.lost.append(why), launch
        )

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not condition():
                await asyncio.sleep(0.01)

    async def ready(self) -> None:
        await self.until(lambda: self.process.ready)

    async def pid(self) -> int:
        await self.until(lambda: self.process.pid)
        assert self.process.pid is not None
        return self.process.pid

    async def end(self) -> None:
        self.process.kill("the test ends")
        await self.until(lambda: self.lost)


def in_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    @functools.wraps(test)
    def run(**others: Any) -> None:
        asyncio.run(test(**others))

    return run


@in_loop
async def test_a_job_and_its_answer() -> None:
    """It waits until the process can be spoken to."""
    with DnsServer() as server:
        world = World(Orders(DnsSettings(servers=(server.address,)), FetchSettings(), 15.0))
        world.process.give(Task(7, Tlsrpt(Domain("example.com")), print, 0.0))
        await world.until(lambda: world.said)
        await world.end()
    assert world.said[0] == {"n": 7, "tlsrpt": None}
    assert world.lost == ["the test ends"]


@in_loop
async def test_a_process_that_is_killed_while_it_is_started() -> None:
    """It ends once it is there, and is told of once."""
    go_on, children = asyncio.Event(), []

    async def slow(theirs: socket.socket, ca_file: str | None) -> Child:
        await go_on.wait()
        children.append(await start_afresh(theirs, ca_file))
        return children[0]

    world = World(launch=slow)
    world.process.kill("it is not needed any more")
    go_on.set()
    await world.until(lambda: world.lost)
    assert world.lost == ["it is not needed any more"]
    assert children[0].end() == "it ended with status -9"


@in_loop
async def test_a_process_that_cannot_be_started() -> None:
    """The reason is the system's."""

    async def fails(theirs: socket.socket, ca_file: str | None) -> Child:
        raise OSError("no process is left")

    world = World(launch=fails)
    await world.until(lambda: world.lost)
    assert world.lost == ["no process is left"]


@in_loop
async def test_a_process_that_is_killed() -> None:
    """It is told once, with its status."""
    world = World()
    await world.ready()
    os.kill(await world.pid(), signal.SIGKILL)
    await world.until(lambda: world.lost)
    assert world.lost == ["it ended with status -9"]


@in_loop
async def test_a_process_that_cannot_start(tmp_path: Path) -> None:
    """It says why before it ends."""
    world = World(Orders(DnsSettings(), FetchSettings(ca_file=str(tmp_path / "gone.pem")), 15.0))
    await world.until(lambda: world.lost)
    assert world.lost[0].startswith(f"fetch.ca_file: {tmp_path}/gone.pem: ")
    assert not world.process.ready


@in_loop
async def test_one_that_moves_answers_a_ping() -> None:
    """However often it is asked."""
    world = World()
    await world.ready()
    for _ in range(3):
        assert not world.process.stands_still()
        await world.until(lambda: world.process._asked_at is None)
    await world.end()


@pytest.mark.parametrize("started", [True, False], ids=["at work", "while it starts"])
def test_one_that_is_stopped_stands_still(monkeypatch: pytest.MonkeyPatch, started: bool) -> None:
    """It neither answers nor uses the processor; and it can be killed."""
    monkeypatch.setattr(module, "STILL", 0.2)

    async def test() -> None:
        world = World()
        if started:
            await world.ready()
        os.kill(await world.pid(), signal.SIGSTOP)
        await world.until(world.process.stands_still)
        await world.end()

    asyncio.run(test())


@in_loop
async def test_one_that_is_only_slow_gets_time() -> None:
    """A busy machine is not a reason to replace it, for a while."""
    world = World()
    world.process._asked_at, now = 0.0, 0.0
    used = iter(range(1, 100))
    world.process._processor_time = lambda: float(next(used))  # type: ignore[method-assign]
    world.process._loop = type("Loop", (), {"time": lambda self: now})()
    now = module.SLOW
    assert not world.process.stands_still()
    now = module.SLOW + 1
    assert world.process.stands_still()
    world.process._loop = asyncio.get_running_loop()
    await world.end()


NONSENSE = [
    ("no JSON", b"what?\n"),
    ("half a line without end", b"x" * (LINE_LIMIT + 1)),
    ("a list", b"[]\n"),
    ("brackets without end", b"[" * 100_000 + b"\n"),
    ("broken bytes", b"\xff\xfe\n"),
]


@pytest.mark.parametrize(("title", "data"), NONSENSE, ids=[row[0] for row in NONSENSE])
def test_nonsense_ends_it(title: str, data: bytes) -> None:
    """Who parses hostile bytes may say anything; the daemon does without that process."""

    async def test() -> None:
        world = World()
        await world.ready()
        world.process.data_received(data)
        await world.until(lambda: world.lost)
        assert world.lost[0].startswith("it said ")

    asyncio.run(test())


def test_what_lies_in_the_working_directory_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A requests.py there is somebody else's."""
    (tmp_path / "requests.py").write_text("raise SystemExit('not ours')")
    monkeypatch.chdir(tmp_path)

    async def test() -> None:
        world = World()
        world.process.give(Task(1, Discover(Domain("example.com")), print, 0.0))
        await world.ready()
        await world.end()

    asyncio.run(test())
