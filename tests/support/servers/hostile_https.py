"""A policy host that does what a test says, on a loopback port of its own.

    with PolicyHost(tls(certificate, says(answer(POLICY)))) as host:
        HttpsPolicyHosts(5.0, ca_file, host.port).get(NAME, ["127.0.0.1"])
        assert b"GET /.well-known/mta-sts.txt" in host.requests[0]

PolicyHost takes a Script: what is done with each connection, in a thread of
its own. `tls` makes one that shakes hands, reads one request and then runs a
Reply; the other scripts (`hangs`, `resets`, `says_plainly`) work on the bare
socket. Replies are put together from `says` (bytes as they are, from
`answer` for a right one), `drips`, `repeats`, `bombs` and `after`.

What a script waits for ends when the `with` block does. `host.reached` is
set by `hangs`, `drips` and `repeats` as soon as they have begun.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import tempfile
import threading
import warnings
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self, TypeAlias

POLICY = b"version: STSv1\r\nmode: enforce\r\nmx: mx.example.test\r\nmax_age: 604800\r\n"
PACE = 0.05  # seconds between two drops


@dataclass
class Seen:
    """What a host has seen, and how its scripts learn that the test is over."""

    requests: list[bytes] = field(default_factory=list)  # each a whole header
    names: list[str | None] = field(default_factory=list)  # the names asked for by SNI
    connections: int = 0
    reached: threading.Event = field(default_factory=threading.Event)
    over: threading.Event = field(default_factory=threading.Event)


Script: TypeAlias = Callable[[socket.socket, Seen], None]
Reply: TypeAlias = Script  # the same, on a TLS connection that has brought a request


class PolicyHost(Seen):
    """Listens at *address* from `with` to its end."""

    def __init__(self, script: Script, address: str = "127.0.0.1", port: int = 0) -> None:
        super().__init__()
        self._script, self._address, self.port = script, address, port  # port 0: any that is free
        self._threads: list[threading.Thread] = []
        self._sockets: list[socket.socket] = []

    def __enter__(self) -> Self:
        family = socket.AF_INET6 if ":" in self._address else socket.AF_INET
        self._listener = socket.create_server((self._address, self.port), family=family, backlog=512)
        self.port = self._listener.getsockname()[1]
        self._accepting = threading.Thread(target=self._accept)
        self._accepting.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, place: TracebackType | None
    ) -> None:
        self.over.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join()
        self._listener.close()
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return  # shut down: the test is over
            self.connections += 1
            sock.settimeout(20)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._threads.append(threading.Thread(target=self._run, args=(sock,)))
            self._threads[-1].start()

    def _run(self, sock: socket.socket) -> None:
        with sock, contextlib.suppress(OSError):  # the client may go whenever it likes
            self._script(sock, self)


def tls(
    certificate: bytes,
    reply: Reply,
    *,
    newest: ssl.TLSVersion | None = None,
    ragged: bool = False,
    tickets: int | None = None,
) -> Script:
    """Shake hands with *certificate* (PEM: key, certificate, chain), read a request, run *reply*, end TLS properly.

    *ragged*: end without TLS's end mark. *newest*: speak no TLS version above it. *tickets*: send so many.
    """
    context = server_context(certificate, newest)
    if tickets is not None:
        context.num_tickets = tickets

    def run(sock: socket.socket, seen: Seen) -> None:
        def note_name(tls_sock: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
            seen.names.append(name)

        context.sni_callback = note_name
        with context.wrap_socket(sock, server_side=True) as secured:
            if not read_request(secured, seen):
                return
            reply(secured, seen)
            if not ragged and secured.fileno() >= 0:
                secured.unwrap()

    return run


def read_request(sock: socket.socket, seen: Seen) -> bool:
    """Read one request into `seen.requests`; False where the other side ends the connection before it is whole."""
    head = b""
    while b"\r\n\r\n" not in head:
        more = sock.recv(4096)
        if not more:
            return False
        head += more
    seen.requests.append(head)
    return True


def hangs(sock: socket.socket, seen: Seen) -> None:
    """Say nothing from the client's first word until the test is over; a script and a reply."""
    if not isinstance(sock, ssl.SSLSocket):
        sock.recv(1, socket.MSG_PEEK)
    seen.reached.set()
    seen.over.wait()


