"""The watchdog's signs of life: they stop with the loop and the refresher, and never with the store."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
import urllib.error
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from postfix_mtasts.adapters.store.disk import DiskStore
from postfix_mtasts.config.settings import MapSettings, MetricsSettings, Settings
from postfix_mtasts.daemon import daemon as run
from postfix_mtasts.daemon.daemon import Daemon
from postfix_mtasts.daemon.operating import health
from postfix_mtasts.daemon.policies.store_thread import StoreKeeper
from postfix_mtasts.process.systemd import watchdog_seconds
from tests.daemon.operating.test_http import DIRECT
from tests.support.fakes.entries import entry
from tests.support.fakes.stores import StuckStore

PATIENCE = 30.0  # seconds
BRIEF = 0.3  # seconds: what counts as standing still here
TICKS = 3  # in which a sign of life would have come


class Systemd:
    """What stands at the other end of NOTIFY_SOCKET."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.setblocking(False)

    def close(self) -> None:
        self._socket.close()

    def heard(self) -> list[str]:
        """All that came and was not read yet."""
        notices: list[str] = []
        while True:
            try:
                notices += self._socket.recv(4096).decode().splitlines()
            except BlockingIOError:
                return notices

    async def hears(self, notice: str) -> None:
        async with asyncio.timeout(PATIENCE):
            while notice not in self.heard():
                await asyncio.sleep(0.01)


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Systemd]:
    """Watches a daemon whose seconds are short."""
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    monkeypatch.setenv("WATCHDOG_USEC", "30000000")
    monkeypatch.setattr(run, "TICK", 0.02)
    monkeypatch.setattr(health, "PATIENCE", BRIEF)
    monkeypatch.setattr("postfix_mtasts.daemon.policies.refresher.HEARTBEAT", BRIEF / 10)
    end = Systemd(tmp_path / "notify")
    yield end
    end.close()


@contextmanager
def free_address() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        yield f"inet:127.0.0.1:{free.getsockname()[1]}"


def live(tmp_path: Path, then: Callable[[Daemon, StuckStore, str], Awaitable[None]]) -> None:
    """Run a whole daemon, and *then*; the last argument is where its monitoring listens."""
    with free_address() as address:
        pass
    stores: list[StuckStore] = []

    def open_store() -> DiskStore:
        stores.append(StuckStore(tmp_path / "store"))
        return stores[0]

    async def main() -> None:
        settings = Settings(
            listen=(f"unix:{tmp_path}/socketmap",),
            maps={"postfix": MapSettings()},
            metrics=MetricsSettings(listen=address),
        )
        (tmp_path / "store").mkdir(mode=0o700)
        daemon = Daemon(settings, None, StoreKeeper(open_store, time.monotonic), tmp_path / "store", {})
        try:
            await daemon.start()
            await then(daemon, stores[0], address)
        finally:
            stores[0].release.set()
            await daemon.stop()

    asyncio.run(main())


async def ticks(daemon: Daemon) -> None:
    """Let the daemon's clock tick a few times."""
    until = daemon.parts.server.tick + TICKS
    async with asyncio.timeout(PATIENCE):
        while daemon.parts.server.tick < until:
            await asyncio.sleep(0.01)


async def health_status(address: str) -> int:
    def ask() -> int:
        try:
            with DIRECT.open(f"http://{address.removeprefix('inet:')}/healthz", timeout=PATIENCE) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                return int(error.code)

    return await asyncio.to_thread(ask)


def test_it_misses_a_refresher_that_stands_still(systemd: Systemd, tmp_path: Path) -> None:
    """Policies would run out unseen."""

    async def then(daemon: Daemon, store: StuckStore, address: str) -> None:
        await systemd.hears("READY=1")
        await systemd.hears("WATCHDOG=1")
        assert await health_status(address) == 200
        daemon.parts.refresher.stop()
        daemon.parts.refresher.join(PATIENCE)
        async with asyncio.timeout(PATIENCE):
            while not daemon.parts.health.refresher_fault():
                await asyncio.sleep(0.01)
        systemd.heard()
        await ticks(daemon)
        assert "WATCHDOG=1" not in systemd.heard()
        assert await health_status(address) == 503

    live(tmp_path, then)


def test_it_misses_a_loop_that_stands_still(systemd: Systemd, tmp_path: Path) -> None:
    """Postfix would get no answer."""

    async def then(daemon: Daemon, store: StuckStore, address: str) -> None:
        await systemd.hears("WATCHDOG=1")
        systemd.heard()
        threading.Event().wait(BRIEF)  # on the loop
        assert "WATCHDOG=1" not in systemd.heard()
        await systemd.hears("WATCHDOG=1")

    live(tmp_path, then)


def test_it_does_not_miss_a_store_that_is_stuck(systemd: Systemd, tmp_path: Path) -> None:
    """A daemon that answers from memory must not be ended for its disk; monitoring hears of it."""

    async def then(daemon: Daemon, store: StuckStore, address: str) -> None:
        write = daemon.parts.store.put(entry())
        async with asyncio.timeout(PATIENCE):
            while not daemon.parts.health.faults():
                await asyncio.sleep(0.01)
        systemd.heard()
        await systemd.hears("WATCHDOG=1")
        assert await health_status(address) == 503
        store.release.set()
        await write
        await systemd.hears("WATCHDOG=1")
        assert await health_status(address) == 200

    live(tmp_path, then)


def test_a_short_watchdog_is_told_twice_in_its_time(
    systemd: Systemd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """WatchdogSec=1s would end a healthy daemon that tells once a second."""
    monkeypatch.setenv("WATCHDOG_USEC", "20000")
    monkeypatch.setattr(run, "TICK", 1_000.0)

    async def then(daemon: Daemon, store: StuckStore, address: str) -> None:
        for _ in range(3):
            await systemd.hears("WATCHDOG=1")

    live(tmp_path, then)


WATCHED = [("30000000", 30.0), ("500000", 0.5), ("0", None), ("", None), ("-1", None), ("1e6", None), ("\u0663", None)]


@pytest.mark.parametrize(("text", "seconds"), WATCHED, ids=[repr(row[0]) for row in WATCHED])
def test_the_time_of_the_watchdog(text: str, seconds: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Microseconds; anything else is not from systemd."""
    monkeypatch.setenv("WATCHDOG_USEC", text)
    assert watchdog_seconds() == seconds


def test_a_stop_is_told(systemd: Systemd, tmp_path: Path) -> None:
    """systemd does not wait for a service that is on its way out."""

    async def then(daemon: Daemon, store: StuckStore, address: str) -> None:
        systemd.heard()

    live(tmp_path, then)
    assert "STOPPING=1" in systemd.heard()
