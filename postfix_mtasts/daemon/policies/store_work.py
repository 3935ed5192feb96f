"""What the store's thread does: open, read in pieces, write, close; nothing here is known to the loop but its end."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import queue
from collections.abc import Callable, Iterator
from concurrent.futures import Future as ThreadFuture
from typing import Any, TypeAlias

from ...core.entry import Entry
from ...core.names import Domain
from ...core.ports import Store
from ...core.quoting import KV
from ...errors import MtaStsError, StoreError
from .store_changes import Change

log = logging.getLogger(__name__)

_AT_ONCE = 50  # entries in one piece of the load: a millisecond or a few

Task: TypeAlias = Callable[[Store], Any]
Done: TypeAlias = Callable[[Any, StoreError | None], None]
Tasks: TypeAlias = "queue.SimpleQueue[tuple[Task, Done] | None]"  # None: close, and end


class Load:
    """A load under way."""

    def __init__(self, on_batch: Callable[[list[Entry]], None], left_out: set[Domain], began_at: float) -> None:
        self.on_batch, self.left_out = on_batch, left_out
        self.future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.began_at = began_at
        self.rows = self.skipped = 0
        self.first_skipped = ""
        self.entries: Iterator[Entry] | None = None  # the thread's, as is what is skipped, while a piece is under way

    def piece(self, store: Store) -> list[Entry]:
        if self.entries is None:
            self.rows = self.skipped = 0
            self.entries = store.load(self._skip)
        return list(itertools.islice(self.entries, _AT_ONCE))

    def _skip(self, sentence: str) -> None:
        self.first_skipped = self.first_skipped or sentence
        self.skipped += 1


def write(store: Store, batch: dict[Domain, Change]) -> None:
    """Write a batch in two transactions at most. Raises: StoreError."""
    if entries := [change for change in batch.values() if change is not None]:
        store.put(entries)
    if deleted := [domain for domain, change in batch.items() if change is None]:
        store.delete(deleted)


def run(open_store: Callable[[], Store], tasks: Tasks, opened: ThreadFuture[str]) -> None:
    """Be the thread: open the store, do what is told, and close it."""
    try:
        store = open_store()
    except Exception as error:  # noqa: BLE001 - raised again where the store was to be opened
        opened.set_exception(error)
        return
    opened.set_result(store.damage)
    while (item := tasks.get()) is not None:
        task, finished = item
        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
            finished(*_outcome(task, store))
    store.close()


def _outcome(task: Task, store: Store) -> tuple[Any, StoreError | None]:
    try:
        return task(store), None
    except StoreError as error:
        return None, error
    except MtaStsError as error:
        return None, StoreError(str(error))
    except Exception as error:  # the thread outlives a bug of ours
        reason = f"internal error: {type(error).__name__}: {error}"
        log.error("internal-error %s", KV(place="store", reason=reason), exc_info=error)
        return None, StoreError(reason)
