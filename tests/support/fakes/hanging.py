"""Policy hosts that take a connection and never say a word."""

from __future__ import annotations

import socket
import threading
from types import TracebackType
from typing import Self

from tests.support.waiting import wait_until

ADDRESS = "127.0.0.9"


class HangingHost:
    """Port 443 of ADDRESS: every connection is kept and nothing is sent."""

    def __enter__(self) -> Self:
        self._listener = socket.create_server((ADDRESS, 443), backlog=4096)
        self._kept: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, place: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for sock in self._kept:
            sock.close()

    @property
    def connections(self) -> int:
        """How many have connected so far."""
        return len(self._kept)

    def wait_for(self, connections: int) -> None:
        wait_until(lambda: self.connections >= connections, f"{connections} connections to a hanging host")

    def _accept(self) -> None:
        while True:
            try:
                self._kept.append(self._listener.accept()[0])
            except OSError:
                return  # closed: the test is over
