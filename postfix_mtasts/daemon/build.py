"""Make the parts of a daemon, or of a command that works where none runs, and join them.

This is the one place that knows which part is given which: a part itself is
handed what it needs, and does not look for it. What of a configuration counts
for which part at a reload stands here too (Current.changed).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ..adapters.clock import SystemClock
from ..config.settings import Settings, SharedSettings
from ..core.ports import Clock, Shared
from ..core.silence import Silence
from .counters import Counts
from .current import Current
from .operating.control_socket import ControlServer
from .operating.health import Health
from .operating.operations import Operations
from .policies.agenda import Agenda
from .policies.fleet import Fleet
from .policies.keeper import Keeper
from .policies.refresher import Refresher
from .policies.reporting import Reporter
from .policies.store_thread import StoreKeeper
from .serving.handler import Handler
from .serving.reply_cache import ReplyCache
from .serving.server import Server
from .workers.fast_path import FastPath
from .workers.launching import Launcher, start_afresh
from .workers.pool import Pool
from .workers.process import WorkerProcess
from .workers.proxy import ProxyWatch

EMPTYINGS = 5  # of the reply cache, within refresh.recheck


@dataclass(frozen=True, slots=True)
class Offline:
    """What answers `cache` where no daemon runs."""

    store: StoreKeeper
    pool: Pool
    keeper: Keeper
    operations: Operations


@dataclass(frozen=True, slots=True)
class Parts:
    """What a daemon is made of."""

    clock: Clock
    current: Current
    counts: Counts
    reply_cache: ReplyCache
    store: StoreKeeper
    pool: Pool
    fast_path: FastPath
    reporter: Reporter
    fleet: Fleet
    keeper: Keeper
    agenda: Agenda
    refresher: Refresher
    handler: Handler
    server: Server
    operations: Operations
    control: ControlServer
    health: Health
    silence: Silence  # of the resolvers
    proxy: ProxyWatch


def open_store(directory: Path) -> StoreKeeper:
    """Open the policy store. Raises: StoreBusyError, StoreError."""
    return StoreKeeper.open(directory, SystemClock.monotonic)


def open_shared(settings: SharedSettings) -> Shared:
    """Make what speaks to the shared store; it connects later."""
    from ..adapters.store.valkey import ValkeyShared  # redis-py may be missing, and few use it

    return ValkeyShared(settings)


def offline(settings: Settings, store: StoreKeeper) -> Offline:
    """Make what a command needs that works on *store* itself."""
    clock, counts = SystemClock(), Counts()
    pool = Pool(settings, counts.dns)
    keeper = Keeper(
        settings,
        pool,
        store,
        clock,
        counts,
        changed=lambda: None,
        plan=lambda notes: None,
        report=lambda failed, held, domain: None,
    )
    store.contents = keeper.known.contents
    operations = Operations(keeper, counts, clock)
    operations.configure(settings.maps)
    return Offline(store, pool, keeper, operations)


def daemon(
    settings: Settings,
    store: StoreKeeper,
    directory: Path,
    loop: asyncio.AbstractEventLoop,
    launch: Launcher = start_afresh,
) -> Parts:
    """Make the parts of a daemon whose store is in *directory* and whose workers are made by *launch*."""
    clock, current, counts, silence = SystemClock(), Current(settings), Counts(), Silence()
    reply_cache = ReplyCache(_emptied_every(settings), clock.monotonic)

    def count_dns(rdtype: str, result: str, number: int) -> None:
        counts.dns(rdtype, result, number)
        silence.note(result, clock.monotonic())

    proxy = ProxyWatch(settings.fetch, clock.monotonic)
    pool = Pool(settings, count_dns, partial(WorkerProcess, launch=launch), proxy.note)
    fast_path = FastPath(pool, settings.dns, count_dns, clock.monotonic, settings.fetch.by_name)
    reporter = Reporter(settings, fast_path, counts, clock.monotonic)
    fleet = Fleet(open_shared, clock, counts)
    agenda = Agenda(clock.monotonic)
    keeper = Keeper(
        settings,
        fast_path,
        store,
        clock,
        counts,
        changed=reply_cache.empty,
        plan=agenda.push,
        report=reporter.report,
        fleet=fleet,
    )
    store.contents = keeper.known.contents
    refresher = Refresher(loop, agenda, keeper.due, clock.monotonic)
    handler = Handler(keeper, reply_cache, counts, clock.monotonic)
    server = Server(reply_cache, handler.answer)
    operations = Operations(keeper, counts, clock)
    control, health = (
        ControlServer(directory, operations),
        Health(refresher, store, silence, proxy, pool, clock.monotonic),
    )
    store.looked = control.look
    parts = Parts(
        clock=clock,
        current=current,
        counts=counts,
        reply_cache=reply_cache,
        store=store,
        pool=pool,
        fast_path=fast_path,
        reporter=reporter,
        fleet=fleet,
        keeper=keeper,
        agenda=agenda,
        refresher=refresher,
        handler=handler,
        server=server,
        operations=operations,
        control=control,
        health=health,
        silence=silence,
        proxy=proxy,
    )
    _follow_reloads(parts)
    return parts


def _follow_reloads(parts: Parts) -> None:
    """Give each part its settings, and those that a reload changes for it."""
    current = parts.current
    parts.handler.configure(current.settings.maps)
    parts.operations.configure(current.settings.maps)
    current.changed(lambda new: (new.dns, new.fetch, new.lookup.wait), lambda _: parts.pool.configure(current.settings))
    current.changed(lambda new: (new.dns, new.fetch), lambda new: parts.fast_path.configure(new[0], new[1].by_name))
    current.changed(lambda new: new.fetch, parts.proxy.configure)
    current.changed(lambda new: (new.dns.servers, new.dns.trust_ad), lambda _: parts.keeper.dane.clear())
    current.changed(_emptied_every, parts.reply_cache.configure)
    current.changed(lambda new: new.maps, parts.handler.configure)
    current.changed(lambda new: new.maps, parts.operations.configure)
    current.changed(lambda new: new, parts.keeper.configure)
    current.changed(lambda new: new, parts.reporter.configure)
    current.changed(lambda new: new, parts.fleet.configure)


def _emptied_every(settings: Settings) -> float:
    """Return the seconds between two emptyings of the reply cache."""
    return settings.refresh.recheck / EMPTYINGS
