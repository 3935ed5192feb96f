"""/metrics and /healthz: a small HTTP server in a thread of its own.

It shares nothing with the answer path: what it shows it asks of the daemon's
loop, and a loop that does not answer in time is itself the answer (503).

Rule 1: clients of monitoring never take what Postfix needs. A few connections
        are open at most, and one more closes the oldest; a request with its
        answer has one deadline; no thread is made for any of it.
Rule 2: nothing here asks DNS: the name of this machine is nobody's business.

Source: RFC 9112, as far as GET and HEAD with "Connection: close" need it.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from ...errors import ListenError
from ...process.listeners import split_inet
from .metrics import Collector
from .numbers import Numbers

CLIENTS = 8  # connections at once
LOOP_PATIENCE = 5.0  # seconds for the daemon's loop to answer
ACCEPT_PAUSE = 0.1  # seconds, where a connection could not be accepted
CLIENT_PATIENCE = 10.0  # seconds from the connection to the last byte of the answer
HEAD_LIMIT = 8_192  # bytes of a request

PLAIN = "text/plain; charset=utf-8"
_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 503: "Service Unavailable"}

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    body: bytes
    content_type: str = PLAIN


class HttpServer:
    """Listens on metrics.listen until closed. Raises: ListenError."""

    def __init__(
        self,
        address: str,
        loop: asyncio.AbstractEventLoop,
        numbers: Callable[[], Coroutine[Any, Any, Numbers]],
        faults: Callable[[], list[str]],
        notices: Callable[[], list[str]] = list,
    ) -> None:
        """*faults* make /healthz 503; *notices* are told there, and it stays 200."""
        self._loop, self._numbers, self._faults, self._notices = loop, numbers, faults, notices
        self._clients: list[asyncio.Task[None]] = []  # the oldest first
        sock = _listening(address)
        self._own, self._closed = asyncio.new_event_loop(), asyncio.Event()
        threading.Thread(target=self._run, args=(sock,), name="http", daemon=True).start()

    def close(self) -> None:
        """Begin to stop; the caller need not wait for the thread to notice."""
        with contextlib.suppress(RuntimeError):  # it has ended
            self._own.call_soon_threadsafe(self._closed.set)

    # -- the thread -----------------------------------------------------------

    def _run(self, sock: socket.socket) -> None:
        with asyncio.Runner(loop_factory=lambda: self._own) as runner:
            runner.run(self._listen(sock))

    async def _listen(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        with sock:
            accepting = asyncio.create_task(self._accept(sock))
            await self._closed.wait()
            accepting.cancel()
            await asyncio.wait([accepting])

    async def _accept(self, sock: socket.socket) -> None:
        """Accept one client after the other: asyncio's servers accept a whole backlog before they serve one."""
        while True:
            try:
                client, _ = await self._own.sock_accept(sock)
                if len(self._clients) >= CLIENTS:
                    oldest = self._clients.pop(0)
                    oldest.cancel()
                    await asyncio.wait([oldest])
                reader, writer = await asyncio.open_connection(sock=client, limit=HEAD_LIMIT)
            except OSError:  # no descriptor is left, or the client went
                await asyncio.sleep(ACCEPT_PAUSE)
                continue
            self._clients.append(asyncio.create_task(self._serve(reader, writer)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.transport.set_write_buffer_limits(0)  # drain() waits for the last byte
            async with asyncio.timeout(CLIENT_PATIENCE):
                writer.write(await self._respond(reader))
                await writer.drain()
                writer.close()
        except (OSError, EOFError, asyncio.LimitOverrunError, asyncio.CancelledError):
            pass  # a client that breaks off, or takes too long, is no event
        finally:
            if (task := asyncio.current_task()) in self._clients:  # else it made room already
                self._clients.remove(task)
            if not writer.is_closing():
                writer.transport.abort()

    async def _respond(self, reader: asyncio.StreamReader) -> bytes:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        request, *fields = head.split("\r\n")
        words = request.split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            answer = _plain(400, "the first line is not that of an HTTP/1 request")
        elif words[0] not in ("GET", "HEAD"):
            answer = _plain(405, "only GET and HEAD work here")
        else:
            answer = await self._answer(words[1].partition("?")[0], _accepted(fields))
        lines = (
            f"HTTP/1.1 {answer.status} {_REASONS[answer.status]}",
            f"Content-Type: {answer.content_type}",
            f"Content-Length: {len(answer.body)}",
            "Connection: close",
        )
        return "\r\n".join((*lines, "", "")).encode() + (b"" if words[0] == "HEAD" else answer.body)

    async def _answer(self, path: str, accepted: str) -> _Answer:
        try:
            match path:
                case "/metrics":
                    return _metrics(await self._ask(self._numbers), accepted)
                case "/healthz":
                    faults, notices = await self._ask(self._moving)
                case _:
                    return _plain(404, "here are /metrics and /healthz")
        except TimeoutError:
            faults, notices = [f"the event loop did not answer within {LOOP_PATIENCE:g} s"], []
        except RuntimeError:
            faults, notices = ["the event loop has ended"], []
        return _plain(503 if faults else 200, "\n".join([*(faults or ["ok"]), *notices]))

    async def _moving(self) -> tuple[list[str], list[str]]:
        return self._faults(), self._notices()

    async def _ask(self, question: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Return the answer of the daemon's loop. Raises: TimeoutError, RuntimeError if it is closed."""
        answered: Future[T] = Future()

        def begin() -> None:
            if answered.set_running_or_notify_cancel():  # else it was given up before the loop came to it
                self._loop.create_task(question()).add_done_callback(lambda task: _settle(answered, task))

        self._loop.call_soon_threadsafe(begin)
        return await asyncio.wait_for(asyncio.wrap_future(answered), LOOP_PATIENCE)


def _settle(answered: Future[T], task: asyncio.Task[T]) -> None:
    if task.cancelled():
        answered.set_exception(RuntimeError("the loop ends"))
    elif (error := task.exception()) is not None:
        answered.set_exception(error)
    else:
        answered.set_result(task.result())


def _listening(address: str) -> socket.socket:
    """Raises: ListenError."""
    host, port = split_inet(address)
    six = ":" in host
    try:
        return socket.create_server(
            (host, port),
            family=socket.AF_INET6 if six else socket.AF_INET,
            dualstack_ipv6=host == "::" and socket.has_dualstack_ipv6(),
        )
    except OSError as error:
        reason = str(error.strerror or error).partition(" (while ")[0]  # Python repeats the address here
        raise ListenError(f"metrics.listen: {address}: {reason}") from None


def _accepted(fields: list[str]) -> str:
    """Return what the client says it reads: Prometheus has two text formats."""
    for field in fields:
        name, _, value = field.partition(":")
        if name.lower() == "accept":
            return value.strip()
    return ""


def _metrics(numbers: Numbers, accepted: str) -> _Answer:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Collector(numbers))
    encode, content_type = choose_encoder(accepted)
    return _Answer(200, encode(registry), content_type)


def _plain(status: int, text: str) -> _Answer:
    return _Answer(status, (text + "\n").encode("utf-8", "backslashreplace"))
