"""Accept connections, and bound their number.

Some descriptors are reserved for DNS, HTTPS and the store. When the others are
used up, the connection that was idle longest is closed; Postfix reconnects
without noticing.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import logging
import resource
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence

from ...config.settings import Settings
from ...core.quoting import KV
from ...errors import ListenError
from ...process.listeners import Bound, SocketFile, bind, holds
from ..counters import Cell
from .connection import Connection, Reply
from .reply_cache import ReplyCache
from .unread import Unread

log = logging.getLogger(__name__)

BACKLOG = 1024
KEPT_BACK = 128  # descriptors reserved for the workers, the store, DNS, monitoring and commands
MOST_CONNECTIONS = 20_000  # a bound on memory where descriptors are without one
WANTED_CONNECTIONS = 4_000  # fewer are worth a warning
LEAST_CONNECTIONS = 32  # fewer serve no Postfix
IDLEST = 1_000  # connections remembered after one look through all of them


class Server:
    """Accepts connections, and is the Service of each."""

    def __init__(self, reply_cache: ReplyCache, answer: Callable[[bytes, Reply], bytes | None]) -> None:
        self.ready: dict[bytes, tuple[bytes, Cell]] = reply_cache.ready
        self.answer = answer
        self.tick = self.queued = 0
        self.connections: set[Connection] = set()
        self._listeners: dict[str, _Listener] = {}
        self._unread = Unread()
        self.stalled, self.resumed = self._unread.stalled, self._unread.resumed
        self._idlest: list[tuple[int, Connection]] = []  # the idlest last
        self._limit = connection_limit()
        if self._limit < WANTED_CONNECTIONS:
            log.warning("few-descriptors %s", KV(connections=self._limit, want=WANTED_CONNECTIONS))

    @property
    def addresses(self) -> Sequence[str]:
        return tuple(self._listeners)

    def opened(self, connection: Connection) -> None:
        self.connections.add(connection)
        if len(self.connections) > self._limit:
            idle = self._idle_longest()
            self.connections.discard(idle)
            if idle.unread:  # it would keep its descriptor for a while
                idle.abort()
            else:
                idle.close()

    def _idle_longest(self) -> Connection:
        """Return the connection idle longest that waits for no answer; the newest one never waits."""
        while True:
            while self._idlest:
                tick, connection = self._idlest.pop()
                if connection in self.connections and not connection.busy and connection.tick == tick:
                    return connection
            idle = [(known.tick, known) for known in self.connections if not known.busy]
            self._idlest = heapq.nsmallest(IDLEST, idle, key=lambda item: item[0])[::-1]

    def closed(self, connection: Connection) -> None:
        self.connections.discard(connection)
        self.resumed(connection)

    def second(self) -> None:
        """Count a second, and cut off clients that read nothing. Call it once a second."""
        self.tick += 1
        self._unread.look(list(self.connections))

    async def listen(self, settings: Settings, passed: Mapping[str, socket.socket]) -> None:
        """Listen on settings.listen and on the *passed* sockets, and on nothing else.

        An address that a passed socket holds is not bound again. Where one
        address fails nothing changes. Raises: ListenError.
        """
        named = [address for address in settings.listen if not any(holds(sock, address) for sock in passed.values())]
        wanted = dict.fromkeys([*passed, *named])
        fresh: dict[str, _Listener] = {}
        try:
            for address in wanted:
                if address not in self._listeners or self._listeners[address].lost():
                    bound = Bound([passed[address]], None) if address in passed else bind(address, settings)
                    fresh[address] = await _Listener.start(bound, self)
            for address in wanted.keys() - fresh.keys():
                self._listeners[address].set_permissions(settings)
        except (ListenError, OSError) as error:
            for listener in fresh.values():
                listener.close()
            raise error if isinstance(error, ListenError) else ListenError(f"{address}: {error}") from None
        for address in {*fresh, *(self._listeners.keys() - wanted.keys())} & self._listeners.keys():
            self._listeners.pop(address).close()
        self._listeners.update(fresh)

    def stop_accepting(self) -> None:
        for listener in self._listeners.values():
            listener.close()
        self._listeners.clear()

    def finish(self) -> None:
        """Have every connection answer what it was asked, then close."""
        for connection in list(self.connections):
            connection.finish()

    def close(self) -> None:
        """Close every connection; clients may read what was written."""
        for connection in list(self.connections):
            connection.close()


class _Listener:
    """One address: its servers, and its socket file if it bound one."""

    def __init__(self, servers: Sequence[asyncio.Server], file: SocketFile | None) -> None:
        self._servers, self._file = servers, file

    @classmethod
    async def start(cls, bound: Bound, server: Server) -> _Listener:
        """Listen on *bound*; close it if that fails. Raises: OSError."""
        try:
            return cls([await cls._serve(sock, server) for sock in bound.socks], bound.file)
        except OSError:
            bound.give_back()
            raise

    @staticmethod
    async def _serve(sock: socket.socket, server: Server) -> asyncio.Server:
        loop = asyncio.get_running_loop()
        if sock.family != socket.AF_UNIX:
            return await loop.create_server(lambda: Connection(server), sock=sock, backlog=BACKLOG)
        create: Callable[..., Awaitable[asyncio.Server]] = loop.create_unix_server
        try:
            made = create(lambda: Connection(server), sock=sock, backlog=BACKLOG, cleanup_socket=False)
        except TypeError:  # before Python 3.13, and in uvloop: they never remove the file
            made = create(lambda: Connection(server), sock=sock, backlog=BACKLOG)
        return await made

    def lost(self) -> bool:
        """Tell whether its socket file was removed or replaced, so that nobody can connect."""
        return self._file is not None and not self._file.in_place()

    def set_permissions(self, settings: Settings) -> None:
        """Set group and mode of its socket file. Raises: OSError, ListenError."""
        if self._file is not None:
            self._file.set_permissions(settings)

    def close(self) -> None:
        if self._file is not None:
            self._file.remove()
        for server in self._servers:
            server.close()


def connection_limit() -> int:
    """Return how many connections may be open at once. Raises: ListenError where descriptors are too few to serve."""
    descriptors = raise_descriptor_limit()
    if descriptors < KEPT_BACK + LEAST_CONNECTIONS:
        raise ListenError(
            f"only {descriptors} files may be open, and {KEPT_BACK + LEAST_CONNECTIONS} are needed at least; "
            "raise LimitNOFILE in the unit, or ulimit -n"
        )
    return min(MOST_CONNECTIONS, descriptors - KEPT_BACK)


def raise_descriptor_limit() -> int:
    """Raise the soft limit on open files to the hard one; return what may be open now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):  # a sandbox may forbid it: few-descriptors tells, if it matters
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
    return soft if soft != resource.RLIM_INFINITY else 1 << 20
