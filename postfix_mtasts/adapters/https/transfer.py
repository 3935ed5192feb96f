"""A fetch under way: how much time is left to it, how much it may still receive, and how it is given up.

Rule 1: every step on the socket gets the time that is left of the fetch, and
        another thread can end it at once.
Rule 2: RECEIVED_LIMIT bytes are received on the socket at most, TLS handshake
        and all, however small they come.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from ...core.certificate import Shown
from ...core.outcome import Note, Stage
from ...errors import FetchError
from ...faults import Fault

RECEIVED_LIMIT = 1 << 20  # bytes of one fetch
_PIECE = 16_384  # bytes received at a time: what OpenSSL may do at one go is bounded by it

_T = TypeVar("_T")

_LATE = {
    Stage.ADDRESS: Fault.CONNECT_LATE,
    Stage.TLS: Fault.TLS_LATE,
    Stage.HTTP: Fault.HTTP_LATE,
    Stage.SMTP: Fault.MAIL_LATE,
}


class Transfer:
    """A fetch under way that any thread may give up; serves one fetch."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self.reason: str | None = None  # why it was given up, once it was
        self.shown: Shown | None = None  # what the host showed, for those who take notes

    def abort(self, reason: str) -> None:
        """End it at once, in whatever phase: get() raises FetchError with *reason*."""
        with self._lock:
            self.reason = self.reason or reason
            if self._socket is not None:
                with suppress(OSError):  # never connected, or closed by the other side
                    self._socket.shutdown(socket.SHUT_RDWR)

    def watch(self, sock: socket.socket) -> None:
        """Own *sock*: abort() ends what it does from now on, and release() closes it."""
        self.release()
        with self._lock:
            self._socket = sock

    def release(self) -> None:
        """Close the socket."""
        with self._lock:
            if self._socket is not None:
                self._socket.close()
                self._socket = None


class Fetch:
    """How far a fetch has come, and what is left to it."""

    def __init__(self, host: str, timeout: float, note: Note, transfer: Transfer) -> None:
        self.host, self.note, self.transfer = host, note, transfer
        self.stage = Stage.ADDRESS
        self._timeout, self._deadline = timeout, time.monotonic() + timeout  # seconds
        self._received = 0  # bytes

    def failure(self, fault: Fault, value: str = "") -> FetchError:
        return FetchError(self.stage, fault, self.host, value)

    def check(self) -> None:
        """Stop here if the fetch was given up. Raises: FetchError."""
        if self.transfer.reason is not None:
            raise self.failure(Fault.GIVEN_UP, self.transfer.reason)

    def remaining(self) -> float:
        """Return the seconds left; 0 or less once the deadline has passed."""
        return self._deadline - time.monotonic()

    def send(self, sock: socket.socket, data: bytes) -> None:
        """Send all of *data*. Raises: FetchError, OSError."""
        self._step(sock, sock.sendall, data)

    def receive(self, sock: socket.socket) -> bytes:
        """Return what comes next, or nothing at its end. Raises: FetchError, OSError."""
        data = self._step(sock, sock.recv, _PIECE)
        self._received += len(data)
        if self._received > RECEIVED_LIMIT:
            fault = Fault.TLS_TOO_LONG if self.stage is Stage.TLS else Fault.HTTP_ANSWER_TOO_LONG
            raise self.failure(fault, f"{RECEIVED_LIMIT:,}")
        return data

    def _step(self, sock: socket.socket, work: Callable[..., _T], *args: Any) -> _T:
        """Have *sock* do its *work* in the time that is left. Raises: FetchError, OSError."""
        self.check()
        left = self.remaining()
        if left <= 0:
            raise self._late()
        sock.settimeout(left)
        try:
            done = work(*args)
        except OSError as error:
            self.check()
            if isinstance(error, TimeoutError):
                raise self._late() from None
            raise
        self.check()  # an aborted read looks like the end of the stream
        return done

    def _late(self) -> FetchError:
        return self.failure(_LATE[self.stage], f"{self._timeout:g}")
