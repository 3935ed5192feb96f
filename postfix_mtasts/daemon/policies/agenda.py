"""When each policy is due, and which of those that are due is the next.

The keeper notes due times, the refresher's thread takes what is due; a lock
is between them. A note may stand for nothing any more: whoever acts on it
asks the keeper first.

Rule 1: what is overdue goes by the time that its policy is still in force.
Rule 2: a quarter of the places goes to what is overdue longest, so that those
        whose policies expire late get through, whatever comes again and again.
Rule 3: domains whose last refresh was slow have half of the places at most:
        hosts that answer late, without failing, hold up themselves only.
"""

from __future__ import annotations

import heapq
import itertools
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from enum import Enum, auto

from ...core.names import Domain
from .held import Note

AT_ONCE = 48  # refreshes under way; more than a few only where hosts hang
BY_END = 36  # of them that are begun because their policy expires soonest; the others are overdue longest
SLOW_AT_ONCE = 24  # of them for domains known to be slow
SLOW = 5.0  # seconds that a refresh took
SLOW_KNOWN = 10_000  # domains; the longest unseen are forgotten
COUNTED = 10_000  # domains overdue that `overdue` tells at most
_FEW = 64  # numbers of notes that are gone, kept before they are swept out


class Place(Enum):
    """Why a domain is the next: whose place among those under way it takes."""

    BY_END = auto()
    BY_AGE = auto()
    SLOW = auto()


class Agenda:
    """Due times in order, and the places of those under way."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._notes: list[Note] = []  # a heap
        self._overdue, self._overdue_slow = _Overdue(), _Overdue()
        self._slow: OrderedDict[Domain, None] = OrderedDict()
        self._active = dict.fromkeys(Place, 0)
        self._changed = threading.Condition()
        self._stopped = False

    def push(self, notes: Iterable[Note]) -> None:
        """Note when domains are due, by the monotonic clock; a domain may be noted twice."""
        with self._changed:
            first = self._notes[0] if self._notes else None
            for note in notes:
                heapq.heappush(self._notes, note)
            if self._notes and self._notes[0] is not first:  # else who waits need not wake to wait again
                self._changed.notify()

    def clear(self) -> None:
        """Forget all notes: everything is planned anew."""
        with self._changed:
            self._notes = []
            self._overdue, self._overdue_slow = _Overdue(), _Overdue()

    def overdue(self, now: float) -> tuple[int, float]:
        """Tell how many are due now, at most COUNTED, and for how many seconds the first of them has been."""
        with self._changed:
            self._sort_out(now)
            first = min(self._overdue.first_due(), self._overdue_slow.first_due())
            return min(len(self._overdue) + len(self._overdue_slow), COUNTED), max(0.0, now - first)

    def next(self, wait: float) -> tuple[Domain, Place] | None:
        """Return the next domain that is due and has a place, or None after *wait* seconds at most."""
        with self._changed:
            for _ in range(2):
                if self._stopped:
                    return None
                now = self._monotonic()
                self._sort_out(now)
                if (chosen := self._choose()) is not None:
                    return chosen
                until = self._notes[0][0] - now if self._notes else wait
                self._changed.wait(max(0.0, min(until, wait)))
        return None

    def _sort_out(self, now: float) -> None:
        """Put what is due with what is overdue."""
        while self._notes and self._notes[0][0] <= now:
            note = heapq.heappop(self._notes)
            (self._overdue_slow if note[2] in self._slow else self._overdue).push(note)

    def _choose(self) -> tuple[Domain, Place] | None:
        """Return a domain that is due and for which there is a place."""
        if sum(self._active.values()) >= AT_ONCE:
            return None
        if self._overdue and self._active[Place.BY_END] < BY_END:
            return self._overdue.pop_by_end(), Place.BY_END
        if self._overdue:
            return self._overdue.pop_by_due(), Place.BY_AGE
        if self._overdue_slow and self._active[Place.SLOW] < SLOW_AT_ONCE:
            return self._overdue_slow.pop_by_end(), Place.SLOW
        return None

    def take(self, place: Place) -> None:
        with self._changed:
            self._active[place] += 1

    def free(self, place: Place) -> None:
        with self._changed:
            self._active[place] -= 1
            self._changed.notify()

    def note_pace(self, domain: Domain, seconds: float) -> None:
        """Note that a refresh of *domain* took *seconds*."""
        with self._changed:
            self._slow.pop(domain, None)
            if seconds >= SLOW:
                self._slow[domain] = None
                if len(self._slow) > SLOW_KNOWN:
                    self._slow.popitem(last=False)

    def pause(self, seconds: float) -> None:
        """Wait, unless everything ends."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopped, seconds)

    def stop(self) -> None:
        """Let nobody wait any longer."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()


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

    def first_due(self) -> float:
        """Return when the one that is overdue longest was due; infinity if there is none."""
        self._clean(self._by_due)
        return self._by_due[0][0] if self._by_due else float("inf")

    def _pop(self, heap: list[tuple[float, int]]) -> Domain:
        self._clean(heap)
        domain = self._notes.pop(heapq.heappop(heap)[1])[2]
        for each in (self._by_end, self._by_due):
            if len(each) > 2 * len(self._notes) + _FEW:
                each[:] = [item for item in each if item[1] in self._notes]
                heapq.heapify(each)
        return domain

    def _clean(self, heap: list[tuple[float, int]]) -> None:
        while heap and heap[0][1] not in self._notes:
            heapq.heappop(heap)

    def __len__(self) -> int:
        return len(self._notes)
