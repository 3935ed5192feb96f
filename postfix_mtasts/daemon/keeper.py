"""The keeper: what is known of every domain, and the one owner of all of it.

It lives on the event loop. Lookups ask it (`lookup`), the refresher drives it
(`due`), operators steer it (`refresh`, `forget`); the network is asked
through daemon.jobs, the store through daemon.storekeeper, and what they find
is taken in by `_apply` alone. One domain has one Flight at a time, so of two
outcomes the one begun later wins, and forty clients cost one query.

What is decided about time is in core.entry, what Postfix is told in
resolving.answering; nothing here parses a byte.

Source: RFC 8461 sections 3.3, 5.1 and 10.2.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

from ..core import entry as rules
from ..core.entry import Entry, Timing, Trouble, Warned
from ..core.names import Domain, NextHop
from ..core.outcome import Absent, DnsFailed, Failed, Found, Outcome, ResultType, Stage, Unchanged
from ..core.policy import Mode
from ..core.quoting import KV
from ..core.verdict import Kind, Verdict
from ..errors import InputError, StoreError
from ..resolving.answering import of_failure, of_policy
from ..settings import Settings
from .counts import Counts
from .frames import Frames
from .state import Flight, Held, Negative, Negatives
from .wire import outcome_from_json

log = logging.getLogger(__name__)

COMMIT_WAIT = 5.0  # seconds that an answer waits for the store; a stuck disk must not hold mail up
SHUTTING_DOWN = Verdict(Kind.TEMP, "postfix-mtasts is shutting down", 0.0)
STORE_UNREADABLE = Verdict(Kind.TEMP, "the policy store cannot be read", 0.0)
NEVER = float("inf")


class JobRunner(Protocol):
    def submit(self, job: dict[str, Any], done: Callable[[dict[str, Any]], None]) -> None: ...


class EntryStore(Protocol):
    """daemon.storekeeper.StoreKeeper, as far as the keeper needs it."""

    def get(self, domain: Domain) -> asyncio.Future[Entry | None]: ...
    def put(self, entry: Entry) -> asyncio.Future[None]: ...
    def delete(self, domain: Domain) -> asyncio.Future[None]: ...


class Schedule(Protocol):
    """daemon.refresher.Refresher, as far as the keeper needs it."""

    def push(self, dues: Iterable[tuple[float, Domain]]) -> None: ...


class Keeper:
    """Everything known about domains, and the flights that find out more."""

    def __init__(
        self, settings: Settings, jobs: JobRunner, store: EntryStore, frames: Frames, counts: Counts, schedule: Schedule
    ) -> None:
        self._jobs, self._store, self._frames, self._counts, self._schedule = jobs, store, frames, counts, schedule
        self.held: dict[Domain, Held] = {}
        self.flights: dict[Domain, Flight] = {}
        self.negatives = Negatives(settings.cache.negative_limit)
        self.loaded = False  # all of the store is in `held`
        self.stopping = False
        self._dns_complaint_at = -NEVER
        self.wall: Callable[[], float] = time.time
        self.monotonic: Callable[[], float] = time.monotonic
        self.configure(settings)

    def configure(self, settings: Settings) -> None:
        """Let everything from now on go by *settings*."""
        self._settings = settings
        self._timing = Timing(settings.refresh.recheck, settings.refresh.interval, settings.lookup.failure_ttl)
        self.negatives.limit = settings.cache.negative_limit
        self.negatives.trim()
        self._frames.empty()

    # -- lookups ------------------------------------------------------------

    def lookup(self, hop: NextHop, dane: bool, done: Callable[[Verdict], None]) -> Verdict | None:
        """The verdict for *hop*, or None: then *done* is called with it, later, once."""
        known = self._known(hop, dane)
        if isinstance(known, Verdict):
            return known

        def landed(flight: Flight) -> None:
            verdict = flight.late or flight.verdict or self.lookup(hop, dane, done)
            if verdict is not None:
                done(verdict)

        known.lookups.append(landed)
        return None

    def _known(self, hop: NextHop, dane: bool) -> Verdict | Flight:
        """What can be said of *hop* at once, or the flight that will tell."""
        domain, now = hop.domain, self.monotonic()
        held = self.held.get(domain)
        if held is not None and (left := self._in_force(held, now)) > 0:
            self._note_use(held)
            lasts = min(left, self._recheck(held, now))
            return of_policy(held.entry.policy, lasts, None)
        negative = self.negatives.get(domain)
        if negative is not None and now < negative.until:
            return Verdict(negative.verdict.kind, negative.verdict.reason, negative.until - now)
        flight = self.flights.get(domain)
        if flight is None:
            if self.stopping:
                return SHUTTING_DOWN
            flight = self._first(domain)
        return flight.late or flight

    def _in_force(self, held: Held, now: float) -> float:
        """Seconds that the policy is still in force; a clock set back is made good first."""
        wall = self.wall()
        entry = rules.clamped(held.entry, wall)
        if entry is not held.entry:
            held.entry = entry
            self._write(entry)
        if rules.in_force(entry, wall, self._timing):
            held.expired_at = None
            return rules.ends_at(entry, self._timing) - wall
        if held.expired_at is None:
            held.expired_at = now
        return 0.0

    def _note_use(self, held: Held) -> None:
        entry = rules.used(held.entry, self.wall())
        if entry is not held.entry:
            held.entry = entry
            self._write(entry)

    def _recheck(self, held: Held, now: float) -> float:
        """Have the record read behind the answer where that is due; seconds until it is due again."""
        left = held.checked_at + self._timing.recheck - now
        if left > 0:
            return left
        if held.entry.domain not in self.flights and not self.stopping:
            avoid = {held.entry.record_id}
            if now < held.retry_at and held.tried_id is not None:
                avoid.add(held.tried_id)
            self._discover(self._take_off(held.entry.domain, now), {"avoid": sorted(avoid), "refetch_as": None})
        return self._timing.recheck

    # -- flights ------------------------------------------------------------

    def _take_off(self, domain: Domain, now: float) -> Flight:
        flight = self.flights[domain] = Flight(domain, now)
        if (held := self.held.get(domain)) is not None:
            held.checked_at = now  # a reading counts from its start, successful or not
        loop = asyncio.get_running_loop()
        flight.timer = loop.call_later(self._settings.lookup.wait, self._late, flight)
        return flight

    def _first(self, domain: Domain) -> Flight:
        """Find out about a domain that nothing in force is known of."""
        flight = self._take_off(domain, self.monotonic())
        if self.loaded or domain in self.held:
            self._discover(flight, {"avoid": [], "refetch_as": None})
        else:
            self._store.get(domain).add_done_callback(lambda future: self._read(flight, future))
        return flight

    def _read(self, flight: Flight, future: asyncio.Future[Entry | None]) -> None:
        """The store, not yet loaded as a whole, was asked for one domain."""
        try:
            entry = future.result()
        except StoreError as error:
            log.error("store-unreadable %s", KV(domain=flight.domain, reason=error))
            flight.verdict = STORE_UNREADABLE
            self._land(flight)
            return
        if entry is not None and not flight.void:
            self.take_stored([entry])
            if self._in_force(self.held[flight.domain], self.monotonic()) > 0:
                self._land(flight)
                return
        self._discover(flight, {"avoid": [], "refetch_as": None})

    def _discover(self, flight: Flight, how: dict[str, Any]) -> None:
        job = {"job": "discover", "domain": flight.domain, **how}
        self._jobs.submit(job, lambda answer: self._answered(flight, answer))

    def _answered(self, flight: Flight, answer: dict[str, Any]) -> None:
        if flight.void:
            self._land(flight)
            return
        self._apply(flight, self._outcome(flight, answer))

    def _outcome(self, flight: Flight, answer: dict[str, Any]) -> Outcome:
        """What the worker said; its death, and a bug of ours, count as a failed fetch."""
        held = self.held.get(flight.domain)
        record_id = held.entry.record_id if held else ""
        if (died := answer.get("died")) is not None:
            return Failed(record_id, Stage.HTTP, ResultType.FETCH_ERROR, died)
        try:
            if "bug" not in answer:
                return outcome_from_json(answer)
            reason = str(answer["bug"])
        except (KeyError, TypeError, ValueError, InputError) as error:
            reason = f"unreadable answer of the worker process: {type(error).__name__}: {error}"
        self._counts.errors += 1
        log.error("internal-error %s", KV(domain=flight.domain, reason=reason))
        return Failed(record_id, Stage.HTTP, ResultType.FETCH_ERROR, f"internal error: {reason}")

    def _late(self, flight: Flight) -> None:
        """lookup.wait is over: those who wait are told so, and the work goes on."""
        if self.negatives.failed_lately(flight.domain, self.monotonic()):
            flight.late = self._negative_late(flight)
        else:
            wait = self.monotonic() - flight.began_at
            flight.late = Verdict(Kind.TEMP, f"{flight.domain} is still being looked up after {wait:.0f} s", 0.0)
            if flight.lookups:
                log.warning("temp %s", KV(domain=flight.domain, reason=flight.late.reason))
        self._tell(flight)

    def _negative_late(self, flight: Flight) -> Verdict:
        return Verdict(Kind.NOTFOUND, "still being looked up; the attempt before failed, so mail goes on", 0.0)

    def _land(self, flight: Flight) -> None:
        if flight.timer is not None:
            flight.timer.cancel()
        if self.flights.get(flight.domain) is flight:
            del self.flights[flight.domain]
        flight.late = None
        self._tell(flight)

        for landed in flight.landed:
            landed()

    def _tell(self, flight: Flight) -> None:
        lookups, flight.lookups = flight.lookups, []
        for lookup in lookups:
            lookup(flight)

    # -- outcomes -----------------------------------------------------------

    def _apply(self, flight: Flight, outcome: Outcome) -> None:
        """Take in what a flight found out. The only place where what is held changes."""
        now = self.monotonic()
        held = self.held.get(flight.domain)
        in_force = held is not None and self._in_force(held, now) > 0
        match outcome:
            case Found():
                self._counts.fetches["ok"] += 1
                self._found(flight, outcome)
                return
            case Failed():
                self._counts.fetches[outcome.result_type] += 1
                if held is not None and in_force:
                    self._refresh_failed(held, outcome, now)
                else:
                    self._no_policy(flight, outcome, now)
            case Absent() | DnsFailed() if not in_force:
                self._no_policy(flight, outcome, now)
            case _:
                log.debug("recheck %s", KV(domain=flight.domain, outcome=type(outcome).__name__))
        self._land(flight)

    def _found(self, flight: Flight, found: Found) -> None:
        """Store the policy, then hold it, then answer: kill -9 loses none that Postfix was told of."""
        wall = self.wall()
        old = self.held.get(flight.domain)
        used_at = old.entry.used_at if old is not None else 0.0
        entry = Entry(flight.domain, found.policy, found.record_id, min(found.fetched_at, wall), used_at)
        if flight.lookups:
            entry = rules.used(entry, wall)
        stored = self._store.put(entry)
        loop = asyncio.get_running_loop()
        given_up = loop.call_later(COMMIT_WAIT, lambda: self._hold(flight, entry))

        def committed(future: asyncio.Future[None]) -> None:
            given_up.cancel()
            if not future.cancelled():
                future.exception()  # a failure is the storekeeper's to tell and to mend
            self._hold(flight, entry)

        stored.add_done_callback(committed)

    def _hold(self, flight: Flight, entry: Entry) -> None:
        """Let *entry* serve, once."""
        if self.flights.get(flight.domain) is not flight:
            return  # held already: the store was slow and then answered
        if not flight.void:
            self._take_policy(entry, flight.began_at)
        self._land(flight)

    def _take_policy(self, entry: Entry, checked_at: float) -> None:
        old = self.held.get(entry.domain)
        changed = old is None or old.entry.policy != entry.policy
        if self.negatives.pop(entry.domain) is not None or (changed and old is not None):
            self._frames.empty()
        self.held[entry.domain] = held = Held(entry, checked_at)
        if changed:
            policy = entry.policy
            fields = {"domain": entry.domain, "mode": policy.mode, "max_age": policy.max_age, "id": entry.record_id}
            log.info("policy-%s %s", "new" if old is None else "changed", KV(**fields, mx=",".join(policy.mx)))
            if policy.unusable:
                log.warning("mx-pattern-unusable %s", KV(domain=entry.domain, mx=", ".join(policy.unusable)))
        self._schedule.push([(self._next_due(held), entry.domain)])

    def _no_policy(self, flight: Flight, outcome: Absent | Failed | DnsFailed, now: float) -> None:
        domain = flight.domain
        verdict = of_failure(outcome, self._settings.lookup)
        old = self.negatives.pop(domain)
        if old is not None and now < old.until:
            self._frames.empty()
        failed_at = old.failed_at if old is not None else None
        match outcome:
            case Failed():
                failed_at = now
                fields = {"domain": domain, "result": outcome.result_type, "reason": outcome.reason}
                log.warning("fetch-failed %s", KV(**fields, id=outcome.record_id))
            case DnsFailed():
                if verdict.kind is Kind.NOTFOUND:
                    failed_at = now
                self._complain_of_dns(domain, outcome.reason, now)
            case Absent():
                failed_at = None
        flight.verdict = verdict
        self.negatives.set(domain, Negative(verdict, now + verdict.lasts, failed_at))

    def _complain_of_dns(self, domain: Domain, reason: str, now: float) -> None:
        """One warning a minute: where a resolver is down, every domain fails."""
        level = logging.WARNING if now >= self._dns_complaint_at + 60 else logging.DEBUG
        if level == logging.WARNING:
            self._dns_complaint_at = now
        log.log(level, "dns-failed %s", KV(domain=domain, reason=reason))

    def _refresh_failed(self, held: Held, failed: Failed, now: float) -> None:
        """A fetch failed while a policy is in force: it stays, and the retry clock runs."""
        before = held.trouble.failures if held.trouble is not None else 0
        warned = (held.trouble.warned_at, held.trouble.warned_tenth) if held.trouble is not None else (None, False)
        held.trouble = Trouble(before + 1, failed.result_type, failed.reason, *warned)
        held.tried_id = failed.record_id
        left = rules.ends_at(held.entry, self._timing) - self.wall()
        held.retry_at = now + rules.retry_delay(before + 1, left, self._timing)
        self._warn(held, left)
        self._schedule.push([(self._next_due(held), held.entry.domain)])

    def _warn(self, held: Held, left: float) -> None:
        """Say what an operator has to know of a failing refresh (RFC 8461 section 3.3)."""
        if held.trouble is None:
            return
        warning, held.trouble = rules.warning_due(held.trouble, held.entry, self.wall(), self._timing)
        if warning is Warned.NOTHING:
            return
        trouble = held.trouble
        log.warning(
            "refresh-failing %s" if warning is not Warned.ENDED else "policy-ended %s",
            KV(
                domain=held.entry.domain,
                result=trouble.result_type,
                reason=trouble.reason,
                failures=trouble.failures,
                policy_left_s=max(0, int(left)),
            ),
        )

    # -- the store and the refresher ------------------------------------------

    def _write(self, entry: Entry) -> None:
        """Store a changed entry; nobody waits for it, and a failure is the storekeeper's to mend."""
        self._store.put(entry).add_done_callback(lambda future: future.cancelled() or future.exception())

    def take_stored(self, entries: Iterable[Entry]) -> None:
        """Hold entries read from the store; what memory holds already is newer."""
        now, wall = self.monotonic(), self.wall()
        dues = []
        for entry in entries:
            if entry.domain in self.held or entry.domain in self.flights:
                continue
            held = Held(entry, now - max(0.0, wall - entry.fetched_at))
            self.held[entry.domain] = held
            if self._in_force(held, now) <= 0:
                held.expired_at = now
            dues.append((self._next_due(held), entry.domain))
        self._schedule.push(dues)

    def contents(self) -> Iterator[Entry]:
        """All that memory holds, for a store that begins anew."""
        return iter([held.entry for held in self.held.values()])

    def _next_due(self, held: Held) -> float:
        """When something is next to be done for a policy, by the monotonic clock."""
        now, wall = self.monotonic(), self.wall()
        if held.expired_at is not None:
            return held.expired_at + rules.EXPIRED_KEPT
        ends = rules.ends_at(held.entry, self._timing)
        due = ends
        if not rules.unused(held.entry, wall):
            fetch = rules.refetch_at(held.entry, self._timing)
            if held.trouble is not None:
                fetch = wall + max(0.0, held.retry_at - now)
                due = min(due, rules.tenth_at(held.entry, self._timing, wall))
            due = min(due, fetch)
        return now + due - wall

    def due(self, domain: Domain, landed: Callable[[], None]) -> bool:
        """Do what is due for *domain*; True: a fetch began, and *landed* is called at its end."""
        held = self.held.get(domain)
        if held is None or self.stopping:
            return False
        now = self.monotonic()
        left = self._in_force(held, now)
        self._warn(held, left)
        if held.expired_at is not None and now >= held.expired_at + rules.EXPIRED_KEPT:
            del self.held[domain]
            self._store.delete(domain)
            log.info("policy-gone %s", KV(domain=domain))
            return False
        if left > 0 and not rules.unused(held.entry, self.wall()) and now >= self._fetch_at(held, now):
            self.refresh(domain, landed)
            return True
        self._schedule.push([(self._next_due(held), domain)])
        return False
