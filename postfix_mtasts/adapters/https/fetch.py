"""HTTPS to policy hosts: one GET, and the body of an answer that may be believed.

Rule 1: connecting, handshake, request, header and body share one deadline
        (transfer.py sees to it on the socket, below TLS and http.client).
Rule 2: BODY_LIMIT bytes are kept at most, counted after decoding; what a
        host packs into gzip is unpacked no further than that.
Rule 3: a body is whole, or there is none: one that ends with the connection
        needs TLS's own end mark.
Rule 4: whatever a host does becomes a FetchError with one sentence.
Rule 5: what a host says twice in the same words it has said once. A policy is
        protection: it is refused for what could be misread, not for its looks.

http.client reads the answer, and nothing stands above it: of what requests
and urllib3 do (redirects, cookies, .netrc, proxies from the environment,
pools, retries) a policy may have nothing, and they took a sixth of the
processor time of a first lookup. What a policy says is core/policy.py's.

Source: RFC 8461 section 3.3; result types from RFC 8460 section 4.3.2.2.
"""

from __future__ import annotations

import ssl
import zlib
from collections.abc import Sequence
from contextlib import closing
from http.client import (
    BadStatusLine,
    HTTPException,
    HTTPResponse,
    IncompleteRead,
    LineTooLong,
    RemoteDisconnected,
    UnknownProtocol,
)
from typing import Any

from ... import __version__
from ...core.certificate import Shown
from ...core.outcome import Note, Stage, no_note
from ...core.policy import BODY_LIMIT
from ...errors import FetchError
from ...faults import Fault
from .tls import Connect, connect, make_context, make_curious_context, open_tls, secure
from .transfer import Fetch, Transfer

__all__ = ["BODY_LIMIT", "HttpsPolicyHosts", "Transfer"]

PEEK_TIMEOUT = 15.0  # seconds for another look at a certificate that was refused
_PIECE = 16_384  # bytes read at a time
_SHOWN = 100  # characters of remote text in a reason

