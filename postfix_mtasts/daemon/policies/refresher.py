"""The refresher: a thread that knows when something is due, and paces it.

It holds due times and nothing else: what is due, and whether it still is, the
keeper decides on the event loop. Few fetches are under way at once, and never
many in a second, so that a start with a million overdue policies is a steady
stream and lookups always come first. What is overdue goes by the time that
its policy is still in force.

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

from ...core.names import Domain
from .held import Note

log = logging.getLogger(__name__)

AT_ONCE = 48  # refreshes under way; more than a few only where hosts hang
PER_SECOND = 60  # refreshes begun; a million policies a day are 12
HEARTBEAT = 1.0  # seconds between two signs of life with nothing to do
AFTER_ERROR = 3_600.0  # seconds until a domain that met an error of our own is looked at again
COUNTED = 10_000  # domains overdue that `overdue` looks at


class Due(Protocol):
    def __call__(self, domain: Domain, landed: Callable[[], None]) -> bool:
        """Do what is due for *domain*, on the loop; True: a fetch began, *landed* is called at its end."""


class Refresher(threading.Thread):
    """Due times in order, a bounded number of refreshes under way, a steady pace."""

    def __init__(self, loop: asyncio.AbstractEventLoop, due: Due) -> None:
        super().__init__(name="refresher", daemon=True)
        self._loop, self._due = loop, due
        self._notes: list[Note] = []  # a heap
        self._overdue: list[tuple[float, float, Domain]] = []  # a heap: when the policy ends, when it was due
        self._changed = threading.Condition()
        self._active = 0
        self._stopped = False
        self.moved_at = time.monotonic()  # the last sign of life

    # -- called from the loop -------------------------------------------------

    def push(self, notes: Iterable[Note]) -> None:
        """Note when domains are due, by the monotonic clock; a domain may be noted twice."""
        with self._changed:
            for note in notes:
                heapq.heappush(self._notes, note)
            self._changed.notify()

    def replace(self, notes: list[Note]) -> None:
        """Forget all that was noted and note *notes*: the clock was set."""
        with self._changed:
            heapq.heapify(notes)
            self._notes = notes
            self._overdue = []
            self._changed.notify()

    def stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify()

    def overdue(self, now: float) -> tuple[int, float]:
        """How many are due now, at most COUNTED, and for how many seconds the first of them has been."""
        with self._changed:
            self._sort_out(now)
            lag = max((now - due for _, due, _ in self._overdue[:COUNTED]), default=0.0)
            return min(len(self._overdue), COUNTED), lag

    def _sort_out(self, now: float) -> None:
        """Put what is due with what is overdue."""
        while self._notes and self._notes[0][0] <= now:
            due, ends, domain = heapq.heappop(self._notes)
            heapq.heappush(self._overdue, (ends, due, domain))

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
                self._sort_out(now)
                if self._overdue and self._active < AT_ONCE:
                    return heapq.heappop(self._overdue)[2]
                wait = self._notes[0][0] - now if self._notes else HEARTBEAT
                self._changed.wait(min(wait, HEARTBEAT))
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
                self.push([(time.monotonic() + AFTER_ERROR, float("inf"), domain)])
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
