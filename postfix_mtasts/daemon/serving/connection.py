"""Serve one connection from Postfix: requests in, replies out, in order.

`data_received` is the answer path. A request that was asked before takes one
look-up in the reply cache. `_work` does everything else: it stops when the
client does not read (BUFFER_LIMIT) or waits for too many replies
(PENDING_LIMIT), and goes on when that changes.

Rule: after TURN requests of one client, fewer in a crowd, all other clients,
timers and signals have their turn. Nothing more is read from the client until its next turn.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Protocol, cast

from ...core.netstring import NetstringDecoder
from ...core.quoting import KV
from ...errors import NetstringError
from ..counters import Cell

log = logging.getLogger(__name__)

BUFFER_LIMIT = 1 << 20  # bytes of unread replies
WRITE_LIMIT = 1 << 17  # bytes of one write: more would sit in memory if the client never reads
PENDING_LIMIT = 100  # requests that wait for an answer
TURN = 100  # requests: a millisecond at most, and enough that turns cost little
ROUND = 2_000  # requests parsed until all who wait had their turn: some 20 ms
SHORT_TURN = 5  # requests, however many wait
LINGER = 5.0  # seconds a closed connection may take to read what it was told

Reply = Callable[[bytes], None]


class Service(Protocol):
    """What a connection needs from the server."""

    ready: dict[bytes, tuple[bytes, Cell]]
    tick: int  # goes up now and then; tells which connection was idle longest
    queued: int  # connections that wait for their turn

    def answer(self, payload: bytes, later: Reply) -> bytes | None:
        """Return the reply frame, or None and call *later* with it once it is known."""

    def opened(self, connection: Connection) -> None: ...

    def stalled(self, connection: Connection) -> None:
        """It has BUFFER_LIMIT of unread replies, and is read no further."""

    def resumed(self, connection: Connection) -> None:
        """It reads again."""

    def closed(self, connection: Connection) -> None: ...


class Connection(asyncio.Protocol):
    """Reads the requests of one client, and writes the replies."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._ready = service.ready
        self._decoder = NetstringDecoder()
        self._pending: deque[list[bytes | None]] = deque()  # replies in order; [None] is still awaited
        self._paused = False  # the client does not read
        self._plain = True  # nothing is buffered, pending or paused, so the reply cache may answer
        self._reading = True
        self._queued = False  # there is more to answer, and its turn will come
        self._finishing = False  # the client closed its side, or the daemon stops: no more requests are read
        self._linger: asyncio.TimerHandle | None = None
        self.tick = service.tick

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=BUFFER_LIMIT)
        self._service.opened(self)

    def data_received(self, data: bytes) -> None:
        if self._plain and (ready := self._ready.get(data)):
            ready[1][0] += 1
            self.tick = self._service.tick
            self._transport.write(ready[0])
            return
        self.tick = self._service.tick
        if self._plain and data.find(b",") != len(data) - 1:
            self._answer(data)
        elif self._plain:  # one request, which was looked up just now
            self._decoder.feed(data)
            self._parse()
        else:
            self._decoder.feed(data)
            self._work()

    def _pipelined(self, data: bytes) -> bytes:
        """Answer a turn's requests from the reply cache, all of them or none; return the rest of *data*.

        *data* begins with a request. A comma inside a key makes parts that are
        not frames, so they are not found.
        """
        parts = data.split(b",", TURN)
        rest = parts.pop()
        ready = [self._ready.get(part + b",") for part in parts]
        if not ready or None in ready:
            return data
        hits = cast("list[tuple[bytes, Cell]]", ready)
        replies = [reply for reply, _ in hits]
        if sum(map(len, replies)) > WRITE_LIMIT:
            return data
        for _, counter in hits:
            counter[0] += 1
        self._transport.write(b"".join(replies))
        return rest

    def eof_received(self) -> bool:
        """Answer what was asked: the client sends no more, but may wait for its replies."""
        self.finish()
        return True

    def finish(self) -> None:
        """Answer what was asked, then close; read nothing more."""
        self._finishing, self._plain = True, False
        self._work()

    def pause_writing(self) -> None:
        self._paused = True
        self._plain = False
        self._service.stalled(self)

    def resume_writing(self) -> None:
        self._paused = False
        self._service.resumed(self)
        self._work()

    def connection_lost(self, exc: Exception | None) -> None:
        self._pending.clear()
        if self._linger is not None:
            self._linger.cancel()  # else a closed connection would stay in memory until then
        self._service.closed(self)

    @property
    def busy(self) -> bool:
        return bool(self._pending)

    @property
    def unread(self) -> int:
        """Bytes of replies that the client has not read."""
        return self._transport.get_write_buffer_size()

    def abort(self) -> None:
        """Close at once and drop the replies that were not read."""
        self._pending.clear()
        self._transport.abort()

    def close(self) -> None:
        """Close; the client has LINGER seconds to read what was written."""
        self._pending.clear()
        self._transport.close()
        if self._linger is None:
            self._linger = asyncio.get_running_loop().call_later(LINGER, self._transport.abort)

    def _work(self) -> None:
        """Answer a turn of what is buffered, unless the client does not read."""
        if self._queued:
            return
        if self._pending or self._paused or self._transport.is_closing():
            self._parse()
        else:
            self._answer(self._decoder.take_back())

    def _answer(self, data: bytes) -> None:
        """Answer a turn of *data*, which begins with a request; nothing else may be buffered or pending."""
        rest = self._pipelined(data)
        if not rest and self._plain:
            return
        self._decoder.feed(rest)
        if len(rest) < len(data) and b"," in rest:
            self._settle(more=True)
        else:
            self._parse()

    def _parse(self) -> None:
        """Parse and answer the buffered requests one by one, at most a turn of them."""
        replies: list[bytes] = []
        left, size = max(SHORT_TURN, min(TURN, ROUND // (self._service.queued + 1))), 0
        while left and not self._paused and len(self._pending) < PENDING_LIMIT and not self._transport.is_closing():
            try:
                payload = self._decoder.next_payload()
            except NetstringError as error:
                log.debug("broken-frame %s", KV(reason=error))
                self._write(replies)
                self._settle(broken=True)
                return
            if payload is None:
                break
            left -= 1
            reply = self._ask(payload)
            if reply is not None:
                replies.append(reply)
                size += len(reply)
                if size > WRITE_LIMIT:
                    self._write(replies)
                    size = 0
        self._write(replies)
        self._settle(more=not left and not self._decoder.empty)

    def _go_on(self) -> None:
        """Take the next turn."""
        self._queued = False
        self._service.queued -= 1
        self._work()

    def _ask(self, payload: bytes) -> bytes | None:
        """Return the reply, or None if this one or an earlier one is not known yet."""
        slot: list[bytes | None] = [None]
        reply = self._service.answer(payload, lambda frame: self._later(slot, frame))
        if reply is not None and not self._pending:
            return reply
        slot[0] = reply
        self._pending.append(slot)
        return None

    def _later(self, slot: list[bytes | None], frame: bytes) -> None:
        """Send a reply that was waited for, and those that stood behind it."""
        slot[0] = frame
        replies: list[bytes] = []
        while self._pending and (reply := self._pending[0][0]) is not None:
            replies.append(reply)
            self._pending.popleft()
        if replies:
            self._write(replies)
            if self._pending or self._finishing or not self._reading or not self._decoder.empty:
                self._work()
            else:
                self._plain = not self._paused

    def _write(self, replies: list[bytes]) -> None:
        if replies:
            self._transport.write(b"".join(replies))
            replies.clear()

    def _settle(self, *, more: bool = False, broken: bool = False) -> None:
        """Close, read on, or wait. *more*: requests may be left for another turn."""
        if self._transport.is_closing():
            return
        full = self._paused or len(self._pending) >= PENDING_LIMIT
        if broken or (self._finishing and not (full or more or self._pending)):
            self.close()
            return
        if more and not full:
            self._queued = True
            self._service.queued += 1
            asyncio.get_running_loop().call_soon(self._go_on)
        if self._reading == (full or more or self._finishing):
            self._reading = not self._reading
            (self._transport.resume_reading if self._reading else self._transport.pause_reading)()
        self._plain = not (full or more or self._finishing or self._pending) and self._decoder.empty
