"""The one thread that uses the store, and what the loop knows of it.

All state is the loop's. The thread is handed one piece of work at a time and
hands back what came of it, so nothing is locked, writes of a domain keep
their order, and the load cannot run ahead of the loop that takes it in.

Rule 1: reads, writes and pieces of the load take turns; in its turn a kind
        does what has queued up, so none waits for more than one piece of each.
Rule 2: a write that failed is not forgotten: it stays in `unwritten` and is
        tried again, unless a later one of the same domain takes its place.
Rule 3: what a caller asked to be written is what it reads, written or not.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future as ThreadFuture
from pathlib import Path
from typing import Any, TypeAlias

from ...adapters.store.disk import DiskStore
from ...adapters.store.rows import Store, StoreDamagedError
from ...core.entry import Entry
from ...core.names import Domain
from ...core.quoting import KV
from ...errors import MtaStsError, StoreError

log = logging.getLogger(__name__)

FIRST_RETRY, LAST_RETRY = 1.0, 60.0  # seconds, doubling in between
_READS, _WRITES, _LOADED = 100, 200, 50  # domains in one piece of work: a millisecond or a few

Change: TypeAlias = Entry | None  # None: the domain is deleted
_Task: TypeAlias = Callable[[Store], Any]
_Done: TypeAlias = Callable[[Any, StoreError | None], None]
_Tasks: TypeAlias = "queue.SimpleQueue[tuple[_Task, _Done] | None]"


class StoreKeeper:
    """Reads and writes of the store as futures of the running loop.

    Made before the loop runs, since opening the store blocks.
    Raises, then: StoreBusyError, StoreError. A future raises StoreError.
    """

    def __init__(self, open_store: Callable[[], Store]) -> None:
        self.contents: Callable[[], Iterable[Entry]] = tuple  # all that memory holds, for a store begun anew
        self.unwritten: dict[Domain, Change] = {}  # what could not be written, to be tried again
        self.moved_at = time.monotonic()  # the end of the last piece of work
        self.busy_since: float | None = None  # the beginning of the one under way
        self._failing: dict[str, str] = {}  # kind of work: why it fails
        self._damage, self._set_aside_at = "", float("-inf")
        self._reads: deque[tuple[Domain, asyncio.Future[Entry | None]]] = deque()
        self._changes: dict[Domain, Change] = {}  # not yet tried
        self._writing: dict[Domain, Change] = {}  # being tried
        self._waiting: dict[Domain, list[asyncio.Future[None]]] = {}  # for what is in _changes
        self._load: _Load | None = None
        self._write_retry, self._load_retry = _Retry(self._next), _Retry(self._next)
        self._turns = deque([self._begin_reads, self._begin_write, self._begin_load])
        self._idle: asyncio.Future[None] | None = None  # there: closing; done: nothing is left to do
        self._tasks: _Tasks = queue.SimpleQueue()
        opened: ThreadFuture[str] = ThreadFuture()
        threading.Thread(target=_run, args=(open_store, self._tasks, opened), name="store", daemon=True).start()
        if damage := opened.result():
            log.warning("store-damaged %s", KV(reason=damage))

    @classmethod
    def open(cls, directory: Path) -> StoreKeeper:
        return cls(lambda: DiskStore(directory))

    @property
    def healthy(self) -> bool:
        return not self._failing

    @property
    def failure(self) -> str:
        """Why the store is not healthy, in a sentence; else empty."""
        return next(iter(self._failing.values()), "")

    # -- what callers ask for -------------------------------------------------

    def get(self, domain: Domain) -> asyncio.Future[Entry | None]:
        future: asyncio.Future[Entry | None] = asyncio.get_running_loop().create_future()
        for changes in (self._changes, self._writing, self.unwritten):  # the newest first
            if domain in changes:
                future.set_result(changes[domain])
                return future
        if not self._refused(future):
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
        self._load = load = _Load(on_batch, {*self._changes, *self._writing, *self.unwritten})
        self._next()
        return load.future

    async def close(self, timeout: float) -> bool:
        """Write what is queued, within *timeout* seconds, and give the store back.

        Returns whether all is written. The thread of a stuck disk is left behind.
        """
        loop = asyncio.get_running_loop()
        self._idle, closed = loop.create_future(), loop.create_future()
        if self._load is not None:
            self._load.future.cancel()
            self._load = None
        self._write_retry.over()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                self._next()
                await self._idle
                self._start("close", lambda store: store.close(), lambda *_: closed.set_result(None))
                await closed
        self._tasks.put(None)
        self._write_retry.over()
        self._load_retry.over()
        unwritten = len({*self.unwritten, *self._changes, *self._writing})
        if unwritten:
            log.warning("store-incomplete %s", KV(unwritten=unwritten, reason=self.failure or "the disk is stuck"))
        return not unwritten

    def _change(self, domain: Domain, change: Change) -> asyncio.Future[None]:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if not self._refused(future):
            self.unwritten.pop(domain, None)
            self._changes[domain] = change
            self._waiting.setdefault(domain, []).append(future)
            if self._load is not None:
                self._load.left_out.add(domain)
            self._next()
        return future

    def _refused(self, future: asyncio.Future[Any]) -> bool:
        if self._idle is not None:
            _settle(future, None, StoreError("the store is being closed"))
        return self._idle is not None

    # -- turns ----------------------------------------------------------------

    def _next(self) -> None:
        """Hand the thread its next piece of work, if it has none."""
        if self.busy_since is not None:
            return
        if self._damage and not self._write_retry.pending:
            self._start("set-aside", lambda store: store.set_aside(), self._begun_anew)
        elif not self._damage and any(self._take_turn() for _ in range(len(self._turns))):
            pass
        elif self._idle is not None and not self._idle.done():
            self._idle.set_result(None)

    def _take_turn(self) -> bool:
        """Whether there was something to do for the kind of work whose turn it is."""
        begin = self._turns[0]
        self._turns.rotate(-1)
        return begin()

    def _start(self, kind: str, task: _Task, done: _Done) -> None:
        loop = asyncio.get_running_loop()
        self.busy_since = time.monotonic()

        def finished(result: Any, error: StoreError | None) -> None:
            loop.call_soon_threadsafe(self._finished, kind, done, result, error)

        self._tasks.put((task, finished))

    def _finished(self, kind: str, done: _Done, result: Any, error: StoreError | None) -> None:
        self.moved_at, self.busy_since = time.monotonic(), None
        try:
            done(result, error)
            self._judge(kind, error)
        finally:
            self._next()

    def _judge(self, kind: str, error: StoreError | None) -> None:
        """Keep account of what fails; say so when that begins and when it ends."""
        if isinstance(error, StoreDamagedError) and kind != "set-aside":
            self._damage = str(error)
            if time.monotonic() < self._set_aside_at + LAST_RETRY:
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
                _settle(future, entry, error)

        if reads:
            self._start("read", lambda store: [store.get(domain) for domain, _ in reads], done)
        return bool(reads)

    def _begin_write(self) -> bool:
        batch = dict(itertools.islice(self._changes.items(), _WRITES))
        waiting = [future for domain in batch for future in self._waiting.pop(domain)]
        for domain in batch:
            del self._changes[domain]
        if not self._write_retry.pending:
            batch.update(itertools.islice(self.unwritten.items(), _WRITES))

        def done(_: None, error: StoreError | None) -> None:
            self._written(batch, error)
            for future in waiting:
                _settle(future, None, error)

        if batch:
            self._writing = batch
            self._start("write", lambda store: _write(store, batch), done)
        return bool(batch)

    def _written(self, batch: dict[Domain, Change], error: StoreError | None) -> None:
        self._writing = {}
        if error is not None:
            self.unwritten.update((domain, batch[domain]) for domain in batch.keys() - self._changes.keys())
            if not isinstance(error, StoreDamagedError):
                self._write_retry.wait()
            return
        self._write_retry.over()
        for domain, change in batch.items():
            if domain in self.unwritten and self.unwritten[domain] is change:
                del self.unwritten[domain]

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
                load.on_batch([entry for entry in batch if entry.domain not in load.left_out])
            else:
                self._loaded(load)

        self._start("load", load.piece, done)
        return True

    def _loaded(self, load: _Load) -> None:
        self._load = None
        self._load_retry.over()
        log.info("store-loaded %s", KV(policies=load.rows, seconds=time.monotonic() - load.began_at))
        if load.skipped:
            log.warning("store-rows-skipped %s", KV(rows=load.skipped, first=load.first_skipped))
        _settle(load.future, None, None)

    def _begun_anew(self, aside: str, error: StoreError | None) -> None:
        """Fill the new store from memory."""
        self._set_aside_at = time.monotonic()
        if error is not None:
            self._write_retry.wait()
            return
        log.warning("store-damaged %s", KV(reason=self._damage, set_aside=aside))
        self._damage = ""
        self._write_retry.over()
        self._load_retry.over()
        for entry in self.contents():
            if entry.domain not in self._changes:
                self.unwritten.setdefault(entry.domain, entry)


class _Load:
    """A load under way."""

    def __init__(self, on_batch: Callable[[list[Entry]], None], left_out: set[Domain]) -> None:
        self.on_batch, self.left_out = on_batch, left_out
        self.future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.began_at = time.monotonic()
        self.rows = self.skipped = 0
        self.first_skipped = ""
        self.entries: Iterator[Entry] | None = None  # the thread's, as is what is skipped, while a piece is under way

    def piece(self, store: Store) -> list[Entry]:
        if self.entries is None:
            self.rows = self.skipped = 0
            self.entries = store.load(self._skip)
        return list(itertools.islice(self.entries, _LOADED))

    def _skip(self, sentence: str) -> None:
        self.first_skipped = self.first_skipped or sentence
        self.skipped += 1


class _Retry:
    """A pause that doubles each time, until it is over."""

    def __init__(self, again: Callable[[], None]) -> None:
        self._again = again
        self._timer: asyncio.TimerHandle | None = None
        self._delay = FIRST_RETRY

    @property
    def pending(self) -> bool:
        return self._timer is not None

    def wait(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._delay, self._ring)
            self._delay = min(2 * self._delay, LAST_RETRY)

    def over(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._delay = None, FIRST_RETRY

    def _ring(self) -> None:
        self._timer = None
        self._again()


def _settle(future: asyncio.Future[Any], result: Any, error: StoreError | None) -> None:
    if future.done():
        return  # given up by whoever waited
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
        future.exception()  # seen: who waits for no write need not ask either


def _write(store: Store, batch: dict[Domain, Change]) -> None:
    if entries := [change for change in batch.values() if change is not None]:
        store.put(entries)
    if deleted := [domain for domain, change in batch.items() if change is None]:
        store.delete(deleted)


def _run(open_store: Callable[[], Store], tasks: _Tasks, opened: ThreadFuture[str]) -> None:
    """The thread: it opens the store, does what it is told, and closes it."""
    try:
        store = open_store()
    except Exception as error:  # noqa: BLE001 - raised again where the store was to be opened
        opened.set_exception(error)
        return
    opened.set_result(store.damage)
    while (item := tasks.get()) is not None:
        task, finished = item
        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
            finished(*_outcome(task, store))
    store.close()


def _outcome(task: _Task, store: Store) -> tuple[Any, StoreError | None]:
    try:
        return task(store), None
    except StoreError as error:
        return None, error
    except MtaStsError as error:
        return None, StoreError(str(error))
    except Exception as error:  # the thread outlives a bug of ours
        reason = f"internal error: {type(error).__name__}: {error}"
        log.error("internal-error %s", KV(place="store", reason=reason), exc_info=error)
        return None, StoreError(reason)
