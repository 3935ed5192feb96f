"""The refresher: a thread that knows when something is due, and paces it.

It holds due times and nothing else: what is due, and whether it still is, the
keeper decides on the event loop. Few fetches are under way at once, and never
many in a second, so that a start with a million overdue policies is a steady
stream and lookups always come first.

Rule 1: what is overdue goes by the time that its policy is still in force.
Rule 2: a quarter of the places goes to what is overdue longest, so that those
        whose policies end late get through, whatever comes again and again.
Rule 3: domains whose last refresh was slow have half of the places at most:
        hosts that answer late, without failing, hold up themselves only.

Source: RFC 8461 section 10.2 (refresh in good time, whatever DNS says).
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from enum import Enum, auto
from typing import Protocol

from ...core.names import Domain
from .held import Note

log = logging.getLogger(__name__)

AT_ONCE = 48  # refreshes under way; more than a few only where hosts hang
BY_END = 36  # of them that are begun because their policy ends soonest; the others are overdue longest
SLOW_AT_ONCE = 24  # of them for domains known to be slow
SLOW = 5.0  # seconds that a refresh took
SLOW_KNOWN = 10_000  # domains; the longest unseen are forgotten
PER_SECOND = 60  # refreshes begun; a million policies a day are 12
HEARTBEAT = 1.0  # seconds between two signs of life with nothing to do
AFTER_ERROR = 3_600.0  # seconds until a domain that met an error of our own is looked at again
FEW = 64  # numbers of notes that are gone, kept before they are swept out
COUNTED = 10_000  # domains overdue that `overdue` tells at most


class Due(Protocol):
    def __call__(self, domain: Domain, landed: Callable[[], None]) -> bool:
        """Do what is due for *domain*, on the loop; True: a fetch began, *landed* is called at its end."""


class Place(Enum):
    """Why a domain is the next: whose place among those under way it takes."""

    BY_END = auto()
    BY_AGE = auto()
    SLOW = auto()


class _Overdue:
    """Notes that are due, by the end of their policy and by how long they have been due."""

    def __init__(self) -> None:
        self._notes: dict[int, Note] = {}
        self._numbers = itertools.count()
        self._by_end: list[tuple[float, int]] = []  # heaps, which may hold numbers of notes that are gone
        self._by_due: list[tuple[float, int]] = []

    def push(self, note: Note) -> None:
        due, ends, _ = note
        number = next(self._numbers)
        self._notes[number] = note
        heapq.heappush(self._by_end, (ends, number))
        heapq.heappush(self._by_due, (due, number))

    def pop_by_end(self) -> Domain:
        return self._pop(self._by_end)

    def pop_by_due(self) -> Domain:
        return self._pop(self._by_due)

    def _pop(self, heap: list[tuple[float, int]]) -> Domain:
        self._clean(heap)
        domain = self._notes.pop(heapq.heappop(heap)[1])[2]
        for each in (self._by_end, self._by_due):
            if len(each) > 2 * len(self._notes) + FEW:
                each[:] = [item for item in each if item[1] in self._notes]
                heapq.heapify(each)
        return domain

    def first_due(self) -> float:
        """When the one that is overdue longest was due; infinity if there is none."""
        self._clean(self._by_due)
        return self._by_due[0][0] if self._by_due else float("inf")

    def _clean(self, heap: list[tuple[float, int]]) -> None:
        while heap and heap[0][1] not in self._notes:
            heapq.heappop(heap)

    def __len__(self) -> int:
        return len(self._notes)


class Refresher(threading.Thread):
    """Due times in order, a bounded number of refreshes under way, a steady pace."""

    def __init__(self, loop: asyncio.AbstractEventLoop, due: Due) -> None:
        super().__init__(name="refresher", daemon=True)
        self._loop, self._due = loop, due
        self._notes: list[Note] = []  # a heap
        self._overdue, self._overdue_slow = _Overdue(), _Overdue()
        self._slow: OrderedDict[Domain, None] = OrderedDict()
        self._changed = threading.Condition()
        self._active = dict.fromkeys(Place, 0)
        self._stopped = False
        self.moved_at = time.monotonic()  # the last sign of life

    # -- called from the loop -------------------------------------------------

    def push(self, notes: Iterable[Note]) -> None:
        """Note when domains are due, by the monotonic clock; a domain may be noted twice."""
        with self._changed:
            for note in notes:
                heapq.heappush(self._notes, note)
            self._changed.notify()

    def clear(self) -> None:
        """Forget all that was noted: it is going to be noted anew."""
        with self._changed:
            self._notes = []
            self._overdue, self._overdue_slow = _Overdue(), _Overdue()
            self._changed.notify()

    def stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify()

    def overdue(self, now: float) -> tuple[int, float]:
        """How many are due now, at most COUNTED, and for how many seconds the first of them has been."""
        with self._changed:
            self._sort_out(now)
            first = min(self._overdue.first_due(), self._overdue_slow.first_due())
            return min(len(self._overdue) + len(self._overdue_slow), COUNTED), max(0.0, now - first)

    def _sort_out(self, now: float) -> None:
        """Put what is due with what is overdue."""
        while self._notes and self._notes[0][0] <= now:
            note = heapq.heappop(self._notes)
            (self._overdue_slow if note[2] in self._slow else self._overdue).push(note)

    # -- the thread -----------------------------------------------------------

    def run(self) -> None:
        while (chosen := self._next()) is not None:
            begun = self._ask(*chosen)
            if begun:
                with self._changed:
                    self._changed.wait_for(lambda: self._stopped, 1 / PER_SECOND)

    def _next(self) -> tuple[Domain, Place] | None:
        """The next domain that is due, when its time has come and there is room; None: stop."""
        with self._changed:
            while not self._stopped:
                self.moved_at = now = time.monotonic()
                self._sort_out(now)
                if (chosen := self._choose()) is not None:
                    return chosen
                wait = self._notes[0][0] - now if self._notes else HEARTBEAT
                self._changed.wait(min(wait, HEARTBEAT))
        return None

    def _choose(self) -> tuple[Domain, Place] | None:
        """A domain that is due and for which there is a place."""
        if sum(self._active.values()) >= AT_ONCE:
            return None
        if self._overdue and self._active[Place.BY_END] < BY_END:
            return self._overdue.pop_by_end(), Place.BY_END
        if self._overdue:
            return self._overdue.pop_by_due(), Place.BY_AGE
        if self._overdue_slow and self._active[Place.SLOW] < SLOW_AT_ONCE:
            return self._overdue_slow.pop_by_end(), Place.SLOW
        return None

    def _ask(self, domain: Domain, place: Place) -> bool:
        """Have the loop do what is due; whether that began a fetch."""
        answered = threading.Event()
        begun = [False]

        def on_loop() -> None:
            turn = _Turn(self, domain, place)
            try:
                begun[0] = self._due(domain, turn.landed)
            except Exception:
                log.exception("internal-error")
                self.push([(time.monotonic() + AFTER_ERROR, float("inf"), domain)])
            finally:
                if not begun[0]:
                    turn.free()
                answered.set()

        try:
            self._loop.call_soon_threadsafe(on_loop)
        except RuntimeError:  # the loop is closed: the daemon ends
            return False
        while not answered.wait(HEARTBEAT) and not self._stopped:
            pass
        return begun[0]

    def take_place(self, place: Place) -> None:
        with self._changed:
            self._active[place] += 1

    def free_place(self, place: Place) -> None:
        with self._changed:
            self._active[place] -= 1
            self._changed.notify()

    def note_pace(self, domain: Domain, seconds: float) -> None:
        """A refresh of *domain* took *seconds*."""
        with self._changed:
            self._slow.pop(domain, None)
            if seconds >= SLOW:
                self._slow[domain] = None
                if len(self._slow) > SLOW_KNOWN:
                    self._slow.popitem(last=False)


class _Turn:
    """A domain's place among those under way, given back once."""

    def __init__(self, refresher: Refresher, domain: Domain, place: Place) -> None:
        self._refresher, self._domain, self._place = refresher, domain, place
        self._began_at, self._freed = time.monotonic(), False
        refresher.take_place(place)

    def landed(self) -> None:
        self._refresher.note_pace(self._domain, time.monotonic() - self._began_at)
        self.free()

    def free(self) -> None:
        if not self._freed:
            self._freed = True
            self._refresher.free_place(self._place)
