"""policies/schedule.py: warnings, the retry clock and due times of a held policy."""

from __future__ import annotations

import logging

import pytest

from postfix_mtasts.core.entry import Entry, Timing
from postfix_mtasts.core.outcome import Stage
from postfix_mtasts.daemon.policies.held import TRIED, Held
from postfix_mtasts.daemon.policies.schedule import BELIEVED_AFTER, Schedule
from tests.support.fakes.entries import DAY, NOW, entry
from tests.support.fakes.faults import failed
from tests.support.fakes.keeping import ManualClock

FAILURE = failed("20231114", Stage.HTTP, "connection refused")


class Kept:
    """One held policy and its upkeep."""

    def __init__(self, kept: Entry) -> None:
        self.clock, self.written = ManualClock(), list[Entry]()
        self.schedule = Schedule(self.written.append, self.clock)
        self.schedule.timing = Timing(300.0, DAY, 300.0)
        self.held = Held(kept, self.clock.since_boot)

    def warn(self) -> None:
        self.schedule.warn(self.held, self.schedule.left(self.held))


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    found = [record.getMessage().split()[0] for record in caplog.records if record.levelno == logging.WARNING]
    caplog.clear()
    return found


def test_warnings_of_a_failing_refresh(caplog: pytest.LogCaptureFixture) -> None:
    """At the second failure in a row, then daily, at a tenth of max_age, and when the policy ends for it."""
    kept = Kept(entry(max_age=10 * DAY))
    kept.schedule.failed(kept.held, FAILURE)
    assert warnings(caplog) == []
    kept.schedule.failed(kept.held, FAILURE)
    assert "policy_left_s=864000" in caplog.text
    assert "connection refused" in caplog.text
    assert warnings(caplog) == ["refresh-failing"]
    kept.clock.advance(DAY - 1)
    kept.schedule.failed(kept.held, FAILURE)
    assert warnings(caplog) == []
    kept.clock.advance(1)
    kept.schedule.failed(kept.held, FAILURE)
    assert warnings(caplog) == ["refresh-failing"]
    kept.clock.advance(8 * DAY)
    kept.warn()
    kept.warn()
    assert warnings(caplog) == ["refresh-failing"]
    kept.clock.advance(DAY)
    kept.warn()
    kept.warn()
    assert warnings(caplog) == ["policy-expired"]


