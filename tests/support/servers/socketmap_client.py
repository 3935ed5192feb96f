"""A blocking socketmap client, as Postfix is one, and one that may misbehave."""

from __future__ import annotations

import socket
from types import TracebackType
from typing import Self


def frame(payload: bytes) -> bytes:
    return b"%d:%b," % (len(payload), payload)


class SocketmapClient:
    """One connection to `inet:HOST:PORT`, `inet:[HOST]:PORT` or `unix:PATH`; no wait takes over *timeout* seconds."""

    def __init__(self, address: str, timeout: float = 60) -> None:
        family, _, place = address.partition(":")
        if family == "unix":
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.settimeout(timeout)
            self.sock.connect(place)
        else:
            host, _, port = place.rpartition(":")
            self.sock = socket.create_connection((host.strip("[]"), int(port)), timeout)
        self._stream = self.sock.makefile("rb")

    def ask(self, map_name: str, key: str | bytes) -> str:
        """The reply's payload, such as `NOTFOUND `."""
        self.send(map_name, key)
        return self.receive()

    def send(self, map_name: str, *keys: str | bytes) -> None:
        """Send requests at once, without reading a reply."""
        payloads = (map_name.encode() + b" " + (key if isinstance(key, bytes) else key.encode()) for key in keys)
        self.sock.sendall(b"".join(map(frame, payloads)))

    def receive(self) -> str:
        """The next reply's payload. Raises: AssertionError where the frame is broken, EOFError at the end."""
        head = b""
        while not head.endswith(b":"):
            byte = self._stream.read(1)
            if not byte:
                raise EOFError(f"the connection was closed after {head!r}")
            head += byte
            assert len(head) < 8, f"no netstring: {head!r}"
        payload = self._stream.read(int(head[:-1]))
        end = self._stream.read(1)
        assert end == b",", f"a netstring ends with {end!r}"
        return payload.decode()

    def close(self) -> None:
        self._stream.close()
        self.sock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, place: TracebackType | None
    ) -> None:
        self.close()
