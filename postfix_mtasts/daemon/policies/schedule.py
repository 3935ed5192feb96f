"""What a held policy needs over time: core.entry's rules applied to Held, on both clocks.

The rules speak of UTC. What this process alone remembers, and the refresher's
due times, go by the monotonic clock, which nobody can set.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

from ...core import entry as rules
from ...core.entry import Entry, Timing, Trouble, Warned
from ...core.names import Domain
from ...core.outcome import Absent, DnsFailed, Failed
from ...core.ports import Clock
from ...core.quoting import KV
from .held import Held, Note

log = logging.getLogger(__name__)

OWN_FAULT_PAUSE = 60.0  # seconds until a refresh that we failed at ourselves is tried again
BELIEVED_AFTER = 3_600.0  # seconds that the wall clock must have run on, unset, before times clamped by it are stored
DNS_COMPLAINTS = 60.0  # seconds between two warnings: where a resolver is down, every domain fails


class Upkeep:
    """Time rules for Held; *write* is told of each entry that has to be stored again."""

    def __init__(self, write: Callable[[Entry], object], clock: Clock) -> None:
        self._write = write
        self._complained_at = float("-inf")
        self.timing = Timing(0.0, 0.0, 0.0)
        self.wall, self.monotonic = clock.wall, clock.monotonic
        self._clock_set_at = clock.monotonic()  # or first seen

    def clock_was_set(self) -> None:
        """Believe the wall clock no more for a while; all times are to be judged anew."""
        self._clock_set_at = self.monotonic()

    def judge_anew(self, held: Held) -> None:
        """Go by the clock as it is now: what was clamped by one that was wrong gets back its time as stored."""
        if held.stored is not None:
            held.entry, held.stored = held.stored, None
        self.left(held)

    def left(self, held: Held) -> float:
        """Tell for how many seconds the policy is still in force; a time of fetch later than now becomes now first.

        It does so in memory at once, and in the store once the clock is
        believable: two seconds of a wrong clock at a start end no policy.
        """
        wall = self.wall()
        entry = rules.clamped(held.entry, wall)
        if entry is not held.entry:
            held.stored = held.stored or held.entry
            held.entry = entry
        if held.stored is not None and self._believes_the_clock():
            held.stored = None
            self._write(entry)
        if rules.in_force(entry, wall, self.timing):
            held.expired_at = None
            return rules.ends_at(entry, self.timing) - wall
        if held.expired_at is None:
            held.expired_at = self.monotonic()
        return 0.0

    def _believes_the_clock(self) -> bool:
        return self.monotonic() >= self._clock_set_at + BELIEVED_AFTER

    def expires_in(self, held: Held) -> float:
        """Like left(), without side effects."""
        return rules.ends_at(held.entry, self.timing) - self.wall()

    def note_use(self, held: Held) -> bool:
        """Keep the day of the last lookup; whether that is a later one than before."""
        entry = rules.used(held.entry, self.wall())
        if entry is held.entry:
            return False
        held.entry = entry
        if held.stored is None:
            self._write(entry)
        return True

    def failed(self, held: Held, failure: Failed) -> None:
        """A fetch failed while the policy is in force: it stays, and the retry clock runs."""
        old = held.trouble or Trouble(0, "", "")
        held.trouble = replace(old, failures=old.failures + 1, result_type=failure.result_type, reason=failure.reason)
        held.tried_id = failure.record_id
        left = self.left(held)
        held.retry_at = self.monotonic() + rules.retry_delay(held.trouble.failures, left, self.timing)
        self.warn(held, left)

    def put_off(self, held: Held) -> None:
        """We could not fetch, which says nothing of the domain: try again soon."""
        held.not_before = self.monotonic() + OWN_FAULT_PAUSE

    def avoid(self, held: Held) -> list[str]:
        """The record ids that a recheck fetches nothing for: the policy's own, and one that failed a moment ago."""
        avoid = {held.entry.record_id}
        if held.tried_id is not None and self.monotonic() < held.retry_at:
            avoid.add(held.tried_id)
        return sorted(avoid)

    def warn(self, held: Held, left: float) -> None:
        """Say what an operator has to know of a failing refresh (RFC 8461 section 3.3)."""
        if held.trouble is None:
            return
        warning, held.trouble = rules.warning_due(held.trouble, held.entry, self.wall(), self.timing)
        if warning is Warned.NOTHING:
            return
        event = "policy-ended %s" if warning is Warned.ENDED else "refresh-failing %s"
        trouble = held.trouble
        fields = {"domain": held.entry.domain, "result": trouble.result_type, "reason": trouble.reason}
        log.warning(event, KV(**fields, failures=trouble.failures, policy_left_s=int(left)))

    def tell_failure(self, domain: Domain, outcome: Absent | Failed | DnsFailed) -> None:
        """Log why a domain has no policy, if that is a failure; where DNS fails, not for every domain."""
        match outcome:
            case Failed():
                fields = {"domain": domain, "result": outcome.result_type, "reason": outcome.reason}
                log.warning("fetch-failed %s", KV(**fields, id=outcome.record_id))
            case DnsFailed():
                now = self.monotonic()
                often = now < self._complained_at + DNS_COMPLAINTS
                if not often:
                    self._complained_at = now
                level = logging.DEBUG if often else logging.WARNING
                log.log(level, "dns-failed %s", KV(domain=domain, reason=outcome.reason))

    def wants_fetch(self, held: Held) -> bool:
        """Whether the refresher is to fetch the policy now."""
        return self._fetch_in(held) <= 0

    def over(self, held: Held) -> bool:
        """Whether the entry may go: seen expired for a day by a clock that nobody can set."""
        return held.expired_at is not None and self.monotonic() >= held.expired_at + rules.EXPIRED_KEPT

    def plan(self, held: Held) -> Note:
        """The refresher's note of *held*, which stands in place of all earlier ones."""
        held.due_at = self._next_due(held)
        ends = float("inf") if held.expired_at is not None else self.monotonic() + self.expires_in(held)
        return held.due_at, ends, held.entry.domain

    def _next_due(self, held: Held) -> float:
        """When something is next to be done, by the monotonic clock."""
        if held.expired_at is not None:
            return held.expired_at + rules.EXPIRED_KEPT
        wall = self.wall()
        wait = min(rules.ends_at(held.entry, self.timing) - wall, self._fetch_in(held))
        if held.trouble is not None:
            wait = min(wait, rules.tenth_at(held.entry, self.timing, wall) - wall)
        return self.monotonic() + max(wait, 0.0)

    def _fetch_in(self, held: Held) -> float:
        """Seconds until the refresher's next fetch; infinity for a policy that nobody asks for any more."""
        wall = self.wall()
        if held.expired_at is not None or rules.unused(held.entry, wall):
            return float("inf")
        if held.trouble is not None:
            wait = held.retry_at - self.monotonic()
        else:
            wait = rules.refetch_at(held.entry, self.timing) - wall
        return max(wait, held.not_before - self.monotonic())


def announce(entry: Entry, new: bool) -> None:
    """Log a policy that is new or changed."""
    event = "policy-new %s" if new else "policy-changed %s"
    policy = entry.policy
    fields = {"domain": entry.domain, "mode": policy.mode, "max_age": policy.max_age, "id": entry.record_id}
    log.info(event, KV(**fields, mx=",".join(policy.mx)))
    if policy.unusable:
        log.warning("mx-pattern-unusable %s", KV(domain=entry.domain, mx=", ".join(policy.unusable)))
