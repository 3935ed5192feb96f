"""Work under way: one flight for a domain, whoever asked for it, and who has waited for it too long.

Lives on the event loop. What a flight does, and what it finds, is its owner's
affair (keeper, danekeeper); here is who waits, and until when.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from ...core.names import Domain
from ...core.verdict import Verdict

LOOK_EVERY = 0.1  # seconds between two looks for flights that are late

Key = TypeVar("Key", bound=Hashable)


class Flight:
    """The one piece of work under way for a domain, whoever asked for it."""

    __slots__ = (
        "began_at",
        "domain",
        "done",
        "found",
        "key",
        "landed",
        "late",
        "late_at",
        "lookups",
        "unfetched",
        "verdict",
        "void",
    )

    def __init__(self, key: Any, domain: Domain, began_at: float, late_at: float) -> None:
        self.key = key  # of Flights
        self.domain = domain
        self.began_at = began_at  # seconds of the monotonic clock
        self.late_at = late_at  # seconds of the loop's clock: lookup.wait is over
        self.lookups: list[Callable[[Flight], None]] = []  # called once, at the end or when it is late
        self.landed: list[Callable[[], None]] = []  # called at the end
        self.late: Verdict | None = None  # lookup.wait is over: what lookups are told meanwhile
        self.verdict: Verdict | None = None  # how it ended, if not in a policy
        self.found = False  # it ended in a policy: those who waited are told of it, even if its time ran out
        self.unfetched = False  # it ended with a reading of the record: there was no fetch
        self.done = False
        self.void = False  # the domain was forgotten meanwhile: the outcome counts for nothing

    def tell_late(self, verdict: Verdict) -> None:
        """Let those who wait, and come later, hear *verdict* while the work goes on."""
        self.late = verdict
        self.tell()

    def land(self) -> None:
        """The work is done: let all who wait know."""
        self.late = None
        self.done = True
        self.tell()
        for landed in self.landed:
            landed()

    def tell(self) -> None:
        """Let those who wait look at what is known now."""
        lookups, self.lookups = self.lookups, []
        for lookup in lookups:
            lookup(self)


class Flights(dict[Key, Flight]):
    """The flights under way by what they are about.

    Nearly all land within milliseconds, so one timer looks for those that are
    late, while there are any at all: a timer for each cost as much as the DNS
    query itself.
    """

    def __init__(self, late: Callable[[Flight], None]) -> None:
        """*late* is called once for each flight that is not done in time."""
        super().__init__()
        self._late = late
        self._looking = False

    def take_off(self, key: Key, domain: Domain, now: float, wait: float, after: Flight | None = None) -> Flight:
        """Begin a flight at *now* (monotonic clock) that is late after *wait* seconds.

        Where it goes on for those who waited for *after*, it is late when that would have been.
        """
        loop = asyncio.get_running_loop()
        flight = self[key] = Flight(key, domain, now, after.late_at if after is not None else loop.time() + wait)
        if not self._looking:
            self._looking = True
            loop.call_later(LOOK_EVERY, self._look, loop)
        return flight

    def land(self, flight: Flight) -> None:
        """The work is done; *flight* may have been put out of the way before."""
        if self.get(flight.key) is flight:
            del self[flight.key]
        flight.land()

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for flight in [flight for flight in self.values() if flight.late is None and flight.late_at <= now]:
            self._late(flight)
        self._looking = bool(self)
        if self._looking:
            loop.call_later(LOOK_EVERY, self._look, loop)
