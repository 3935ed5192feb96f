"""A TXT query on the event loop that understands one answer well: "there is none".

Most first lookups are of `_mta-sts` names that do not exist, and dnspython
takes ten times the CPU of what is needed to see that.

Rule 1: only two answers count as absence, NXDOMAIN and NOERROR without
        records, in a message that is whole, simple and well formed to its
        last byte. A TXT answer is handed over as it came, to be read by
        `DnsClient.txt_from_wire`. Anything else is None: ask again, in full.
Rule 2: a datagram with another identifier or question is no answer; the
        right one may still come.
Rule 3: never an exception, never more than LIMIT questions under way.

Sockets are connected, so the kernel drops what other hosts send, and are
replaced after QUESTIONS questions, so source ports stay random (RFC 5452).

Source: RFC 1035 section 4, RFC 2308 section 5 (TTL of absence), RFC 6891.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from secrets import token_bytes
from typing import Any, TypeAlias

LIMIT = 512  # questions under way at once
QUESTIONS = 32  # asked from one source port
PATIENCE = 1.0  # seconds: what takes longer is asked again in full

TXT, SOA, OPT = 16, 6, 41
_HEADER, _RECORD = struct.Struct("!6H"), struct.Struct("!HHIH")
_ASKING = struct.pack("!5H", 0x0120, 1, 0, 0, 1)  # RD and AD (RFC 6840 section 5.7), one question, one OPT
_EDNS = struct.pack("!BHHIH", 0, OPT, 1232, 0, 0)  # at most 1232 bytes in return
_TXT_OF_QUESTION = b"\xc0\x0c\x00\x10"  # how a TXT record begins whose owner is the question's name


@dataclass(frozen=True, slots=True)
class Absence:
    """There is no TXT record at the name."""

    ttl: float  # seconds, by RFC 2308 section 5; 0 if the answer does not say
    exists: bool  # False: NXDOMAIN


Result: TypeAlias = Absence | bytes | None  # bytes: a whole answer with TXT records; None: ask in full


def query(identifier: bytes, question: bytes) -> bytes:
    """The message that asks *question* (name, type and class as they stand in a message)."""
    return identifier + _ASKING + question + _EDNS


@lru_cache(64)
def sockaddr(server: str) -> tuple[int, Any]:
    """The address family of, and what to connect to for, "127.0.0.1:53" or "[::1]:53". Raises: ValueError, OSError."""
    host, _, port = server.rpartition(":")
    numeric = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_DGRAM, flags=numeric)
    return found[0][0], found[0][4]


def txt_question(name: str) -> bytes | None:
    """*name* (plain labels, no escapes) as a TXT question; None if DNS cannot hold it."""
    if not name.isascii():
        return None
    labels = name.encode().split(b".")
    wire = b"".join(len(label).to_bytes(1, "big") + label for label in labels if len(label) < 64) + b"\0"
    whole = len(wire) == len(name) + 2 and all(labels) and len(wire) <= 255
    return wire + struct.pack("!HH", TXT, 1) if whole else None


def answers(datagram: bytes, question: bytes) -> bool:
    """Whether *datagram* is a response to a standard query for just *question*, byte for byte."""
    return (
        datagram[2:3] >= b"\x80"  # QR
        and not datagram[2] & 0x78  # opcode
        and datagram[4:6] == b"\0\1"
        and datagram.startswith(question, _HEADER.size)
    )


def understand(datagram: bytes, question: bytes) -> Result:
    """Read a *datagram* that `answers` the *question*. Never raises."""
    try:
        _, flags, _, records, authority, additional = _HEADER.unpack_from(datagram)
        rcode, truncated = flags & 0x000F, flags & 0x0200
        after = _HEADER.size + len(question)
        if truncated or rcode not in (0, 3):
            return None
        if records:
            return datagram if rcode == 0 and datagram.startswith(_TXT_OF_QUESTION, after) else None
        return Absence(_negative_ttl(datagram, after, authority, additional), exists=rcode == 0)
    except (ValueError, IndexError, struct.error):
        return None


def _negative_ttl(datagram: bytes, at: int, authority: int, additional: int) -> float:
    """Read one SOA or none and one OPT without options or none, up to the very end.

    Raises: ValueError, IndexError, struct.error for anything else.
    """
    ttl = 0
    if authority > 1 or additional > 1:
        raise ValueError("more records than a plain answer has")
    if authority:
        at = _skip_name(datagram, at, len(datagram))
        rdtype, rdclass, ttl, length = _RECORD.unpack_from(datagram, at)
        at += _RECORD.size
        stop = at + length
        numbers = _skip_name(datagram, _skip_name(datagram, at, stop), stop)
        if (rdtype, rdclass) != (SOA, 1) or numbers + 20 != stop or stop > len(datagram):
            raise ValueError("no SOA")
        (minimum,) = struct.unpack_from("!I", datagram, stop - 4)
        ttl = min(seconds(ttl), seconds(minimum))
        at = stop
    if additional:
        name, rdtype, _, extended, length = struct.unpack_from("!BHHIH", datagram, at)
        if name or rdtype != OPT or length or extended >> 24:
            raise ValueError("no plain OPT")
        at += len(_EDNS)
    if at != len(datagram):
        raise ValueError("trailing bytes")
    return float(ttl)


def seconds(ttl: int) -> int:
    """A TTL with the highest bit set is 0 (RFC 2181 section 8)."""
    return ttl if ttl < 1 << 31 else 0


def _skip_name(message: bytes, at: int, stop: int) -> int:
    """Return where the name at *at* ends; pointers must lead to bytes before all of it.

    Raises: ValueError, IndexError.
    """
    after, start, size, hops = 0, at, 1, 0
    while at < stop and size <= 255 and hops <= 8:
        count = message[at]
        if count == 0:
            return after or at + 1
        if count < 64:
            at, size = at + 1 + count, size + 1 + count
            continue
        target = (count & 63) << 8 | message[at + 1]
        if count < 192 or target >= start or at + 1 >= stop:
            break
        after, hops = after or at + 2, hops + 1
        stop, start, at = start, target, target
    raise ValueError("no name")


@dataclass(slots=True)
class _Asked:
    question: bytes
    done: Callable[[Result], None]
    until: float  # seconds of the loop's clock


class _Port:
    """One connected socket and what was asked from it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, sock: socket.socket) -> None:
        self.loop, self.sock = loop, sock
        self.asked: dict[bytes, _Asked] = {}
        random = token_bytes(4 * QUESTIONS)  # twice as many as are used: some may be alike
        self.identifiers = list({random[at : at + 2] for at in range(0, len(random), 2)})[:QUESTIONS]

    def settle(self, identifier: bytes, result: Result) -> None:
        self.asked.pop(identifier).done(result)

    def end(self) -> None:
        """Close; what is still open is to be asked in full."""
        self.identifiers.clear()
        if self.sock.fileno() >= 0:
            self.loop.remove_reader(self.sock.fileno())
            self.sock.close()
        for identifier in list(self.asked):
            self.settle(identifier, None)


