"""TLS as a stream whose every byte on the socket passes through our hands.

OpenSSL reads from a socket as long as messages come that bring no data
(HelloRequests, KeyUpdates, session tickets), within one call: neither a
timeout nor a count of what it returned would bound that. So it is given
memory instead, filled by Fetch.receive() a piece at a time.

http.client takes a Stream for a socket.
"""

from __future__ import annotations

import io
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from .transfer import Fetch

_T = TypeVar("_T")


class Stream:
    """TLS over *sock*, which the fetch's Transfer closes.

    *broken* makes the error that a failure after the handshake ends in: it has
    to pass through http.client as it is.
    """

    def __init__(
        self,
        fetch: Fetch,
        sock: socket.socket,
        context: ssl.SSLContext,
        name: str,
        broken: Callable[[OSError], Exception],
    ) -> None:
        """Raises: ValueError for a *name* that TLS cannot hold."""
        self._fetch, self._sock, self._broken = fetch, sock, broken
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=name)

    def shake_hands(self) -> None:
        """Do the TLS handshake. Raises: FetchError, OSError."""
        try:
            self._work(self.tls.do_handshake)
        except ssl.SSLError:
            with suppress(OSError):
                self._flush()  # the alert that says why
            raise

    def _work(self, work: Callable[..., _T], *args: Any) -> _T:
        """Have OpenSSL do its *work*, with what it needs from the socket. Raises: FetchError, OSError."""
        while True:
            try:
                done = work(*args)
            except ssl.SSLWantReadError:
                self._flush()
            else:
                self._flush()
                return done
            if data := self._fetch.receive(self._sock):
                self._incoming.write(data)
            else:
                self._incoming.write_eof()

    def _flush(self) -> None:
        if self._outgoing.pending:
            self._fetch.send(self._sock, self._outgoing.read())

    def _transfer(self, work: Callable[..., int], *args: Any) -> int:
        """Do *work* after the handshake. Raises: FetchError only."""
        try:
            return self._work(work, *args)
        except OSError as error:
            raise self._broken(error) from error

    # What http.client wants of a socket

    def sendall(self, data: Any) -> None:
        view = memoryview(data)
        while view:
            view = view[self._transfer(self.tls.write, view) :]

    def makefile(self, mode: str = "rb", *_: Any, **__: Any) -> io.BufferedReader:
        return io.BufferedReader(_Reader(self._read_into))

    def _read_into(self, buffer: Any) -> int:
        read: Any = self.tls.read  # with a buffer it returns a number
        return self._transfer(read, len(buffer), buffer)


class _Reader(io.RawIOBase):
    def __init__(self, read_into: Callable[[Any], int]) -> None:
        self._read_into = read_into

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._read_into(buffer)
