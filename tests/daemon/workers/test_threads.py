"""The threads of a worker process: as many as help, and hanging jobs shut out no others."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from queue import SimpleQueue

import pytest

from postfix_mtasts.daemon.workers.threads import FEW, Crew

PATIENCE = 30.0  # seconds


def test_nobody_waits_for_a_thread_at_the_end() -> None:
    """A hanging fetch must not hold up the end of the process."""
    ran: SimpleQueue[threading.Thread] = SimpleQueue()
    Crew("job", 4).submit(lambda: ran.put(threading.current_thread()))
    assert ran.get(timeout=PATIENCE).daemon


def names_of(crew: Crew, number: int) -> set[str]:
    """The threads that run *number* jobs which all wait for each other."""
    barrier = threading.Barrier(number + 1)
    names: set[str] = set()

    def job() -> None:
        names.add(threading.current_thread().name)
        barrier.wait(PATIENCE)

    for _ in range(number):
        crew.submit(job)
    barrier.wait(PATIENCE)
    return names


def test_jobs_run_side_by_side() -> None:
    """A job that blocks holds up no other."""
    assert len(names_of(Crew("few", 100), FEW)) == FEW


def test_threads_that_all_hang_are_joined_by_others() -> None:
    """Four times as many jobs as threads are begun with wait for each other: each needs a thread of its own."""
    assert len(names_of(Crew("many", 4 * FEW), 4 * FEW)) == 4 * FEW


def test_a_thread_is_used_again() -> None:
    """Jobs that come one after the other need one thread."""
    crew, names = Crew("again", 100), set()
    for _ in range(3):
        names |= names_of(crew, 1)
    assert len(names) <= 2  # one may not be back yet when the next job comes


def test_no_more_threads_than_the_limit() -> None:
    """Jobs beyond it wait until a thread is free, and are then all run."""
    crew, began, release = Crew("limited", 2), list[int](), threading.Event()
    second, done = threading.Barrier(3), threading.Semaphore(0)

    def hold() -> None:
        second.wait(PATIENCE)
        release.wait(PATIENCE)

    def job(number: int) -> Callable[[], None]:
        def work() -> None:
            began.append(number)
            done.release()

        return work

    for _ in range(2):
        crew.submit(hold)
    second.wait(PATIENCE)
    for number in range(5):
        crew.submit(job(number))
    assert began == []
    release.set()
    for _ in range(5):
        assert done.acquire(timeout=PATIENCE)
    assert sorted(began) == list(range(5))


def busy(crew: Crew) -> threading.Event:
    """Have the one thread of *crew* wait for the event that is returned."""
    began, release = threading.Event(), threading.Event()

    def hold() -> None:
        began.set()
        release.wait(PATIENCE)

    crew.submit(hold)
    assert began.wait(PATIENCE)
    return release


def test_the_newest_runs_first() -> None:
    """Its answer is still waited for."""
    crew, order = Crew("newest", 1), SimpleQueue[int]()
    release = busy(crew)
    for number in range(3):
        crew.submit(functools.partial(order.put, number))
    release.set()
    assert [order.get(timeout=PATIENCE) for _ in range(3)] == [2, 1, 0]


def test_a_job_that_waits_too_long_is_dropped() -> None:
    """It is told of, and never run."""
    crew, told = Crew("late", 1, patience=0.05), SimpleQueue[str]()
    release = busy(crew)
    crew.submit(lambda: told.put("run"), lambda: told.put("dropped"))
    assert told.get(timeout=PATIENCE) == "dropped"
    release.set()
    crew.submit(lambda: told.put("next"), lambda: told.put("next"))
    assert told.get(timeout=PATIENCE) == "next"


def test_what_must_run_is_not_dropped() -> None:
    """It has a place that others wait for: it is next, however long that takes."""
    crew, told = Crew("must", 1, patience=0.05), SimpleQueue[str]()
    release = busy(crew)
    crew.submit(lambda: told.put("must"))
    crew.submit(lambda: told.put("run"), lambda: told.put("dropped"))
    assert told.get(timeout=PATIENCE) == "dropped"
    release.set()
    assert told.get(timeout=PATIENCE) == "must"


def test_no_threads_to_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs wait until the system has one to give; nothing is raised."""
    crew, ran, real = Crew("none", 4), threading.Event(), threading.Thread.start
    refused = threading.Semaphore(0)

    def refuse(thread: threading.Thread) -> None:
        refused.release()
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    crew.submit(ran.set)
    for _ in range(3):  # it was tried, and tried again
        assert refused.acquire(timeout=PATIENCE)
    assert not ran.is_set()
    monkeypatch.setattr(threading.Thread, "start", real)
    assert ran.wait(PATIENCE)
