"""A TLSRPT collector's socket (libtlsrpt's protocol: one JSON object a datagram) that keeps what it gets.

A sender never waits: where the socket's queue is full, its report is lost. So
the queue is long here, and what comes is read at once and understood later.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self

_QUEUE = Path("/proc/sys/net/unix/max_dgram_qlen")  # of this network namespace, for sockets to come


class Datagrams:
    """Entered by `with`; anybody may write to the socket at *path*."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._received: list[bytes] = []
        usual = _QUEUE.read_text()
        _QUEUE.write_text("4096")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        _QUEUE.write_text(usual)

    def __enter__(self) -> Self:
        self._socket.bind(str(self._path))
        os.chmod(self._path, 0o666)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, place: TracebackType | None
    ) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)  # ends the thread
        self._thread.join()
        self._socket.close()
        self._path.unlink()

    def about(self, domain: str) -> list[dict[str, Any]]:
        """What was reported about mail to *domain*: the policy of each report, and how it went ("f")."""
        reports = [json.loads(datagram) for datagram in list(self._received) if domain.encode() in datagram]
        return [report["policies"][0] for report in reports if report["d"] == domain]

    def _read(self) -> None:
        with contextlib.suppress(OSError):
            while datagram := self._socket.recv(1 << 20):
                self._received.append(datagram)
