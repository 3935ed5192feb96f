"""The keeper: it answers lookups from what is held, and has the finder find out what is not.

It lives on the event loop and owns all that is known of domains. Lookups ask
it (`lookup`), the refresher drives it (`due`), operators steer it (`refresh`,
`forget`, `import_entry`) and look through `known`.

What is held, and how it changes, is holdings'; what is decided about time is
core.entry's, what Postfix is told core.answering's. Nothing here parses a
byte or waits for anything: a lookup that has to wait is told later.

Source: RFC 8461 sections 3.3, 5.1 and 10.2.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Any

from ...config.settings import Settings
from ...core.answering import of_policy
from ...core.entry import Entry
from ...core.names import Domain, NextHop
from ...core.outcome import Absent, DnsFailed, Failed, Found, OwnFault
from ...core.policy import Mode
from ...core.ports import Clock, Lease, Resolver, Withdrawn
from ...core.quoting import KV
from ...core.verdict import Kind, Verdict
from ..counters import Counts
from .dane import DaneKeeper
from .finder import EntryStore, Finder
from .fleet import Fleet, Member
from .flights import Flight
from .held import Held, Note
from .holdings import Holdings
from .intake import INTERNAL_ERROR, Ending
from .known import Known
from .resolver_check import ResolverCheck

log = logging.getLogger(__name__)

Done = Callable[[Verdict], None]
Waited = Flight[Any, Any]  # for a policy or for a DANE status

LEASE_SPARE = 5.0  # seconds that a lease lasts beyond fetch.timeout
AT_A_TURN = 100  # policies planned anew before lookups have their turn
SHUTTING_DOWN = Verdict(Kind.TEMP, "postfix-mtasts is shutting down", 0.0)


class Keeper:
    """Answers for every domain."""

    def __init__(
        self,
        settings: Settings,
        resolver: Resolver,
        store: EntryStore,
        clock: Clock,
        counts: Counts,
        *,
        changed: Callable[[], None],
        plan: Callable[[Iterable[Note]], None],
        report: Callable[[Failed, Entry | None, Domain], None],
        fleet: Fleet | None = None,
    ) -> None:
        """Make what it owns.

        Args:
            changed: called when an answer given before may no longer be repeated.
            plan: takes notes of when something is due, for the refresher.
            report: told of each failed fetch, with the policy that stays in force (RFC 8460).
            fleet: the other daemons, if there may be any.
        """
        self._fleet = fleet
        self._store, self._counts, self._changed = store, counts, changed
        self._holdings = Holdings(settings, clock, store.put, plan, changed)
        self._finder = Finder(self._holdings, resolver, store, counts, report, fleet)
        self._schedule = self._holdings.schedule
        self._check = ResolverCheck(resolver)
        self.dane = DaneKeeper(resolver, clock.monotonic, changed)
        self.known = Known(self._holdings, self.dane, lambda: self._finder.loaded)
        self.configure(settings)

    def configure(self, settings: Settings) -> None:
        """Let everything from now on go by *settings*."""
        self._settings = settings
        self._holdings.configure(settings)
        self._finder.configure(settings.lookup)
        self.dane.configure(settings.lookup)
        self._changed()

    # -- lookups ------------------------------------------------------------

    def lookup(self, hop: NextHop, dane: bool, done: Done, after: Waited | None = None) -> Verdict | None:
        """Return the verdict for *hop*, or None: then *done* is called with it, later, once.

        Args:
            after: the flight that this lookup has waited for.
        """
        if dane:
            self._check.dane_asked()
        told = self._look(hop, dane, after)
        if isinstance(told, Verdict):
            return told
        told.lookups.append(lambda flight: self._tell(flight, hop, dane, done))
        return None

    def _tell(self, flight: Waited, hop: NextHop, dane: bool, done: Done) -> None:
        """Answer a lookup that waited for *flight*, or let it wait for what comes next."""
        try:
            verdict = flight.meanwhile or self._ended_without(flight) or self.lookup(hop, dane, done, flight)
        except Exception:  # noqa: BLE001 -- it must not keep those who wait behind it from being told
            verdict = self.failed_to_answer(hop.domain)
        if verdict is not None:
            done(verdict)

    def _ended_without(self, flight: Waited) -> Verdict | None:
        """Return what is told of a flight that found no policy, where none is in force either."""
        outcome = flight.outcome
        if not isinstance(outcome, (Absent, Failed, DnsFailed, OwnFault)) or self._holdings.in_force(flight.domain):
            return None
        return self._holdings.verdict_of(flight.domain, outcome)

    def _look(self, hop: NextHop, dane: bool, after: Waited | None) -> Verdict | Waited:
        """Return what can be said of *hop* at once, or the flight that will tell."""
        late_at = after.late_at if after is not None else None  # one lookup.wait, however many flights
        held = self._holdings.policies.get(hop.domain)
        if held is not None:
            left = self._schedule.left(held)
            if left > 0 or (after is not None and isinstance(after.outcome, Found)):
                self._holdings.note_use(held)
                return self._of_policy(held, min(left, self._finder.recheck(held)), hop, dane, late_at)
        if (verdict := self._holdings.negative(hop.domain)) is not None:
            return verdict
        flight = self._finder.flights.get(hop.domain)
        if flight is None:
            return SHUTTING_DOWN if self._finder.stopping else self._finder.begin(hop.domain, late_at=late_at)
        if flight.meanwhile is not None and flight.meanwhile.kind is Kind.TEMP:
            self._holdings.told_temp(hop.domain)
        return flight.meanwhile or flight

    def _of_policy(self, held: Held, lasts: float, hop: NextHop, dane: bool, late_at: float | None) -> Verdict | Waited:
        """Return the verdict for a policy in force; an enforced one asks on a dane map what DANE says first."""
        if not dane or held.entry.policy.mode is not Mode.ENFORCE:
            return of_policy(held.entry.policy, lasts, None)
        status = self.dane.status(hop, late_at)
        if isinstance(status, Flight):
            return status.meanwhile or status
        reading, fresh = status
        return of_policy(held.entry.policy, min(lasts, fresh), (reading.status, reading.reason))

    def failed_to_answer(self, domain: Domain | None) -> Verdict:
        """Count and log the exception of our own that is being handled; return what Postfix is told of *domain*.

        With an enforced policy in force mail waits: a bug of ours must not send it unprotected.
        """
        self._counts.errors += 1
        log.exception("internal-error %s", KV(domain=domain or ""))
        enforced = domain is not None and self.known.enforces(domain)
        return Verdict(Kind.TEMP if enforced else Kind.NOTFOUND, INTERNAL_ERROR, 0.0)

    # -- what operators ask for -----------------------------------------------

    def refresh(self, domain: Domain, local: bool = False) -> asyncio.Task[Ending]:
        """Fetch the policy of *domain* again, lost record or not; the task returns how that ended.

        Args:
            local: offer it to no other daemon.
        """
        return self._finder.refresh(domain, local)

    async def import_entry(self, entry: Entry) -> bool:
        """Store *entry*, then hold it; tell whether: where a fetch as new is held, that stays."""
        return await self._finder.import_entry(entry)

    def join(self, settings: Settings) -> None:
        """Take part in the fleet, if there is one."""
        if self._fleet is not None:
            member = Member(self._finder.receive, self._withdraw, self.known.contents, lambda: self.known.loaded)
            self._fleet.start(settings, member)

    def _withdraw(self, withdrawn: Withdrawn) -> None:
        """Forget what an operator had the fleet forget, unless it was fetched since."""
        held = self._holdings.policies.get(withdrawn.domain)
        if held is not None and held.entry.fetched_at <= min(withdrawn.at, self._schedule.wall()):
            log.info("policy-withdrawn-by-fleet %s", KV(domain=withdrawn.domain))
            self.forget(withdrawn.domain)

    async def tell_forgotten(self, domain: Domain) -> str:
        """Have the other daemons forget *domain*; return why they were not told yet, else ""."""
        if self._fleet is None or not self._fleet.wanted:
            return ""
        return await self._fleet.withdraw(domain, self._schedule.wall())

    def forget(self, domain: Domain) -> tuple[bool, asyncio.Future[None]]:
        """Know nothing more of *domain*; tell whether anything was known, and when it is gone from the store."""
        known = self._holdings.forget(domain)
        deleted = self._store.delete(domain)
        self.dane.forget(domain)
        self._finder.flights.void(domain)
        return known, deleted

    # -- over time --------------------------------------------------------------

    def due(self, domain: Domain, landed: Callable[[], None]) -> bool:
        """Do what is due for *domain*; True: a fetch began, and *landed* is called at its end."""
        held = self._holdings.due(domain) if not self._finder.stopping else None
        if held is None:
            return False
        if self._schedule.over(held):
            self._holdings.drop(held)
            self._store.delete(domain)
            return False
        if self._fleet is None or not self._fleet.up:
            self._finder.spawn(self._refresh_due(held, self.refresh(domain), landed))
        else:
            self._finder.spawn(self._refresh_leased(self._fleet, held, landed))
        return True

    async def _refresh_leased(self, fleet: Fleet, held: Held, landed: Callable[[], None]) -> None:
        """Fetch, if no other daemon does; never mind the others where the policy ends soon."""
        domain, fetched_at, left = held.entry.domain, held.entry.fetched_at, self._schedule.left(held)
        fetch = self._settings.fetch.timeout
        try:
            lease = await fleet.lease(domain, fetch + LEASE_SPARE, fetched_at)
            if lease is Lease.NEWER and (entry := await fleet.get(domain)) is not None:
                await self._finder.receive(entry)
            if self._holdings.policies.get(domain) is not held or self._finder.stopping:
                return
            if lease is Lease.TAKEN and left > max(2 * fetch, held.entry.policy.max_age / 10):
                self._holdings.put_off(held)
                return
            if isinstance(await self.refresh(domain), Found):
                fleet.release(domain)
            else:
                fleet.keep_lease(domain, max(LEASE_SPARE, held.retry_at - self._schedule.monotonic()), fetched_at)
        finally:
            landed()
            self._holdings.plan_again(held)

    async def _refresh_due(self, held: Held, fetched: asyncio.Task[Ending], landed: Callable[[], None]) -> None:
        try:
            await fetched
        finally:
            landed()
            self._holdings.plan_again(held)

    async def plan_anew(self) -> None:
        """Plan every policy anew, in turns: the settings changed, or somebody set the clock."""
        self._changed()
        held = list(self._holdings.policies.values())
        for first in range(0, len(held), AT_A_TURN):
            self._holdings.plan_anew(held[first : first + AT_A_TURN])
            await asyncio.sleep(0)

    def check_resolver(self) -> None:
        """Warn if DANE matters here and cannot rest on the resolver; after a start and a reload."""
        self._check.begin(self._settings)

    def load(self, entries: Iterable[Entry]) -> None:
        """Hold entries read from the store, where memory holds none fetched later."""
        self._holdings.load(entries)

    def all_loaded(self) -> None:
        """Trust that the store has nothing that is not held."""
        self._finder.loaded = True

    def stop(self) -> None:
        """Begin nothing more; what is held is still answered."""
        self._finder.stopping = True

    def abandon(self) -> None:
        """Tell all who still wait that the daemon ends."""
        for flight in list(self._finder.flights.values()):
            flight.be_late(SHUTTING_DOWN)
        self.dane.abandon(SHUTTING_DOWN)
