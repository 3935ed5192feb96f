"""The finder: what is not known of a domain it finds out, in one flight for each domain, whoever asked.

A flight asks the store (until that is loaded as a whole), then the resolver.
What it finds goes to holdings, and then those who wait look again (keeper):

    begin, recheck -> _set_out -> resolver -> _apply -> no policy    plain calls: most domains have none
                                                     -> Found -> _store_policy    a coroutine: stored, held, told

Of two outcomes for a domain the one begun later wins: there is one flight at
a time, and what a flight made void finds counts for nothing.

Source: RFC 8461 sections 3.3 and 5.1.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any, Protocol, TypeAlias, TypeVar

from ...config.settings import LookupSettings
from ...core import entry as rules
from ...core.entry import Entry
from ...core.names import Domain
from ...core.outcome import Absent, Cause, DnsFailed, Failed, Found, OwnFault, Unchanged
from ...core.ports import Resolver, Urgency
from ...core.quoting import KV
from ...core.verdict import Kind, Verdict
from ...errors import StoreError
from ..counters import Counts
from . import announcing
from .fleet import Fleet
from .flights import Flight, Flights, State
from .held import Held
from .holdings import Holdings
from .intake import Ending, Intake

log = logging.getLogger(__name__)

Search: TypeAlias = Flight[Domain, Ending]
T = TypeVar("T")

COMMIT_WAIT = 5.0  # seconds that an answer waits for the store; a stuck disk must not hold mail up
FAILED_BEFORE = Verdict(Kind.NOTFOUND, "still being looked up, and the attempt before failed, so mail goes on", 0.0)
STORE_UNREADABLE = OwnFault(Cause.STORE, "the policy store cannot be read")


class EntryStore(Protocol):
    """policies.store_thread.StoreKeeper, as far as it is asked for single policies."""

    def get(self, domain: Domain) -> asyncio.Future[Entry | None]: ...
    def put(self, entry: Entry) -> asyncio.Future[None]: ...
    def delete(self, domain: Domain) -> asyncio.Future[None]: ...


class Finder:
    """The flights for policies."""

    def __init__(
        self,
        holdings: Holdings,
        resolver: Resolver,
        store: EntryStore,
        counts: Counts,
        report: Callable[[Failed, Entry | None, Domain], None],
        fleet: Fleet | None = None,
    ) -> None:
        self._holdings, self._resolver, self._store = holdings, resolver, store
        self._fleet = fleet
        self._untold: set[Domain] = set()  # whose next fetch is for this daemon alone
        self._counts, self._intake = counts, Intake(holdings, counts, report)
        self._schedule = holdings.schedule
        self.flights: Flights[Domain, Ending] = Flights(self._late)
        self._tasks: set[asyncio.Task[Any]] = set()
        self.loaded = False  # all that is stored is held: no need to ask the store for one domain
        self.stopping = False  # begin nothing more

    def configure(self, settings: LookupSettings) -> None:
        self._settings = settings
        self._intake.configure(settings)

    # -- beginnings ---------------------------------------------------------

    def begin(self, domain: Domain, again: bool = False, late_at: float | None = None) -> Search:
        """Find out about *domain*, once it is certain whether the store has a policy.

        Args:
            again: fetch anew what the store, or memory, has.
            late_at: when that is late (loop's clock), if not lookup.wait from now: who asks has waited before.
        """
        flight = self._take_off(domain, late_at)
        if self.loaded or domain in self._holdings.policies:
            self._set_out(flight, again)
        else:
            self.spawn(self._ask_store(flight, again))
        return flight

    def recheck(self, held: Held) -> float:
        """Have the record read behind the answer where that is due; return the seconds until it is due again."""
        recheck = self._schedule.timing.recheck
        left = held.checked_at + recheck - self._schedule.monotonic()
        if left > 0:
            return left
        if held.entry.domain not in self.flights and not self.stopping:
            flight = self._take_off(held.entry.domain)
            self._discover(flight, Urgency.UPKEEP, avoid=self._schedule.avoid(held))
        return recheck

    def refresh(self, domain: Domain, local: bool = False) -> asyncio.Task[Ending]:
        """Fetch the policy of *domain* again, lost record or not; the task returns how that ended.

        Args:
            local: offer it to no other daemon.
        """
        if local:
            self._untold.add(domain)
        return self.spawn(self._fetched(self.flights.get(domain) or self.begin(domain, again=True)))

    async def _fetched(self, flight: Search) -> Ending:
        """Return how *flight* ended, or the fetch after it where it read the record and had no reason to fetch."""
        outcome = await flight.end()
        unfetched = isinstance(outcome, (Unchanged, Absent, DnsFailed)) and flight.state is State.LANDED
        if unfetched and not self.stopping and self._holdings.in_force(flight.domain) is not None:
            return await self.refresh(flight.domain)
        return outcome

    async def import_entry(self, entry: Entry) -> bool:
        """Store *entry*, then hold it; tell whether: where a fetch as new is held, that stays."""
        domain = entry.domain
        while (under_way := self.flights.get(domain)) is not None:
            await under_way.end()
        held = self._holdings.policies.get(domain)
        if held is not None and rules.newest(entry, held.entry, self._schedule.wall()) is held.entry:
            return False
        flight = self._take_off(domain)
        flight.began_at -= max(0.0, self._schedule.wall() - entry.fetched_at)  # the record was read no later
        await self._store_policy(flight, entry, self._store.put(entry), Unchanged(entry.record_id))
        return flight.state is State.LANDED

    async def receive(self, entry: Entry, own: Search | None = None) -> bool:
        """Store *entry*, which another daemon fetched, and hold it; tell whether: a fetch as new stays.

        Args:
            own: the flight that asked for it, and lands next.
        """
        domain, wall = entry.domain, self._schedule.wall()
        held = self._holdings.policies.get(domain)
        if held is not None:
            if entry.fetched_at <= held.entry.fetched_at <= wall:
                return False
            entry = replace(entry, used_at=max(entry.used_at, held.entry.used_at))
        await asyncio.wait([self._store.put(entry)], timeout=COMMIT_WAIT)
        recheck = self._schedule.timing.recheck  # its record is due for a reading
        self._holdings.hold(entry, self._schedule.monotonic() - recheck, shared=True)
        held = self._holdings.policies.get(domain)
        if held is not None and held.entry is not entry:  # a fetch of our own came first
            self._store.put(held.entry)
        if (under_way := self.flights.get(domain)) is not None and under_way is not own:
            under_way.tell()  # lookups need not wait for the fetch
        return held is not None and held.entry is entry

    async def _ask_others(self, flight: Search, fleet: Fleet) -> None:
        """Take the policy that another daemon has, or go on."""
        try:
            entry = await fleet.get(flight.domain)
            if entry is not None and flight.state is not State.VOID:
                await self.receive(entry, flight)
        except Exception:  # noqa: BLE001 -- logged and counted by bug()
            self.flights.land(flight, self._intake.bug(flight.domain))
            return
        held = self._holdings.in_force(flight.domain)
        if held is not None and flight.state is not State.VOID:
            self.flights.land(flight, Unchanged(held.entry.record_id))
        else:
            self._discover(flight, Urgency.LOOKUP)

    def _take_off(self, domain: Domain, late_at: float | None = None) -> Search:
        now = self._schedule.monotonic()
        flight = self.flights.take_off(domain, domain, now, self._settings.wait, late_at)
        if (held := self._holdings.policies.get(domain)) is not None:
            held.checked_at = now  # a reading counts from its start, successful or not
        return flight

    async def _ask_store(self, flight: Search, again: bool) -> None:
        """Read one domain from a store that is not yet loaded as a whole, then go on."""
        try:
            entry = await self._store.get(flight.domain)
        except StoreError as error:
            log.error("store-unreadable %s", KV(domain=flight.domain, reason=error))
            self.flights.land(flight, STORE_UNREADABLE)
            return
        if entry is not None and flight.state is not State.VOID:
            self._holdings.load([entry])
        self._set_out(flight, again)

    def _set_out(self, flight: Search, again: bool) -> None:
        held = self._holdings.in_force(flight.domain)
        if held is None and not again and self._fleet is not None and self._fleet.up:
            self.spawn(self._ask_others(flight, self._fleet))
        elif held is None:
            self._discover(flight, Urgency.LOOKUP)
        elif again:
            flight.tell()  # lookups need not wait for the fetch
            soon = rules.expiring(held.entry, self._schedule.wall(), self._schedule.timing)
            self._discover(flight, Urgency.EXPIRING if soon else Urgency.UPKEEP, refetch_as=held.entry.record_id)
        else:  # the store knew
            self.flights.land(flight, Unchanged(held.entry.record_id))

    def _discover(
        self,
        flight: Search,
        urgency: Urgency,
        avoid: Sequence[str] = (),
        refetch_as: str | None = None,
    ) -> None:
        self._resolver.discover(flight.domain, avoid, refetch_as, lambda found: self._apply(flight, found), urgency)

    def _late(self, flight: Search) -> None:
        """Tell those who wait that lookup.wait is over; the work goes on.

        A policy host that hangs for ever must not hold mail up for ever: who
        failed or was late before is no reason to defer again (RFC 8461 section 3.3).
        """
        if self._holdings.failed_before(flight.domain):
            flight.be_late(FAILED_BEFORE)
            return
        reason = f"{flight.domain} is still being looked up after {self._settings.wait:g} s"
        if flight.lookups:
            announcing.held_up(flight.domain, reason)
            self._holdings.told_temp(flight.domain)
        flight.be_late(Verdict(Kind.TEMP, reason, 0.0))

    # -- outcomes -----------------------------------------------------------

    def _apply(self, flight: Search, outcome: Ending) -> None:
        """Take in what a flight found out. Only from here on what is held changes; an error of our own is a failure."""
        try:
            if flight.state is not State.VOID:
                if isinstance(outcome, Found):
                    self._counts.fetches["ok"] += 1
                    entry = self._holdings.entry_of(flight.domain, outcome, bool(flight.lookups))
                    self.spawn(self._store_policy(flight, entry, self._store.put(entry), outcome))
                    return
                outcome = self._intake.take(flight.domain, outcome, late=flight.state is State.LATE)
        except Exception:  # noqa: BLE001 -- logged and counted by bug()
            outcome = self._intake.bug(flight.domain)
        self.flights.land(flight, outcome)

    async def _store_policy(self, flight: Search, entry: Entry, written: asyncio.Future[None], outcome: Ending) -> None:
        """Wait until *entry* is on the disk, then hold it, then answer: kill -9 loses none that Postfix was told of.

        What cannot be written serves from memory: to say so, and to write it later, is the store's.
        """
        try:
            await asyncio.wait([written], timeout=COMMIT_WAIT)
            if flight.state is not State.VOID:
                self._holdings.hold(entry, flight.began_at)
                if self._fleet is not None and isinstance(outcome, Found) and entry.domain not in self._untold:
                    self._fleet.offer(entry)
        except Exception:  # noqa: BLE001 -- logged and counted by bug()
            outcome = self._intake.bug(flight.domain)
        self._untold.discard(entry.domain)
        self.flights.land(flight, outcome)

    def spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
