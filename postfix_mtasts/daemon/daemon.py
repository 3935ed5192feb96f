"""Run the daemon: start, signals, reloads, drain, end.

Order of the start: configuration, store (its lock decides who runs), loop,
listeners, READY; the store is then loaded in the background.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import socket
import time
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..config.file import Loaded, read
from ..config.settings import Settings
from ..core.quoting import KV
from ..errors import ConfigError, ListenError
from ..process import signals, systemd
from ..process.aside import aside
from ..process.logs import Log
from ..process.memory import resident
from . import build
from .directory import store_directory
from .operating.survey import Running
from .policies.store_thread import StoreKeeper
from .repeating import Repeating
from .serving.server import connection_limit
from .workers.launching import Forkserver, Launcher, start_afresh

if TYPE_CHECKING:
    from .operating.http import HttpServer

log = logging.getLogger(__name__)

# SIGTERM ends the process within five seconds, whatever hangs:
DRAIN = 3.9  # seconds for lookups under way
FLUSH = 0.7  # seconds for the store to write what is queued
LOG_FLUSH = 0.2  # seconds for the log
STDERR = 2
TICK = 1.0  # seconds
STATUS_EVERY = 10  # ticks, the first soon after the start
GC_THRESHOLD = 20_000  # new objects between two looks for cycles: a cold lookup makes a dozen, and no cycle
CLOCK_STEP = 1.0  # seconds between the two clocks that only a clock set by somebody explains


def run(loaded: Loaded, config_file: str | None) -> None:
    """Run until SIGTERM or SIGINT. Raises: ConfigError, ListenError, StoreError, StoreBusyError."""
    forkserver = Forkserver(loaded.settings.fetch.ca_file)  # before there is a thread, a lock or a socket
    gc.set_threshold(GC_THRESHOLD)
    output = Log(STDERR)
    output.configure(loaded.settings.log)
    try:
        passed = systemd.passed_sockets()
        _check_listeners(loaded.settings, passed)
        connection_limit()
        directory = store_directory(loaded)
        store = build.open_store(directory)
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_main(loaded, config_file, store, directory, passed, output, forkserver))
    finally:
        signals.ignore()
        output.end(LOG_FLUSH)
        forkserver.close()


def _check_listeners(settings: Settings, passed: Mapping[str, socket.socket]) -> None:
    """Make sure that there is an address to listen on. Raises: ListenError."""
    if not passed and not settings.listen:
        raise ListenError("listen is empty and systemd passed no socket; name an address, such as inet:127.0.0.1:8462")


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


async def _main(
    loaded: Loaded,
    config_file: str | None,
    store: StoreKeeper,
    directory: Path,
    passed: dict[str, socket.socket],
    output: Log,
    launch: Launcher,
) -> None:
    daemon = Daemon(loaded.settings, config_file, store, directory, passed, launch)
    daemon.parts.current.changed(lambda new: new.log, output.configure)
    try:
        await daemon.start()
        await daemon.stopped.wait()
        log.info("stopping")
    finally:
        await daemon.stop()
        loop = asyncio.get_running_loop()
        for number in (*signals.END, signals.RELOAD):  # else the loop's end gives them their default action back
            loop.remove_signal_handler(number)
        signals.ignore()
    log.info("stopped")


class Daemon:
    """Runs the parts of a daemon from its start to its end."""

    def __init__(
        self,
        settings: Settings,
        config_file: str | None,
        store: StoreKeeper,
        directory: Path,
        passed: dict[str, socket.socket],
        launch: Launcher = start_afresh,
    ) -> None:
        self._config_file, self._passed, self._directory = config_file, passed, directory
        self.stopped = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._reloads, self._plans = Repeating(self._reload), Repeating(self._plan_anew)
        self.parts = parts = build.daemon(settings, store, directory, self._loop, launch)
        parts.operations.running = self._running
        self._http: HttpServer | None = None
        self._http_address: str | None = None
        self._ready = self._hung_up = False
        self._untold = ""  # what systemd could not take yet
        self._watchdog = systemd.watchdog_seconds()
        self._clocks = self._clock_difference()

    @property
    def _settings(self) -> Settings:
        return self.parts.current.settings

    def _clock_difference(self) -> float:
        """Return the difference of the two clocks, which changes only when somebody sets one."""
        return self.parts.clock.wall() - self.parts.clock.monotonic()

    async def start(self) -> None:
        """Listen, begin to load the store, and tell systemd. Raises: ListenError."""
        for number in signals.END:
            self._loop.add_signal_handler(number, self.stopped.set)
        self._loop.add_signal_handler(signals.RELOAD, self._hang_up)
        await self._listen(self._settings)
        await self.parts.control.start()
        self.parts.refresher.start()
        self.parts.keeper.check_resolver()
        self.parts.keeper.join(self._settings)
        self._spawn(self._load())
        self._loop.call_later(TICK, self._tick)
        if self._watchdog is not None:
            self._feed_watchdog(min(TICK, self._watchdog / 2))
        self._empty_replies()
        log.info("ready %s", KV(listen=" ".join(self.parts.server.addresses), version=__version__))
        self._tell_for_sure("READY=1")
        self._ready = True
        if signals.reload_wanted() or self._hung_up:
            self._reloads.ask()

    def _hang_up(self) -> None:
        """Have the configuration read again, once the daemon is ready."""
        self._hung_up = True
        if self._ready:
            self._reloads.ask()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _load(self) -> None:
        """Load all stored policies into memory."""
        with contextlib.suppress(asyncio.CancelledError):
            await self.parts.store.load(self.parts.keeper.load)
            self.parts.keeper.all_loaded()
            gc.freeze()  # what was loaded stays: no collection needs to walk it again

    async def _listen(self, settings: Settings) -> None:
        """Listen for Postfix and for monitoring as *settings* say, or change nothing. Raises: ListenError."""
        address, fresh = settings.metrics.listen, self._http
        if address != self._http_address:
            fresh = self._open_http(address) if address is not None else None
        try:
            await self.parts.server.listen(settings, self._passed)
        except ListenError:
            if fresh is not None and fresh is not self._http:
                fresh.close()
            raise
        if self._http is not None and self._http is not fresh:
            self._http.close()
        self._http, self._http_address = fresh, address

    def _open_http(self, address: str) -> HttpServer:
        from .operating.http import HttpServer  # prometheus_client takes 50 ms that few need

        return HttpServer(
            address, self._loop, self.parts.operations.numbers, self.parts.health.stuck, self.parts.health.silent
        )

    def _running(self) -> Running:
        """Return what `status` shows about the process."""
        due, lag = self.parts.agenda.overdue(self.parts.clock.monotonic())
        return Running(
            directory=str(self._directory),
            listen=list(self.parts.server.addresses),
            metrics=self._http_address,
            connections=len(self.parts.server.connections),
            refresh_due=due,
            refresh_lag=lag,
            dns_up=self.parts.silence.up,
            store_up=not self.parts.health.store_fault(),
            proxy_up=self.parts.proxy.up,
            shared_up=self.parts.fleet.up if self.parts.fleet.wanted else None,
            shared_reason=self.parts.fleet.reason,
            workers_up=not self.parts.pool.fault,
            workers=self.parts.pool.running,
            worker_deaths=self.parts.pool.deaths,
            faults=self.parts.health.faults(),
            memory=resident(),
            cpu=time.process_time(),
        )

    def _tick(self) -> None:
        """Once a second: look who is idle, tell how we are, and notice a clock that was set."""
        self._loop.call_later(TICK, self._tick)
        self.parts.server.second()
        self._tell_systemd()
        clocks = self._clock_difference()
        if abs(clocks - self._clocks) > CLOCK_STEP:
            log.warning("clock-set %s", KV(seconds=round(clocks - self._clocks)))
            self._plans.ask()
        self._clocks = clocks

    def _tell_for_sure(self, state: str) -> None:
        """Tell systemd *state*, now or at a later tick: it would end a service whose READY=1 got lost."""
        self._untold = "" if systemd.notify(state) else state

    def _feed_watchdog(self, pause: float) -> None:
        """Tell the watchdog every *pause* seconds that the daemon moves."""
        self._loop.call_later(pause, self._feed_watchdog, pause)
        if not self.parts.health.refresher_fault():
            systemd.notify("WATCHDOG=1")

    def _tell_systemd(self) -> None:
        """Tell again what systemd had no room for, and every ten seconds the counts."""
        if self._untold:
            self._tell_for_sure(self._untold)
        if self.parts.server.tick % STATUS_EVERY == 1:
            known, clients = self.parts.keeper.known, len(self.parts.server.connections)
            systemd.notify(f"STATUS={known.policies} policies, {known.negatives} without, {clients} connections")

    def _empty_replies(self) -> None:
        self._loop.call_later(self.parts.reply_cache.turn(), self._empty_replies)

    async def _reload(self) -> None:
        """Read and check the configuration, then swap it in; a faulty one changes nothing."""
        systemd.notify(f"RELOADING=1\nMONOTONIC_USEC={int(self.parts.clock.monotonic() * 1e6)}")
        try:
            loaded = await aside(lambda: read(self._config_file, again=True))
            _check_listeners(loaded.settings, self._passed)
            await self._listen(loaded.settings)
        except ConfigError as error:
            for fault in error.faults:
                log.error("reload-refused %s", KV(reason=fault))
        except ListenError as error:
            log.error("reload-refused %s", KV(reason=error))
        else:
            self._take(loaded.settings)
        self._tell_for_sure("READY=1")

    def _take(self, settings: Settings) -> None:
        if settings.cache.directory != self._settings.cache.directory:
            log.warning("reload-incomplete %s", KV(key="cache.directory", reason="it takes effect at the next start"))
        self.parts.current.swap(settings)
        self.parts.keeper.check_resolver()
        self._plans.ask()
        log.info("reloaded %s", KV(listen=" ".join(self.parts.server.addresses)))

    async def _plan_anew(self) -> None:
        self.parts.agenda.clear()
        await self.parts.keeper.plan_anew()

    async def stop(self) -> None:
        """Stop accepting, answer what is under way, close: within five seconds, whatever hangs."""
        self._tell_for_sure("STOPPING=1")
        self.parts.keeper.stop()
        await self._reloads.end()
        await self._plans.end()
        self.parts.server.stop_accepting()
        self.parts.control.close()
        self.parts.server.finish()
        deadline = self._loop.time() + DRAIN
        while self.parts.server.connections and self._loop.time() < deadline:
            await asyncio.sleep(0.02)
        self.parts.keeper.abandon()
        await asyncio.sleep(0)
        self.parts.server.close()
        if self._http is not None:
            self._http.close()
        self.parts.refresher.stop()
        self.parts.fleet.stop()
        self.parts.fast_path.close()
        self.parts.pool.stop()
        await self.parts.store.close(FLUSH)
