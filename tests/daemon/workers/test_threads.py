"""The threads of a worker process: as many as help, and hanging jobs shut out no others."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue

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
    for number in range(5):
        crew.submit(job(number))
    second.wait(PATIENCE)
    assert began == []
    release.set()
    for _ in range(5):
        assert done.acquire(timeout=PATIENCE)
    assert sorted(began) == list(range(5))
