"""The server: listeners, and the connections they accept.

Descriptors are kept back for DNS, HTTPS and the store. When the rest are used
up, the connection idle longest is closed: Postfix connects again unseen.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import resource
import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ...config.settings import Settings
from ...core.quoting import KV
from ...errors import ListenError
from ...process.listeners import bind, set_permissions, unlink_ours
from ..counters import Cell
from .connection import Connection, Reply
from .reply_cache import Frames

log = logging.getLogger(__name__)

BACKLOG = 1024
KEPT_BACK = 128  # descriptors for the worker, the store, the probe, logs and metrics
MOST_CONNECTIONS = 20_000  # a bound on memory where descriptors are without one
LEAST_CONNECTIONS = 4_000  # fewer are worth a warning


class Server:
    """Accepts connections; it is the Service of each."""

    def __init__(self, frames: Frames, answer: Callable[[bytes, Reply], bytes | None]) -> None:
        self.ready: dict[bytes, tuple[bytes, Cell]] = frames.ready
        self.answer = answer
        self.tick = 0
        self.connections: set[Connection] = set()
        self._listeners: dict[str, _Listener] = {}
        self._limit = min(MOST_CONNECTIONS, raise_descriptor_limit() - KEPT_BACK)
        if self._limit < LEAST_CONNECTIONS:
            log.warning("few-descriptors %s", KV(connections=self._limit, want=LEAST_CONNECTIONS))

    @property
    def addresses(self) -> Sequence[str]:
        return tuple(self._listeners)

    def opened(self, connection: Connection) -> None:
        self.connections.add(connection)
        if len(self.connections) > self._limit:
            idle = min((known for known in self.connections if not known.busy), key=lambda known: known.tick)
            self.connections.discard(idle)
            idle.close()

    def closed(self, connection: Connection) -> None:
        self.connections.discard(connection)

    async def listen(self, settings: Settings, passed: Mapping[str, socket.socket]) -> None:
        """Listen on settings.listen and on *passed* sockets, and on nothing else.

        An address that a passed socket holds is not bound again. Where one
        address fails nothing changes. Raises: ListenError.
        """
        fresh: dict[str, _Listener] = {}
        try:
            for address in dict.fromkeys([*passed, *settings.listen]):
                if address not in self._listeners:
                    socks = [passed[address]] if address in passed else bind(address, settings)
                    fresh[address] = await _Listener.start(address, socks, self, ours=address not in passed)
                elif address.startswith("unix:") and address not in passed:
                    set_permissions(Path(address.removeprefix("unix:")), settings)
        except (ListenError, OSError) as error:
            for listener in fresh.values():
                listener.close()
            raise error if isinstance(error, ListenError) else ListenError(f"{address}: {error}") from None
        self._listeners.update(fresh)
        for address in set(self._listeners) - {*passed, *settings.listen}:
            self._listeners.pop(address).close()

    def stop_accepting(self) -> None:
        for listener in self._listeners.values():
            listener.close()
        self._listeners.clear()

    def finish(self) -> None:
        """Let every connection answer what it was asked, and close."""
        for connection in list(self.connections):
            connection.finish()

    def close(self) -> None:
        """Close every connection, with what it was told."""
        for connection in list(self.connections):
            connection.close()


class _Listener:
    """One address: its server objects, and its socket file if it made one."""

    def __init__(self, address: str, servers: Sequence[asyncio.Server], inode: int | None) -> None:
        self._address, self._servers, self._inode = address, servers, inode

    @classmethod
    async def start(cls, address: str, socks: Sequence[socket.socket], server: Server, *, ours: bool) -> _Listener:
        loop = asyncio.get_running_loop()
        servers: list[asyncio.Server] = []
        inode = None
        for sock in socks:
            if sock.family != socket.AF_UNIX:
                servers.append(await loop.create_server(lambda: Connection(server), sock=sock, backlog=BACKLOG))
                continue
            if ours:
                inode = os.lstat(address.removeprefix("unix:")).st_ino
            create: Callable[..., object] = loop.create_unix_server
            try:
                made = create(lambda: Connection(server), sock=sock, backlog=BACKLOG, cleanup_socket=False)
            except TypeError:  # before Python 3.13, and in uvloop: the file is left alone anyhow
                made = create(lambda: Connection(server), sock=sock, backlog=BACKLOG)
            servers.append(await made)  # type: ignore[misc]
        return cls(address, servers, inode)

    def close(self) -> None:
        if self._inode is not None:
            unlink_ours(self._address, self._inode)
        for server in self._servers:
            server.close()


def raise_descriptor_limit() -> int:
    """Raise the soft limit on open files to the hard one; return what may be open now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):  # a sandbox may forbid it: few-descriptors tells, if it matters
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
    return soft if soft != resource.RLIM_INFINITY else 1 << 20
