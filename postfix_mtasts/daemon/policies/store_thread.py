"""The one thread that uses the store, and what the loop knows of it.

All state is the loop's. The thread is handed one piece of work at a time and
hands back what came of it, so nothing is locked, writes of a domain keep
their order, and the load cannot run ahead of the loop that takes it in.

Rule 1: reads, writes, pieces of the load and looks at the place take turns;
        in its turn a kind does what has queued up, so none waits for more
        than one piece of each.
Rule 2: what a caller asked to be written is what it reads, written or not.
Rule 3: a damaged or removed store is begun anew from memory, and as long as
        not all of it is in memory also from what can be read of it.

What waits to be written is store_changes.py's, what the thread does store_work.py's.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future as ThreadFuture
from pathlib import Path
from typing import Any

from ...adapters.store.disk import DiskStore
from ...core.entry import Entry
from ...core.names import Domain
from ...core.ports import Store
from ...core.quoting import KV
from ...errors import StoreDamagedError, StoreError
from .futures import settle
from .store_changes import Change, Changes
from .store_retry import LAST_RETRY, Retry
from .store_work import Done, Load, Task, Tasks, run, write

log = logging.getLogger(__name__)

_READS, _WRITES = 100, 200  # domains in one piece of work: a millisecond or a few
LOOK_EVERY = 1.0  # seconds between two looks whether the store is still in its place


class StoreKeeper:
    """Reads and writes of the store as futures of the running loop.

    Made before the loop runs, since opening the store blocks.
    Raises, then: StoreBusyError, StoreError. A future raises StoreError.
    """

    def __init__(self, open_store: Callable[[], Store], monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self.contents: Callable[[], Iterable[Entry]] = tuple  # all that memory holds, for a store begun anew
        self.looked: Callable[[], None] = lambda: None  # called each second that the store is found in its place
        self.moved_at = self._monotonic()  # the end of the last piece of work
        self.busy_since: float | None = None  # the beginning of the one under way
        self._failing: dict[str, str] = {}  # kind of work: why it fails
        self._damage, self._set_aside_at = "", float("-inf")
        self._reads: deque[tuple[Domain, asyncio.Future[Entry | None]]] = deque()
        self._changes = Changes()
        self._load: Load | None = None
        self._all_read = False  # the load is over
        self._write_retry, self._load_retry = Retry(self._next), Retry(self._next)
        self._look_due = False
        self._look_timer: asyncio.TimerHandle | None = None
        self._turns = deque([self._begin_reads, self._begin_write, self._begin_load, self._begin_look])
        self._idle: asyncio.Event | None = None  # there: closing; set: nothing is left to do
        self._tasks: Tasks = queue.SimpleQueue()
        opened: ThreadFuture[str] = ThreadFuture()
        threading.Thread(target=run, args=(open_store, self._tasks, opened), name="store", daemon=True).start()
        if damage := opened.result():
            log.warning("store-damaged %s", KV(reason=damage))
        self._salvaging = bool(damage)  # what the load gives is not all in the store

    @classmethod
    def open(cls, directory: Path, monotonic: Callable[[], float]) -> StoreKeeper:
        return cls(lambda: DiskStore(directory), monotonic)

    @property
    def healthy(self) -> bool:
        return not self._failing

    @property
    def failure(self) -> str:
        """Why the store is not healthy, in a sentence; else empty."""
        return next(iter(self._failing.values()), "")

    @property
    def unwritten(self) -> dict[Domain, Change]:
        """What could not be written, and is tried again."""
        return self._changes.unwritten

    # -- what callers ask for -------------------------------------------------

    def get(self, domain: Domain) -> asyncio.Future[Entry | None]:
        future: asyncio.Future[Entry | None] = asyncio.get_running_loop().create_future()
        if (change := self._changes.newest(domain)) is not None:
            future.set_result(change[0])
        elif not self._refused(future):
            self._reads.append((domain, future))
            self._next()
        return future

    def put(self, entry: Entry) -> asyncio.Future[None]:
        """Done once *entry* is on the disk. A write that fails is tried again, with or without the caller."""
        return self._change(entry.domain, entry)

    def delete(self, domain: Domain) -> asyncio.Future[None]:
        """The same for the removal of *domain*."""
        return self._change(domain, None)

    def load(self, on_batch: Callable[[list[Entry]], None]) -> asyncio.Future[None]:
        """Hand all that is stored to *on_batch*, in pieces, on the loop; to be called once.

        What is put or deleted meanwhile is left out. A load that fails begins
        again after a while, so an entry may come twice.
        """
        self._load = load = Load(on_batch, self._changes.domains(), self._monotonic())
        self._look_due = True
        self._next()
        self._plan_look()
        return load.future

    async def close(self, timeout: float) -> bool:
        """Write what is queued, within *timeout* seconds, and give the store back.

        Returns whether all is written. The thread of a stuck disk is left behind.
        """
        self._idle, closed = asyncio.Event(), asyncio.Event()
        if self._load is not None:
            self._load.future.cancel()
            self._load = None
        if self._look_timer is not None:
            self._look_timer.cancel()
        self._look_due = False
        self._write_retry.over()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                self._next()
                await self._idle.wait()
                self._start("close", lambda store: store.close(), lambda *_: closed.set())
                await closed.wait()
        self._tasks.put(None)
        self._write_retry.over()
        self._load_retry.over()
        if unwritten := len(self._changes):
            log.warning("store-incomplete %s", KV(unwritten=unwritten, reason=self.failure or "the disk is stuck"))
        return not unwritten

    def _change(self, domain: Domain, change: Change) -> asyncio.Future[None]:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if not self._refused(future):
            self._changes.add(domain, change, future)
            if self._load is not None:
                self._load.left_out.add(domain)
            self._next()
        return future

    def _refused(self, future: asyncio.Future[Any]) -> bool:
        if self._idle is not None:
            settle(future, None, StoreError("the store is being closed"))
        return self._idle is not None

    # -- turns ----------------------------------------------------------------

    def _next(self) -> None:
        """Hand the thread its next piece of work, if it has none."""
        if self.busy_since is not None:
            return
        if self._damage and not self._write_retry.pending:
            salvaged = not self._all_read
            self._start("renew", lambda store: store.renew(salvaged), self._begun_anew)
        elif not self._damage and any(self._take_turn() for _ in range(len(self._turns))):
            pass
        elif self._idle is not None:
            self._idle.set()

    def _take_turn(self) -> bool:
        """Whether there was something to do for the kind of work whose turn it is."""
        begin = self._turns[0]
        self._turns.rotate(-1)
        return begin()

    def _start(self, kind: str, task: Task, done: Done) -> None:
        loop = asyncio.get_running_loop()
        self.busy_since = self._monotonic()

        def finished(result: Any, error: StoreError | None) -> None:
            loop.call_soon_threadsafe(self._finished, kind, done, result, error)

        self._tasks.put((task, finished))

    def _finished(self, kind: str, done: Done, result: Any, error: StoreError | None) -> None:
        self.moved_at, self.busy_since = self._monotonic(), None
        try:
            done(result, error)
            self._judge(kind, error)
        finally:
            self._next()

    def _judge(self, kind: str, error: StoreError | None) -> None:
        """Keep account of what fails; say so when that begins and when it ends."""
        if isinstance(error, StoreDamagedError) and kind != "renew":
            self._damage = str(error)
            if self._monotonic() < self._set_aside_at + LAST_RETRY:
                self._write_retry.wait()  # a disk that damages whatever is written must not be filled
        elif error is not None:
            if not self._failing:
                log.warning("store-failing %s", KV(kind=kind, reason=error))
            self._failing[kind] = str(error)
        elif kind in self._failing and not (kind == "write" and self.unwritten):
            del self._failing[kind]
            if not self._failing:
                log.info("store-works-again %s", KV(kind=kind))

    def _begin_reads(self) -> bool:
        reads = [self._reads.popleft() for _ in range(min(len(self._reads), _READS))]

        def done(entries: list[Entry | None], error: StoreError | None) -> None:
            for (_, future), entry in zip(reads, entries or [None] * len(reads), strict=True):
                settle(future, entry, error)

        if reads:
            self._start("read", lambda store: [store.get(domain) for domain, _ in reads], done)
        return bool(reads)

    def _begin_write(self) -> bool:
        batch, waiting = self._changes.begin(_WRITES, again=not self._write_retry.pending)

        def done(_: None, error: StoreError | None) -> None:
            self._changes.end(error)
            if error is None:
                self._write_retry.over()
            elif not isinstance(error, StoreDamagedError):
                self._write_retry.wait()
            for future in waiting:
                settle(future, None, error)

        if batch:
            self._start("write", lambda store: write(store, batch), done)
        return bool(batch)

    def _begin_load(self) -> bool:
        load = self._load
        if load is None or self._load_retry.pending:
            return False

        def done(batch: list[Entry] | None, error: StoreError | None) -> None:
            if self._load is None:
                return  # closing
            if error is not None or batch is None:
                load.entries = None
                self._load_retry.wait()
            elif batch:
                load.rows += len(batch)
                batch = [entry for entry in batch if entry.domain not in load.left_out]
                if self._salvaging:
                    self._changes.refill(batch)
                load.on_batch(batch)
            else:
                self._loaded(load)

        self._start("load", load.piece, done)
        return True

    def _loaded(self, load: Load) -> None:
        self._load, self._all_read, self._salvaging = None, True, False
        self._load_retry.over()
        log.info("store-loaded %s", KV(policies=load.rows, seconds=self._monotonic() - load.began_at))
        if load.skipped:
            log.warning("store-rows-skipped %s", KV(rows=load.skipped, first=load.first_skipped))
        settle(load.future, None, None)

    def _begun_anew(self, aside: str, error: StoreError | None) -> None:
        """Fill the new store from memory, and where not all is in memory from the old one."""
        self._set_aside_at = self._monotonic()
        if error is not None:
            self._write_retry.wait()
            return
        moved = {"set_aside": aside} if aside else {}
        log.warning("store-damaged %s", KV(reason=self._damage, **moved))
        self._damage = ""
        self._write_retry.over()
        self._load_retry.over()
        self._changes.refill(self.contents())
        if not self._all_read:
            self._salvaging = True
            if self._load is not None:
                self._load.entries = None

    def _plan_look(self) -> None:
        if self._idle is None:
            self._look_timer = asyncio.get_running_loop().call_later(LOOK_EVERY, self._want_look)

    def _want_look(self) -> None:
        self._look_due = True
        self._plan_look()
        self._next()

    def _begin_look(self) -> bool:
        due, self._look_due = self._look_due, False

        def done(_: None, error: StoreError | None) -> None:
            if error is None and self._idle is None:
                self.looked()

        if due:
            self._start("look", lambda store: store.check(), done)
        return due
