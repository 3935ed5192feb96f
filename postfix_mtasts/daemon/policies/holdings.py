"""What is held of every domain: policies, negative answers, who failed or was late. All changes of it are made here.

Rule 1: of two policies of a domain the one fetched later is held (core.entry.newest).
Rule 2: a policy that is held is planned: the refresher has a note of it.
Rule 3: an answer that may lie ready, and is no longer true, empties the ready
        replies (`changed`).

Nothing here waits for anything: what is asked of the network, and who waits
for it, is the keeper's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from ...config.settings import Settings
from ...core import entry as rules
from ...core.answering import of_failure
from ...core.entry import Entry, Timing
from ...core.names import Domain
from ...core.outcome import Absent, Failed, Found
from ...core.ports import Clock
from ...core.verdict import Kind, Verdict
from . import announcing
from .announcing import Announcer
from .held import Held, Lately, Missing, Negative, Negatives, Note
from .schedule import Schedule

NEVER = float("inf")


class Holdings:
    """Policies and negative answers, by domain."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        write: Callable[[Entry], object],
        plan: Callable[[Iterable[Note]], None],
        changed: Callable[[], None],
    ) -> None:
        """Hold nothing yet.

        Args:
            write: stores an entry again.
            plan: takes notes of when something is due, for the refresher.
            changed: empties the ready replies.
        """
        self.policies: dict[Domain, Held] = {}
        self.negatives = Negatives(settings.cache.negative_limit)
        self.schedule = Schedule(write, clock)
        self._failed, self._late = Lately(), Lately()
        self._push, self._changed, self._announcer = plan, changed, Announcer()
        self.configure(settings)

    def configure(self, settings: Settings) -> None:
        self._lookup = settings.lookup
        self.schedule.timing = Timing(settings.refresh.recheck, settings.refresh.interval, settings.lookup.failure_ttl)
        self.negatives.configure(settings.cache.negative_limit)

    # -- what is known ----------------------------------------------------------

    def in_force(self, domain: Domain) -> Held | None:
        held = self.policies.get(domain)
        return held if held is not None and self.schedule.left(held) > 0 else None

    def negative(self, domain: Domain) -> Verdict | None:
        """Return what a domain without a policy is told, for as long as that lasts."""
        negative, now = self.negatives.get(domain), self.schedule.monotonic()
        if negative is None or now >= negative.until:
            return None
        return Verdict(negative.verdict.kind, negative.verdict.reason, negative.until - now)

    def verdict_of(self, domain: Domain, why: Missing) -> Verdict:
        """Return what those are told who waited for a flight that ended in *why*."""
        negative = self.negatives.get(domain)
        if negative is not None and negative.outcome is why:
            return negative.verdict
        return of_failure(why, self._lookup)

    def contents(self) -> Iterator[Entry]:
        """Yield all policies as the store has them, or is to have them."""
        for held in list(self.policies.values()):
            yield held.clamped.entry if held.clamped is not None else held.entry

    def failed_before(self, domain: Domain) -> bool:
        """Tell whether the fetch before failed, or a lookup was told TEMP because it was late, within a day."""
        now = self.schedule.monotonic()
        return self._failed.has(domain, now) or self._late.has(domain, now)

    # -- changes ------------------------------------------------------------------

    def entry_of(self, domain: Domain, found: Found, asked_for: bool) -> Entry:
        """Make the entry of a policy just fetched; *asked_for*: a lookup waits for it, which is a use."""
        wall, old = self.schedule.wall(), self.policies.get(domain)
        used_at = old.entry.used_at if old is not None and not asked_for else 0.0
        entry = Entry(domain, found.policy, found.record_id, min(found.fetched_at, wall), used_at)
        return entry if used_at else rules.used(entry, wall)

    def hold(self, entry: Entry, checked_at: float, shared: bool = False) -> None:
        """Let *entry* serve, whose record was read at *checked_at*; *shared*: another daemon fetched it."""
        old = self.policies.get(entry.domain)
        if rules.newest(old.entry if old is not None else None, entry, self.schedule.wall()) is not entry:
            return
        differs = old is None or old.entry.policy != entry.policy
        was_negative = self.negatives.pop(entry.domain) is not None or self.negatives.overflowed
        if was_negative or (differs and old is not None):
            self._changed()
        self._failed.forget(entry.domain)
        self.policies[entry.domain] = held = Held(entry, checked_at, shared)
        if differs:
            announcing.policy(entry, new=old is None)
        self.plan(held)

    def load(self, entries: Iterable[Entry]) -> None:
        """Hold entries read from the store, where memory holds none fetched later."""
        now, wall = self.schedule.monotonic(), self.schedule.wall()
        notes = []
        for entry in entries:
            old = self.policies.get(entry.domain)
            if old is not None and rules.newest(entry, old.entry, wall) is old.entry:
                continue
            held = self.policies[entry.domain] = Held(entry, now - max(0.0, wall - entry.fetched_at))
            self.schedule.left(held)  # clamps a time later than now, and notes what is expired
            notes.append(self.schedule.plan(held))
        self._push(notes)

    def fetch_failed(self, held: Held, failed: Failed) -> None:
        """Keep a policy in force whose fetch failed, and run its retry clock."""
        self._failed.note(held.entry.domain, self.schedule.monotonic())
        self.schedule.failed(held, failed)
        self.plan(held)

    def put_off(self, held: Held) -> None:
        """Have a refresh that we failed at ourselves tried again soon."""
        self.schedule.put_off(held)
        self.plan(held)

    def note_missing(self, domain: Domain, why: Missing) -> None:
        """Remember that a domain has no policy, and why, for as long as that lasts."""
        now, verdict = self.schedule.monotonic(), of_failure(why, self._lookup)
        self._announcer.missing(domain, why, now)
        old = self.negatives.pop(domain)
        if old is not None and now < old.until:
            self._changed()
        if verdict.kind is Kind.TEMP:  # DNS failures follow on_dns_failure; our own say nothing of the domain
            if old is None or old.verdict.kind is not Kind.TEMP:
                announcing.held_up(domain, verdict.reason)
        elif isinstance(why, Absent):
            self._failed.forget(domain)
        else:
            self._failed.note(domain, now)
        self.negatives.set(domain, Negative(verdict, now + verdict.lasts, now, why))

    def told_temp(self, domain: Domain) -> None:
        """Remember for a day that a lookup was told TEMP because it was late: the next lateness holds up nothing."""
        self._late.note(domain, self.schedule.monotonic())

    def not_late(self, domain: Domain) -> None:
        """Forget a lateness that was not the domain's fault: DNS deferred it, or we did."""
        self._late.forget(domain)

    def note_use(self, held: Held) -> None:
        """Keep the day of the last lookup."""
        if self.schedule.note_use(held):
            self.plan(held)  # it may have been refreshed no more

    def forget(self, domain: Domain) -> bool:
        """Know nothing more of *domain*; tell whether anything was known."""
        known = (self.policies.pop(domain, None), self.negatives.pop(domain)) != (None, None)
        self._failed.forget(domain)
        self._late.forget(domain)
        self._changed()
        return known

    def drop(self, held: Held) -> None:
        """Hold a policy no longer that expired a day ago."""
        del self.policies[held.entry.domain]
        announcing.policy_gone(held.entry.domain)

    # -- the refresher's part --------------------------------------------------------

    def plan(self, held: Held) -> None:
        """Have the refresher come when something is next to be done; what was planned before counts no more."""
        self._push([self.schedule.plan(held)])

    def plan_again(self, held: Held) -> None:
        """Plan *held* if it is held and nobody did since it was due."""
        if held.due_at == NEVER and self.policies.get(held.entry.domain) is held:
            self.plan(held)

    def plan_anew(self, some: Iterable[Held]) -> None:
        """Plan *some* by the settings and the clock as they are now, except what is being fetched or is gone."""
        notes = []
        for held in some:
            if held.due_at < NEVER and self.policies.get(held.entry.domain) is held:
                self.schedule.left(held)
                notes.append(self.schedule.plan(held))
        self._push(notes)

    def due(self, domain: Domain) -> Held | None:
        """Return what is held of *domain* if that is to be fetched now, or to go; warn if that is due."""
        held = self.policies.get(domain)
        if held is None or self.schedule.monotonic() < held.due_at:
            return None
        held.due_at = NEVER
        self.schedule.warn(held, self.schedule.left(held))
        if self.schedule.over(held) or self.schedule.wants_fetch(held):
            return held
        self.plan(held)
        return None
