"""Begin fetches when slots.py says that it is their turn, and give them up when it says so.

A fetch that waits holds no thread. A thread of its own, the clerk, looks at
those that wait while there are any.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from .slots import Slots, Ticket

LOOK_EVERY = 0.1  # seconds between two looks at what waits

T = TypeVar("T", bound=Ticket)


class Turns(Generic[T]):
    """The fetches of a worker; any thread may call.

    Args:
        start: begins a fetch that waited, in another thread. Each fetch calls `leave` at its end.
        give_up: ends a fetch under way, which was for so many seconds.
        drop: tells of one that waited too long and never began.
    """

    def __init__(
        self,
        slots: Slots,
        start: Callable[[T], None],
        give_up: Callable[[T, float], None],
        drop: Callable[[T], None],
    ) -> None:
        self._slots, self._start, self._give_up, self._drop = slots, start, give_up, drop
        self._changed = threading.Condition()
        threading.Thread(target=self._clerk, name="turns", daemon=True).start()

    def wait(self, ticket: T) -> bool:
        """Return whether *ticket* may begin at once, in this thread; else start it when it is its turn."""
        with self._changed:
            self._slots.add(ticket)
            begun = self._slots.begin(time.monotonic())
            if self._slots.waiting:
                self._changed.notify()
        self._begin([other for other in begun if other is not ticket])
        return ticket in begun

    def leave(self, ticket: T) -> None:
        """Free the place of a fetch that is over."""
        with self._changed:
            self._slots.leave(ticket)
            begun = self._slots.begin(time.monotonic()) if self._slots.waiting else []
        self._begin(begun)

    def _begin(self, tickets: list[Ticket]) -> None:
        for ticket in tickets:
            self._start(ticket)  # type: ignore[arg-type]

    def _clerk(self) -> None:
        while True:
            with self._changed:
                while not self._slots.waiting:
                    self._changed.wait()
            time.sleep(LOOK_EVERY)
            self.look(time.monotonic())

    def look(self, now: float) -> None:
        """Drop, give up and begin what is to be, at *now* of the monotonic clock."""
        with self._changed:
            dropped = self._slots.drop(now)
            given = self._slots.give_way(now)
            begun = self._slots.begin(now)
        for ticket in dropped:
            self._drop(ticket)  # type: ignore[arg-type]
        for ticket in given:
            self._give_up(ticket, now - ticket.began_at)  # type: ignore[arg-type]
        self._begin(begun)
