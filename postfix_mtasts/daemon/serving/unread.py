"""Bounds on what clients do not read.

A client with BUFFER_LIMIT of unread replies is read no further. Many of them
would still fill the memory, so there is one bound for all: beyond it the one
that has been in arrears longest is cut off. So is each that has read nothing
for a minute, whatever it owes; a client that closed its side is no exception.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from ...core.quoting import KV
from .connection import BUFFER_LIMIT, Connection

log = logging.getLogger(__name__)

BYTES = 64 << 20  # unread replies of all clients together
LOOKS = 60  # once a second, without a byte read in between


class Unread:
    """Watches what connections have to read."""

    def __init__(self) -> None:
        self._owing: dict[Connection, tuple[int, int]] = {}  # bytes at the last look, looks without progress
        self._stalled: dict[Connection, None] = {}  # read no further, the longest first

    def stalled(self, connection: Connection) -> None:
        """It has BUFFER_LIMIT of unread replies."""
        self._stalled[connection] = None
        if len(self._stalled) * BUFFER_LIMIT > BYTES:
            self._cut_off(next(iter(self._stalled)), "all clients together read too little")

    def resumed(self, connection: Connection) -> None:
        """It reads again, or is gone."""
        self._stalled.pop(connection, None)

    def look(self, connections: Iterable[Connection]) -> None:
        """Once a second: cut off who reads nothing."""
        before, self._owing = self._owing, {}
        for connection in connections:
            if size := connection.unread:
                last, looks = before.get(connection, (size + 1, 0))
                self._owing[connection] = size, looks + 1 if size >= last else 0
        total = sum(size for size, _ in self._owing.values())
        for connection, (size, looks) in sorted(self._owing.items(), key=lambda item: item[1][1], reverse=True):
            if looks >= LOOKS or total > BYTES:
                self._cut_off(connection, f"nothing was read for {looks} s")
                total -= size
            else:
                break

    def _cut_off(self, connection: Connection, reason: str) -> None:
        log.debug("client-cut-off %s", KV(unread=connection.unread, reason=reason))
        self._stalled.pop(connection, None)
        self._owing.pop(connection, None)
        connection.abort()
