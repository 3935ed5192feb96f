"""Keep finished replies by request: an answer is made once, not each time Postfix asks.

A netstring allows no leading zeros, so the bytes of a request are unique and
are themselves the key. Nothing here is ever found out to be stale: the whole
table is emptied when any answer changes, at a reload, when it is full, and
regularly; what ends sooner than the next emptying is not taken in at all.
"""

from __future__ import annotations

from collections.abc import Callable

from ..counters import Cell

BYTE_LIMIT = 64 << 20  # request and reply bytes held
REQUEST_LIMIT = 300  # bytes of a request frame: any real key, and no attacker's
OVERHEAD = 200  # bytes of memory an entry takes beside its two frames, about


class ReplyCache:
    """The table. Connections look up `ready` themselves."""

    def __init__(self, period: float, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self.ready: dict[bytes, tuple[bytes, Cell]] = {}
        self._bytes = 0
        self.period = period  # seconds between two regular emptyings
        self._next_at = float("-inf")  # the next one; once it is late, no reply is kept until it has come

    def configure(self, period: float) -> None:
        """Empty regularly every *period* seconds, from the next emptying on."""
        self.period = period

    def turn(self) -> float:
        """Empty the table; return after how many seconds to call this again."""
        self.empty()
        self._next_at = self._monotonic() + self.period
        return self.period

    def empty(self) -> None:
        """Forget every reply, because an answer changed."""
        self.ready.clear()  # the dict itself stays: connections hold it
        self._bytes = 0

    def add(self, request: bytes, reply: bytes, counter: Cell, lasts: float) -> None:
        """Keep *reply* for *request* if it holds for *lasts* seconds, past the next regular emptying."""
        if len(request) > REQUEST_LIMIT or not (now := self._monotonic()) < self._next_at <= now + lasts:
            return
        size = len(request) + len(reply) + OVERHEAD
        if self._bytes + size > BYTE_LIMIT:
            self.empty()
        self.ready[request] = reply, counter
        self._bytes += size
