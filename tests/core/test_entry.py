"""core/entry.py: what is done with a policy, and when."""

from __future__ import annotations

from dataclasses import replace

import pytest

from postfix_mtasts.core.entry import (
    DAY,
    Entry,
    Timing,
    Trouble,
    Warned,
    clamped,
    ends_at,
    expiring,
    in_force,
    newest,
    refetch_at,
    retry_delay,
    tenth_at,
    unused,
    used,
    warning_due,
)
from postfix_mtasts.core.names import Domain
from postfix_mtasts.core.policy import Mode, Policy

MINUTE, HOUR, WEEK = 60.0, 3600.0, 7 * 86_400
NOW = 20_000 * DAY + 5 * HOUR
DEFAULTS = Timing(recheck=5 * MINUTE, interval=DAY, failure_ttl=5 * MINUTE)
NEVER = float("inf")


def entry(
    max_age: int = WEEK,
    *,
    fetched: float = NOW,
    used: float = 20_000 * DAY,
    domain: str = "example.com",
    mode: str = "enforce",
) -> Entry:
    policy = Policy(Mode(mode), max_age, b"mx: mx.example.com")
    return Entry(Domain(domain), policy, "a1", fetched, used)


FORCE = [
    # max_age, recheck, seconds after the fetch, in force
    ("at the fetch", WEEK, 300, 0, True),
    ("the last second of max_age", WEEK, 300, WEEK - 1, True),
    ("max_age is over", WEEK, 300, WEEK, False),
    ("max_age 0 lasts a minute", 0, 300, 59, True),
    ("max_age 0 ends after a minute", 0, 300, 60, False),
    ("max_age 1 lasts a minute too", 1, 300, 59, True),
    ("max_age 61 is longer than a minute", 61, 300, 60, True),
    ("a recheck under a minute shortens the least time", 0, 10, 9, True),
    ("and ends it", 0, 10, 10, False),
    ("but never max_age", 30, 10, 29, True),
    ("before the fetch, by a clock set back", WEEK, 300, -DAY, True),
]


@pytest.mark.parametrize(("title", "max_age", "recheck", "passed", "want"), FORCE, ids=[row[0] for row in FORCE])
def test_in_force(title: str, max_age: int, recheck: float, passed: float, want: bool) -> None:
    """A policy is in force from its fetch for max_age, and for the shorter of 60 s and refresh.recheck at least."""
    assert in_force(entry(max_age), NOW + passed, replace(DEFAULTS, recheck=recheck)) is want


CLAMPED = [
    # fetched_at, used_at, the two afterwards
    ("a fetch in the future becomes now", NOW + HOUR, 20_000 * DAY, NOW, 20_000 * DAY),
    ("a use in the future becomes today", NOW, 20_003 * DAY, NOW, 20_000 * DAY),
    ("both", NOW + 9 * DAY, 20_009 * DAY, NOW, 20_000 * DAY),
    ("an old use stays", NOW + 1, 19_000 * DAY, NOW, 19_000 * DAY),
]


@pytest.mark.parametrize(("title", "fetched", "used_at", "want", "want_used"), CLAMPED, ids=[row[0] for row in CLAMPED])
def test_clamped(title: str, fetched: float, used_at: float, want: float, want_used: float) -> None:
    """No time of an entry is later than now."""
    got = clamped(entry(fetched=fetched, used=used_at), NOW)
    assert (got.fetched_at, got.used_at) == (want, want_used)


def test_what_is_not_in_the_future_is_not_touched() -> None:
    """The same object tells the caller that there is nothing to write."""
    old = entry(fetched=NOW)
    assert clamped(old, NOW) is old


REFETCH = [
    # max_age, recheck, interval, the earliest and the latest time after the fetch
    ("a week: each interval", WEEK, 300, DAY, DAY / 2, DAY),
    ("a year: each interval all the same", 31_557_600, 300, DAY, DAY / 2, DAY),
    ("a day: before half of it is over", 86_400, 300, DAY, DAY / 4, DAY / 2),
    ("an hour: before half of it is over", 3_600, 300, DAY, 900, 1_800),
    ("never sooner than the recheck", 700, 300, DAY, 300, 350),
    ("the recheck may be later than half of max_age", 400, 300, DAY, 300, 300),
    ("and later than the interval", WEEK, 7_200, 600, 7_200, 7_200),
    ("a policy that ends at the recheck is never refetched", 300, 300, DAY, NEVER, NEVER),
    ("nor one that ends before", 0, 300, DAY, NEVER, NEVER),
    ("one second more and it is", 301, 300, DAY, 300, 300),
    ("where the least time in force is the recheck, max_age 0 never is", 0, 10, DAY, NEVER, NEVER),
]


@pytest.mark.parametrize(
    ("title", "max_age", "recheck", "interval", "low", "high"), REFETCH, ids=[r[0] for r in REFETCH]
)
def test_refetch_at(title: str, max_age: int, recheck: float, interval: float, low: float, high: float) -> None:
    """Each interval, before half of max_age is over, and at most once per recheck."""
    for number in range(200):
        found = entry(max_age, domain=f"d{number}.example", fetched=0.0)
        assert low <= refetch_at(found, Timing(recheck, interval, 300)) <= high