def resets(sock: socket.socket, seen: Seen) -> None:
    """Break the connection off with a reset once the client has spoken; a script and a reply."""
    if not isinstance(sock, ssl.SSLSocket):  # over TLS it has: the request is read
        sock.recv(1)  # else the reset may come while the client still connects
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def closes(sock: socket.socket, seen: Seen) -> None:
    """Close the connection without a word; a script and a reply."""


def says_plainly(data: bytes) -> Script:
    """Send *data* without TLS, then wait for the client to go."""

    def run(sock: socket.socket, seen: Seen) -> None:
        sock.sendall(data)
        while sock.recv(4096):
            pass

    return run


def answer(
    body: bytes, status: str = "200 OK", content_type: str | None = "text/plain", headers: tuple[str, ...] = ()
) -> bytes:
    """A right answer, with *headers* (`Name: value`) besides."""
    lines = [f"HTTP/1.1 {status}", *headers]
    if content_type is not None:
        lines.append(f"Content-Type: {content_type}")
    if not any(line.lower().startswith(("content-length", "transfer-encoding")) for line in headers):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def says(data: bytes) -> Reply:
    return lambda sock, seen: sock.sendall(data)


def after(data: bytes, then: Reply) -> Reply:
    """Send *data*, then run *then*."""

    def run(sock: socket.socket, seen: Seen) -> None:
        sock.sendall(data)
        then(sock, seen)

    return run


def drips(piece: bytes) -> Reply:
    """Send *piece* again and again, each time so soon that no timeout for a single read would strike."""

    def run(sock: socket.socket, seen: Seen) -> None:
        while not seen.over.wait(PACE):
            sock.sendall(piece)
            seen.reached.set()

    return run


def repeats(piece: bytes) -> Reply:
    """Send *piece* again and again, as fast as the client takes it."""

    def run(sock: socket.socket, seen: Seen) -> None:
        many = piece * (65_536 // len(piece) + 1)
        seen.reached.set()
        while not seen.over.is_set():
            sock.sendall(many)

    return run


def bombs(megabytes: int) -> Reply:
    """A body of gzip that unpacks to *megabytes* of zeros, made while it is sent."""

    def run(sock: socket.socket, seen: Seen) -> None:
        packer = zlib.compressobj(9, wbits=31)
        for _ in range(megabytes):
            sock.sendall(packer.compress(bytes(1 << 20)))
        sock.sendall(packer.flush())

    return run


@contextlib.contextmanager
def unanswered(address: str = "127.0.0.1") -> Iterator[int]:
    """A port at which no connection is refused and none comes about: its backlog is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server((address, 0), backlog=0))
        place = listener.getsockname()
        full = False
        while not full:
            sock = stack.enter_context(socket.socket())
            sock.settimeout(0.2)
            full = sock.connect_ex(place) != 0
        sock.close()
        yield place[1]


def is_connecting(port: int) -> bool:
    """Whether somebody on this machine waits for a connection to *port* (IPv4)."""
    with open("/proc/net/tcp") as table:
        lines = [line.split() for line in table]
    return any(line[2].endswith(f":{port:04X}") and line[3] == "02" for line in lines)  # SYN_SENT


def chunked(*pieces: bytes) -> bytes:
    """A whole chunked body."""
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (*pieces, b""))


def server_context(certificate: bytes, newest: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile() as file:  # ssl reads certificates from files only
        file.write(certificate)
        file.flush()
        context.load_cert_chain(file.name)
    if newest is not None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # TLS 1.1, on purpose
            context.minimum_version = context.maximum_version = newest
        if newest < ssl.TLSVersion.TLSv1_2:
            context.set_ciphers("DEFAULT@SECLEVEL=0")
    return context
