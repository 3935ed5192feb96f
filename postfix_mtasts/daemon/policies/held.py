"""What the keeper holds of a domain. Changed on the event loop only.

Times named *_at are seconds of the monotonic clock: a wall clock that jumps
must neither prolong nor shorten what only this process remembers.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from ...core.entry import Entry, Trouble
from ...core.names import Domain
from ...core.outcome import Absent, DnsFailed, Failed, OwnFault
from ...core.verdict import Kind, Verdict

FAILURE_MEMORY = 86_400.0  # seconds a failed fetch is remembered, beyond failure_ttl
SHUTTING_DOWN = Verdict(Kind.TEMP, "postfix-mtasts is shutting down", 0.0)
STORE_UNREADABLE = Verdict(Kind.TEMP, "the policy store cannot be read", 0.0)
FAILED_BEFORE = Verdict(Kind.NOTFOUND, "still being looked up, and the attempt before failed, so mail goes on", 0.0)
INTERNAL_ERROR = Verdict(Kind.NOTFOUND, "an internal error, see the log", 0.0)

Note: TypeAlias = tuple[float, float, Domain]  # for the refresher: when something is due, when the policy ends


class EntryStore(Protocol):
    """policies.store_thread.StoreKeeper, as far as the keeper needs it."""

    def get(self, domain: Domain) -> asyncio.Future[Entry | None]: ...
    def put(self, entry: Entry) -> asyncio.Future[None]: ...
    def delete(self, domain: Domain) -> asyncio.Future[None]: ...


class Held:
    """A stored policy and what this process knows of it."""

    __slots__ = (
        "checked_at",
        "due_at",
        "entry",
        "expired_at",
        "not_before",
        "retry_at",
        "stored",
        "tried_id",
        "trouble",
    )

    def __init__(self, entry: Entry, checked_at: float) -> None:
        self.entry = entry
        self.stored: Entry | None = None  # as the store has it, where *entry* is clamped by a clock not yet believed
        self.checked_at = checked_at  # when the last reading of the record began
        self.due_at = 0.0  # when the refresher is to look at it next
        self.trouble: Trouble | None = None  # failed fetches in a row, since the policy in force
        self.not_before = 0.0  # no refresh earlier: we failed, not the domain
        self.retry_at = 0.0  # no fetch earlier, for recheck and refresher alike
        self.tried_id: str | None = None  # the id whose fetch failed last
        self.expired_at: float | None = None  # when this process first saw it expired


@dataclass(slots=True)
class Negative:
    """No policy, as a verdict that may be repeated until *until*."""

    verdict: Verdict
    until: float
    failed_at: float | None  # when the last fetch failed, if it did
    outcome: Absent | Failed | DnsFailed | OwnFault  # that led to the verdict


class Negatives:
    """The domains without a policy, at most *limit*: the longest unchanged go first."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.overflowed = False  # one went before its time, and a ready frame may still tell of it
        self._items: OrderedDict[Domain, Negative] = OrderedDict()

    def get(self, domain: Domain) -> Negative | None:
        return self._items.get(domain)

    def set(self, domain: Domain, negative: Negative) -> None:
        self._items.pop(domain, None)
        self._items[domain] = negative
        self.trim()

    def pop(self, domain: Domain) -> Negative | None:
        return self._items.pop(domain, None)

    def items(self) -> list[tuple[Domain, Negative]]:
        return list(self._items.items())

    def trim(self) -> None:
        while len(self._items) > self.limit:
            self._items.popitem(last=False)
            self.overflowed = True

    def __len__(self) -> int:
        return len(self._items)

    def failed_lately(self, domain: Domain, now: float) -> bool:
        """Whether the fetch before this one failed, within a day."""
        negative = self._items.get(domain)
        return negative is not None and negative.failed_at is not None and now < negative.failed_at + FAILURE_MEMORY
