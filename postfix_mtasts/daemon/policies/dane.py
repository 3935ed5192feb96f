"""The DANE status of domains with an enforced policy: held in memory, read again in the background.

The rules of time and of what an earlier answer is worth are core.dane's; the
facts come from the worker process. One status has one Flight at a time.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable

from ...adapters.services import port_number
from ...config.settings import LookupSettings
from ...core import dane as rules
from ...core.dane import DaneFacts, DaneReading, DaneStatus, Freshness
from ...core.names import Domain, NextHop
from ...core.outcome import OwnFault
from ...core.ports import Resolver
from ...core.quoting import KV
from ...core.verdict import Kind, Verdict
from ...faults import Fault, Seen
from . import announcing
from .flights import Flight, Flights, State

log = logging.getLogger(__name__)

LIMIT = 100_000  # statuses held; the longest unread go first

Place = tuple[Domain, int]  # a domain and the port that its mail goes to
Reading = Flight[Place, DaneFacts]


class DaneKeeper:
    """Statuses by domain and port. *changed* is called when one changes."""

    def __init__(self, resolver: Resolver, monotonic: Callable[[], float], changed: Callable[[], None]) -> None:
        self._resolver, self._monotonic, self._changed = resolver, monotonic, changed
        self._wait = 0.0
        self._readings: OrderedDict[Place, DaneReading] = OrderedDict()
        self._flights: Flights[Place, DaneFacts] = Flights(_late)

    def configure(self, settings: LookupSettings) -> None:
        self._wait = settings.wait

    def reading(self, domain: Domain, port: int = 25) -> DaneReading | None:
        return self._readings.get((domain, port))

    def status(self, hop: NextHop, late_at: float | None = None) -> tuple[DaneReading, float] | Reading:
        """Return the status of *hop* and for how many seconds it stands, or the flight that reads it.

        Args:
            late_at: when that flight is late (loop's clock), if not lookup.wait from now.
        """
        place, now = (hop.domain, port_number(hop.port)), self._monotonic()
        reading = self._readings.get(place)
        fresh = rules.freshness(reading, now) if reading is not None else Freshness.GONE
        if reading is None or fresh is Freshness.GONE:
            return self._flights.get(place) or self._take_off(place, late_at)
        if fresh is Freshness.STALE and place not in self._flights:
            self._take_off(place)
        return reading, max(0.0, reading.fresh_until - now)

    def clear(self) -> None:
        """Believe nothing that was read before, or is being read: from now on another resolver is asked."""
        self._readings.clear()
        for place in list(self._flights):
            self._flights.void(place)

    def forget(self, domain: Domain) -> None:
        for place in [place for place in self._readings if place[0] == domain]:
            del self._readings[place]
        for place in [place for place in self._flights if place[0] == domain]:
            self._flights.void(place)

    def abandon(self, verdict: Verdict) -> None:
        """Tell all who wait *verdict*."""
        for flight in list(self._flights.values()):
            flight.be_late(verdict)

    def _take_off(self, place: Place, late_at: float | None = None) -> Reading:
        domain, port = place
        flight = self._flights.take_off(place, domain, self._monotonic(), self._wait, late_at)
        before = self._readings.get(place)
        self._resolver.dane(domain, port, lambda found: self._arrived(place, flight, before, found))
        return flight

    def _arrived(self, place: Place, flight: Reading, before: DaneReading | None, found: DaneFacts | OwnFault) -> None:
        """Take in what was read; a usable host settles the status before all hosts are read."""
        if isinstance(found, OwnFault):  # then nothing is known: neither that there is DANE, nor that there is none
            found = DaneFacts(DaneStatus.UNKNOWN, Seen(Fault.OWN, value=found.reason), (), 0.0)
        if flight.state is not State.VOID:
            self._take(place, before, found)
        if found.complete:
            self._flights.land(flight, found)
        else:
            flight.tell()

    def _take(self, place: Place, before: DaneReading | None, facts: DaneFacts) -> None:
        """Hold what *facts* say, *before* being the reading from before they were asked for."""
        old = self._readings.pop(place, None)
        self._readings[place] = new = rules.take(facts, old, self._monotonic())
        if len(self._readings) > LIMIT:
            self._readings.popitem(last=False)
        if old is None or old.status is not new.status:
            if old is not None:
                self._changed()
            log.info("dane-status %s", KV(domain=place[0], port=place[1], status=new.status, reason=new.reason))
            if new.status is DaneStatus.UNKNOWN:
                announcing.held_up(place[0], new.reason)
        usable_anew = new.status is DaneStatus.USABLE and (before is None or before.status is not new.status)
        if usable_anew and facts.complete and (missing := rules.without_tlsa(facts)):
            log.info("dane-partial %s", KV(domain=place[0], without_tlsa=",".join(missing)))


def _late(flight: Reading) -> None:
    reason = f"the DANE status of {flight.domain} is still being read"
    if flight.lookups:
        announcing.held_up(flight.domain, reason)
    flight.be_late(Verdict(Kind.TEMP, reason, 0.0))
