"""What is known of domains, to be read and not to be changed: for operators, metrics and the answer path.

A Holding is what is held of one domain at one moment, in wall time and
seconds from then, so that nobody outside this folder needs the clocks and
rules that it comes from. Nothing here asks the network or the store.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ...core import entry as rules
from ...core.dane import DaneReading, Freshness, freshness
from ...core.entry import Entry, Trouble
from ...core.names import Domain
from ...core.outcome import Absent
from ...core.policy import Mode
from ...core.verdict import Verdict
from .dane import DaneKeeper
from .held import Held, Missing, Negative
from .holdings import Holdings


@dataclass(frozen=True, slots=True)
class Holding:
    """A policy that is held, in force or not. Times are UTC seconds since 1970."""

    entry: Entry
    age: float  # seconds since the fetch
    left: float  # seconds that it is in force; 0 or less: it has ended
    trouble: Trouble | None  # fetches that failed since
    checked_at: float  # the last reading of the record
    expires_at: float
    next_due_at: float | None  # when the refresher looks at it next; None: a fetch is under way
    shared: bool = False  # it came from another daemon since the start


@dataclass(frozen=True, slots=True)
class NoPolicy:
    """What is remembered of a domain without a policy. Times are UTC seconds since 1970."""

    verdict: Verdict
    why: Missing
    left: float  # seconds that it is remembered; 0 or less: the next lookup asks again
    until: float
    age: float  # seconds since it was found out

    @property
    def failed(self) -> bool:
        """Whether a fetch or DNS failed; else there is no record."""
        return not isinstance(self.why, Absent)


class Known:
    """The view. Walks yield what was there when they began and still is, so that a walk may be interrupted."""

    def __init__(self, holdings: Holdings, dane: DaneKeeper, loaded: Callable[[], bool]) -> None:
        self._holdings, self._dane, self._loaded = holdings, dane, loaded

    @property
    def loaded(self) -> bool:
        """Whether all that is stored is known."""
        return self._loaded()

    @property
    def policies(self) -> int:
        """How many policies are held."""
        return len(self._holdings.policies)

    @property
    def negatives(self) -> int:
        """How many domains are remembered to have no policy."""
        return len(self._holdings.negatives)

    def holding(self, domain: Domain) -> Holding | None:
        held = self._holdings.policies.get(domain)
        return self._holding(held) if held is not None else None

    def holdings(self) -> Iterator[Holding]:
        """Yield every policy held."""
        for domain in list(self._holdings.policies):
            if (held := self._holdings.policies.get(domain)) is not None:
                yield self._holding(held)

    def negative(self, domain: Domain) -> NoPolicy | None:
        negative = self._holdings.negatives.get(domain)
        return self._no_policy(negative) if negative is not None else None

    def all_negatives(self) -> Iterator[tuple[Domain, NoPolicy]]:
        """Yield every domain remembered to have no policy."""
        for domain, negative in self._holdings.negatives.items():
            yield domain, self._no_policy(negative)

    def dane(self, domain: Domain, port: int) -> DaneReading | None:
        """Return the DANE status last read, however old."""
        return self._dane.reading(domain, port)

    def serving_dane(self, domain: Domain, port: int) -> DaneReading | None:
        """Return the DANE status that a lookup goes by now; None: it would have to be read first."""
        reading = self._dane.reading(domain, port)
        if reading is None or freshness(reading, self._holdings.schedule.monotonic()) is Freshness.GONE:
            return None
        return reading

    def enforces(self, domain: Domain) -> bool:
        """Tell whether an enforced policy is in force."""
        held = self._holdings.policies.get(domain)
        return (
            held is not None and held.entry.policy.mode is Mode.ENFORCE and self._holdings.schedule.expires_in(held) > 0
        )

    def contents(self) -> Iterator[Entry]:
        """Yield all policies as the store has them."""
        return self._holdings.contents()

    def judged(self, entry: Entry) -> Entry | None:
        """Return *entry* with times later than now put to now, or None where it is not in force."""
        schedule = self._holdings.schedule
        entry = rules.clamped(entry, schedule.wall())
        return entry if rules.in_force(entry, schedule.wall(), schedule.timing) else None

    def _holding(self, held: Held) -> Holding:
        schedule, entry = self._holdings.schedule, held.entry
        wall, now, left = schedule.wall(), schedule.monotonic(), schedule.expires_in(held)
        return Holding(
            entry=entry,
            age=wall - entry.fetched_at,
            left=left,
            trouble=held.trouble,
            checked_at=wall - (now - held.checked_at),
            expires_at=wall + left,
            next_due_at=wall + (held.due_at - now) if held.due_at < float("inf") else None,
            shared=held.shared,
        )

    def _no_policy(self, negative: Negative) -> NoPolicy:
        wall, now = self._holdings.schedule.wall(), self._holdings.schedule.monotonic()
        left = negative.until - now
        return NoPolicy(negative.verdict, negative.outcome, left, wall + left, now - negative.begun_at)
