"""Cut off clients that do not read their replies.

No more requests are read from a client with BUFFER_LIMIT of unread replies.
Many such clients would still fill the memory, so all of them together may have
BYTES; beyond that, the one that has read nothing for longest is cut off. So is
every client that reads nothing for a minute, also one that closed its side.
Once such a crowd is gone, the memory that it took goes back to the system.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from ...core.quoting import KV
from ...process.memory import give_back
from .connection import BUFFER_LIMIT, Connection

log = logging.getLogger(__name__)

BYTES = 64 << 20  # unread replies of all clients together
CROWD = 8 << 20  # unread replies, after which free memory is worth giving back
LOOKS = 60  # once a second, without a byte read in between


class Unread:
    """Watches how much every client has left unread."""

    def __init__(self) -> None:
        self._owing: dict[Connection, tuple[int, int]] = {}  # unread bytes at the last look, looks without progress
        self._stalled: dict[Connection, None] = {}  # those that are not read from, the longest first
        self._crowded = False  # there was a CROWD since memory was given back

    def stalled(self, connection: Connection) -> None:
        """Note that *connection* has BUFFER_LIMIT of unread replies."""
        self._stalled[connection] = None
        if len(self._stalled) * BUFFER_LIMIT > BYTES:
            self._cut_off(next(iter(self._stalled)), "all clients together have too much unread")

    def resumed(self, connection: Connection) -> None:
        """Note that *connection* reads again, or is closed."""
        self._stalled.pop(connection, None)

    def look(self, connections: Iterable[Connection]) -> None:
        """Cut off who reads nothing. Call it once a second."""
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
        if total > CROWD:
            self._crowded = True
        elif self._crowded:
            self._crowded = False
            give_back()

    def _cut_off(self, connection: Connection, reason: str) -> None:
        log.debug("client-cut-off %s", KV(unread=connection.unread, reason=reason))
        self._stalled.pop(connection, None)
        self._owing.pop(connection, None)
        connection.abort()
