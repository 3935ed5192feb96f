"""A pause between tries of what fails."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

FIRST_RETRY, LAST_RETRY = 1.0, 60.0  # seconds, doubling in between


class Retry:
    """A pause that doubles each time, until it is over; *again* is called at its end."""

    def __init__(self, again: Callable[[], None]) -> None:
        self._again = again
        self._timer: asyncio.TimerHandle | None = None
        self._delay = FIRST_RETRY

    @property
    def pending(self) -> bool:
        return self._timer is not None

    def wait(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._delay, self._ring)
            self._delay = min(2 * self._delay, LAST_RETRY)

    def over(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._delay = None, FIRST_RETRY

    def _ring(self) -> None:
        self._timer = None
        self._again()
