"""Work under way: one flight for a domain, whoever asked for it, and who waits for it.

    state      how it got there           a lookup that comes   those who wait
    UNDER_WAY  Flights.take_off()         waits                 -
    LATE       lookup.wait is over        is told `meanwhile`   are told `meanwhile`
    LANDED     land(), with its outcome   (it is gone)          look again
    VOID       void(): it was forgotten   (it is gone)          begin anew

    UNDER_WAY -> LATE -> LANDED    UNDER_WAY -> LANDED    UNDER_WAY, LATE -> VOID

What is found by a flight that is VOID counts for nothing. Lives on the event
loop. What a flight does, and what its outcome means, is its owner's affair
(keeper, dane).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from enum import Enum, auto
from typing import Generic, TypeVar

from ...core.names import Domain
from ...core.verdict import Verdict

LOOK_EVERY = 0.1  # seconds between two looks for flights that are late

Key = TypeVar("Key", bound=Hashable)
Result = TypeVar("Result")


class State(Enum):
    """See the table above."""

    UNDER_WAY = auto()
    LATE = auto()
    LANDED = auto()
    VOID = auto()


class Flight(Generic[Key, Result]):
    """The one piece of work under way for a domain, whoever asked for it."""

    __slots__ = ("_end", "began_at", "domain", "key", "late_at", "lookups", "meanwhile", "outcome", "state")

    def __init__(self, key: Key, domain: Domain, began_at: float, late_at: float) -> None:
        self.key = key  # of Flights
        self.domain = domain
        self.state = State.UNDER_WAY
        self.outcome: Result | None = None  # there once the work is done
        self.meanwhile: Verdict | None = None  # there while it is LATE
        self.began_at = began_at  # seconds of the monotonic clock
        self.late_at = late_at  # seconds of the loop's clock: lookup.wait is over
        self.lookups: list[Callable[[Flight[Key, Result]], None]] = []  # called once, when there is something to tell
        self._end: asyncio.Future[Result] | None = None

    def be_late(self, meanwhile: Verdict) -> None:
        """Let those who wait, and come later, hear *meanwhile* while the work goes on."""
        self.state, self.meanwhile = State.LATE, meanwhile
        self.tell()

    def tell(self) -> None:
        """Let those who wait look at what is known now."""
        lookups, self.lookups = self.lookups, []
        for lookup in lookups:
            lookup(self)

    async def end(self) -> Result:
        """Wait until the work is done, and return what it ended in, also of a flight that is VOID."""
        if self._end is None:
            self._end = asyncio.get_running_loop().create_future()
            if self.outcome is not None:
                self._end.set_result(self.outcome)
        return await asyncio.shield(self._end)

    def done(self, outcome: Result) -> None:
        """Note how the work ended; Flights.land() is the way here."""
        self.outcome, self.meanwhile = outcome, None
        if self.state is not State.VOID:
            self.state = State.LANDED
            self.tell()
        if self._end is not None:
            self._end.set_result(outcome)


class Flights(dict[Key, Flight[Key, Result]]):
    """The flights under way by what they are about.

    Nearly all land within milliseconds, so one timer looks for those that are
    late, while there are any at all: a timer for each cost as much as the DNS
    query itself.
    """

    def __init__(self, late: Callable[[Flight[Key, Result]], None]) -> None:
        """Hold no flight yet. *late* is called once for each flight that is not done in time, and calls be_late()."""
        super().__init__()
        self._late = late
        self._looking = False

    def take_off(
        self, key: Key, domain: Domain, now: float, wait: float, late_at: float | None = None
    ) -> Flight[Key, Result]:
        """Begin a flight at *now* (monotonic clock), late after *wait* seconds or at *late_at* (loop's clock)."""
        loop = asyncio.get_running_loop()
        flight = self[key] = Flight(key, domain, now, loop.time() + wait if late_at is None else late_at)
        if not self._looking:
            self._looking = True
            loop.call_later(LOOK_EVERY, self._look, loop)
        return flight

    def land(self, flight: Flight[Key, Result], outcome: Result) -> None:
        """End *flight*, which may have been made void, or done, before."""
        if flight.outcome is not None:
            return
        if self.get(flight.key) is flight:
            del self[flight.key]
        flight.done(outcome)

    def void(self, key: Key) -> None:
        """Let a flight for *key* count for nothing: those who wait begin anew."""
        flight = self.pop(key, None)
        if flight is not None:
            flight.state, flight.meanwhile = State.VOID, None
            flight.tell()

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for flight in [each for each in self.values() if each.state is State.UNDER_WAY and each.late_at <= now]:
            self._late(flight)
        self._looking = bool(self)
        if self._looking:
            loop.call_later(LOOK_EVERY, self._look, loop)
