"""A mail host as a sender meets it: greeting, EHLO, STARTTLS, a verified handshake, EHLO, QUIT. Never MAIL FROM.

Rule 1: the whole dialogue has one deadline (https/tls.py sees to it on the
        socket) and PLAIN_LIMIT bytes before TLS, LINES lines for one reply.
Rule 2: what came before the handshake is dropped, so that nobody can put
        words into the encrypted part (RFC 3207 section 5).
Rule 3: SNI and the certificate's names go by the MX host name; trust is
        fetch.ca_file's, as for policy hosts.
Rule 4: a host whose certificate is refused is greeted once more without
        judging it, to tell all that is wrong with it. A good one sees one connection.

smtplib is not used: its getreply() never ends on endless "220-" lines, its
time-outs are for each read, and its getfqdn() asks DNS.

Source: RFC 5321 sections 2.2 and 4.2, RFC 3207, RFC 8461 section 4.1.
"""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from ..core.outcome import Stage
from ..core.ports import Look
from ..errors import FetchError
from ..faults import Fault, ResultType, Seen, clip
from .certificates import presented
from .https.stream import Stream
from .https.tls import connect, make_context, make_curious_context, secure
from .https.transfer import Fetch, Transfer

PORT = 25
TIMEOUT = 30.0  # seconds for one dialogue, from connect to QUIT
PLAIN_LIMIT = 32_768  # bytes before TLS
LINES = 100  # of one reply

_REPLY = re.compile(rb"([2-5][0-9]{2})([ -])(.*)", re.DOTALL)
_NAME = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63})*")


class SmtpMailHosts:
    """core.ports.MailHosts over sockets; any number of threads may look at once."""

    def __init__(self, ca_file: str | None, port: int = PORT) -> None:
        """Load the trust store, once. Raises: ConfigError."""
        self._port = port
        self._verifying, self._curious = make_context(ca_file, ()), make_curious_context()

    def look(self, host: str, address: str, seconds: float = TIMEOUT) -> Look:
        """What *host* shows at *address*, within *seconds*; as long again for a certificate that was refused."""
        look = self._once(host, address, min(seconds, TIMEOUT), self._verifying)
        if look.refused is not None and look.refused.fault.result_type is ResultType.WEBPKI_INVALID:
            shown = self._once(host, address, min(seconds, TIMEOUT), self._curious)
            return Look(look.refused, shown.presented)
        return look

    def _once(self, host: str, address: str, seconds: float, context: ssl.SSLContext) -> Look:
        transfer = Transfer()
        fetch = Fetch(host, seconds, _listen, transfer)
        try:
            _converse(fetch, address, self._port, context)
        except FetchError as error:
            return Look(_named(error.seen), presented(transfer.shown))
        finally:
            transfer.release()
        return Look(None, presented(transfer.shown))


def _listen(stage: Stage, seen: str) -> None:
    """A Note that is not no_note, so that the certificate is read."""


def _named(seen: Seen) -> Seen:
    return Seen(Fault.MAIL_NOT_CONNECTED, seen.subject, seen.value) if seen.fault is Fault.NOT_CONNECTED else seen


def _converse(fetch: Fetch, address: str, port: int, context: ssl.SSLContext) -> None:
    """Raises: FetchError."""
    sock = connect(fetch, [address], port)
    fetch.stage = Stage.SMTP
    lines = _Lines(fetch, lambda: fetch.receive(sock), lambda data: fetch.send(sock, data))
    name = _own_name(sock)
    try:
        _start_tls(fetch, lines, name)
    except FetchError:
        with suppress(OSError, FetchError):
            fetch.send(sock, b"QUIT\r\n")
        raise
    encrypted: Stream = secure(fetch, sock, context)
    fetch.stage = Stage.SMTP
    with suppress(OSError, FetchError):  # the handshake is what counts; a host may go when it has seen us
        stream = encrypted.makefile()
        lines = _Lines(fetch, lambda: stream.read1(4096), encrypted.sendall)
        lines.ask(f"EHLO {name}")
        lines.ask("QUIT")


def _start_tls(fetch: Fetch, lines: _Lines, name: str) -> None:
    """Up to the point at which the handshake begins. Raises: FetchError."""
    greeting = lines.reply()
    if greeting.code != 220:
        raise fetch.failure(Fault.MAIL_GREETING, greeting.text)
    hello = lines.ask(f"EHLO {name}")
    if hello.code != 250:
        raise fetch.failure(Fault.MAIL_EHLO, hello.text)
    if not any(word.split(" ")[0].upper() == "STARTTLS" for word in hello.words[1:]):  # the first is its name
        raise fetch.failure(Fault.MAIL_NO_STARTTLS)
    try:
        ready = lines.ask("STARTTLS")
    except FetchError as error:  # to offer it and to go away when it is wanted is to refuse it
        raise fetch.failure(Fault.MAIL_STARTTLS_REFUSED, str(error)) from error
    if ready.code != 220:
        raise fetch.failure(Fault.MAIL_STARTTLS_REFUSED, ready.text)


def _own_name(sock: socket.socket) -> str:
    """What EHLO says: this host's name, else the address that we come from (RFC 5321 section 4.1.3)."""
    name = socket.gethostname()
    if _NAME.fullmatch(name):
        return name
    address = sock.getsockname()[0].partition("%")[0]
    return f"[IPv6:{address}]" if ":" in address else f"[{address}]"


@dataclass(frozen=True, slots=True)
class _Reply:
    code: int
    words: tuple[str, ...]  # of each line, without the code

    @property
    def text(self) -> str:
        return clip(f"{self.code} {self.words[-1]}", 100)


class _Lines:
    """SMTP's lines, in clear or not. Each method raises FetchError."""

    def __init__(self, fetch: Fetch, receive: Callable[[], bytes], send: Callable[[bytes], None]) -> None:
        self._fetch, self._receive, self._send = fetch, receive, send
        self._buffer = b""
        self._room = PLAIN_LIMIT

    def ask(self, command: str) -> _Reply:
        self._buffer = b""  # what was not asked for is no answer
        try:
            self._send(command.encode() + b"\r\n")
        except OSError:
            raise self._fetch.failure(Fault.MAIL_CLOSED) from None
        return self.reply()

    def reply(self) -> _Reply:
        words: list[str] = []
        while len(words) < LINES:
            line = self._line()
            match = _REPLY.fullmatch(line)
            if match is None:
                raise self._fetch.failure(Fault.MAIL_GARBAGE, clip(line, 100))
            words.append(match[3].decode("latin-1"))
            if match[2] == b" ":
                return _Reply(int(match[1]), tuple(words))
        raise self._fetch.failure(Fault.MAIL_MANY_LINES, str(LINES))

    def _line(self) -> bytes:
        while b"\n" not in self._buffer:
            if self._room <= 0:
                raise self._fetch.failure(Fault.MAIL_TOO_LONG, f"{PLAIN_LIMIT:,}")
            try:
                data = self._receive()
            except OSError:
                data = b""
            if not data:
                raise self._fetch.failure(Fault.MAIL_CLOSED)
            self._room -= len(data)
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        line = line.removesuffix(b"\r")
        return line + b" " if len(line) == 3 else line  # "250" alone is a reply too (RFC 5321 section 4.2)
