"""A control socket without a daemon: what it answers, a test says; what it was asked, a test reads."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any, Self

Answer = dict[str, Any]


class FakeControl:
    """Entered by `with`; *answers* makes of each request the objects that come before {"done": true}."""

    def __init__(self, directory: Path, answers: Callable[[Answer], Iterable[Answer]]) -> None:
        self.requests: list[Answer] = []
        self._answers = answers
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(directory / "control"))
        self._server.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, place: TracebackType | None
    ) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._thread.join(10)

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            with client, client.makefile("rb") as lines, suppress(OSError):  # a command may have heard enough
                for line in lines:
                    self.requests.append(json.loads(line))
                    for answer in chain(self._answers(self.requests[-1]), [{"done": True}]):
                        client.sendall(json.dumps(answer).encode() + b"\n")
