"""Servers of the test's own process, each in a thread."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Self


class Serving:
    """Entered by `with`: `_servers` answer while the block runs."""

    _servers: Sequence[socketserver.BaseServer]

    def __enter__(self) -> Self:
        for server in self._servers:
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, place: TracebackType | None
    ) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()
