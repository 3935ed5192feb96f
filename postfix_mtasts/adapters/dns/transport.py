"""Questions carried to resolvers, and which resolver is asked first.

The client and the probe share both: `Nameservers` knows the resolvers, which
of them were silent lately, and whose AD bit counts; `exchange` asks one.

Rule 1: a server that was silent, or that nobody could reach, is asked after the others for AVOIDED seconds.
        Then one asker tries it again, and the others wait for what it finds.
Rule 2: a datagram that is not the response to our question is passed over.
Rule 3: FORMERR and NOTIMP to a question with EDNS: it is asked again without.
Rule 4: AD counts from resolvers on loopback, and from those of a resolv.conf
        with `options trust-ad`; with dns.trust_ad yes, from all.

Source: RFC 5452 section 9, RFC 6840 section 5.7, RFC 6891 section 7, RFC 7766.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from secrets import token_bytes
from typing import Any

from ...core.dnsdata import DnsResult
from .absence import OPT
from .resolvconf import ResolvConf

AVOIDED = 60.0  # seconds
RESOLV_CONF = "/etc/resolv.conf"

_HEADER = struct.Struct("!6H")
_ASKING = struct.pack("!4H", 0x0120, 1, 0, 0)  # RD and AD (RFC 6840 section 5.7), one question
_EDNS = struct.pack("!BHHIH", 0, OPT, 1232, 0, 0)  # at most 1232 bytes in return
_TC, _RCODE = 0x02, 0x0F
_NOERROR, _FORMERR, _NXDOMAIN, _NOTIMP = 0, 1, 3, 4


class NoAnswer(Exception):
    """Why one server's answer is of no use: *result* is counted, the text is logged."""

    def __init__(self, result: DnsResult, text: str) -> None:
        super().__init__(text)
        self.result = result


class Nameservers:
    """The resolvers in use; for any number of threads.

    Args:
        fixed: resolvers as "127.0.0.1:53" or "[::1]:53"; empty means those of *resolv_conf*.
        trust_ad: "auto" or "yes", see rule 4.
        clock: seconds that never jump.
    """

    def __init__(
        self,
        fixed: Sequence[str] = (),
        trust_ad: str = "auto",
        *,
        resolv_conf: str = RESOLV_CONF,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fixed, self._trust_ad, self._clock = tuple(fixed), trust_ad, clock
        self._resolv_conf = ResolvConf(resolv_conf)
        self._avoid: dict[str, float] = {}  # silent servers, and until when they come last
        self._heard: dict[str, float] = {}  # when a server last said anything

    @property
    def servers(self) -> tuple[str, ...]:
        """The resolvers in the order of the configuration, at least one."""
        return self._fixed or self._resolv_conf.read().servers

    def ad_counts(self, server: str) -> bool:
        """Tell whether the AD bit of *server* may be believed."""
        if self._trust_ad == "yes" or _on_loopback(server):
            return True
        conf = self._resolv_conf.read()
        return conf.trust_ad and server in conf.servers

    def in_order(self, *, dane: bool = False) -> tuple[str, ...]:
        """Order the servers for asking: those silent lately last, and for DANE those whose AD counts first."""
        servers = self.servers
        if len(servers) == 1:
            return servers
        now, late = self._clock(), []
        for server in servers:
            until = self._avoid.get(server)
            if until is None:
                continue
            if until > now:
                late.append(server)
            else:
                self._avoid[server] = now + AVOIDED
        return tuple(sorted(servers, key=lambda each: (dane and not self.ad_counts(each), each in late)))

    def heard(self, server: str) -> None:
        """Note that *server* said something."""
        self._heard[server] = self._clock()
        self._avoid.pop(server, None)

    def silent(self, server: str, waited: float = 0.0) -> None:
        """Note that *server* cannot be reached, or left a question unanswered for *waited* seconds.

        It is not silent if it said anything else meanwhile: then it is slow with that name.
        """
        now = self._clock()
        if self._heard.get(server, float("-inf")) < now - waited:
            self._avoid[server] = now + AVOIDED


@lru_cache(64)
def sockaddr(server: str) -> tuple[int, Any]:
    """Turn "127.0.0.1:53" or "[::1]:53" into an address family and what to connect to. Raises: ValueError, OSError."""
    host, _, port = server.rpartition(":")
    numeric = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_DGRAM, flags=numeric)
    return found[0][0], found[0][4]


def _on_loopback(server: str) -> bool:
    try:
        address = ipaddress.ip_address(server.rpartition(":")[0].strip("[]").partition("%")[0])
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def query(identifier: bytes, question: bytes, *, edns: bool = True) -> bytes:
    """Make the message that asks *question* (name, type and class as they stand in a message)."""
    return identifier + _ASKING + (b"\0\1" + question + _EDNS if edns else b"\0\0" + question)


def exchange(server: str, question: bytes, until: float) -> bytes:
    """Ask one server, and return its response; *until* is by time.monotonic(). Raises: NoAnswer."""
    try:
        reply = _exchange(server, query(token_bytes(2), question), question, until)
        if reply[3] & _RCODE in (_FORMERR, _NOTIMP):
            reply = _exchange(server, query(token_bytes(2), question, edns=False), question, until)
    except TimeoutError:
        raise NoAnswer(DnsResult.TIMEOUT, "no answer") from None
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise NoAnswer(DnsResult.UNREACHABLE, f"no answer ({reason})") from None
    return reply


def _exchange(server: str, message: bytes, question: bytes, until: float) -> bytes:
    """Ask by UDP, and by TCP where that was not enough. Raises: OSError, TimeoutError, ValueError, NoAnswer."""
    _left(until)
    family, address = sockaddr(server)
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.connect(address)  # a new source port for each question; the kernel drops other senders
        sock.send(message)
        while True:
            sock.settimeout(_left(until))
            reply = sock.recv(4096)
            if _responds(reply, message, question):
                break
    if not reply[2] & _TC:
        return reply
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.settimeout(_left(until))
        sock.connect(address)
        sock.sendall(len(message).to_bytes(2, "big") + message)
        reply = _receive(sock, int.from_bytes(_receive(sock, 2, until), "big"), until)
    if not _responds(reply, message, question):
        raise NoAnswer(DnsResult.BROKEN, "the answer to another question")
    return reply


def _left(until: float) -> float:
    """Return the seconds until *until*. Raises: TimeoutError if none is left."""
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _receive(sock: socket.socket, size: int, until: float) -> bytes:
    data = b""
    while len(data) < size:
        sock.settimeout(_left(until))
        part = sock.recv(size - len(data))
        if not part:
            raise NoAnswer(DnsResult.BROKEN, "half an answer")
        data += part
    return data


def _responds(reply: bytes, message: bytes, question: bytes) -> bool:
    """Tell whether *reply* is a response to *message*; an error may leave out the question."""
    if len(reply) < _HEADER.size or reply[:2] != message[:2] or reply[2] & 0xF8 != 0x80:
        return False
    if reply[4:6] == b"\0\0":
        return reply[3] & _RCODE not in (_NOERROR, _NXDOMAIN)
    asked = reply[_HEADER.size : _HEADER.size + len(question)]
    return reply[4:6] == b"\0\1" and asked.lower() == question.lower()
