"""/metrics and /healthz: a small HTTP server in a thread of its own.

It shares nothing with the answer path: what it shows it asks of the loop, and
a loop that does not answer in time is itself the answer (503).
"""

from __future__ import annotations

import asyncio
import socket
import socketserver
import threading
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any, TypeVar
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app

from ...errors import ListenError
from ...process.listeners import split_inet
from .metrics import Collector, Snapshot

LOOP_PATIENCE = 5.0  # seconds
CLIENT_PATIENCE = 10.0  # seconds that a client may take over its request

T = TypeVar("T")


class _Handler(WSGIRequestHandler):
    timeout = CLIENT_PATIENCE

    def log_message(self, format: str, *args: Any) -> None:
        """No line a scrape."""


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that breaks off is no event."""


class _Server6(_Server):
    address_family = socket.AF_INET6


class HttpServer:
    """Listens on metrics.listen. Raises: ListenError."""

    def __init__(
        self,
        address: str,
        loop: asyncio.AbstractEventLoop,
        snapshot: Callable[[], Coroutine[Any, Any, Snapshot]],
        faults: Callable[[], list[str]],
    ) -> None:
        self._loop, self._faults = loop, faults
        registry = CollectorRegistry(auto_describe=False)
        self._collector = Collector(lambda: self._ask(snapshot))
        self._registry = registry
        registry.register(self._collector)
        self._metrics = make_wsgi_app(registry)
        host, port = split_inet(address)
        try:
            kind = _Server6 if ":" in host else _Server
            self._server = make_server(host, port, self._answer, server_class=kind, handler_class=_Handler)
        except OSError as error:
            raise ListenError(f"metrics.listen: {address}: {error.strerror or error}") from None
        threading.Thread(target=self._server.serve_forever, name="http", daemon=True).start()

    def close(self) -> None:
        """Begin to stop; the loop need not wait for the thread to notice."""
        threading.Thread(target=self._stop, name="http-stop", daemon=True).start()

    def _stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        try:
            match environ["PATH_INFO"]:
                case "/metrics":
                    return list(self._metrics(environ, start))
                case "/healthz":
                    faults = self._ask(self._moving)
                case _:
                    return _plain(start, "404 Not Found", "here are /metrics and /healthz")
        except (FutureTimeoutError, RuntimeError):  # RuntimeError: the loop is closed
            faults = [f"the event loop did not answer within {LOOP_PATIENCE:g} s"]
        if faults:
            return _plain(start, "503 Service Unavailable", "\n".join(faults))
        return _plain(start, "200 OK", "ok")

    async def _moving(self) -> list[str]:
        return self._faults()

    def _ask(self, question: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The loop's answer. Raises: TimeoutError, RuntimeError."""
        asked = question()
        try:
            answer = asyncio.run_coroutine_threadsafe(asked, self._loop)
        except RuntimeError:
            asked.close()
            raise
        try:
            return answer.result(LOOP_PATIENCE)
        finally:
            answer.cancel()


def _plain(start: Callable[..., Any], status: str, text: str) -> list[bytes]:
    body = (text + "\n").encode("utf-8", "backslashreplace")
    start(status, [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))])
    return [body]