class Probe:
    """Asks the first of *servers*, such as "127.0.0.1:53" or "[::1]:53"; for one event loop only."""

    def __init__(self, servers: Callable[[], Sequence[str]], timeout: float) -> None:
        """*servers* gives one at least and is called for every new socket; *timeout* is dns.timeout, in seconds."""
        self._servers, self._patience = servers, min(timeout, PATIENCE)
        self._ports: set[_Port] = set()
        self._current: _Port | None = None
        self._looking = False  # for questions that found silence

    def absent(self, name: str, done: Callable[[Result], None]) -> None:
        """Ask for the TXT records of *name*; *done* is called once, perhaps at once, and must not raise."""
        question = txt_question(name)
        if question is None or sum(len(port.asked) for port in self._ports) >= LIMIT:
            done(None)
            return
        try:
            port = self._port()
        except (OSError, ValueError):  # no socket to be had, or no way to the server
            done(None)
            return
        identifier = port.identifiers.pop()
        port.asked[identifier] = _Asked(question, done, port.loop.time() + self._patience)
        if not self._looking:
            self._looking = True
            port.loop.call_later(self._patience / 4, self._look, port.loop)
        try:
            port.sock.send(query(identifier, question))
        except OSError:
            self._end(port)

    def close(self) -> None:
        for port in list(self._ports):
            self._end(port)

    def _port(self) -> _Port:
        """The socket to ask from. Raises: OSError, ValueError."""
        if self._current is not None and self._current.identifiers:
            return self._current
        loop = asyncio.get_running_loop()
        family, address = sockaddr(self._servers()[0])
        sock = socket.socket(family, socket.SOCK_DGRAM)
        try:
            sock.setblocking(False)
            sock.connect(address)
        except OSError:
            sock.close()
            raise
        self._current = port = _Port(loop, sock)
        loop.add_reader(sock.fileno(), self._readable, port)
        self._ports.add(port)
        return port

    def _readable(self, port: _Port) -> None:
        try:
            for _ in range(QUESTIONS):
                datagram = port.sock.recv(4096)
                asked = port.asked.get(datagram[:2])
                if asked is not None and answers(datagram, asked.question):
                    port.settle(datagram[:2], understand(datagram, asked.question))
        except BlockingIOError:
            pass
        except OSError:  # the server's host says that nobody listens there
            self._end(port)
        self._end_if_done(port)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """Give up what found silence; the next question goes out from a new socket, to whoever is first then."""
        now = loop.time()
        for port in list(self._ports):
            for identifier in [each for each, asked in port.asked.items() if asked.until <= now]:
                port.identifiers.clear()
                port.settle(identifier, None)
            self._end_if_done(port)
        self._looking = any(port.asked for port in self._ports)
        if self._looking:
            loop.call_later(self._patience / 4, self._look, loop)

    def _end_if_done(self, port: _Port) -> None:
        if not port.identifiers and not port.asked:
            self._end(port)

    def _end(self, port: _Port) -> None:
        self._ports.discard(port)
        port.end()
