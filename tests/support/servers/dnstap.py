"""A DNS forwarder that writes down every question and breaks what a test tells it to.

It stands at 127.0.0.1:53, UDP and TCP, before nsd or unbound, which keep no
log of queries that a test could count.
"""

from __future__ import annotations

import socket
import socketserver
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype

from tests.support.servers.serving import Serving

Fault = Callable[[dns.message.Message], bytes | None]  # a query to the reply's bytes, or silence


def silence(query: dns.message.Message) -> bytes | None:
    return None


def servfail(query: dns.message.Message) -> bytes | None:
    reply = dns.message.make_response(query)
    reply.set_rcode(dns.rcode.SERVFAIL)
    return reply.to_wire()


def lame(query: dns.message.Message) -> bytes | None:
    """What a name server says that knows nothing of the name and does not recurse: RA=0, AA=0, nothing."""
    return dns.message.make_response(query, recursion_available=False).to_wire()


class DnsTap(Serving):
    """The forwarder; `upstream` may be changed at any time."""

    address = "127.0.0.1"

    def __init__(self, upstream: str) -> None:
        self.upstream = upstream
        self.questions: list[tuple[str, str]] = []  # name in lower case without final dot, type
        self._faults: dict[tuple[str, str], Fault] = {}
        tap = self

        class Datagram(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                data, sock = self.request
                if (reply := tap._answer(data, tcp=False)) is not None:
                    sock.sendto(reply, self.client_address)

        class Stream(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                while len(head := self.rfile.read(2)) == 2:
                    reply = tap._answer(self.rfile.read(int.from_bytes(head)), tcp=True)
                    if reply is not None:
                        self.wfile.write(len(reply).to_bytes(2) + reply)

        self._servers = [
            _Udp((self.address, 53), Datagram),
            _Tcp((self.address, 53), Stream),
        ]

    @contextmanager
    def through(self, upstream: str) -> Iterator[None]:
        """Have *upstream* answer while the block runs."""
        before, self.upstream = self.upstream, upstream
        try:
            yield
        finally:
            self.upstream = before

    def count(self, name: str, rdtype: str) -> int:
        """How often *name* has been asked for."""
        return self.questions.count((name, rdtype))

    def break_(self, name: str, rdtype: str, fault: Fault) -> None:
        """Answer this question by *fault* from now on."""
        self._faults[name, rdtype] = fault

    def mend(self, name: str, rdtype: str) -> None:
        del self._faults[name, rdtype]

    def _answer(self, data: bytes, *, tcp: bool) -> bytes | None:
        query = dns.message.from_wire(data)
        asked = query.question[0]
        key = asked.name.to_text(omit_final_dot=True).lower(), dns.rdatatype.to_text(asked.rdtype)
        self.questions.append(key)
        if fault := self._faults.get(key):
            return fault(query)
        with socket.socket(type=socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM) as sock:
            sock.settimeout(10)
            sock.connect((self.upstream, 53))
            if not tcp:
                sock.send(data)
                return sock.recv(65535)
            sock.sendall(len(data).to_bytes(2) + data)
            with sock.makefile("rb") as stream:
                return stream.read(int.from_bytes(stream.read(2)))


class _Udp(socketserver.ThreadingUDPServer):
    daemon_threads = True
    max_packet_size = 65535


class _Tcp(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128
