"""daemon/daemon.py: a whole daemon in this process: reloads, a clock that is set, the end."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import yaml

from postfix_mtasts.adapters.store.disk import DiskStore
from postfix_mtasts.config.file import read
from postfix_mtasts.core.netstring import encode
from postfix_mtasts.daemon import daemon as run
from postfix_mtasts.daemon.daemon import Daemon
from postfix_mtasts.daemon.policies.store_thread import StoreKeeper
from tests.support.fakes.entries import entry
from tests.support.fakes.stores import StuckStore

PATIENCE = 30.0  # seconds
SECURE = encode(b"OK secure match=mx.example.com servername=hostname")


class Notices:
    """What systemd is told; it has no room as long as the test says so."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.full = False

    def notify(self, state: str) -> bool:
        if not self.full:
            self.told.append(state)
        return not self.full


@pytest.fixture(autouse=True)
def notices(monkeypatch: pytest.MonkeyPatch) -> Notices:
    notices = Notices()
    monkeypatch.setattr(run.systemd, "notify", notices.notify)
    monkeypatch.setattr(run, "TICK", 0.01)
    return notices


class World:
    """The daemon, its configuration, and a client."""

    def __init__(self, directory: Path, open_store: Callable[[], DiskStore] | None = None) -> None:
        self.directory = directory
        self.file = directory / "config.yml"
        self.address = f"unix:{directory}/socketmap"
        self.config: dict[str, Any] = {
            "listen": [self.address],
            "cache": {"directory": str(directory / "store")},
            "dns": {"servers": ["127.0.0.1:1"]},
        }
        self.write()
        (directory / "store").mkdir(mode=0o700, exist_ok=True)
        store = StoreKeeper(open_store or (lambda: DiskStore(directory / "store")), time.monotonic)
        self.daemon = Daemon(read(str(self.file)).settings, str(self.file), store, directory / "store", {})

    def write(self, **changes: Any) -> None:
        self.config |= changes
        self.file.write_text(yaml.safe_dump(self.config))

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not condition():
                await asyncio.sleep(0.005)

    async def loaded(self) -> None:
        await self.until(lambda: self.daemon.parts.keeper.known.loaded)

    async def reload(self, caplog: pytest.LogCaptureFixture) -> list[str]:
        """SIGHUP; what is logged until it is over."""
        caplog.clear()
        self.daemon._hang_up()
        await self.until(lambda: any("reload" in event for event in events(caplog)))
        return events(caplog)

    async def ask(self, payload: bytes) -> bytes:
        reader, writer = await asyncio.open_unix_connection(self.address.removeprefix("unix:"))
        writer.write(encode(payload))
        reply = await reader.read(1000)
        writer.close()
        return reply


def events(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name.startswith("postfix_mtasts")]


def live(world: Callable[[], World], test: Callable[[World], Coroutine[Any, Any, None]]) -> None:
    """Run a whole daemon, and *test*."""

    async def main() -> None:
        made = world()
        try:
            await made.daemon.start()
            await made.loaded()
            await test(made)
        finally:
            await made.daemon.stop()

    asyncio.run(main())


@pytest.fixture(autouse=True)
def _level(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "postfix_mtasts")


def test_a_reload_with_faults_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, notices: Notices
) -> None:
    """Each fault is a line; systemd is told that the reload is over."""

    async def test(world: World) -> None:
        before = world.daemon.parts.current.settings
        world.write(maps={"mine": {"colour": "red"}}, lookup={"wiat": "3s"})
        told = await world.reload(caplog)
        assert [line.split()[0] for line in told] == ["reload-refused", "reload-refused"]
        assert world.daemon.parts.current.settings is before
        assert [notice.split("\n")[0] for notice in notices.told if "READY" in notice or "RELOAD" in notice] == [
            "READY=1",
            "RELOADING=1",
            "READY=1",
        ]

    live(lambda: World(tmp_path), test)


