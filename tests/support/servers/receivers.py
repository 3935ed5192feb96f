"""Mail servers on loopback, each right or wrong in one way, that write down what every client did.

All of them are one program that listens at 0.0.0.0 and behaves as the address
says that the client connected to. What a client sent before and after TLS is
kept apart: mail in clear, or to a host that should have none, is seen here,
whatever the sender's log says.
"""

from __future__ import annotations

import contextlib
import itertools
import socketserver
import ssl
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal, Self

from tests.support.servers.serving import Serving

StartTls = Literal["offered", "withheld", "refused", "garbled", "silent"]

PORTS = (25, 2525)
PATIENCE = 60.0  # seconds that a silent client is waited for


@dataclass(slots=True)
class Session:
    """One connection of a client."""

    address: str  # of ours that it came to
    port: int
    server_name: str | None = None  # what TLS asked for (SNI)
    tls: bool = False
    in_clear: list[str] = field(default_factory=list)  # commands
    encrypted: list[str] = field(default_factory=list)
    recipients: list[str] = field(default_factory=list)  # of messages that were taken

    @property
    def mail_in_clear(self) -> bool:
        """Whether the envelope of a message, or more of it, was sent without TLS."""
        return any(command.upper().startswith("MAIL") for command in self.in_clear)

    @property
    def mail(self) -> bool:
        return any(command.upper().startswith("MAIL") for command in self.in_clear + self.encrypted)


@dataclass(frozen=True, slots=True)
class _Host:
    starttls: StartTls
    context: ssl.SSLContext


class Receivers(Serving):
    """Entered by `with`; `host` adds a mail server and returns its address."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True)
        self._directory = directory
        self._hosts: dict[str, _Host] = {}
        self._addresses = (f"127.{a}.{b}.{c}" for a, b, c in itertools.product(range(1, 255), repeat=3))
        self._sessions: list[Session] = []
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        self._servers = [_Server(self, port) for port in PORTS]
        return super().__enter__()

    def host(
        self, certificate: bytes, *, starttls: StartTls = "offered", by_name: Mapping[str, bytes] | None = None
    ) -> str:
        """A new mail server with this certificate (PEM: key, certificate, chain).

        *by_name* has other certificates, for clients that ask for these names by SNI.
        """
        address = next(self._addresses)
        context = self._context(address, certificate)
        others = {name: self._context(f"{address}-{name}", pem) for name, pem in (by_name or {}).items()}
        context.sni_callback = _choose(others)
        self._hosts[address] = _Host(starttls, context)
        return address

    def replace(self, address: str, certificate: bytes) -> None:
        """Give the mail server at *address* another certificate."""
        self._hosts[address] = _Host(self._hosts[address].starttls, self._context(address, certificate))

    def sessions(self, *addresses: str) -> list[Session]:
        """What clients did at these addresses so far; of all without one."""
        with self._lock:
            return [session for session in self._sessions if not addresses or session.address in addresses]

    def _context(self, name: str, certificate: bytes) -> ssl.SSLContext:
        file = self._directory / f"{name}.pem"
        file.write_bytes(certificate)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context

    def serve(self, request: socketserver.BaseRequestHandler) -> None:
        """Speak SMTP with one client to its end."""
        address, port = request.request.getsockname()[:2]
        if (host := self._hosts.get(address)) is None:
            return  # nobody is there
        session = Session(address, port)
        with self._lock:
            self._sessions.append(session)
        sock = request.request
        sock.settimeout(PATIENCE)
        with contextlib.suppress(OSError):  # it hung up, or refused our certificate
            stream: IO[bytes]
            with sock.makefile("rwb") as stream:
                if host.starttls == "silent":
                    stream.read()  # until the client goes
                    return
                _say(stream, "220 ready")
                if not _speak(stream, session, session.in_clear, host.starttls):
                    return
                if host.starttls == "garbled":
                    _say(stream, "this is no TLS record")
                    stream.read()
                    return
            encrypted: Any = host.context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
            with encrypted, encrypted.makefile("rwb") as stream:
                encrypted.server_name = None
                encrypted.do_handshake()
                session.tls, session.server_name = True, encrypted.server_name
                _speak(stream, session, session.encrypted, "withheld")


def _choose(others: Mapping[str, ssl.SSLContext]) -> Any:
    def choose(sock: Any, name: str | None, context: ssl.SSLContext) -> None:
        sock.server_name = name
        if name in others:
            sock.context = others[name or ""]

    return choose


def _speak(stream: IO[bytes], session: Session, heard: list[str], starttls: StartTls) -> bool:
    """SMTP until the client leaves, or, which is then True, until TLS is to begin."""
    envelope: list[str] = []
    while line := stream.readline():
        command = line.decode(errors="replace").rstrip("\r\n")
        heard.append(command)
        verb = command[:4].upper()
        if verb == "EHLO":
            words = ["mail server", "8BITMIME", "SMTPUTF8", *(["STARTTLS"] if starttls != "withheld" else [])]
            _say(stream, *(f"250-{word}" for word in words[:-1]), f"250 {words[-1]}")
        elif command.upper() == "STARTTLS":
            if starttls not in ("withheld", "refused"):
                _say(stream, "220 go ahead")
                return True
            _say(stream, "454 TLS is not available")
        elif verb == "MAIL":
            envelope = []
            _say(stream, "250 ok")
        elif verb == "RCPT":
            envelope.append(command.partition("<")[2].partition(">")[0])
            _say(stream, "250 ok")
        elif verb == "DATA":
            _say(stream, "354 go ahead")
            while (data := stream.readline()) not in (b".\r\n", b""):
                pass
            if not data:
                return False
            session.recipients += envelope
            _say(stream, "250 taken")
        elif verb == "QUIT":
            _say(stream, "221 bye")
            return False
        else:
            _say(stream, "250 ok")
    return False


def _say(stream: IO[bytes], *lines: str) -> None:
    stream.write("".join(line + "\r\n" for line in lines).encode())
    stream.flush()


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 512

    def __init__(self, receivers: Receivers, port: int) -> None:
        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                receivers.serve(self)

        super().__init__(("0.0.0.0", port), Handler)


def taken(sessions: Sequence[Session]) -> Iterator[str]:
    """The recipients of all messages that were taken in *sessions*."""
    for session in sessions:
        yield from session.recipients