_HEADERS = {
    "User-Agent": f"postfix-mtasts/{__version__}",
    "Accept": "*/*",
    "Accept-Encoding": "identity",  # a policy is too small to gain; some hosts send gzip all the same
    "Connection": "close",
}
_LINES, _LINE = 100, 65_536  # of a header, and bytes of one, as http.client has them
_SWITCHING_PROTOCOLS = 101  # an answer, to a question that was not asked
_PATH = "/.well-known/mta-sts.txt"
_REQUEST = (
    f"GET {_PATH} HTTP/1.1\r\nHost: %s\r\n" + "".join(f"{name}: {_HEADERS[name]}\r\n" for name in _HEADERS) + "\r\n"
)
_DECODERS = {"gzip": 16 + zlib.MAX_WBITS, "x-gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}  # wbits

_FAILURES = (HTTPException, OSError, ValueError, zlib.error)

_FAULTS: tuple[tuple[type[BaseException], Fault], ...] = (  # the first that fits
    (RemoteDisconnected, Fault.HTTP_CLOSED),
    (UnknownProtocol, Fault.HTTP_NONE),
    (BadStatusLine, Fault.HTTP_NONE),
    (LineTooLong, Fault.HTTP_LONG_LINE),
    (IncompleteRead, Fault.HTTP_BODY_ENDS),
    (zlib.error, Fault.HTTP_NOT_AS_ENCODED),
)


class HttpsPolicyHosts:
    """The real policy hosts (a core.ports.PolicyHosts); any number of threads may fetch at once."""

    def __init__(
        self,
        timeout: float,
        ca_file: str | None,
        port: int = 443,
        context: ssl.SSLContext | None = None,
        connect: Connect = connect,
    ) -> None:
        """Load the trust store, once.

        Args:
            timeout: seconds for one fetch, from connect to the last byte.
            ca_file: trusted certificates (PEM); None means the system's.
            context: what tls.make_context made of *ca_file*, where that was done before.
            connect: how to get to a policy host, if not straight (proxy.Proxy.connect).

        Raises: ConfigError.
        """
        self._timeout, self._port, self._connect = timeout, port, connect
        self._context = context or make_context(ca_file)

    def get(self, host: str, addresses: Sequence[str], note: Note = no_note, transfer: Any = None) -> bytes:
        """Fetch the body of https://HOST/.well-known/mta-sts.txt, BODY_LIMIT bytes at most.

        Args:
            host: LDH labels, lower case.
            addresses: IPv4 and IPv6 literals; a later one is tried only when connecting to the earlier ones failed.
            transfer: a Transfer or None (resolving.sources, a layer above, knows it by a Protocol of its own).

        Raises: FetchError.
        """
        own: Transfer = transfer or Transfer()
        fetch = Fetch(host, self._timeout, note, own)
        try:
            stream = open_tls(fetch, addresses, self._port, self._context, self._connect)
            stream.sendall((_REQUEST % self._authority(host)).encode("ascii"))
            with closing(_Answer(stream)) as answer:
                answer.begin()
                return _read_answer(fetch, answer)
        except _FAILURES as error:
            raise fetch.failure(_fault(error), type(error).__name__) from error
        finally:
            own.release()

    def _authority(self, host: str) -> str:
        """Name *host* as the header "Host" does."""
        return host if self._port == 443 else f"{host}:{self._port}"

    def peek(self, host: str, address: str) -> Shown | None:
        """The certificate that *host* shows at *address*, whatever it is worth; nothing else is asked or believed."""
        transfer = Transfer()
        fetch = Fetch(host, PEEK_TIMEOUT, lambda stage, seen: None, transfer)
        try:
            secure(fetch, self._connect(fetch, [address], self._port), make_curious_context())
        except FetchError:
            pass
        finally:
            transfer.release()
        return transfer.shown


class _Answer(HTTPResponse):
    """Passes over interim answers (RFC 9110 section 15.2), of which http.client knows 100 only."""

    fp: Any
    chunked: bool

    def __init__(self, stream: Any) -> None:
        """Read from *stream*, which http.client takes for a socket."""
        super().__init__(stream, method="GET")

    def _read_status(self) -> tuple[str, int, str]:
        lines = 0
        while lines <= _LINES:
            version, status, reason = super()._read_status()  # type: ignore[misc]
            if not 100 <= status < 200 or status == _SWITCHING_PROTOCOLS:
                return version, status, reason
            more = True
            while more and lines <= _LINES:
                more = bool(self.fp.readline(_LINE).strip())
                lines += 1
        raise HTTPException(f"more than {_LINES} lines before the answer")


def _read_answer(fetch: Fetch, answer: _Answer) -> bytes:
    """Return the body if RFC 8461 section 3.3 takes the answer. Raises: FetchError and _FAILURES."""
    if 300 <= answer.status < 400 and _lines(answer, "Location"):
        target = ", ".join(_lines(answer, "Location"))[:_SHOWN]
        path = target.partition("://")[2] or target[1:]  # of a relative one the first slash is its own
        fault = Fault.HTTP_SLASHES if "//" in path else Fault.HTTP_REDIRECT
        raise fetch.failure(fault, f"{answer.status} points to {target!r}")
    if answer.status != 200:
        raise fetch.failure(Fault.HTTP_STATUS, str(answer.status))
    lines = _lines(answer, "Content-Type")
    if not lines:
        raise fetch.failure(Fault.HTTP_NO_TYPE)
    if {kind for line in lines for kind in _members(line.partition(";")[0])} != {"text/plain"}:
        raise fetch.failure(Fault.HTTP_TYPE, ", ".join(lines)[:_SHOWN])
    body = _read_body(fetch, answer)
    fetch.note(Stage.HTTP, f"{answer.status} text/plain, {len(body)} bytes")
    return body


def _lines(answer: _Answer, name: str) -> list[str]:
    """Return the values of all lines of a header that have this name."""
    return answer.headers.get_all(name, [])


def _members(value: str) -> list[str]:
    """Split a list in a header into its words, in lower case."""
    return [word for part in value.split(",") if (word := part.strip().lower())]


def _read_body(fetch: Fetch, answer: _Answer) -> bytes:
    transfer = _lines(answer, "Transfer-Encoding")
    framing = {line.strip().lower() for line in transfer}
    if len(framing) > 1 or not framing <= {"chunked", "identity"}:  # http.client goes by the first line only
        raise fetch.failure(Fault.HTTP_TRANSFER, ", ".join(transfer)[:_SHOWN])
    length = None if answer.chunked else _read_length(fetch, answer)
    decoder = _make_decoder(fetch, ", ".join(_lines(answer, "Content-Encoding")))
    body, received = b"", 0
    while piece := answer.read(_PIECE):
        received += len(piece)
        body += decoder.decompress(piece, BODY_LIMIT + 1 - len(body)) if decoder else piece
        if len(body) > BODY_LIMIT:
            raise fetch.failure(Fault.HTTP_POLICY_TOO_LONG, f"{BODY_LIMIT:,}")
    if length not in (None, received):  # http.client says nothing where it reads in pieces
        raise fetch.failure(Fault.HTTP_BODY_ENDS)
    if decoder and (not decoder.eof or decoder.unused_data):
        raise fetch.failure(Fault.HTTP_NOT_AS_ENCODED)
    return body


def _read_length(fetch: Fetch, answer: _Answer) -> int | None:
    """Return the length of the body, if the header tells one. Raises: FetchError if it tells two."""
    try:
        lengths = {int(word) for line in _lines(answer, "Content-Length") for word in line.split(",")}
    except ValueError:  # http.client then reads to the end of the connection
        return None
    if len(lengths) > 1:
        raise fetch.failure(Fault.HTTP_CONTRADICTION)
    return next((length for length in lengths if length >= 0), None)


def _make_decoder(fetch: Fetch, said: str) -> zlib._Decompress | None:
    codings = [word for word in _members(said) if word != "identity"]
    if not codings:
        return None
    if len(codings) > 1 or codings[0] not in _DECODERS:
        raise fetch.failure(Fault.HTTP_ENCODING, said[:_SHOWN])
    return zlib.decompressobj(_DECODERS[codings[0]])


def _fault(error: BaseException) -> Fault:
    """Name what was wrong with the answer."""
    if type(error) is HTTPException:  # http.client raises it as such for one reason only
        return Fault.HTTP_MANY_LINES
    return next((fault for kind, fault in _FAULTS if isinstance(error, kind)), Fault.HTTP_OTHER)
