"""Questions asked on the event loop: TXT, answered cheaply where there is no record, and addresses.

What an answer means is absence.py's; who is asked, transport.py's.

Rule 1: what is not understood, or not answered in time, is None: ask again, in full.
Rule 2: a datagram with another identifier or question is no answer; the
        right one may still come.
Rule 3: never an exception, never more than LIMIT questions under way.
Rule 4: a socket is connected, so the kernel drops what other hosts send, and is
        replaced after QUESTIONS questions and after LIFETIME seconds, so that
        the source port stays unpredictable (RFC 5452 section 9.2).
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass
from secrets import token_bytes

from .absence import AAAA, TXT, A, Result, answers, make_question, understand, whole
from .transport import Nameservers, query, sockaddr

LIMIT = 512  # questions under way at once
QUESTIONS = 32  # asked from one source port
LIFETIME = 1.0  # seconds that a source port is asked from
PATIENCE = 1.0  # seconds: what takes longer is asked again in full


@dataclass(slots=True)
class _Asked:
    question: bytes
    read: Callable[[bytes, bytes], Result]
    done: Callable[[Result], None]
    at: float  # seconds of the loop's clock


class _Port:
    """One connected socket and what was asked from it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, sock: socket.socket, server: str) -> None:
        self.loop, self.sock, self.server = loop, sock, server
        self.opened = loop.time()
        self.asked: dict[bytes, _Asked] = {}
        random = token_bytes(4 * QUESTIONS)  # twice as many as are used: some may be alike
        self.identifiers = list({random[at : at + 2] for at in range(0, len(random), 2)})[:QUESTIONS]

    def settle(self, identifier: bytes, result: Result) -> None:
        if (asked := self.asked.pop(identifier, None)) is not None:
            asked.done(result)

    def end(self) -> None:
        """Close the socket; its open questions are then asked in full."""
        self.identifiers.clear()
        if self.sock.fileno() >= 0:
            self.loop.remove_reader(self.sock.fileno())
            self.sock.close()
        for identifier in list(self.asked):
            self.settle(identifier, None)


class Probe:
    """Asks whichever of *nameservers* is first when a socket is opened; for one event loop only."""

    def __init__(self, nameservers: Nameservers, timeout: float) -> None:
        """*timeout* is what the probe may take of dns.timeout, in seconds."""
        self._nameservers, self._patience = nameservers, min(timeout, PATIENCE)
        self._ports: set[_Port] = set()
        self._current: _Port | None = None
        self._looking = False  # for questions that found silence

    def absent(self, name: str, done: Callable[[Result], None]) -> None:
        """Ask for the TXT records of *name*; *done* is called once, perhaps at once, and must not raise."""
        self._ask(make_question(name, TXT), understand, done)

    def addresses(self, host: str, done: Callable[[dict[str, bytes]], None]) -> None:
        """Ask for the addresses of *host*; *done* is called once, with whole answers by type, as they came."""
        answers: dict[str, bytes | None] = {}

        def heard(rdtype: str, answer: Result) -> None:
            answers[rdtype] = answer if isinstance(answer, bytes) else None
            if len(answers) == 2:
                done({rdtype: answer for rdtype, answer in answers.items() if answer is not None})

        self._ask(make_question(host, AAAA), whole, lambda answer: heard("AAAA", answer))
        self._ask(make_question(host, A), whole, lambda answer: heard("A", answer))

    def _ask(
        self, question: bytes | None, read: Callable[[bytes, bytes], Result], done: Callable[[Result], None]
    ) -> None:
        if question is None or self._full():
            done(None)
            return
        loop = asyncio.get_running_loop()
        now = loop.time()
        try:
            port = self._port(loop, now)
        except (OSError, ValueError):  # no socket to be had, or no way to the server
            done(None)
            return
        identifier = port.identifiers.pop()
        port.asked[identifier] = _Asked(question, read, done, now)
        if not self._looking:
            self._looking = True
            loop.call_later(self._patience / 4, self._look, loop)
        try:
            port.sock.send(query(identifier, question))
        except OSError:
            self._refused(port)

    def _full(self) -> bool:
        """Whether LIMIT questions are under way; they are counted only where the sockets could hold so many."""
        return len(self._ports) * QUESTIONS >= LIMIT and sum(len(port.asked) for port in self._ports) >= LIMIT

    def close(self) -> None:
        for port in list(self._ports):
            self._end(port)

    def _port(self, loop: asyncio.AbstractEventLoop, now: float) -> _Port:
        """Return the socket to ask from, a new one if need be. Raises: OSError, ValueError."""
        if self._current is not None:
            if self._current.identifiers and now - self._current.opened < LIFETIME:
                return self._current
            self._retire(self._current)
        server = self._nameservers.in_order()[0]
        family, address = sockaddr(server)
        sock = socket.socket(family, socket.SOCK_DGRAM)
        try:
            sock.setblocking(False)
            sock.connect(address)
        except OSError:
            sock.close()
            raise
        self._current = port = _Port(loop, sock, server)
        loop.add_reader(sock.fileno(), self._readable, port)
        self._ports.add(port)
        return port

    def _retire(self, port: _Port) -> None:
        """Ask nothing more from *port*."""
        port.identifiers.clear()
        self._end_if_done(port)

    def _readable(self, port: _Port) -> None:
        heard = False
        try:
            for _ in range(QUESTIONS):
                datagram = port.sock.recv(4096)
                asked = port.asked.get(datagram[:2])
                if asked is not None and answers(datagram, asked.question):
                    if not heard:
                        heard = True
                        self._nameservers.heard(port.server)
                    port.settle(datagram[:2], asked.read(datagram, asked.question))
        except BlockingIOError:
            pass
        except OSError:
            self._refused(port)
        self._end_if_done(port)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """Give up questions that nobody answers; the next one goes, from a new socket, to whoever is first then."""
        now = loop.time()
        for port in list(self._ports):
            for identifier, asked in list(port.asked.items()):
                if (waited := now - asked.at) >= self._patience:
                    self._nameservers.silent(port.server, waited)
                    port.identifiers.clear()
                    port.settle(identifier, None)
            self._end_if_done(port)
        self._looking = any(port.asked for port in self._ports)
        if self._looking:
            loop.call_later(self._patience / 4, self._look, loop)

    def _refused(self, port: _Port) -> None:
        """Give up *port*: nobody listens at the server's address, or no way leads there."""
        self._nameservers.silent(port.server)
        self._end(port)

    def _end_if_done(self, port: _Port) -> None:
        if not port.identifiers and not port.asked:
            self._end(port)

    def _end(self, port: _Port) -> None:
        self._ports.discard(port)
        port.end()
