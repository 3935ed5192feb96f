"""Threads for blocking jobs: started when they would help, kept, never waited for at exit.

A few threads keep a processor busy with fetches; more of them only fight for
the interpreter (64 made a third fewer fetches than 16). Hosts that hang,
though, take a thread each. So FEW are started at once, and further ones, each
time as many as there are, while jobs wait and the processor is idle.

A concurrent.futures executor joins its threads when the process ends, so that
a few hanging fetches would hold up a shutdown; these threads are daemons.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

FEW = 16
LOOK_EVERY = 0.02  # seconds between two looks at jobs that wait
BUSY = 0.5  # of a processor: more threads would not help


class Crew:
    """Up to *limit* threads; further jobs wait in the order of their arrival."""

    def __init__(self, name: str, limit: int) -> None:
        self._name, self._limit = name, limit
        self._jobs: deque[Callable[[], None]] = deque()
        self._changed = threading.Condition()
        self._size = self._idle = 0  # threads, and those of them that wait for a job
        self._short = threading.Event()  # jobs may wait for a thread
        threading.Thread(target=self._grow, name=f"{name}-crew", daemon=True).start()

    def submit(self, job: Callable[[], None]) -> None:
        """Run *job* soon; it must not raise."""
        with self._changed:
            self._jobs.append(job)
            if len(self._jobs) <= self._idle:
                self._changed.notify()
            elif self._size < FEW:
                self._start(1)
            else:
                self._short.set()

    def _start(self, number: int) -> None:
        for _ in range(min(number, self._limit - self._size)):
            self._size += 1
            threading.Thread(target=self._work, name=f"{self._name}-{self._size}", daemon=True).start()

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._jobs:
                    self._idle += 1
                    self._changed.wait()
                    self._idle -= 1
                job = self._jobs.popleft()
            job()

    def _grow(self) -> None:
        while self._short.wait():
            used = time.process_time()
            time.sleep(LOOK_EVERY)
            with self._changed:
                waiting = len(self._jobs) - self._idle
                if waiting <= 0:
                    self._short.clear()
                elif time.process_time() - used < BUSY * LOOK_EVERY:
                    self._start(min(self._size, waiting))
