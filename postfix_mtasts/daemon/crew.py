"""Threads for blocking jobs: started when needed, kept, never waited for at exit.

A concurrent.futures executor joins its threads when the process ends, so that
a few hanging fetches would hold up a shutdown; these threads are daemons.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue


class Crew:
    """Up to *limit* threads; further jobs wait in the order of their arrival."""

    def __init__(self, name: str, limit: int) -> None:
        self._name, self._limit = name, limit
        self._jobs: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._lock = threading.Lock()
        self._size = 0
        self._idle = 0

    def submit(self, job: Callable[[], None]) -> None:
        """Run *job* soon; it must not raise."""
        with self._lock:
            if self._idle:
                self._idle -= 1
            elif self._size < self._limit:
                self._size += 1
                threading.Thread(target=self._work, name=f"{self._name}-{self._size}", daemon=True).start()
        self._jobs.put(job)

    def _work(self) -> None:
        while True:
            self._jobs.get()()
            with self._lock:
                if self._jobs.empty():
                    self._idle += 1
