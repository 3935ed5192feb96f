"""Connections of strangers, held within bounds, below aiohttp.

aiohttp reads requests and writes answers. What it does not bound is bounded
here, from the moment a connection is accepted, the handshake included:
1,000 connections at once, of which the idle longest is closed first; 10 s for
a request to arrive; 8 KiB of header. Every answer is counted and carries our
name, also to what no handler ever sees.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import TypeAlias

from aiohttp import HttpVersion10, HttpVersion11, web

from ..core.quoting import KV

CONNECTIONS = 1_000
ARRIVAL = 10.0  # seconds for a handshake, and for the header of a request
HEADER_LIMIT = 8_192  # bytes
HEADED_LIMIT = 1 << 20  # bytes behind the end of a header, until its request is begun
REQUEST_LIMIT = 16 << 20  # bytes of one request, trailers and what is thrown away included
PIPELINED = 100  # requests that wait behind the one being answered
KEEP_ALIVE = 30.0  # seconds without a request
LOOK_EVERY = 1.0  # seconds between two looks for requests that do not arrive
BACKLOG = 1_024
VERSIONS = (HttpVersion10, HttpVersion11)  # older aiohttp takes any
LOOK_SOON = 0.02  # the same, while the server ends
ACCEPTED_AT_ONCE = 64  # of one listener, before others have their turn
NAME = "postfix-mtasts"  # in the field Server

Handler: TypeAlias = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

log = logging.getLogger(__name__)

_SILENT = logging.Logger("aiohttp", logging.CRITICAL + 1)  # it writes a traceback for each broken request of strangers
_UNRECOGNIZED_NAME = b"\x15\x03\x03\x00\x02\x02\x70"  # a TLS record: alert, fatal, unrecognized_name
_TOO_LARGE = 431
_REFUSAL = (
    f"HTTP/1.1 {_TOO_LARGE} Request Header Fields Too Large\r\n"
    f"Server: {NAME}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
).encode()

_handshaking: ContextVar[socket.socket] = ContextVar("_handshaking")  # whose handshake a callback runs for


def tell_unrecognized_name() -> None:
    """Send the alert for an unknown SNI name, from within the SNI callback: asyncio closes without it (RFC 6066)."""
    with contextlib.suppress(LookupError, OSError):
        _handshaking.get().send(_UNRECOGNIZED_NAME)


def plain(status: int, text: bytes | None = None) -> web.Response:
    """Make an answer as text/plain; *text* None: the status in words."""
    body = web.Response(status=status).reason.encode() + b"\n" if text is None else text
    return web.Response(status=status, body=body, content_type="text/plain")


class WebServer:
    """Accepts connections, and hands their requests to one handler."""

    def __init__(
        self,
        handler: Handler,
        limit: int = CONNECTIONS,
        tls: ssl.SSLContext | None = None,
        requests: Counter[str] | None = None,
    ) -> None:
        """Take the *handler* of all requests.

        Args:
            tls: speak HTTPS, by this context.
            requests: counts answers by status code.
        """
        self._handler, self._limit, self._tls = handler, limit, tls
        self._requests: Counter[str] = Counter() if requests is None else requests
        self._web = web.Server(self._handle)
        self._listeners: set[socket.socket] = set()
        self._clients: dict[_Client, None] = {}  # the idle longest first
        self._by_protocol: dict[object, _Client] = {}
        self._looking: asyncio.TimerHandle | None = None

    def listen(self, sock: socket.socket) -> None:
        """Accept connections on *sock*, which is bound."""
        sock.setblocking(False)
        sock.listen(BACKLOG)
        self._listeners.add(sock)
        asyncio.get_running_loop().add_reader(sock.fileno(), self._accept, sock)
        if self._looking is None:
            self._look()

    def stop_accepting(self) -> None:
        """Close the listeners; connections go on."""
        for sock in self._listeners:
            asyncio.get_running_loop().remove_reader(sock.fileno())
            sock.close()
        self._listeners.clear()

    async def close(self, seconds: float) -> None:
        """Answer what was asked, and who was accepted and is yet to ask, *seconds* at most; then close."""
        self.stop_accepting()
        loop = asyncio.get_running_loop()
        ends = loop.time() + min(seconds, ARRIVAL)
        while loop.time() < ends and any(client.fresh for client in self._clients):
            await asyncio.sleep(LOOK_SOON)
        await self._web.shutdown(seconds)
        if self._looking is not None:
            self._looking.cancel()
        for client in list(self._clients):
            client.abort()

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(ACCEPTED_AT_ONCE):
            try:
                sock, _ = listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError:  # no descriptor is left: make room, and accept at the next turn
                self._make_room()
                return
            client = _Client(self, sock)
            self._clients[client] = None
            if len(self._clients) > self._limit:
                self._make_room()
            client.begin(self._tls)

    def _make_room(self) -> None:
        """End the connection idle longest; one that is being answered only if all are, the newest apart."""
        clients = list(self._clients)[:-1]
        if clients:
            next((client for client in clients if not client.busy), clients[0]).abort()

    def _look(self) -> None:
        """End the connections whose request does not arrive."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        for client in [client for client in self._clients if client.overdue(now)]:
            client.abort()
        self._looking = loop.call_later(LOOK_EVERY, self._look)

    # -- of clients -----------------------------------------------------------

    def protocol_for(self, client: _Client) -> asyncio.Protocol:
        """Return aiohttp's protocol for a new connection."""
        protocol = _Requests(
            self._web,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type]  # as web.Server takes it: none
            logger=_SILENT,
            keepalive_timeout=KEEP_ALIVE,
            max_line_size=HEADER_LIMIT,
            max_field_size=HEADER_LIMIT,
        )
        protocol.answered = self.answered
        self._by_protocol[protocol] = client
        return protocol

    def touched(self, client: _Client) -> None:
        """Put *client* behind all that are idle longer."""
        if client in self._clients:
            del self._clients[client]
            self._clients[client] = None

    def gone(self, client: _Client, protocol: object) -> None:
        self._clients.pop(client, None)
        self._by_protocol.pop(protocol, None)

    def answered(self, status: int) -> None:
        """Count one answer."""
        self._requests[str(status)] += 1

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        client = self._by_protocol.get(request.protocol)
        if client is None:  # it went while the request waited for its turn
            return plain(503)
        client.begin_request()
        try:
            response = await self._answer(request)
        finally:
            client.end_request(unread=not request.content.at_eof() and request.can_read_body)
        response.headers["Server"] = NAME
        self.answered(response.status)
        return response

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        response: web.StreamResponse
        try:
            if sum(len(name) + len(value) + 4 for name, value in request.raw_headers) > HEADER_LIMIT:
                response = plain(_TOO_LARGE)
                response.force_close()
                return response
            if request.version not in VERSIONS:
                return plain(505)
            response = await self._handler(request)
            if not self._listeners:  # it ends: nobody should ask again here
                response.force_close()
            return response
        except Exception:
            log.exception("internal-error %s", KV(part="web", path=request.path))
            return plain(500)


