"""Policy hosts that take a connection and never say a word."""

from __future__ import annotations

import socket
import threading
from types import TracebackType
from typing import Self

from tests.support.waiting import wait_until

ADDRESS = "127.0.0.9"


class HangingHost:
    """Port 443 of *addresses*: every connection is kept and nothing is sent."""

    def __init__(self, *addresses: str) -> None:
        self._addresses = addresses or (ADDRESS,)
        self._kept: list[socket.socket] = []

    def __enter__(self) -> Self:
        self._listeners = [socket.create_server((address, 443), backlog=4096) for address in self._addresses]
        for listener in self._listeners:
            threading.Thread(target=self._accept, args=(listener,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, place: TracebackType | None
    ) -> None:
        for listener in self._listeners:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        for sock in self._kept:
            sock.close()

    @property
    def connections(self) -> int:
        """How many have connected so far."""
        return len(self._kept)

    def wait_for(self, connections: int) -> None:
        wait_until(lambda: self.connections >= connections, f"{connections} connections to a hanging host")

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                self._kept.append(listener.accept()[0])
            except OSError:
                return  # closed: the test is over
