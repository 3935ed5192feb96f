"""Run blocking jobs in threads, which are started when they would help, kept, and not waited for at exit.

A few threads keep a processor busy with fetches; more of them only fight for
the interpreter (64 made a third fewer fetches than 16, and with 16 each took a
twentieth more of the processor than with 5). Hosts that hang,
though, take a thread each. So FEW are started at once, and further ones, each
time as many as there are, while jobs wait and the processor is idle.

Of jobs that wait the newest runs first, because somebody still waits for its
answer; one that waited too long is dropped. Where the system has no thread
to give, jobs wait for those there are.

A concurrent.futures executor joins its threads when the process ends, so that
a few hanging fetches would hold up a shutdown; these threads are daemons.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

FEW = 5
LOOK_EVERY = 0.02  # seconds between two looks at jobs that wait
BUSY = 0.5  # of a processor: more threads would not help

Work = Callable[[], None]


class Crew:
    """Up to *limit* threads; a job that waited for one *patience* seconds is dropped. Raises: RuntimeError."""

    def __init__(self, name: str, limit: int, patience: float = float("inf")) -> None:
        self._name, self._limit, self._patience = name, limit, patience
        self._jobs: deque[tuple[float, Work, Work | None]] = deque()  # when it came, what to do; what if it is dropped
        self._changed = threading.Condition()
        self._size = self._idle = 0  # threads, and those of them that wait for a job
        self._short = threading.Event()  # jobs may wait for a thread
        threading.Thread(target=self._grow, name=f"{name}-crew", daemon=True).start()

    def submit(self, job: Work, dropped: Work | None = None) -> None:
        """Run *job* soon, or *dropped*, if there is one, where it waits for too long; neither may raise."""
        with self._changed:
            self._jobs.append((time.monotonic(), job, dropped))
            if len(self._jobs) <= self._idle:
                self._changed.notify()
            elif self._size >= min(FEW, self._limit) or not self._start(1):
                self._short.set()

    def _start(self, number: int) -> bool:
        """Start further threads; return whether the system has them to give."""
        for _ in range(min(number, self._limit - self._size)):
            thread = threading.Thread(target=self._work, name=f"{self._name}-{self._size + 1}", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # can't start new thread
                return False
            self._size += 1
        return True

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._jobs:
                    self._idle += 1
                    self._changed.wait()
                    self._idle -= 1
                _, job, _ = self._jobs.pop()
            job()

    def _grow(self) -> None:
        while self._short.wait():
            used = time.process_time()
            time.sleep(LOOK_EVERY)
            with self._changed:
                late = self._late()
                waiting = len(self._jobs) - self._idle
                if waiting <= 0:
                    self._short.clear()
                elif time.process_time() - used < BUSY * LOOK_EVERY:
                    self._start(max(1, min(self._size, waiting)))
            for dropped in late:
                dropped()

    def _late(self) -> list[Work]:
        """Take out what waited too long, and return what to do about it."""
        until, late = time.monotonic() - self._patience, []
        while self._jobs and self._jobs[0][0] <= until:
            _, job, dropped = self._jobs.popleft()
            if dropped is None:  # then it is next
                self._jobs.append((time.monotonic(), job, None))
            else:
                late.append(dropped)
        return late
