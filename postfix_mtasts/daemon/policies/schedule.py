"""What a held policy needs over time: core.entry's rules applied to Held, on both clocks.

The rules speak of UTC. What this process alone remembers, and the refresher's
due times, go by the monotonic clock, which nobody can set.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ...core import entry as rules
from ...core.entry import Entry, Timing, Trouble
from ...core.outcome import Failed
from ...core.ports import Clock
from . import announcing
from .held import TRIED, Clamped, Held, Note

OWN_FAULT_PAUSE, OWN_FAULT_LEAST = 60.0, 1.0  # seconds until a refresh that we failed at ourselves is tried again
CLOCK_STEP = 1.0  # seconds between the two clocks that only a clock set by somebody explains
BELIEVED_AFTER = 3_600.0  # seconds that the wall clock must have run on, unset, before times clamped by it are stored


class Schedule:
    """Time rules for Held; *write* is told of each entry that has to be stored again."""

    def __init__(self, write: Callable[[Entry], object], clock: Clock) -> None:
        self._write = write
        self.timing = Timing(0.0, 0.0, 0.0)
        self.wall, self.monotonic = clock.wall, clock.monotonic

    def left(self, held: Held) -> float:
        """Tell for how many seconds the policy is still in force; a time of fetch later than now becomes now first.

        It does so in memory at once, and in the store once the clock is
        believable: two seconds of a wrong clock at a start expire no policy.
        """
        wall = self.wall()
        if held.clamped is not None:
            self._judge_clock(held, held.clamped, wall)
        entry = rules.clamped(held.entry, wall)
        if entry is not held.entry:
            now = self.monotonic()
            before = held.clamped.entry if held.clamped is not None else held.entry
            held.clamped, held.entry = Clamped(before, wall - now, now), entry
        if rules.in_force(entry, wall, self.timing):
            held.expired_at = None
            return rules.ends_at(entry, self.timing) - wall
        if held.expired_at is None:
            held.expired_at = self.monotonic()
        return 0.0

    def _judge_clock(self, held: Held, clamped: Clamped, wall: float) -> None:
        """Give an entry its times back if the clock was set since; store it as clamped if it ran on long enough."""
        now = self.monotonic()
        if abs(wall - now - clamped.clocks) > CLOCK_STEP:
            held.entry, held.clamped = clamped.entry, None
        elif now >= clamped.since + BELIEVED_AFTER:
            held.clamped = None
            self._write(held.entry)

    def expires_in(self, held: Held) -> float:
        """Return what left() does, without side effects."""
        return rules.ends_at(held.entry, self.timing) - self.wall()

    def note_use(self, held: Held) -> bool:
        """Keep the day of the last lookup; whether that is a later one than before."""
        entry = rules.used(held.entry, self.wall())
        if entry is held.entry:
            return False
        held.entry = entry
        if held.clamped is None:
            self._write(entry)
        return True

    def failed(self, held: Held, failure: Failed) -> None:
        """Take in that a fetch failed while the policy is in force: it stays, and the retry clock runs."""
        old = held.trouble or Trouble(0, "", "")
        held.trouble = replace(old, failures=old.failures + 1, result_type=failure.result_type, reason=failure.reason)
        held.tried = (*(tried for tried in held.tried if tried != failure.record_id), failure.record_id)[-TRIED:]
        left = self.left(held)
        held.retry_at = self.monotonic() + rules.retry_delay(held.trouble.failures, left, self.timing)
        self.warn(held, left)

    def put_off(self, held: Held) -> None:
        """Try again soon, and before the policy expires: we failed, which says nothing of the domain."""
        held.not_before = self.monotonic() + max(OWN_FAULT_LEAST, min(OWN_FAULT_PAUSE, self.left(held) / 4))

    def avoid(self, held: Held) -> list[str]:
        """Return the ids that a recheck fetches nothing for: the policy's own, and those that failed a moment ago."""
        tried = held.tried if self.monotonic() < held.retry_at else ()
        return sorted({held.entry.record_id, *tried})

    def warn(self, held: Held, left: float) -> None:
        """Say what an operator has to know of a failing refresh (RFC 8461 section 3.3)."""
        if held.trouble is not None:
            warning, held.trouble = rules.warning_due(held.trouble, held.entry, self.wall(), self.timing)
            announcing.refresh_failing(held.entry.domain, held.trouble, warning, left)

    def wants_fetch(self, held: Held) -> bool:
        """Tell whether the refresher is to fetch the policy now."""
        return self._fetch_in(held) <= 0

    def over(self, held: Held) -> bool:
        """Tell whether the entry may go: seen expired for a day by a clock that nobody can set."""
        return held.expired_at is not None and self.monotonic() >= held.expired_at + rules.EXPIRED_KEPT

    def plan(self, held: Held) -> Note:
        """Return the refresher's note of *held*, which stands in place of all earlier ones."""
        held.due_at = self._next_due(held)
        ends = float("inf") if held.expired_at is not None else self.monotonic() + self.expires_in(held)
        return held.due_at, ends, held.entry.domain

    def _next_due(self, held: Held) -> float:
        """Tell when something is next to be done, by the monotonic clock."""
        if held.expired_at is not None:
            return held.expired_at + rules.EXPIRED_KEPT
        wall = self.wall()
        wait = min(rules.ends_at(held.entry, self.timing) - wall, self._fetch_in(held))
        if held.trouble is not None:
            wait = min(wait, rules.tenth_at(held.entry, self.timing, wall) - wall)
        return self.monotonic() + max(wait, 0.0)

    def _fetch_in(self, held: Held) -> float:
        """Return the seconds until the refresher's next fetch; infinity for a policy that nobody asks for any more."""
        wall = self.wall()
        if held.expired_at is not None or rules.unused(held.entry, wall):
            return float("inf")
        if held.trouble is not None:
            wait = held.retry_at - self.monotonic()
        else:
            wait = rules.refetch_at(held.entry, self.timing) - wall
        return max(wait, held.not_before - self.monotonic())
