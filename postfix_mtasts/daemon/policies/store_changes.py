"""What is to be written to the store: queued, being written, or failed and to be tried again.

Rule 1: of two changes of a domain the later one counts, wherever the earlier one is.
Rule 2: a write that failed is not forgotten: it is tried again, unless a
        later one of the same domain takes its place.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterable
from typing import TypeAlias

from ...core.entry import Entry
from ...core.names import Domain
from ...errors import StoreError

Change: TypeAlias = Entry | None  # None: the domain is deleted


class Changes:
    """Used on the loop alone."""

    def __init__(self) -> None:
        self.unwritten: dict[Domain, Change] = {}  # what could not be written, to be tried again
        self._queued: dict[Domain, Change] = {}  # not yet tried
        self._writing: dict[Domain, Change] = {}  # being tried
        self._waiting: dict[Domain, list[asyncio.Future[None]]] = {}  # for what is queued

    def __len__(self) -> int:
        return len(self.domains())

    def domains(self) -> set[Domain]:
        return {*self._queued, *self._writing, *self.unwritten}

    def newest(self, domain: Domain) -> tuple[Change] | None:
        """Return the last change asked for and perhaps not written; None if there is none."""
        for changes in (self._queued, self._writing, self.unwritten):
            if domain in changes:
                return (changes[domain],)
        return None

    def add(self, domain: Domain, change: Change, future: asyncio.Future[None]) -> None:
        """Queue a change; *future* is done when it was tried."""
        self.unwritten.pop(domain, None)
        self._queued[domain] = change
        self._waiting.setdefault(domain, []).append(future)

    def refill(self, entries: Iterable[Entry]) -> None:
        """Write *entries* into a store begun anew, where nothing later is to be written."""
        for entry in entries:
            if entry.domain not in self._queued:
                self.unwritten.setdefault(entry.domain, entry)

    def begin(self, number: int, again: bool) -> tuple[dict[Domain, Change], list[asyncio.Future[None]]]:
        """Take *number* changes to be written now, and with *again* as many that failed; and who waits for them."""
        batch = dict(itertools.islice(self._queued.items(), number))
        waiting = [future for domain in batch for future in self._waiting.pop(domain)]
        for domain in batch:
            del self._queued[domain]
        if again:
            batch.update(itertools.islice(self.unwritten.items(), number))
        self._writing = batch
        return batch, waiting

    def end(self, error: StoreError | None) -> None:
        """Note what came of what begin() gave."""
        batch, self._writing = self._writing, {}
        if error is not None:
            self.unwritten.update((domain, batch[domain]) for domain in batch.keys() - self._queued.keys())
            return
        for domain, change in batch.items():
            if domain in self.unwritten and self.unwritten[domain] is change:
                del self.unwritten[domain]
