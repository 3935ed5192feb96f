"""The daemon, whole: builds everything, handles signals, reloads, ends.

Order of the start: configuration, store (its lock decides who runs), loop,
listeners, READY; the store is then loaded in the background.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Coroutine, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..config.file import Loaded, read
from ..config.settings import Settings
from ..core.quoting import KV
from ..errors import ConfigError, ListenError
from . import logs, systemd
from .counters import Counts
from .directory import store_directory
from .operating.control_socket import ControlServer
from .operating.health import Health
from .operating.operations import Operations
from .operating.status import Running
from .operating.survey import survey
from .policies.keeper import Keeper
from .policies.refresher import Refresher
from .policies.reporting import Reporter
from .policies.store_thread import StoreKeeper
from .serving.handler import Answerer
from .serving.listeners import split_inet
from .serving.reply_cache import Frames
from .serving.server import Server
from .workers.fast_path import Prober
from .workers.pool import Jobs

if TYPE_CHECKING:
    from .operating.http import HttpServer
    from .operating.metrics import Snapshot

log = logging.getLogger(__name__)

DRAIN = 4.5  # seconds that SIGTERM leaves to what is under way
FLUSH = 1.0  # seconds for the store to write what is queued
TICK = 1.0  # seconds
STATUS_EVERY = 10  # ticks, the first soon after the start
GC_THRESHOLD = 20_000  # new objects between two looks for cycles: a cold lookup makes a dozen, and no cycle
CLOCK_STEP = 1.0  # seconds between the two clocks that only a clock set by somebody explains


def run(loaded: Loaded, config_file: str | None) -> None:
    """Run until SIGTERM or SIGINT. Raises: ConfigError, ListenError, StoreError, StoreBusyError."""
    gc.set_threshold(GC_THRESHOLD)
    logs.configure(loaded.settings.log)
    passed = systemd.passed_sockets()
    _check_listeners(loaded.settings, passed)
    directory = store_directory(loaded)
    store = StoreKeeper.open(directory)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_main(loaded, config_file, store, directory, passed))


def _check_listeners(settings: Settings, passed: Mapping[str, socket.socket]) -> None:
    """Raises: ListenError where there would be none."""
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
    loaded: Loaded, config_file: str | None, store: StoreKeeper, directory: Path, passed: dict[str, socket.socket]
) -> None:
    daemon = Daemon(loaded.settings, config_file, store, directory, passed)
    try:
        await daemon.start()
        await daemon.stopped.wait()
        log.info("stopping")
    finally:
        await daemon.stop()
    log.info("stopped")


class Daemon:
    """All parts of a running daemon."""

    def __init__(
        self,
        settings: Settings,
        config_file: str | None,
        store: StoreKeeper,
        directory: Path,
        passed: dict[str, socket.socket],
    ) -> None:
        self._settings, self._config_file, self._passed = settings, config_file, passed
        self.stopped = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._reloading = asyncio.Lock()
        self.counts = Counts()
        self.frames = Frames(settings.refresh.recheck / 5)
        self.jobs = Jobs(settings, self.counts.dns)
        self.store = store
        self.prober = Prober(self.jobs, settings.dns, self.counts.dns)
        self.keeper = Keeper(settings, self.prober, store, self.frames, self.counts)
        store.contents = self.keeper.contents
        self.reporter = Reporter(settings, self.jobs, self.counts)
        self.keeper.report = self.reporter.report
        self.refresher = Refresher(self._loop, self.keeper.due)
        self.keeper.schedule = self.refresher.push
        self.answerer = Answerer(self.keeper, self.frames, self.counts)
        self.server = Server(self.frames, self.answerer.answer)
        self.operations = Operations(self.keeper, self.counts)
        self.operations.running = lambda: self._running(directory)
        self.control = ControlServer(directory, self.operations)
        self.health = Health(self.refresher, store)
        self._http: HttpServer | None = None
        self._http_address: str | None = None
        self._watched = bool(os.environ.get("WATCHDOG_USEC"))
        self._clocks = time.time() - time.monotonic()

    async def start(self) -> None:
        """Raises: ListenError."""
        self.answerer.maps = self.operations.maps = self._settings.maps
        await self._listen(self._settings)
        await self.control.start()
        self._loop.add_signal_handler(signal.SIGTERM, self.stopped.set)
        self._loop.add_signal_handler(signal.SIGINT, self.stopped.set)
        self._loop.add_signal_handler(signal.SIGHUP, lambda: self._spawn(self._reload()))
        self.jobs.start()
        self.refresher.start()
        self._check_resolver()
        self._spawn(self._load())
        self._loop.call_later(TICK, self._tick)
        self._empty_frames()
        log.info("ready %s", KV(listen=" ".join(self.server.addresses), version=__version__))
        systemd.notify("READY=1")

    def _check_resolver(self) -> None:
        """DANE rests on a validating resolver that nobody stands in front of."""
        if any(each.dane for each in self._settings.maps.values()):
            self.jobs.submit({"job": "resolver"}, _judge_resolver)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _load(self) -> None:
        """Hold all that is stored."""
        with contextlib.suppress(asyncio.CancelledError):
            await self.store.load(self.keeper.take_stored)
            self.keeper.loaded = True
            gc.freeze()  # what was loaded stays: no collection needs to walk it again

    async def _listen(self, settings: Settings) -> None:
        """Listen where *settings* say, for Postfix and for monitoring; all of it or nothing. Raises: ListenError."""
        address, fresh = settings.metrics.listen, self._http
        if address != self._http_address:
            fresh = self._open_http(address) if address is not None else None
        try:
            await self.server.listen(settings, self._passed)
        except ListenError:
            if fresh is not None and fresh is not self._http:
                fresh.close()
            raise
        if self._http is not None and self._http is not fresh:
            self._http.close()
        self._http, self._http_address = fresh, address

    def _open_http(self, address: str) -> HttpServer:
        from .operating.http import HttpServer  # prometheus_client takes 50 ms that few need

        return HttpServer(address, self._loop, self.snapshot, self.health.faults)

    async def snapshot(self) -> Snapshot:
        """What /metrics shows, as it is now."""
        from .operating.metrics import Snapshot

        policies = await survey(self.keeper)
        due, lag = self.refresher.overdue(time.monotonic())
        return Snapshot(
            lookups=self.counts.all_lookups(),
            cold_buckets=self.counts.cold_buckets(),
            cold_seconds=self.counts.cold_seconds,
            fetches=dict(self.counts.fetches),
            dns_queries=dict(self.counts.dns_queries),
            reports=dict(self.counts.reports),
            policies=policies,
            negatives=len(self.keeper.negatives),
            connections=len(self.server.connections),
            errors=self.counts.errors,
            refresh_due=due,
            refresh_lag=lag,
        )

    def _running(self, directory: Path) -> Running:
        """What `status` shows beside what is known of domains."""
        due, lag = self.refresher.overdue(time.monotonic())
        listen, clients = list(self.server.addresses), len(self.server.connections)
        return Running(str(directory), listen, self._http_address, clients, due, lag, self.health.faults())

    def _tick(self) -> None:
        """Once a second: who is idle, how we are, and whether somebody set the clock."""
        self.server.tick += 1
        self._tell_systemd()
        clocks = time.time() - time.monotonic()
        if abs(clocks - self._clocks) > CLOCK_STEP:
            log.warning("clock-set %s", KV(seconds=round(clocks - self._clocks)))
            self.refresher.replace(self.keeper.clock_was_set())
        self._clocks = clocks
        self._loop.call_later(TICK, self._tick)

    def _tell_systemd(self) -> None:
        """The watchdog's sign of life, and once in ten seconds how much there is."""
        if self._watched and not self.health.refresher_fault():
            systemd.notify("WATCHDOG=1")
        if self.server.tick % STATUS_EVERY == 1:
            held, clients = len(self.keeper.held), len(self.server.connections)
            systemd.notify(f"STATUS={held} policies, {len(self.keeper.negatives)} without, {clients} connections")

    def _empty_frames(self) -> None:
        self._loop.call_later(self.frames.turn(), self._empty_frames)

    async def _reload(self) -> None:
        """Check, then swap; with a fault the old configuration stays in force."""
        async with self._reloading:
            systemd.notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
            try:
                loaded = read(self._config_file)
                _check_listeners(loaded.settings, self._passed)
                await self._listen(loaded.settings)
            except ConfigError as error:
                for fault in error.faults:
                    log.error("reload-refused %s", KV(reason=fault))
            except ListenError as error:
                log.error("reload-refused %s", KV(reason=error))
            else:
                self._take(loaded.settings)
            systemd.notify("READY=1")

    def _take(self, settings: Settings) -> None:
        if settings.cache.directory != self._settings.cache.directory:
            log.warning("reload-incomplete %s", KV(key="cache.directory", reason="it takes effect at the next start"))
        logs.configure(settings.log)
        if (settings.dns, settings.fetch) != (self._settings.dns, self._settings.fetch):
            self.jobs.configure(settings)
            self.prober.configure(settings.dns)
        if settings.dns.servers != self._settings.dns.servers:
            self.keeper.dane.clear()
        self._settings = settings
        self.frames.period = settings.refresh.recheck / 5
        self.answerer.maps = self.operations.maps = settings.maps
        self.keeper.configure(settings)
        self.reporter.configure(settings)
        self._check_resolver()
        self.refresher.replace(self.keeper.clock_was_set())
        log.info("reloaded %s", KV(listen=" ".join(self.server.addresses)))

    async def stop(self) -> None:
        """Stop accepting, answer what is under way, close. Five seconds at most, whatever hangs."""
        systemd.notify("STOPPING=1")
        self.keeper.stopping = True
        self.server.stop_accepting()
        self.control.close()
        self.server.finish()
        deadline = self._loop.time() + DRAIN
        while self.server.connections and self._loop.time() < deadline:
            await asyncio.sleep(0.02)
        self.keeper.abandon()
        await asyncio.sleep(0)
        self.server.close()
        if self._http is not None:
            self._http.close()
        self.refresher.stop()
        self.prober.close()
        self.jobs.stop()
        await self.store.close(FLUSH)


def _judge_resolver(answer: dict[str, Any]) -> None:
    """Warn of a resolver whose word on DNSSEC is worth nothing (RFC 7672 section 1.3.1)."""
    if (found := answer.get("resolver")) is None:
        return  # the worker process died, which is said elsewhere
    servers = [str(server) for server in found["servers"]]
    advice = "domains count as without DANE on maps with dane"
    if not found["secure"]:
        log.warning("resolver-not-validating %s", KV(servers=" ".join(servers), reason=f"no AD for the root; {advice}"))
    hosts = [split_inet(server)[0] for server in servers]
    if remote := [host for host in hosts if not ip_address(host.partition("%")[0]).is_loopback]:
        log.warning(
            "resolver-not-local %s", KV(servers=" ".join(remote), reason="its answers can be forged on the way")
        )