def test_policies_fetched_at_once_come_due_evenly() -> None:
    """Of many policies fetched together no twelfth of the spread gets more than its share by a quarter."""
    dues = [refetch_at(entry(domain=f"mail{number}.example.org", fetched=0.0), DEFAULTS) for number in range(12_000)]
    hours = [int((due - DAY / 2) // HOUR) for due in dues]
    assert set(hours) == set(range(12))
    assert max(hours.count(hour) for hour in range(12)) < 1250


def test_a_domain_keeps_its_pace() -> None:
    """The spread is the name's alone: it is the same after a restart, and a later fetch moves it by as much."""
    first, second = refetch_at(entry(fetched=0.0), DEFAULTS), refetch_at(entry(fetched=1000.0), DEFAULTS)
    assert first == pytest.approx(DAY * (0.5 + 0xB6FA4EB9 / 2**33))  # CRC-32 of "example.com"
    assert second - first == pytest.approx(1000.0)


RETRY = [
    # failures, seconds left, failure_ttl, recheck, the delay
    ("the first failure", 1, WEEK, 300, 300, 300),
    ("the second: doubled", 2, WEEK, 300, 300, 600),
    ("the third: doubled again", 3, WEEK, 300, 300, 1_200),
    ("the fifth: an hour at most", 5, WEEK, 300, 300, 3_600),
    ("the millionth", 1_000_000, WEEK, 300, 300, 3_600),
    ("a longer failure_ttl is kept", 4, WEEK, 7_200, 300, 7_200),
    ("the end is near: three more tries fit", 9, 2_400, 300, 300, 600),
    ("even against failure_ttl", 1, 4_000, 7_200, 300, 1_000),
    ("but never sooner than the recheck", 9, 400, 300, 300, 300),
    ("failure_ttl 0 waits for the recheck", 7, WEEK, 0, 10, 10),
    ("nothing left", 3, 0, 300, 300, 300),
    ("ended long ago", 3, -DAY, 300, 300, 300),
]


@pytest.mark.parametrize(("title", "failures", "left", "ttl", "recheck", "want"), RETRY, ids=[row[0] for row in RETRY])
def test_retry_delay(title: str, failures: int, left: float, ttl: float, recheck: float, want: float) -> None:
    """failure_ttl, doubled up to an hour, with room for three more tries in the time left."""
    assert retry_delay(failures, left, Timing(recheck, DAY, ttl)) == want


UNUSED = [
    # max_age, days from the day of the last lookup, unused
    ("today", WEEK, 0, False),
    ("its max_age ago, but not 30 days", WEEK, 8, False),
    ("30 days ago", WEEK, 30, False),
    ("the rounding to days is in its favour", WEEK, 30.9, False),
    ("30 days and the day of the lookup", WEEK, 31, True),
    ("a max_age of 60 days counts whole", 60 * 86_400, 60.9, False),
    ("and is over some day", 60 * 86_400, 61, True),
]


@pytest.mark.parametrize(("title", "max_age", "days", "want"), UNUSED, ids=[row[0] for row in UNUSED])
def test_unused(title: str, max_age: int, days: float, want: bool) -> None:
    """Disuse is no lookup during max_age, and 30 days at least."""
    assert unused(entry(max_age, used=20_000 * DAY), 20_000 * DAY + days * DAY) is want


USED = [
    ("the same day", 20_000 * DAY + 1, 20_000 * DAY),
    ("the last moment of the day", 20_001 * DAY - 0.001, 20_000 * DAY),
    ("the next day", 20_001 * DAY, 20_001 * DAY),
    ("noon, some days on", 20_007.5 * DAY, 20_007 * DAY),
    ("a clock set back", 19_990 * DAY, 20_000 * DAY),
]


@pytest.mark.parametrize(("title", "now", "want"), USED, ids=[row[0] for row in USED])
def test_used(title: str, now: float, want: float) -> None:
    """The last lookup is kept to the day, and a day costs one write."""
    old = entry(used=20_000 * DAY)
    new = used(old, now)
    assert new.used_at == want
    assert (new is old) is (want == old.used_at)


WARNINGS = [
    # failures, seconds after the fetch, warned: seconds after the fetch or None, the tenth said, the warning
    ("one failure is no matter", 1, DAY, None, False, Warned.NOTHING),
    ("the second in a row", 2, DAY, None, False, Warned.FAILING),
    ("said within the day", 9, 2 * DAY - 1, DAY, False, Warned.NOTHING),
    ("said a day ago", 9, 2 * DAY, DAY, False, Warned.FAILING),
    ("said in the future, by a clock set back since", 9, 2 * DAY, 3 * DAY, False, Warned.FAILING),
    ("a second before a tenth is left", 9, 0.9 * WEEK - 1, 0.9 * WEEK - HOUR, False, Warned.NOTHING),
    ("a tenth is left", 9, 0.9 * WEEK, 0.9 * WEEK - HOUR, False, Warned.TENTH),
    ("a tenth is left at the first failure", 1, 0.9 * WEEK, None, False, Warned.TENTH),
    ("a tenth is left is said once", 9, 0.9 * WEEK + HOUR, 0.9 * WEEK, True, Warned.NOTHING),
    ("and daily goes on", 9, 0.9 * WEEK + 16 * HOUR, 0.9 * WEEK - 8 * HOUR, True, Warned.FAILING),
    ("the policy ended", 9, WEEK, WEEK - HOUR, True, Warned.ENDED),
    ("the policy ended at the first failure", 1, WEEK, None, False, Warned.ENDED),
]


@pytest.mark.parametrize(
    ("title", "failures", "passed", "warned", "tenth", "want"), WARNINGS, ids=[row[0] for row in WARNINGS]
)
def test_warning_due(title: str, failures: int, passed: float, warned: float | None, tenth: bool, want: Warned) -> None:
    """Section 3.3: at the second failure in a row, then daily, at a tenth of max_age, and at the end."""
    trouble = Trouble(failures, "sts-webpki-invalid", "expired", None if warned is None else NOW + warned, tenth)
    got, after = warning_due(trouble, entry(), NOW + passed, DEFAULTS)
    assert got is want
    assert after.warned_at == (trouble.warned_at if want is Warned.NOTHING else NOW + passed)
    assert warning_due(after, entry(), NOW + passed, DEFAULTS)[0] is Warned.NOTHING, "a warning is said once"


def test_an_end_is_said_once() -> None:
    """An ended policy is kept for a day more; its end is told when it comes only."""
    said, after = warning_due(Trouble(3, "sts-policy-fetch-error", "refused"), entry(), NOW + WEEK, DEFAULTS)
    assert said is Warned.ENDED
    assert warning_due(after, entry(), NOW + WEEK + DAY, DEFAULTS) == (Warned.NOTHING, after)


@pytest.mark.parametrize("passed", [DAY, WEEK - 1, WEEK])
def test_a_policy_that_is_none_is_lost_in_silence(passed: float) -> None:
    """Section 3.3 asks for warnings for policies that are not none."""
    trouble = Trouble(5, "sts-policy-fetch-error", "refused")
    assert warning_due(trouble, entry(mode="none"), NOW + passed, DEFAULTS) == (Warned.NOTHING, trouble)


TENTH = [
    ("at the fetch", WEEK, 0, 0.9 * WEEK),
    ("a moment before", WEEK, 0.9 * WEEK - 1, 0.9 * WEEK),
    ("then never again", WEEK, 0.9 * WEEK, NEVER),
    ("with max_age 0 a tenth is nothing", 0, 0, 60),
]


@pytest.mark.parametrize(("title", "max_age", "passed", "want"), TENTH, ids=[row[0] for row in TENTH])
def test_tenth_at(title: str, max_age: int, passed: float, want: float) -> None:
    """When to look again whether a warning is due."""
    assert tenth_at(entry(max_age), DEFAULTS, NOW + passed) == NOW + want


def test_the_end_is_where_force_ends() -> None:
    """Whoever sleeps until ends_at finds the policy ended then."""
    assert not in_force(entry(), ends_at(entry(), DEFAULTS), DEFAULTS)


NEWEST = [
    # fetched: held (None: nothing is), other; which counts
    ("nothing is held", None, 0, "other"),
    ("the other was fetched later", -20, -10, "other"),
    ("at the same time", -10, -10, "other"),
    ("earlier", -10, -20, "held"),
    ("now", -10, 0, "other"),
    ("the held one is of a clock that was ahead", 10, -20, "other"),
    ("the other one is", -20, 10, "held"),
    ("both are", 10, 10, "other"),
]


@pytest.mark.parametrize(("title", "held", "other", "counts"), NEWEST, ids=[row[0] for row in NEWEST])
def test_newest(title: str, held: float | None, other: float, counts: str) -> None:
    """The one fetched later counts; a time later than now is a wrong clock's and counts as the oldest."""
    old = entry(fetched=NOW + held) if held is not None else None
    new = entry(fetched=NOW + other, used=0.0)
    assert newest(old, new, NOW) is (old if counts == "held" else new)


EXPIRING = [
    ("ten minutes and a second", 3600, 601, False),
    ("ten minutes", 3600, 600, True),
    ("a tenth of a week and a second", WEEK, WEEK / 10 + 1, False),
    ("a tenth of a week", WEEK, WEEK / 10, True),
    ("a policy that lasts for five minutes", 300, 300, True),
    ("ended", WEEK, -1, True),
]


@pytest.mark.parametrize(("title", "max_age", "left", "soon"), EXPIRING, ids=[row[0] for row in EXPIRING])
def test_expiring(title: str, max_age: int, left: float, soon: bool) -> None:
    """What ends in ten minutes, or has a tenth of its time left, is refreshed before others."""
    assert expiring(entry(max_age), NOW + max_age - left, DEFAULTS) is soon
