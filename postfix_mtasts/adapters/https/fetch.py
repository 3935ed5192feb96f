"""HTTPS to policy hosts: one GET, and the body of an answer that may be believed.

Rule 1: connecting, handshake, request, header and body share one deadline
        (transfer.py sees to it on the socket, below TLS, requests and urllib3).
Rule 2: BODY_LIMIT bytes are kept at most, counted after decoding; what a
        host packs into gzip is unpacked no further than that.
Rule 3: a body is whole, or there is none: one that ends with the connection
        needs TLS's own end mark.
Rule 4: whatever a host does becomes a FetchError with one sentence.
Rule 5: what a host says twice in the same words it has said once. A policy is
        protection: it is refused for what could be misread, not for its looks.

requests is used without a Session on purpose: redirects (whose bodies it
decodes without limit), cookies, .netrc and proxies from the environment are
all a Session's work. What a policy says is core/policy.py's.

Source: RFC 8461 section 3.3; result types from RFC 8460 section 4.3.2.2.
"""

from __future__ import annotations

import logging
import ssl
import zlib
from collections.abc import Iterator, Sequence
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

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPSConnectionPool
from urllib3.connection import HTTPSConnection
from urllib3.exceptions import HTTPError, InvalidHeader

from ... import __version__
from ...core.certificate import Shown
from ...core.outcome import Note, Stage, no_note
from ...core.policy import BODY_LIMIT
from ...errors import FetchError
from ...faults import Fault
from .tls import connect, make_context, make_curious_context, open_tls, secure
from .transfer import Fetch, Transfer

__all__ = ["BODY_LIMIT", "HttpsPolicyHosts", "Transfer"]

PEEK_TIMEOUT = 15.0  # seconds for another look at a certificate that was refused
_PIECE = 16_384  # bytes read at a time
_SHOWN = 100  # characters of remote text in a reason

logging.getLogger("urllib3").setLevel(logging.ERROR)  # it warns of odd headers, at any length, with a traceback

