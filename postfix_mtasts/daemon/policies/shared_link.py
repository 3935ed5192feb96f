"""The threads that use the shared store, which block, and hand what comes of it to the event loop.

asking     what somebody waits for: first lookups, in batches, and leases
telling    offers and withdrawals, in their order
listening  connects, reconciles both ways, and passes on what others change

After a failure of any of them the listener connects and reconciles anew,
with growing pauses; until it has, nothing is asked or told.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import random
import threading
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from ...core.entry import Entry
from ...core.names import Domain
from ...core.ports import BadRow, Shared, SharedRow, Withdrawn
from ...core.quoting import KV
from ...errors import SharedError
from .futures import settle

if TYPE_CHECKING:
    from .fleet import Fleet

log = logging.getLogger(__name__)

FIRST_PAUSE, LAST_PAUSE = 0.5, 10.0  # seconds between two tries to connect
LISTEN = 0.5  # seconds that the listener waits for changes
HEARTBEAT = 3.0  # seconds between two looks whether the content is still there
AT_ONCE = 100  # lookups, or offers, in one exchange
REST = 0.01  # seconds between two pieces of a reconciliation, at least; lookups come first
HANDED = 60.0  # seconds that the loop may take for a piece
MOST = 1_000_000  # rows of a reconciliation
OUR_ERROR = "an internal error, see the log"

T = TypeVar("T")
Row: TypeAlias = tuple[Entry | Withdrawn, float]
_Task = Callable[[], None]


def _by_key(rows: Iterable[SharedRow]) -> dict[str, SharedRow]:
    return {row.key if isinstance(row, BadRow) else row.domain: row for row in rows}


class _Thread(threading.Thread):
    """Does one task after another, until it is given None."""

    def __init__(self, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self.tasks: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()

    def run(self) -> None:
        while (task := self.tasks.get()) is not None:
            with contextlib.suppress(RuntimeError, CancelledError):  # the loop was closed meanwhile
                task()


class SharedLink:
    """The threads of one shared store. All but the threads' own work is for the event loop."""

    def __init__(
        self, shared: Shared, fleet: Fleet, loop: asyncio.AbstractEventLoop, monotonic: Callable[[], float]
    ) -> None:
        self._shared, self._fleet, self._loop, self._monotonic = shared, fleet, loop, monotonic
        self._asking, self._telling = _Thread("shared-asking"), _Thread("shared-telling")
        self._listening = threading.Thread(target=self._listen, name="shared-listening", daemon=True)
        self._wanted: dict[Domain, list[asyncio.Future[SharedRow | None]]] = {}
        self._stopped = threading.Event()
        self.broken = threading.Event()  # connect anew

    def start(self) -> None:
        for thread in (self._asking, self._telling, self._listening):
            thread.start()

    def stop(self) -> None:
        """Have the threads end, and wait for none of them."""
        self._stopped.set()
        for thread in (self._asking, self._telling):
            thread.tasks.put(None)

    def get(self, domain: Domain) -> asyncio.Future[SharedRow | None]:
        """What is there of *domain*; whatever is asked for meanwhile goes with it."""
        future: asyncio.Future[SharedRow | None] = self._loop.create_future()
        if not self._wanted:
            self._asking.tasks.put(self._get)
        self._wanted.setdefault(domain, []).append(future)
        return future

    def _get(self) -> None:
        taken = self._on_loop(self._take_wanted())
        found, error = self._tried(lambda shared: _by_key(shared.get(list(taken))))
        for domain, futures in taken.items():
            for future in futures:
                self._loop.call_soon_threadsafe(settle, future, (found or {}).get(domain), error)

    async def _take_wanted(self) -> dict[Domain, list[asyncio.Future[SharedRow | None]]]:
        domains = list(self._wanted)[:AT_ONCE]
        taken = {domain: self._wanted.pop(domain) for domain in domains}
        if self._wanted:
            self._asking.tasks.put(self._get)
        return taken

    def ask(self, what: Callable[[Shared], T]) -> asyncio.Future[T]:
        """What comes of *what*, for somebody who waits."""
        return self._queue(self._asking, what)

    def tell(self, what: Callable[[Shared], T]) -> asyncio.Future[T]:
        """The same after all that was told before."""
        return self._queue(self._telling, what)

    def _queue(self, thread: _Thread, what: Callable[[Shared], T]) -> asyncio.Future[T]:
        future: asyncio.Future[T] = self._loop.create_future()

        def task() -> None:
            result, error = self._tried(what)
            self._loop.call_soon_threadsafe(settle, future, result, error)

        thread.tasks.put(task)
        return future

    def _tried(self, what: Callable[[Shared], T]) -> tuple[T | None, SharedError | None]:
        """Return what comes of *what*, or why nothing does. The thread outlives whatever a server answers."""
        try:
            self._unless_broken()
            return what(self._shared), None
        except SharedError as failure:
            return None, self._away(failure)
        except Exception as failure:
            log.error("internal-error %s", KV(place="shared store", reason=failure), exc_info=failure)
            return None, self._away(SharedError(OUR_ERROR))

    def _away(self, failure: SharedError) -> SharedError:
        """Have everybody know of the first failure of a connection."""
        if not self.broken.is_set():
            self.broken.set()
            self._tell_loop(self._fleet.away, str(failure))
        return failure

    def _unless_broken(self) -> None:
        """Let nothing that is queued wait for a server that is away. Raises: SharedError."""
        if self.broken.is_set():
            raise SharedError("the connection is broken")

    # -- the listener ----------------------------------------------------------------

    def _listen(self) -> None:
        pause = FIRST_PAUSE
        while not self._stopped.is_set():
            began = self._monotonic()
            try:
                self._shared.close()
                self._follow()
            except SharedError as error:
                self._tell_loop(self._fleet.away, str(error))
            except CancelledError:
                return  # the daemon ends
            except Exception as error:  # the thread outlives a bug of ours
                if self._stopped.is_set() or self._loop.is_closed():
                    return
                log.error("internal-error %s", KV(place="shared store", reason=error), exc_info=error)
                self._tell_loop(self._fleet.away, OUR_ERROR)
            pause = FIRST_PAUSE if self._monotonic() > began + LAST_PAUSE else min(2 * pause, LAST_PAUSE)
            self._stopped.wait(pause * random.uniform(0.5, 1.0))  # not all at once
        self._shared.close()

    def _follow(self) -> None:
        """Connect, reconcile, and pass changes on, until the connection breaks or is found broken."""
        content = self._shared.check()
        self._shared.changes(0)
        self.broken.clear()
        self._tell_loop(self._fleet.reached)
        self._reconcile()
        looked = self._monotonic()
        while not self._stopped.is_set() and not self.broken.is_set():
            self._pass_on(LISTEN)
            if self._monotonic() >= looked + HEARTBEAT:
                looked = self._monotonic()
                if (now := self._shared.check()) != content:  # emptied, or another server's
                    content = now
                    self._reconcile()

    def _pass_on(self, seconds: float) -> None:
        if domains := self._shared.changes(seconds):
            self._on_loop(self._fleet.take(self._shared.get(domains)))
            self._tell_loop(self._fleet.count, "changes", "ok")

    def _reconcile(self) -> None:
        """Take what is newer there, and offer what is newer here, in pieces with rests between."""
        began, seen = self._monotonic(), dict[Domain, float]()
        for rows in self._shared.rows():
            piece = self._monotonic()
            seen.update(
                (row.domain, row.at if isinstance(row, Withdrawn) else row.fetched_at)
                for row in rows
                if not isinstance(row, BadRow)
            )
            self._on_loop(self._fleet.take(rows))
            self._pass_on(0)
            self._stopped.wait(max(REST, self._monotonic() - piece))
            if self._stopped.is_set() or self.broken.is_set() or len(seen) > MOST:
                return
        ours = self._on_loop(self._fleet.unknown_to_others(seen))
        for first in range(0, len(ours), AT_ONCE):
            piece = self._monotonic()
            self._shared.offer(ours[first : first + AT_ONCE])
            self._pass_on(0)
            self._stopped.wait(max(REST, self._monotonic() - piece))
            if self._stopped.is_set() or self.broken.is_set():
                return
        self._tell_loop(self._fleet.all_offered, ours)
        self._tell_loop(self._fleet.count, "reconcile", "ok")
        self._tell_loop(self._fleet.reconciled, len(seen), len(ours), self._monotonic() - began)

    def _on_loop(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            handed = asyncio.run_coroutine_threadsafe(work, self._loop)
        except RuntimeError:  # the daemon ends
            work.close()
            raise
        return handed.result(HANDED)

    def _tell_loop(self, what: Callable[..., None], *values: object) -> None:
        self._loop.call_soon_threadsafe(self._if_running, what, values)

    def _if_running(self, what: Callable[..., None], values: tuple[object, ...]) -> None:
        if not self._stopped.is_set():  # else another link may be at work
            what(*values)
