"""Bodies that arrive, together in bounded memory; no sockets or clocks here.

Rule 1: only what has arrived counts, not what was announced.
Rule 2: where a piece more would be too much, a body that still arrives gives
        way: of the network that holds the most (an IPv6 /64 counts as one),
        the one that has gone without a piece for longest. Networks that hold
        no more than one body may have count as equal.
Rule 3: a body that has arrived whole gives way to none.

So clients that are slow, however many, shut out nobody else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from ..core.addresses import network


class Body:
    """One body; `data` is what has arrived of it."""

    def __init__(self, client: str, give_up: Callable[[], None]) -> None:
        self.client, self.give_up = client, give_up
        self.data = bytearray()
        self.gave_way = False


class Bodies:
    """All bodies that arrive or are worked on, *limit* bytes in all; *each*: bytes that one may have."""

    def __init__(self, limit: int, each: int) -> None:
        self._limit, self._each, self.held = limit, each, 0
        self._arriving: dict[Body, None] = {}  # the one without a piece for longest first
        self._shares: Counter[str] = Counter()  # bytes by network

    def begin(self, address: str | None, give_up: Callable[[], None]) -> Body:
        """Expect a body from *address*, None where there is none; *give_up* is called when it gives way."""
        body = Body(_client(address), give_up)
        self._arriving[body] = None
        return body

    def add(self, body: Body, piece: bytes) -> None:
        """Append a piece to *body*, unless that gives way, to others or for this piece (see gave_way)."""
        if body.gave_way:
            return
        del self._arriving[body]
        self._arriving[body] = None
        while not body.gave_way and self.held + len(piece) > self._limit:
            self._make_room(body, len(piece))
        if not body.gave_way:
            body.data += piece
            self._count(body, len(piece))

    def arrived(self, body: Body) -> None:
        """*body* is whole."""
        self._arriving.pop(body, None)

    def end(self, body: Body) -> None:
        """*body* is done with; also where it never arrived."""
        self.arrived(body)
        self._count(body, -len(body.data))
        body.data = bytearray()

    def _make_room(self, comes: Body, size: int) -> None:
        def share(body: Body) -> int:
            return max(self._each, self._shares[body.client] + (size if body.client == comes.client else 0))

        first = max((body for body in self._arriving if body.data or body is comes), key=share)
        first.gave_way = True
        self.end(first)
        if first is not comes:
            first.give_up()

    def _count(self, body: Body, size: int) -> None:
        self.held += size
        self._shares[body.client] += size
        if not self._shares[body.client]:
            del self._shares[body.client]


def _client(address: str | None) -> str:
    try:
        return network(address or "")
    except ValueError:  # a unix socket: the proxy in front of it
        return ""