class _Requests(web.RequestHandler):
    """aiohttp's protocol; what it answers by itself, to what it cannot read, looks like our other answers."""

    answered: Callable[[int], None]

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Raises: ConnectionError where an answer has begun already."""
        if request.writer.output_size > 0:
            raise ConnectionError
        self.answered(status)
        response = plain(status)
        response.headers["Server"] = NAME
        response.force_close()
        return response


class _Client(asyncio.Protocol):
    """One connection: passes everything on to aiohttp's protocol, and watches time and size."""

    def __init__(self, server: WebServer, sock: socket.socket) -> None:
        self._server, self._sock = server, sock
        self._loop = asyncio.get_running_loop()
        self._protocol: asyncio.Protocol | None = None
        self._transport: asyncio.BaseTransport | None = None
        self._task: asyncio.Task[None] | None = None
        self._waits_since: float | None = self._loop.time()  # for a request to arrive whole
        self._received = 0  # bytes since a request was begun or ended
        self._headed = False  # whether the end of a header was among them
        self._unread = False  # whether the rest of a body is thrown away
        self._requests = 0  # being answered
        self._answered = False
        self._tail = False  # whether bytes came behind the end of a header

    @property
    def busy(self) -> bool:
        return self._requests > 0

    @property
    def fresh(self) -> bool:
        """Whether it was accepted and has had no answer yet."""
        return not self._answered

    def overdue(self, now: float) -> bool:
        """Whether a handshake or a request took too long to arrive."""
        return self._waits_since is not None and now - self._waits_since > ARRIVAL

    def begin(self, tls: ssl.SSLContext | None) -> None:
        self._task = self._loop.create_task(self._connect(tls))

    async def _connect(self, tls: ssl.SSLContext | None) -> None:
        _handshaking.set(self._sock)
        patience = {"ssl_handshake_timeout": ARRIVAL} if tls is not None else {}
        try:
            await self._loop.connect_accepted_socket(lambda: self, self._sock, ssl=tls, **patience)
        except (OSError, ssl.SSLError, asyncio.CancelledError):  # whatever strangers do in a handshake
            self._end()

    def abort(self) -> None:
        """End the connection at once."""
        if self._transport is not None:
            abort = getattr(self._transport, "abort", self._transport.close)
            with contextlib.suppress(AttributeError):  # Python 3.11.2, where TLS is being closed already
                abort()
        elif self._task is not None:
            self._task.cancel()
        self._server.gone(self, self._protocol)

    def _end(self) -> None:
        self._sock.close()
        self._server.gone(self, self._protocol)

    def begin_request(self) -> None:
        self._requests += 1
        self._waits_since = None
        self._received, self._headed, self._unread = 0, False, False

    def end_request(self, unread: bool) -> None:
        """A request is answered; *unread*: what is still to come of its body is thrown away, for a while."""
        self._requests -= 1
        self._answered = True
        self._received, self._headed, self._unread = 0, False, unread
        if unread or self._tail:  # the tail may be half of the next request, which has its time as well
            self._waits_since = self._loop.time()
        self._server.touched(self)

    # -- asyncio.Protocol -------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._protocol = self._server.protocol_for(self)
        self._protocol.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        self._server.touched(self)
        self._tail = not data.endswith(b"\r\n\r\n")
        self._received += len(data)
        self._headed = self._headed or b"\r\n\r\n" in data  # then the handler is on its way
        if not self._requests and self._waits_since is None:
            self._waits_since = self._loop.time()
        if self._requests or self._unread:
            if self._received > REQUEST_LIMIT:
                self.abort()
                return
        elif self._received > (HEADED_LIMIT if self._headed else HEADER_LIMIT):
            self._refuse()
            return
        if self._protocol is not None:
            self._protocol.data_received(data)
            if len(getattr(self._protocol, "_messages", ())) > PIPELINED:  # older aiohttp keeps any number
                self.abort()

    def _refuse(self) -> None:
        with contextlib.suppress(Exception):
            self._transport.write(_REFUSAL)  # type: ignore[union-attr]
            self._server.answered(_TOO_LARGE)
        if self._transport is not None:
            self._transport.close()

    def eof_received(self) -> bool | None:
        return self._protocol.eof_received() if self._protocol is not None else None

    def pause_writing(self) -> None:
        if self._protocol is not None:
            self._protocol.pause_writing()

    def resume_writing(self) -> None:
        if self._protocol is not None:
            self._protocol.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._protocol is not None:
            self._protocol.connection_lost(exc)
        self._server.gone(self, self._protocol)
