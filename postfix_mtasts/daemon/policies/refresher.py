"""The refresher: a thread that takes what is due from the agenda, and paces it.

What is due, and whether it still is, the keeper decides on the event loop.
Few fetches are under way at once, and never many in a second, so that a start
with a million overdue policies is a steady stream and lookups always come
first.

Source: RFC 8461 section 10.2 (refresh in good time, whatever DNS says).
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import Protocol

from ...core.names import Domain
from .agenda import Agenda, Place

log = logging.getLogger(__name__)

PER_SECOND = 60  # refreshes begun; a million policies a day are 12
HEARTBEAT = 1.0  # seconds between two signs of life with nothing to do
AFTER_ERROR = 3_600.0  # seconds until a domain that met an error of our own is looked at again


class Due(Protocol):
    def __call__(self, domain: Domain, landed: Callable[[], None]) -> bool:
        """Do what is due for *domain*, on the loop; True: a fetch began, *landed* is called at its end."""


class Refresher(threading.Thread):
    """What is due, at a steady pace."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, agenda: Agenda, due: Due, monotonic: Callable[[], float]
    ) -> None:
        super().__init__(name="refresher", daemon=True)
        self._loop, self._agenda, self._due, self._monotonic = loop, agenda, due, monotonic
        self._stopped = False
        self.moved_at = self._monotonic()  # the last sign of life

    def stop(self) -> None:
        self._stopped = True
        self._agenda.stop()

    def run(self) -> None:
        while not self._stopped:
            self.moved_at = self._monotonic()
            chosen = self._agenda.next(HEARTBEAT)
            if chosen is not None and self._ask(*chosen):
                self._agenda.pause(1 / PER_SECOND)

    def _ask(self, domain: Domain, place: Place) -> bool:
        """Have the loop do what is due; tell whether that began a fetch."""
        answered = threading.Event()
        begun = [False]

        def on_loop() -> None:
            turn = _Turn(self._agenda, domain, place, self._monotonic)
            try:
                begun[0] = self._due(domain, turn.landed)
            except Exception:
                log.exception("internal-error")
                self._agenda.push([(self._monotonic() + AFTER_ERROR, float("inf"), domain)])
            finally:
                if not begun[0]:
                    turn.free()
                answered.set()

        try:
            self._loop.call_soon_threadsafe(on_loop)
        except RuntimeError:  # the loop is closed: the daemon ends
            return False
        while not answered.wait(HEARTBEAT) and not self._stopped:
            pass
        return begun[0]


class _Turn:
    """A domain's place among those under way, given back once."""

    def __init__(self, agenda: Agenda, domain: Domain, place: Place, monotonic: Callable[[], float]) -> None:
        self._agenda, self._domain, self._place, self._monotonic = agenda, domain, place, monotonic
        self._began_at, self._freed = monotonic(), False
        agenda.take(place)

    def landed(self) -> None:
        self._agenda.note_pace(self._domain, self._monotonic() - self._began_at)
        self.free()

    def free(self) -> None:
        if not self._freed:
            self._freed = True
            self._agenda.free(self._place)
