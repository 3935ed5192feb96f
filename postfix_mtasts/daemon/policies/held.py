"""What is remembered of a domain. Changed on the event loop only, by policies.holdings.

Times named *_at are seconds of the monotonic clock: a wall clock that jumps
must neither prolong nor shorten what only this process remembers.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TypeAlias

from ...core.entry import Entry, Trouble
from ...core.names import Domain
from ...core.outcome import Absent, DnsFailed, Failed, OwnFault
from ...core.verdict import Verdict

DAY = 86_400.0  # seconds that a failed fetch, or a lateness, is remembered
TRIED = 16  # ids that a failing domain may change to before the first may be tried again
REMEMBERED = 100_000  # domains that failed, and as many that were late

Note: TypeAlias = tuple[float, float, Domain]  # for the refresher: when something is due, when the policy ends
Missing: TypeAlias = Absent | Failed | DnsFailed | OwnFault  # why there is no policy


@dataclass(frozen=True, slots=True)
class Clamped:
    """An entry as the store has it, while memory holds it with times that were later than now."""

    entry: Entry
    clocks: float  # seconds from the monotonic to the wall clock then: another number, and the clock was set
    since: float  # seconds of the monotonic clock


class Held:
    """A stored policy and what this process knows of it."""

    __slots__ = (
        "checked_at",
        "clamped",
        "due_at",
        "entry",
        "expired_at",
        "not_before",
        "retry_at",
        "shared",
        "tried",
        "trouble",
    )

    def __init__(self, entry: Entry, checked_at: float, shared: bool = False) -> None:
        self.entry = entry
        self.shared = shared  # another daemon fetched it, and it came here since the start
        self.clamped: Clamped | None = None  # until the clock that clamped *entry* is believed
        self.checked_at = checked_at  # when the last reading of the record began
        self.due_at = 0.0  # when the refresher is to look at it next
        self.trouble: Trouble | None = None  # failed fetches in a row, since the policy in force
        self.not_before = 0.0  # no refresh earlier: we failed, not the domain
        self.retry_at = 0.0  # no fetch earlier, for recheck and refresher alike
        self.tried: tuple[str, ...] = ()  # the ids whose fetches failed since, the last one at the end
        self.expired_at: float | None = None  # when this process first saw it expired


@dataclass(slots=True)  # not frozen: one is made for each cold lookup, and freezing costs half of it
class Negative:
    """No policy, as a verdict that may be repeated until *until*."""

    verdict: Verdict
    until: float
    begun_at: float
    outcome: Missing  # that led to the verdict


class Negatives:
    """The domains without a policy, at most *limit*: the longest unchanged go first."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.overflowed = False  # one went before its time, and a ready frame may still tell of it
        self._items: OrderedDict[Domain, Negative] = OrderedDict()

    def get(self, domain: Domain) -> Negative | None:
        return self._items.get(domain)

    def set(self, domain: Domain, negative: Negative) -> None:
        self._items.pop(domain, None)
        self._items[domain] = negative
        self._trim()

    def pop(self, domain: Domain) -> Negative | None:
        return self._items.pop(domain, None)

    def items(self) -> list[tuple[Domain, Negative]]:
        return list(self._items.items())

    def configure(self, limit: int) -> None:
        self._limit = limit
        self._trim()

    def _trim(self) -> None:
        while len(self._items) > self._limit:
            self._items.popitem(last=False)
            self.overflowed = True

    def __len__(self) -> int:
        return len(self._items)


class Lately:
    """Domains of which something was so within a day, REMEMBERED at most: the longest past go first.

    It stands apart from Negatives: names without a policy, however many, push
    out nobody here, and negative_limit may be 0.
    """

    def __init__(self) -> None:
        self._at: OrderedDict[Domain, float] = OrderedDict()

    def note(self, domain: Domain, now: float) -> None:
        self._at.pop(domain, None)
        self._at[domain] = now
        if len(self._at) > REMEMBERED:
            self._at.popitem(last=False)

    def forget(self, domain: Domain) -> None:
        self._at.pop(domain, None)

    def has(self, domain: Domain, now: float) -> bool:
        at = self._at.get(domain)
        return at is not None and now < at + DAY