def test_a_reload_without_an_address_is_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As a start is: nobody could ask."""

    async def test(world: World) -> None:
        world.write(listen=[])
        [line] = await world.reload(caplog)
        assert line.startswith('reload-refused reason="listen is empty and systemd passed no socket')
        assert await world.ask(b"postfix localhost") == encode(b"NOTFOUND ")

    live(lambda: World(tmp_path), test)


def test_another_directory_waits_for_the_next_start(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is said, and all else takes effect."""

    async def test(world: World) -> None:
        world.write(cache={"directory": "/elsewhere"}, maps={"mine": {}})
        caplog.clear()
        world.daemon._hang_up()
        await world.until(lambda: any(line.startswith("reloaded") for line in events(caplog)))
        assert events(caplog)[0].startswith("reload-incomplete key=cache.directory")
        assert await world.ask(b"mine localhost") == encode(b"NOTFOUND ")

    live(lambda: World(tmp_path), test)


def test_a_configuration_file_that_hangs_holds_up_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Say, on a disk that went away: lookups are answered, and the daemon can end."""
    hangs, read_again = threading.Event(), threading.Event()

    def hang(path: str | None, again: bool) -> None:
        read_again.set()
        hangs.wait(PATIENCE)

    async def test(world: World) -> None:
        monkeypatch.setattr(run, "read", hang)
        world.daemon._hang_up()
        await world.until(read_again.is_set)
        assert await world.ask(b"postfix localhost") == encode(b"NOTFOUND ")

    try:
        live(lambda: World(tmp_path), test)
    finally:
        hangs.set()


def test_a_clock_that_is_set_is_told_and_all_is_planned_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the next tick, once."""
    planned: list[str] = []

    async def test(world: World) -> None:
        parts = world.daemon.parts

        async def plan_anew() -> None:
            planned.append("all")

        monkeypatch.setattr(parts.keeper, "plan_anew", plan_anew)
        difference = world.daemon._clock_difference()
        monkeypatch.setattr(world.daemon, "_clock_difference", lambda: difference - 3600)
        await world.until(lambda: planned)
        assert [line for line in events(caplog) if line.startswith("clock-set")] == ["clock-set seconds=-3600"]
        tick = parts.server.tick
        await world.until(lambda: parts.server.tick > tick + 2)
        assert planned == ["all"]

    live(lambda: World(tmp_path), test)


def test_what_systemd_must_hear_it_hears_when_it_has_room(tmp_path: Path, notices: Notices) -> None:
    """A READY=1 that is lost would end the daemon after its start timeout."""
    notices.full = True

    async def test(world: World) -> None:
        tick = world.daemon.parts.server.tick
        await world.until(lambda: world.daemon.parts.server.tick > tick + 2)
        notices.full = False
        await world.until(lambda: "READY=1" in notices.told)
        await world.until(lambda: world.daemon.parts.server.tick > tick + 5)
        assert notices.told.count("READY=1") == 1

    live(lambda: World(tmp_path), test)


def test_the_end_has_five_seconds_in_all() -> None:
    """Less a little for the interpreter."""
    assert run.DRAIN + run.FLUSH + run.LOG_FLUSH <= 4.9


def test_an_end_waits_for_nothing_that_hangs(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client whose lookup is under way is told TEMP, one that reads nothing is left, and so is a stuck disk."""
    monkeypatch.setattr(run, "DRAIN", 0.2)
    monkeypatch.setattr(run, "FLUSH", 0.1)
    stores: list[StuckStore] = []
    replies: list[bytes] = []

    def open_store() -> DiskStore:
        stores.append(StuckStore(tmp_path / "store"))
        return stores[0]

    async def test(world: World) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
            silent.bind(("127.0.0.1", 0))
            world.write(dns={"servers": [f"127.0.0.1:{silent.getsockname()[1]}"]})
            await world.reload(caplog)
            asked = asyncio.create_task(world.ask(b"postfix unknown.example"))
            await world.until(lambda: any(connection.busy for connection in world.daemon.parts.server.connections))
            write = world.daemon.parts.store.put(entry())
            await world.daemon.stop()
            replies.append(await asked)
            write.cancel()

    try:
        live(lambda: World(tmp_path, open_store), test)
    finally:
        stores[0].release.set()
    assert replies == [encode(b"TEMP postfix-mtasts is shutting down")]
    assert any(line.startswith("store-incomplete unwritten=1") for line in events(caplog))


def test_a_second_stop_is_harmless(tmp_path: Path) -> None:
    """A start that fails half way stops what there is."""

    async def test(world: World) -> None:
        await world.daemon.stop()

    live(lambda: World(tmp_path), test)
