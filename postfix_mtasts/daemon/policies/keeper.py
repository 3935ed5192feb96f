"""The keeper: what is known of every domain, and the one owner of all of it.

It lives on the event loop. Lookups ask it (`lookup`), the refresher drives it
(`due`), operators steer it (`refresh`, `forget`); the network is asked
through a Resolver, the store through store_thread; `_apply` alone takes
in what they find. One domain has one Flight at a time: of two outcomes the one
begun later wins, and forty clients cost one query.

What is decided about time is in core.entry and upkeep, what Postfix is told
in core.answering; nothing here parses a byte.

Source: RFC 8461 sections 3.3, 5.1 and 10.2.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence

from ...config.settings import Settings
from ...core import entry as rules
from ...core.answering import of_failure, of_policy
from ...core.entry import Entry, Timing
from ...core.names import Domain, NextHop
from ...core.outcome import Absent, DnsFailed, Failed, Found, Outcome, OwnFault, Stage, Unchanged
from ...core.policy import Mode
from ...core.ports import Clock, Resolver, Urgency
from ...core.quoting import KV
from ...core.verdict import Kind, Verdict
from ...errors import StoreError
from ...faults import Fault, Seen
from ..counters import Counts
from . import held as holding
from .dane import DaneKeeper
from .flights import Flight, Flights
from .held import EntryStore, Held, Negative, Negatives, Note
from .schedule import Upkeep, announce

log = logging.getLogger(__name__)

Done = Callable[[Verdict], None]
NEVER = float("inf")
OWN_FAULT_LASTS = 5.0  # seconds that a failure of our own is told, and then tried anew
AT_A_TURN = 100  # policies that plan_anew looks at before lookups have their turn
COMMIT_WAIT = 5.0  # seconds that an answer waits for the store; a stuck disk must not hold mail up


class Keeper:
    """Everything known about domains, and the flights that find out more."""

    def __init__(
        self,
        settings: Settings,
        resolver: Resolver,
        store: EntryStore,
        changed: Callable[[], None],
        counts: Counts,
        clock: Clock,
    ) -> None:
        """*changed* is called when an answer given before may no longer be repeated."""
        self._resolver, self._store, self._changed, self._counts = resolver, store, changed, counts
        self.schedule: Callable[[Iterable[Note]], None] = lambda notes: None  # the refresher's push
        self.report: Callable[[Failed, Entry | None, Domain], None] = lambda failed, entry, domain: None  # RFC 8460
        self.held: dict[Domain, Held] = {}
        self.flights: Flights[Domain] = Flights(self._late)
        self.negatives = Negatives(settings.cache.negative_limit)
        self.upkeep = Upkeep(store.put, clock)
        self.dane = DaneKeeper(resolver, clock.monotonic, changed)
        self.loaded = False  # all of the store is in `held`
        self.stopping = False
        self.configure(settings)

    def configure(self, settings: Settings) -> None:
        """Let everything from now on go by *settings*."""
        self._settings = settings
        self.upkeep.timing = Timing(settings.refresh.recheck, settings.refresh.interval, settings.lookup.failure_ttl)
        self.dane.wait = settings.lookup.wait
        self.negatives.limit = settings.cache.negative_limit
        self.negatives.trim()
        self._changed()

    # -- lookups ------------------------------------------------------------

    def lookup(self, hop: NextHop, dane: bool, done: Done, after: Flight | None = None) -> Verdict | None:
        """The verdict for *hop*, or None: then *done* is called with it, later, once. *after*: what was waited for."""
        known = self._known(hop, dane, after)
        if isinstance(known, Verdict):
            return known

        def told(flight: Flight) -> None:
            try:
                verdict = flight.late or flight.verdict or self.lookup(hop, dane, done, flight)
            except Exception:  # noqa: BLE001 -- it must not keep those who wait behind it from being told
                verdict = self._bug(hop.domain)
            if verdict is not None:
                done(verdict)

        known.lookups.append(told)
        return None

    def _known(self, hop: NextHop, dane: bool, after: Flight | None) -> Verdict | Flight:
        """What can be said of *hop* at once, or the flight that will tell."""
        held = self.held.get(hop.domain)
        if held is not None and ((left := self.upkeep.left(held)) > 0 or (after is not None and after.found)):
            if self.upkeep.note_use(held):
                self._plan(held)  # it may have been refreshed no more
            return self._of_policy(held, min(left, self._recheck(held)), hop, dane, after)
        now = self.upkeep.monotonic()
        negative = self.negatives.get(hop.domain)
        if negative is not None and now < negative.until:
            return Verdict(negative.verdict.kind, negative.verdict.reason, negative.until - now)
        flight = self.flights.get(hop.domain)
        if flight is None:
            if self.stopping:
                return holding.SHUTTING_DOWN
            flight = self._begin(hop.domain, self._first)
        return flight.late or flight

    def _of_policy(self, held: Held, lasts: float, hop: NextHop, dane: bool, after: Flight | None) -> Verdict | Flight:
        """The verdict for a policy in force; an enforced one asks on a dane map what DANE says first."""
        if not dane or held.entry.policy.mode is not Mode.ENFORCE:
            return of_policy(held.entry.policy, lasts, None)
        known = self.dane.known(hop, after)
        if isinstance(known, Flight):
            return known.late or known
        reading, fresh = known
        return of_policy(held.entry.policy, min(lasts, fresh), (reading.status, reading.reason))

    def _recheck(self, held: Held) -> float:
        """Have the record read behind the answer where that is due; seconds until it is due again."""
        now, recheck = self.upkeep.monotonic(), self.upkeep.timing.recheck
        left = held.checked_at + recheck - now
        if left > 0:
            return left
        if held.entry.domain not in self.flights and not self.stopping:
            flight = self._take_off(held.entry.domain)
            self._discover(flight, Urgency.UPKEEP, avoid=self.upkeep.avoid(held))
        return recheck

    # -- what operators and the refresher ask for -----------------------------

    def refresh(self, domain: Domain, landed: Callable[[], None]) -> None:
        """Fetch the policy of *domain* again, lost record or not; *landed* is called at the end."""
        flight = self.flights.get(domain) or self._begin(domain, self._refetch)

        def ended() -> None:
            if flight.unfetched and not self.stopping:
                self.refresh(domain, landed)  # it was a recheck, which had no reason to fetch
            else:
                landed()

        flight.landed.append(ended)

    def forget(self, domain: Domain) -> bool:
        """Know nothing more of *domain*; whether anything was known."""
        known = (self.held.pop(domain, None), self.negatives.pop(domain)) != (None, None)
        flight = self.flights.pop(domain, None)
        self._store.delete(domain)
        self._changed()
        self.dane.forget(domain)
        if flight is not None:
            flight.void = True
            flight.tell()  # those who wait begin anew
        return known

    def take_imported(self, entry: Entry, done: Callable[[bool], None]) -> None:
        """Store *entry*, then hold it; *done* is told whether, or that a fetch as new is held, and stays."""
        if (flight := self.flights.get(entry.domain)) is not None:
            flight.landed.append(lambda: self.take_imported(entry, done))
        elif (held := self.held.get(entry.domain)) is not None and held.entry.fetched_at >= entry.fetched_at:
            done(False)
        else:
            flight = self._take_off(entry.domain)
            flight.began_at -= max(0.0, self.upkeep.wall() - entry.fetched_at)  # the record was read no later
            flight.unfetched = True
            flight.landed.append(lambda: done(flight.found))
            self._commit(flight, entry)

    def due(self, domain: Domain, landed: Callable[[], None]) -> bool:
        """Do what is due for *domain*; True: a fetch began, and *landed* is called at its end."""
        held = self.held.get(domain)
        if held is None or self.stopping or self.upkeep.monotonic() < held.due_at:
            return False
        held.due_at = NEVER
        self.upkeep.warn(held, self.upkeep.left(held))
        if self.upkeep.over(held):
            del self.held[domain]
            self._store.delete(domain)
            log.info("policy-gone %s", KV(domain=domain))
            return False
        if not self.upkeep.wants_fetch(held):
            self._plan(held)
            return False

        def done() -> None:
            landed()
            if held.due_at == NEVER and self.held.get(domain) is held:  # it joined a flight that fetched nothing
                self._plan(held)

        self.refresh(domain, done)
        return True

    def _plan(self, held: Held) -> None:
        """Have `due` called when something is next to be done; what was planned before counts no more."""
        self.schedule([self.upkeep.plan(held)])

    def abandon(self) -> None:
        """The daemon ends: all who still wait are told so."""
        for flight in list(self.flights.values()):
            flight.tell_late(holding.SHUTTING_DOWN)
        self.dane.abandon(holding.SHUTTING_DOWN)

    # -- flights ------------------------------------------------------------

    def _take_off(self, domain: Domain) -> Flight:
        now = self.upkeep.monotonic()
        flight = self.flights.take_off(domain, domain, now, self._settings.lookup.wait)
        if (held := self.held.get(domain)) is not None:
            held.checked_at = now  # a reading counts from its start, successful or not
        return flight

    def _begin(self, domain: Domain, then: Callable[[Flight], None]) -> Flight:
        """Take off and go on with *then*, once it is certain whether the store has a policy."""
        flight = self._take_off(domain)
        if self.loaded or domain in self.held:
            then(flight)
        else:
            self._store.get(domain).add_done_callback(lambda future: self._read(flight, future, then))
        return flight

    def _read(self, flight: Flight, future: asyncio.Future[Entry | None], then: Callable[[Flight], None]) -> None:
        """The store, not yet loaded as a whole, was asked for one domain."""
        if flight.void:
            self.flights.land(flight)
            return
        try:
            entry = future.result()
        except StoreError as error:
            log.error("store-unreadable %s", KV(domain=flight.domain, reason=error))
            flight.verdict = holding.STORE_UNREADABLE
            self.flights.land(flight)
            return
        if entry is not None:
            self.take_stored([entry])
        then(flight)

    def _in_force(self, domain: Domain) -> Held | None:
        held = self.held.get(domain)
        return held if held is not None and self.upkeep.left(held) > 0 else None

    def _first(self, flight: Flight) -> None:
        """Find out about a domain that nothing in force was known of."""
        if self._in_force(flight.domain) is not None:  # the store knew
            self.flights.land(flight)
        else:
            self._discover(flight, Urgency.LOOKUP)

    def _refetch(self, flight: Flight) -> None:
        held = self._in_force(flight.domain)
        if held is not None:
            flight.tell()  # lookups need not wait for the fetch
        if held is None:
            self._discover(flight, Urgency.LOOKUP)
        else:
            self._discover(flight, Urgency.UPKEEP, refetch_as=held.entry.record_id)

    def _discover(
        self, flight: Flight, urgency: Urgency, avoid: Sequence[str] = (), refetch_as: str | None = None
    ) -> None:
        self._resolver.discover(flight.domain, avoid, refetch_as, lambda outcome: self._apply(flight, outcome), urgency)

    def _late(self, flight: Flight) -> None:
        """lookup.wait is over: those who wait are told so, and the work goes on.

        A policy host that hangs for ever must not hold mail up for ever: who
        failed before is no reason to defer again (RFC 8461 section 3.3).
        """
        held = self.held.get(flight.domain)
        if (held is not None and held.trouble is not None) or self.negatives.failed_lately(
            flight.domain, self.upkeep.monotonic()
        ):
            flight.tell_late(holding.FAILED_BEFORE)
            return
        reason = f"{flight.domain} is still being looked up after {self._settings.lookup.wait:g} s"
        if flight.lookups:
            log.warning("temp %s", KV(domain=flight.domain, reason=reason))
        flight.tell_late(Verdict(Kind.TEMP, reason, 0.0))

    # -- outcomes -----------------------------------------------------------

    def _apply(self, flight: Flight, outcome: Outcome | OwnFault) -> None:
        """Take in what a flight found out; an unexpected error of our own counts as a failed fetch."""
        try:
            self._take_in(flight, outcome)
        except Exception:  # noqa: BLE001 -- said in _bug
            bug = self._bug(flight.domain)
            if self._in_force(flight.domain) is None:
                flight.verdict = bug
            if not flight.done:
                self.flights.land(flight)

    def _bug(self, domain: Domain) -> Verdict:
        """Count and log the exception of our own that is being handled; what Postfix is told."""
        self._counts.errors += 1
        log.exception("internal-error %s", KV(domain=domain))
        return holding.INTERNAL_ERROR

    def _take_in(self, flight: Flight, outcome: Outcome | OwnFault) -> None:
        """Take in what a flight found out. The only place where what is held changes."""
        if flight.void:
            self.flights.land(flight)
            return
        held = self._in_force(flight.domain)
        match outcome:
            case OwnFault():
                self._own_fault(flight, held, outcome)
            case Found() as found:
                self._counts.fetches["ok"] += 1
                self._store_policy(flight, found)
                return
            case Failed() as failed:
                self.report(failed, held.entry if held is not None else None, flight.domain)
                self._failed(flight, held, failed)
            case Unchanged():
                flight.unfetched = True
                log.debug("record-unchanged %s", KV(domain=flight.domain))
            case missing if held is not None:
                flight.unfetched = True
                log.debug("record-missing %s", KV(domain=flight.domain, reason=missing.reason))
            case missing:
                self._no_policy(flight, missing)
        self.flights.land(flight)

    def _failed(self, flight: Flight, held: Held | None, failed: Failed) -> None:
        self._counts.fetches[failed.result_type] += 1
        if held is not None:
            self.upkeep.failed(held, failed)
            self._plan(held)
        else:
            self._no_policy(flight, failed)

    def _own_fault(self, flight: Flight, held: Held | None, fault: OwnFault) -> None:
        """Try again, and tell Postfix to: we failed, not the domain. A bug would come again: it is a failed fetch."""
        if not fault.passing:
            self._counts.errors += 1
            log.error("internal-error %s", KV(domain=flight.domain, reason=fault.reason))
            known = self.held.get(flight.domain)
            record_id = known.entry.record_id if known is not None else ""
            self._failed(flight, held, Failed(record_id, Stage.HTTP, Seen(Fault.INTERNAL, value=fault.reason)))
        elif held is not None:
            self.upkeep.put_off(held)
            self._plan(held)
        else:
            self._remember(flight, fault, Verdict(Kind.TEMP, fault.reason, OWN_FAULT_LASTS), None)

    def _store_policy(self, flight: Flight, found: Found) -> None:
        wall = self.upkeep.wall()
        old = self.held.get(flight.domain)
        used_at = old.entry.used_at if old is not None and not flight.lookups else 0.0
        entry = Entry(flight.domain, found.policy, found.record_id, min(found.fetched_at, wall), used_at)
        self._commit(flight, entry if used_at else rules.used(entry, wall))

    def _commit(self, flight: Flight, entry: Entry) -> None:
        """Store *entry*, then hold it, then answer: kill -9 loses none that Postfix was told of."""
        given_up = asyncio.get_running_loop().call_later(COMMIT_WAIT, self._hold, flight, entry)

        def committed(future: asyncio.Future[None]) -> None:
            given_up.cancel()  # a failure is the storekeeper's to tell and to mend; the policy serves from memory
            self._hold(flight, entry)

        self._store.put(entry).add_done_callback(committed)

    def _hold(self, flight: Flight, entry: Entry) -> None:
        """Let *entry* serve, once."""
        if self.flights.get(flight.domain) is flight:  # else held already: the store was slow, and answered after all
            self._take_policy(entry, flight.began_at)
            flight.found = True
        if not flight.done:
            self.flights.land(flight)

    def _take_policy(self, entry: Entry, checked_at: float) -> None:
        old = self.held.get(entry.domain)
        changed = old is None or old.entry.policy != entry.policy
        if self.negatives.pop(entry.domain) is not None or self.negatives.overflowed or (changed and old is not None):
            self._changed()
        self.held[entry.domain] = held = Held(entry, checked_at)
        if changed:
            announce(entry, new=old is None)
        self._plan(held)

    def _no_policy(self, flight: Flight, outcome: Absent | Failed | DnsFailed) -> None:
        self.upkeep.tell_failure(flight.domain, outcome)
        failed_at = None if isinstance(outcome, Absent) else self.upkeep.monotonic()
        self._remember(flight, outcome, of_failure(outcome, self._settings.lookup), failed_at)

    def _remember(
        self,
        flight: Flight,
        outcome: Absent | Failed | DnsFailed | OwnFault,
        verdict: Verdict,
        failed_at: float | None,
    ) -> None:
        """End *flight* in *verdict*, which *outcome* led to, and repeat that for as long as it lasts."""
        domain, now = flight.domain, self.upkeep.monotonic()
        old = self.negatives.pop(domain)
        if old is not None and now < old.until:
            self._changed()
        if verdict.kind is Kind.TEMP:  # DNS failures follow on_dns_failure; our own say nothing of the domain
            failed_at = old.failed_at if old is not None else None
            if old is None or old.verdict.kind is not Kind.TEMP:
                log.warning("temp %s", KV(domain=domain, reason=verdict.reason))
        flight.verdict = verdict
        self.negatives.set(domain, Negative(verdict, now + verdict.lasts, failed_at, outcome))

    # -- the store ------------------------------------------------------------

    def take_stored(self, entries: Iterable[Entry]) -> None:
        """Hold entries read from the store; what memory holds already is newer."""
        now, wall = self.upkeep.monotonic(), self.upkeep.wall()
        notes = []
        for entry in entries:
            if entry.domain in self.held:
                continue
            held = self.held[entry.domain] = Held(entry, now - max(0.0, wall - entry.fetched_at))
            self.upkeep.left(held)  # makes good a time later than now, and notes what is expired
            notes.append(self.upkeep.plan(held))
        self.schedule(notes)

    def contents(self) -> Iterator[Entry]:
        """All that memory holds, for a store that begins anew."""
        return iter([held.stored or held.entry for held in self.held.values()])

    async def plan_anew(self) -> None:
        """Judge all times anew and note all that is due, by turns: the clock was set, or the settings changed."""
        self._changed()
        domains = list(self.held)
        for first in range(0, len(domains), AT_A_TURN):
            turn = [held for domain in domains[first : first + AT_A_TURN] if (held := self.held.get(domain))]
            for held in turn:
                self.upkeep.judge_anew(held)
            self.schedule([self.upkeep.plan(held) for held in turn])
            await asyncio.sleep(0)
