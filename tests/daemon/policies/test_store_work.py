"""What the store's thread does, without a thread."""

from __future__ import annotations

import queue
from concurrent.futures import Future
from typing import Any

import pytest

from postfix_mtasts.core.names import Domain
from postfix_mtasts.daemon.policies.store_work import Tasks, run, write
from postfix_mtasts.errors import InputError, StoreBusyError, StoreDamagedError, StoreError
from tests.daemon.policies.test_store_thread import MemoryStore
from tests.support.fakes.entries import entry

ENDS: list[tuple[str, Exception | None, type[Exception] | None, str]] = [
    ("it works", None, None, ""),
    ("the disk fails", StoreError("full"), StoreError, "full"),
    ("the store is damaged", StoreDamagedError("malformed"), StoreDamagedError, "malformed"),
    ("another process took the place", StoreBusyError("in use"), StoreError, "in use"),
    ("a row that cannot be", InputError("no domain"), StoreError, "no domain"),
    ("a bug", KeyError("bug"), StoreError, "internal error: KeyError: 'bug'"),
]


@pytest.mark.parametrize(("title", "fault", "kind", "reason"), ENDS, ids=[case[0] for case in ENDS])
def test_however_a_task_ends_the_thread_goes_on(
    title: str, fault: Exception | None, kind: type[Exception] | None, reason: str
) -> None:
    """The loop is told a result or a StoreError, and the next task is done."""
    tasks: Tasks = queue.SimpleQueue()
    ends: list[tuple[Any, Any]] = []

    def task(store: Any) -> str:
        if fault is not None:
            raise fault
        return "done"

    for each in (task, lambda store: "next"):
        tasks.put((each, lambda result, error: ends.append((result, error))))
    tasks.put(None)
    store, opened = MemoryStore(damage="it was"), Future[str]()
    run(lambda: store, tasks, opened)
    assert (opened.result(), store.closed.is_set(), ends[1]) == ("it was", True, ("next", None))
    result, error = ends[0]
    assert (result, type(error) if kind else error) == (None if kind else "done", kind)
    assert error is None or str(error) == reason


def test_a_store_that_cannot_be_opened_is_the_callers_business() -> None:
    """The thread ends."""
    opened = Future[str]()

    def refuse() -> MemoryStore:
        raise StoreBusyError("in use")

    run(refuse, queue.SimpleQueue(), opened)
    with pytest.raises(StoreBusyError):
        opened.result()


def test_a_batch_is_written_in_two_transactions_at_most() -> None:
    """All that is put, and all that is deleted."""
    store = MemoryStore(entry("b.example"))
    write(store, {Domain("a.example"): entry("a.example"), Domain("b.example"): None, Domain("c.example"): None})
    assert [call.split()[0] for call in store.calls] == ["put", "delete"]
    assert list(store.rows) == ["a.example"]