def test_no_warning_for_mode_none(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is lost with such a policy."""
    kept = Kept(entry(mode="none"))
    for _ in range(3):
        kept.schedule.failed(kept.held, FAILURE)
    kept.clock.advance(8 * DAY)
    kept.warn()
    assert warnings(caplog) == []


def test_no_warning_without_a_failure(caplog: pytest.LogCaptureFixture) -> None:
    """A policy that nobody asked for ends in silence."""
    kept = Kept(entry())
    kept.clock.advance(8 * DAY)
    kept.warn()
    assert warnings(caplog) == []


def test_three_more_tries_before_the_end() -> None:
    """The time between tries is never so long that fewer than three more fit into the time left."""
    kept = Kept(entry(max_age=7 * DAY))
    kept.clock.advance(7 * DAY - 8000)
    for _ in range(5):
        kept.schedule.failed(kept.held, FAILURE)
    assert kept.held.retry_at - kept.clock.since_boot == 2000


DUES = [
    ("the end of a policy that nobody asks for", {"max_age": 31 * DAY, "used_at": NOW - 90 * DAY}, 0, 31 * DAY),
    ("the end of one that ends before a recheck", {"max_age": 200}, 0, 200),
    ("a day after the end was seen", {"max_age": 200}, 200, DAY),
]


@pytest.mark.parametrize(("title", "fields", "later", "wait"), DUES, ids=[case[0] for case in DUES])
def test_when_it_is_due(title: str, fields: dict[str, int], later: float, wait: float) -> None:
    """When the refresher has to come back, if not for a fetch."""
    kept = Kept(entry(**fields))  # type: ignore[arg-type]
    kept.clock.advance(later)
    kept.schedule.left(kept.held)
    assert kept.schedule.plan(kept.held)[0] == kept.held.due_at == kept.clock.since_boot + wait
    assert not kept.schedule.wants_fetch(kept.held)


def test_due_at_a_tenth_while_failing() -> None:
    """The warning at a tenth of max_age comes in time, however far away the next try is."""
    kept = Kept(entry(max_age=10 * DAY))
    kept.schedule.timing = Timing(300.0, DAY, 7 * DAY)
    kept.clock.advance(8.9 * DAY)
    kept.schedule.failed(kept.held, FAILURE)
    assert kept.schedule.plan(kept.held)[0] - kept.clock.since_boot == pytest.approx(0.1 * DAY)


def test_a_note_names_the_end() -> None:
    """What is overdue goes by time left, and what is expired goes last."""
    kept = Kept(entry())
    kept.clock.advance(DAY)
    assert kept.schedule.plan(kept.held)[1:] == (kept.clock.since_boot + 6 * DAY, "example.com")
    kept.clock.advance(6 * DAY)
    kept.schedule.left(kept.held)
    assert kept.schedule.plan(kept.held)[1] == float("inf")


@pytest.mark.parametrize("max_age", [3600, DAY, 7 * DAY, 31_557_600])
def test_due_times_are_spread(max_age: int) -> None:
    """Policies fetched together come due over half of their period, none later than interval or half of max_age."""
    waits = []
    for number in range(200):
        kept = Kept(entry(f"d{number}.example", max_age=max_age))
        waits.append(kept.schedule.plan(kept.held)[0] - kept.clock.since_boot)
    period = min(DAY, max_age / 2)
    assert period / 2 <= min(waits) < 0.55 * period
    assert 0.95 * period < max(waits) <= period


def test_use_is_kept_to_the_day() -> None:
    """A thousand lookups a day cost one write."""
    kept = Kept(entry())
    assert not kept.schedule.note_use(kept.held)
    kept.clock.advance(DAY)
    assert kept.schedule.note_use(kept.held)
    assert not kept.schedule.note_use(kept.held)
    assert [written.used_at for written in kept.written] == [(NOW + DAY) // DAY * DAY]


def test_a_clock_set_back_is_written_once_it_is_believed() -> None:
    """In memory a time later than now becomes now at once; the store learns of it after an hour."""
    kept = Kept(entry(max_age=10 * DAY))
    kept.clock.utc -= 3 * DAY
    kept.schedule.left(kept.held)
    assert (kept.held.entry.fetched_at, kept.written) == (NOW - 3 * DAY, [])
    kept.clock.advance(BELIEVED_AFTER - 1)
    kept.schedule.left(kept.held)
    assert kept.written == []
    kept.clock.advance(1)
    kept.schedule.left(kept.held)
    kept.schedule.left(kept.held)
    assert [written.fetched_at for written in kept.written] == [NOW - 3 * DAY]


def test_a_clock_two_years_back_for_two_seconds() -> None:
    """The policy serves with the clock wrong, lookups write nothing, and all is as before once it is right."""
    kept = Kept(entry(max_age=10 * DAY))
    kept.clock.utc -= 730 * DAY
    assert kept.schedule.left(kept.held) == 10 * DAY
    kept.schedule.note_use(kept.held)
    kept.clock.advance(2)
    kept.clock.utc += 730 * DAY
    kept.schedule.left(kept.held)
    assert (kept.held.entry, kept.held.clamped, kept.written) == (entry(max_age=10 * DAY), None, [])
    assert kept.schedule.left(kept.held) == 10 * DAY - 2


def test_a_clock_set_twice() -> None:
    """The time as stored is kept over several steps of the clock."""
    kept = Kept(entry(max_age=10 * DAY))
    for step in (-2 * DAY, -DAY, DAY):
        kept.clock.utc += step
        kept.schedule.left(kept.held)
    assert kept.held.entry.fetched_at == NOW - 2 * DAY
    kept.clock.utc += 2 * DAY
    kept.schedule.left(kept.held)
    assert kept.held.entry.fetched_at == NOW


def test_ids_that_come_by_turns_are_not_tried_by_turns() -> None:
    """An id not tried before may be tried at once; a domain that goes to and fro between two has the retry clock."""
    kept = Kept(entry(record_id="1"))
    for record_id in ("2", "3", "2"):
        kept.schedule.failed(kept.held, failed(record_id, Stage.HTTP, "refused"))
        assert record_id in kept.schedule.avoid(kept.held)
    assert kept.schedule.avoid(kept.held) == ["1", "2", "3"]
    for number in range(100):
        kept.schedule.failed(kept.held, failed(f"new{number}", Stage.HTTP, "refused"))
    assert len(kept.schedule.avoid(kept.held)) == TRIED + 1
    kept.clock.advance(kept.held.retry_at - kept.clock.since_boot)
    assert kept.schedule.avoid(kept.held) == ["1"]
