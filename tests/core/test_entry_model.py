"""The rules of core/entry.py together, against a model that knows when each policy has to end.

The machine is the smallest keeper there can be: it clamps first, as the real
one does. The model is when the last fetch was, by the clock as set back since.
"""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from postfix_mtasts.core.entry import (
    DAY,
    Entry,
    Timing,
    clamped,
    ends_at,
    in_force,
    refetch_at,
    retry_delay,
    unused,
    used,
)
from postfix_mtasts.core.names import Domain
from postfix_mtasts.core.policy import Mode, Policy


def seconds(low: float, high: float) -> st.SearchStrategy[float]:
    """Eighths of a second, which floats hold exactly: the model is compared without rounding."""
    return st.integers(int(low * 8), int(high * 8)).map(lambda eighths: eighths / 8)


SECONDS = st.one_of(
    seconds(0, 120), seconds(0, 2 * DAY), seconds(0, 400 * DAY), st.sampled_from([1.0, 60.0, 300.0, DAY])
)
MAX_AGES = st.one_of(st.integers(0, 120), st.integers(0, 31_557_600), st.sampled_from([0, 86_400, 604_800]))


class EntryMachine(RuleBasedStateMachine):
    @initialize(
        recheck=seconds(0.125, 7 * DAY), interval=seconds(1, 31 * DAY), ttl=seconds(0, 7 * DAY), max_age=MAX_AGES
    )
    def begin(self, recheck: float, interval: float, ttl: float, max_age: int) -> None:
        self.timing = Timing(recheck, interval, ttl)
        self.now = 20_000 * DAY
        self.used_day = 0.0
        self.fetch("a1", max_age)

    def fetch(self, record_id: str, max_age: int) -> None:
        policy = Policy(Mode.ENFORCE, max_age, b"mx: mx.example.com")
        self.lasts = max(max_age, min(60.0, self.timing.recheck))
        self.entry = Entry(Domain("example.com"), policy, record_id, self.now, self.used_day)
        self.fetched = self.now  # the model: the fetch, as the clock set back since has it
        self.failures = 0

    @rule(max_age=MAX_AGES)
    def refresh(self, max_age: int) -> None:
        """A fetch, asked for by the refresher."""
        self.fetch(self.entry.record_id, max_age)

    @rule(record_id=st.sampled_from(["a1", "a2"]), max_age=MAX_AGES, fails=st.booleans())
    def recheck(self, record_id: str, max_age: int, fails: bool) -> None:
        """The same id proves nothing; another one means a fetch."""
        if record_id != self.entry.record_id:
            if fails:
                self.fail()
            else:
                self.fetch(record_id, max_age)

    @rule()
    def fail(self) -> None:
        """A failed fetch changes no entry, and three more tries fit wherever the recheck lets them."""
        self.failures += 1
        failures, moment, end = self.failures, self.now, ends_at(self.entry, self.timing)
        if end - moment <= 4 * self.timing.recheck:
            assert retry_delay(failures, end - moment, self.timing) >= self.timing.recheck
            return
        for _ in range(3):
            delay = retry_delay(failures, end - moment, self.timing)
            assert delay >= self.timing.recheck
            moment += delay
            failures += 1
            assert moment < end

    @rule(seconds=SECONDS)
    def clock_goes_on(self, seconds: float) -> None:
        self.now += seconds

    @rule(seconds=SECONDS)
    def clock_is_set_back(self, seconds: float) -> None:
        self.now -= seconds
        self.fetched = min(self.fetched, self.now)
        self.used_day = min(self.used_day, self.now // DAY * DAY)

    @rule()
    def lookup(self) -> None:
        self.entry = used(clamped(self.entry, self.now), self.now)
        self.used_day = self.now // DAY * DAY
        assert not unused(self.entry, self.now)

    @invariant()
    def only_a_fetch_moves_the_time_on(self) -> None:
        self.entry = clamped(self.entry, self.now)
        assert self.entry.fetched_at == self.fetched <= self.now
        assert self.entry.used_at == self.used_day <= self.now

    @invariant()
    def served_until_its_end_and_no_longer(self) -> None:
        assert in_force(self.entry, self.now, self.timing) == (self.now < self.fetched + self.lasts)
        assert ends_at(self.entry, self.timing) <= self.now + self.lasts

    @invariant()
    def refetched_in_time_or_too_short_lived(self) -> None:
        at = refetch_at(self.entry, self.timing)
        if at == float("inf"):
            assert self.lasts <= self.timing.recheck
            return
        assert self.entry.fetched_at + self.timing.recheck <= at < ends_at(self.entry, self.timing)
        assert at - self.entry.fetched_at <= max(self.timing.recheck, self.timing.interval)
        assert at - self.entry.fetched_at <= max(self.timing.recheck, self.entry.policy.max_age / 2)

    @precondition(lambda self: self.entry.used_at + 31 * DAY > self.now)
    @invariant()
    def what_was_asked_for_lately_is_refreshed(self) -> None:
        assert not unused(self.entry, self.now)


EntryMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestEntryMachine = EntryMachine.TestCase