_HEADERS = {
    "User-Agent": f"postfix-mtasts/{__version__}",
    "Accept": "*/*",
    "Accept-Encoding": "identity",  # a policy is too small to gain; some hosts send gzip all the same
    "Connection": "close",
}
_LINES, _LINE = 100, 65_536  # of a header, and bytes of one, as http.client has them
_SWITCHING_PROTOCOLS = 101  # an answer, to a question that was not asked
_PATH = "/.well-known/mta-sts.txt"
_REQUEST = requests.Request("GET", f"https://policy-host{_PATH}", headers=_HEADERS).prepare()
_DECODERS = {"gzip": 16 + zlib.MAX_WBITS, "x-gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}  # wbits

_FAILURES = (requests.RequestException, HTTPError, HTTPException, OSError, ValueError, zlib.error)

_FAULTS: tuple[tuple[type[BaseException], Fault], ...] = (  # the first that fits
    (RemoteDisconnected, Fault.HTTP_CLOSED),
    (UnknownProtocol, Fault.HTTP_NONE),
    (BadStatusLine, Fault.HTTP_NONE),
    (LineTooLong, Fault.HTTP_LONG_LINE),
    (IncompleteRead, Fault.HTTP_BODY_ENDS),
    (InvalidHeader, Fault.HTTP_CONTRADICTION),
    (zlib.error, Fault.HTTP_NOT_AS_ENCODED),
)


class HttpsPolicyHosts:
    """The real policy hosts (a core.ports.PolicyHosts); any number of threads may fetch at once."""

    def __init__(
        self, timeout: float, ca_file: str | None, port: int = 443, context: ssl.SSLContext | None = None
    ) -> None:
        """Load the trust store, once.

        Args:
            timeout: seconds for one fetch, from connect to the last byte.
            ca_file: trusted certificates (PEM); None means the system's.
            context: what tls.make_context made of *ca_file*, where that was done before.

        Raises: ConfigError.
        """
        self._timeout, self._port = timeout, port
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
            pool = _Pool(host, self._port, fetch=fetch, addresses=addresses, context=self._context)
            with closing(pool), closing(_ask(pool, host)) as response:
                return _read_answer(fetch, response)
        except _FAILURES as error:
            raise fetch.failure(_fault(error), type(error).__name__) from error
        finally:
            own.release()

    def peek(self, host: str, address: str) -> Shown | None:
        """The certificate that *host* shows at *address*, whatever it is worth; nothing else is asked or believed."""
        transfer = Transfer()
        fetch = Fetch(host, PEEK_TIMEOUT, lambda stage, seen: None, transfer)
        try:
            secure(fetch, connect(fetch, [address], self._port), make_curious_context())
        except FetchError:
            pass
        finally:
            transfer.release()
        return transfer.shown


class _Answer(HTTPResponse):
    """Passes over interim answers (RFC 9110 section 15.2), of which http.client knows 100 only."""

    fp: Any

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


class _Connection(HTTPSConnection):
    """Connects by our own rules for addresses and TLS; urllib3 only speaks HTTP over it."""

    response_class = _Answer

    def __init__(
        self, *args: Any, fetch: Fetch, addresses: Sequence[str], context: ssl.SSLContext, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self._fetch, self._addresses, self._context = fetch, addresses, context

    def connect(self) -> None:
        self.sock = open_tls(self._fetch, self._addresses, self.port, self._context)
        self.is_verified = True


class _Pool(HTTPSConnectionPool):
    ConnectionCls = _Connection


class _Adapter(HTTPAdapter):
    """Has requests use our pool, under the method's name before and since requests 2.32."""

    def __init__(self, pool: _Pool) -> None:
        super().__init__(pool_connections=1, pool_maxsize=1)
        self._pool = pool

    def get_connection(self, url: Any, proxies: Any = None) -> Any:
        return self._pool

    def get_connection_with_tls_context(self, request: Any, verify: Any, proxies: Any = None, cert: Any = None) -> Any:
        return self._pool

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Set nothing: our context verifies, and requests would name a trust store of its own."""


def _ask(pool: _Pool, host: str) -> requests.Response:
    """Send the request, and return the answer once its header has been read."""
    request = _REQUEST.copy()  # to prepare each anew takes a tenth of the whole fetch
    request.url = f"https://{host}{_PATH}"
    return _Adapter(pool).send(request, stream=True)


def _read_answer(fetch: Fetch, response: requests.Response) -> bytes:
    """Return the body if RFC 8461 section 3.3 takes the answer. Raises: FetchError and _FAILURES."""
    status = response.status_code
    if 300 <= status < 400 and "Location" in response.headers:
        target = response.headers["Location"][:_SHOWN]
        path = target.partition("://")[2] or target[1:]  # of a relative one the first slash is its own
        fault = Fault.HTTP_SLASHES if "//" in path else Fault.HTTP_REDIRECT
        raise fetch.failure(fault, f"{status} points to {target!r}")
    if status != 200:
        raise fetch.failure(Fault.HTTP_STATUS, str(status))
    lines = response.raw.headers.getlist("Content-Type")
    if not lines:
        raise fetch.failure(Fault.HTTP_NO_TYPE)
    if {kind for line in lines for kind in _members(line.partition(";")[0])} != {"text/plain"}:
        raise fetch.failure(Fault.HTTP_TYPE, ", ".join(lines)[:_SHOWN])
    body = _read_body(fetch, response)
    fetch.note(Stage.HTTP, f"{status} text/plain, {len(body)} bytes")
    return body


def _members(value: str) -> list[str]:
    """Split a list in a header into its words, in lower case."""
    return [word for part in value.split(",") if (word := part.strip().lower())]


def _read_body(fetch: Fetch, response: requests.Response) -> bytes:
    framing = {line.strip().lower() for line in response.raw.headers.getlist("Transfer-Encoding")}
    if len(framing) > 1 or not framing <= {"chunked", "identity"}:  # http.client goes by the first line only
        raise fetch.failure(Fault.HTTP_TRANSFER, response.headers["Transfer-Encoding"][:_SHOWN])
    decoder = _make_decoder(fetch, response.headers.get("Content-Encoding", ""))
    body = b""
    while piece := response.raw.read(_PIECE, decode_content=False):
        body += decoder.decompress(piece, BODY_LIMIT + 1 - len(body)) if decoder else piece
        if len(body) > BODY_LIMIT:
            raise fetch.failure(Fault.HTTP_POLICY_TOO_LONG, f"{BODY_LIMIT:,}")
    if response.raw.length_remaining:  # urllib3 1.26 says nothing
        raise fetch.failure(Fault.HTTP_BODY_ENDS)
    if decoder and (not decoder.eof or decoder.unused_data):
        raise fetch.failure(Fault.HTTP_NOT_AS_ENCODED)
    return body


def _make_decoder(fetch: Fetch, said: str) -> zlib._Decompress | None:
    codings = [word for word in _members(said) if word != "identity"]
    if not codings:
        return None
    if len(codings) > 1 or codings[0] not in _DECODERS:
        raise fetch.failure(Fault.HTTP_ENCODING, said[:_SHOWN])
    return zlib.decompressobj(_DECODERS[codings[0]])


def _fault(error: BaseException) -> Fault:
    """Name what was wrong with the answer, by the outermost exception of a chain that is known."""
    for cause in _chain(error):
        for kind, fault in _FAULTS:
            if isinstance(cause, kind):
                return fault
        if type(cause) is HTTPException:  # http.client raises it as such for one reason only
            return Fault.HTTP_MANY_LINES
    return Fault.HTTP_OTHER


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield *error* and what led to it: requests and urllib3 wrap what http.client raised."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
