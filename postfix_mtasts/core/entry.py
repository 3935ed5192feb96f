"""A policy in time (RFC 8461 sections 3.2, 3.3, 5.1 and 10.2).

An Entry and the time in, what is to be done with it out. Who fetches, stores
and deletes is the daemon's keeper; nothing here looks at a clock.

Rule 1: max_age counts from the HTTPS fetch and from nothing else. A TXT
        record is unsigned: its old id seen again proves nothing.
Rule 2: a clock that is wrong may cost fetches. It never prolongs a policy,
        and never ends one that is in force.
Rule 3: a policy is fetched again well before it ends; while that fails, the
        tries come closer together as its end does.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache
from zlib import crc32

from .names import Domain
from .policy import Mode, Policy

DAY = 86_400.0  # seconds
LEAST_FORCE = 60.0  # seconds in force, however small max_age: one delivery asks once for each MX host
LONGEST_RETRY = 3_600.0  # seconds between two tries, unless failure_ttl itself is longer
UNUSED_LEAST = 30 * DAY  # seconds without a lookup that never count as disuse
EXPIRING = 600.0  # seconds before it expires in which any policy counts as expiring soon
EXPIRED_KEPT = DAY  # seconds that an expired entry is still kept: the clock may be wrong


@dataclass(frozen=True, slots=True)
class Entry:
    """A policy as last fetched, which is what the store holds."""

    domain: Domain
    policy: Policy
    record_id: str  # the id of the TXT record that led to the fetch
    fetched_at: float  # UTC seconds since 1970: when the fetch began
    used_at: float  # UTC seconds since 1970, a whole number of days: the last lookup


@dataclass(frozen=True, slots=True)
class Timing:
    """The settings that the rules go by, in seconds."""

    recheck: float  # refresh.recheck: a domain is fetched at most once in this time
    interval: float  # refresh.interval
    failure_ttl: float  # lookup.failure_ttl


class Warned(StrEnum):
    """What an operator is to be told of a failing refresh (section 3.3)."""

    NOTHING = "nothing"
    FAILING = "failing"  # twice in a row, and then daily
    TENTH = "tenth"  # a tenth of max_age is left
    ENDED = "ended"  # the policy is no longer in force


@dataclass(frozen=True, slots=True)
class Trouble:
    """Failed fetches in a row since the policy in force was fetched, and what was said of them."""

    failures: int  # 1 or more
    result_type: str  # of the last failure
    reason: str  # of the last failure
    warned_at: float | None = None  # UTC seconds since 1970: the last warning
    warned_tenth: bool = False
    warned_ended: bool = False


def ends_at(entry: Entry, timing: Timing) -> float:
    """Return the UTC time from which the policy is no longer in force."""
    return entry.fetched_at + max(entry.policy.max_age, min(LEAST_FORCE, timing.recheck))


def in_force(entry: Entry, now: float, timing: Timing) -> bool:
    return now < ends_at(entry, timing)


def clamped(entry: Entry, now: float) -> Entry:
    """Return *entry* without times later than now; the same object where there are none.

    Without this a clock set back would prolong the policy by as much.
    """
    if entry.fetched_at <= now and entry.used_at <= now:
        return entry
    return replace(entry, fetched_at=min(entry.fetched_at, now), used_at=min(entry.used_at, _day(now)))


def newest(held: Entry | None, other: Entry, now: float) -> Entry:
    """Return which of two entries of a domain counts: the one fetched later; of two alike, *other*.

    A time of fetch later than *now* is a wrong clock's and counts as the
    oldest, so that no entry stays because of it.
    """
    if held is None or held.fetched_at > now or held.fetched_at <= other.fetched_at <= now:
        return other
    return held


def expiring(entry: Entry, now: float, timing: Timing) -> bool:
    """Tell whether the policy expires so soon, in ten minutes or a tenth of max_age, that its refresh goes first."""
    return ends_at(entry, timing) - now <= max(EXPIRING, entry.policy.max_age / 10)


def refetch_at(entry: Entry, timing: Timing) -> float:
    """Return the UTC time of the refresher's next fetch; infinity if the policy expires before it may be fetched again.

    Each refresh.interval and before half of max_age is over (section 10.2).
    The domain's name decides when in the second half of that time, so that
    policies fetched together come due evenly, each domain always at its own
    pace.
    """
    if ends_at(entry, timing) <= entry.fetched_at + timing.recheck:
        return float("inf")
    period = min(timing.interval, entry.policy.max_age / 2)
    share = crc32(entry.domain.encode()) / 2**32  # 0 to 1, without 1
    return entry.fetched_at + max(timing.recheck, period * (0.5 + share / 2))


def retry_delay(failures: int, left: float, timing: Timing) -> float:
    """Return the seconds from a failed fetch to the next try.

    Args:
        failures: in a row, this one included.
        left: seconds that the policy is still in force.

    Three more tries fit before its end, unless refresh.recheck forbids.
    """
    doubled = timing.failure_ttl * 2.0 ** min(failures - 1, 32)
    longest = max(LONGEST_RETRY, timing.failure_ttl)
    return max(timing.recheck, min(doubled, longest, left / 4))


def unused(entry: Entry, now: float) -> bool:
    """Tell whether no lookup asked for the policy for so long that it is refreshed no more.

    That is its max_age and 30 days at least, from the end of the day of the last lookup.
    """
    return now >= entry.used_at + DAY + max(entry.policy.max_age, UNUSED_LEAST)


def used(entry: Entry, now: float) -> Entry:
    """Return *entry* with a lookup noted; the same object unless a later day has begun: each change is a write."""
    day = _day(now)
    return entry if day <= entry.used_at else replace(entry, used_at=day)


def tenth_at(entry: Entry, timing: Timing, now: float) -> float:
    """Return the UTC time from which a tenth of max_age is left; infinity once that is past."""
    at = _tenth(entry, timing)
    return at if now < at else float("inf")


def warning_due(trouble: Trouble, entry: Entry, now: float, timing: Timing) -> tuple[Warned, Trouble]:
    """Return what is to be said now, the gravest only, and *trouble* as it is once that is said (section 3.3)."""
    if entry.policy.mode is Mode.NONE:
        return Warned.NOTHING, trouble
    if not in_force(entry, now, timing):
        if trouble.warned_ended:
            return Warned.NOTHING, trouble
        return Warned.ENDED, replace(trouble, warned_at=now, warned_ended=True)
    if now >= _tenth(entry, timing) and not trouble.warned_tenth:
        return Warned.TENTH, replace(trouble, warned_at=now, warned_tenth=True)
    lately = trouble.warned_at is not None and trouble.warned_at <= now < trouble.warned_at + DAY
    if trouble.failures >= 2 and not lately:
        return Warned.FAILING, replace(trouble, warned_at=now)
    return Warned.NOTHING, trouble


def _tenth(entry: Entry, timing: Timing) -> float:
    return ends_at(entry, timing) - entry.policy.max_age / 10


def _day(now: float) -> float:
    return one_day(now // DAY * DAY)


@lru_cache(maxsize=256)
def one_day(day: float) -> float:
    """Return *day*, the same object for equal ones: entries have a few of them, however many entries there are."""
    return day
