"""The refresher: a thread that knows when something is due, and paces it.

It holds due times and nothing else: what is due, and whether it still is, the
keeper decides on the event loop. Few fetches are under way at once, and never
many in a second, so that a start with a million overdue policies is a steady
stream and lookups always come first.

Source: RFC 8461 section 10.2 (refresh in good time, whatever DNS says).
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import threading
import time
from collections.abc import Callable, Iterable
from typing import Protocol

from ..core.names import Domain

log = logging.getLogger(__name__)

AT_ONCE = 48  # refreshes under way; more than a few only where hosts hang
PER_SECOND = 80.0  # refreshes begun; a million policies a day are 12
HEARTBEAT = 1.0  # seconds between two signs of life with nothing to do


class Due(Protocol):
    def __call__(self, domain: Domain, landed: Callable[[], None]) -> bool:
        """Do what is due for *domain*, on the loop; True: a fetch began, *landed* is called at its end."""


class Refresher(threading.Thread):
    """Due times in order, a bounded number of refreshes under way, a steady pace."""

    def __init__(self, loop: asyncio.AbstractEventLoop, due: Due) -> None:
        super().__init__(name="refresher", daemon=True)
        self._loop, self._due = loop, due
        self._heap: list[tuple[float, Domain]] = []
        self._changed = threading.Condition()
        self._active = 0
        self._stopped = False
        self.moved_at = time.monotonic()  # the last sign of life

    # -- called from the loop -------------------------------------------------

    def push(self, dues: Iterable[tuple[float, Domain]]) -> None:
        """Note that domains are due at times of the monotonic clock; a domain may be noted twice."""
        with self._changed:
            for due in dues:
                heapq.heappush(self._heap, due)
            self._changed.notify()

    def replace(self, dues: list[tuple[float, Domain]]) -> None:
        """Forget all that was noted and note *dues*: the clock was set."""
        with self._changed:
            heapq.heapify(dues)
            self._heap = dues
            self._changed.notify()

    def stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify()

    def overdue(self, now: float) -> tuple[int, float]:
        """How many are due now, at most 10,000 counted, and for how many seconds the first has been."""
        with self._changed:
            lag = now - self._heap[0][0] if self._heap else 0.0
            count, pending = 0, [0]
            while pending and count < 10_000:
                at = pending.pop()
                if at < len(self._heap) and self._heap[at][0] <= now:
                    count += 1
                    pending += (2 * at + 1, 2 * at + 2)
            return count, max(lag, 0.0)

    # -- the thread -----------------------------------------------------------

    def run(self) -> None:
        while (domain := self._next()) is not None:
            begun = self._ask(domain)
            if begun:
                with self._changed:
                    self._changed.wait_for(lambda: self._stopped, 1 / PER_SECOND)

    def _next(self) -> Domain | None:
        """The next domain that is due, when its time has come and there is room; None: stop."""
        with self._changed:
            while not self._stopped:
                self.moved_at = now = time.monotonic()
                wait = self._heap[0][0] - now if self._heap else HEARTBEAT
                if wait <= 0 and self._active < AT_ONCE:
                    return heapq.heappop(self._heap)[1]
                self._changed.wait(min(wait, HEARTBEAT) if wait > 0 else HEARTBEAT)
        return None

    def _ask(self, domain: Domain) -> bool:
        """Have the loop do what is due; whether that began a fetch."""
        answered = threading.Event()
        begun = [False]

        def on_loop() -> None:
            try:
                begun[0] = self._due(domain, self._landed)
                if begun[0]:
                    self._active += 1
            except Exception:
                log.exception("internal-error")
            finally:
                answered.set()

        try:
            self._loop.call_soon_threadsafe(on_loop)
        except RuntimeError:  # the loop is closed: the daemon ends
            return False
        while not answered.wait(HEARTBEAT) and not self._stopped:
            pass
        return begun[0]

    def _landed(self) -> None:
        with self._changed:
            self._active -= 1
            self._changed.notify()
