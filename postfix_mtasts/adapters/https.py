"""HTTPS to policy hosts: one GET under one deadline, to addresses that were judged before.

Rule 1: what was judged is what is connected to: no name is resolved here.
        Host header, SNI and certificate check go by the policy host's name.
Rule 2: connecting, handshake, request, header and body share one deadline;
        every step on the socket gets only the time that is left.
Rule 3: RECEIVED_LIMIT bytes are read at most, and BODY_LIMIT are kept,
        counted after decoding, however small they came.
Rule 4: the body comes from the certificate's owner, or there is none: a body
        that ends with the connection needs TLS's own end mark.
Rule 5: whatever a host does becomes a FetchError with one sentence.

requests is used without a Session on purpose: redirects (whose bodies it
decodes without limit), cookies, .netrc and proxies from the environment are
all a Session's work. What a policy says is core/policy.py's.

Source: RFC 8461 section 3.3; result types from RFC 8460 section 4.3.2.2;
certificate names by RFC 6125 (DNS-ID).
"""

from __future__ import annotations

import logging
import os
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from http.client import BadStatusLine, HTTPException, IncompleteRead, LineTooLong, RemoteDisconnected, UnknownProtocol
from typing import Any, TypeVar, cast

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPSConnectionPool
from urllib3.connection import HTTPSConnection
from urllib3.exceptions import HTTPError, InvalidHeader

from .. import __version__
from ..core.outcome import Note, ResultType, Stage, no_note
from ..errors import ConfigError, FetchError

BODY_LIMIT = 65_536  # bytes of a policy after decoding (RFC 8461 section 3.2 suggests 64 KiB)
RECEIVED_LIMIT = 1 << 20  # bytes of one answer, TLS aside: header, chunk sizes and all
CONNECT_LIMIT = 5.0  # seconds to connect to one address
_PIECE = 16_384  # bytes read at a time
_SHOWN = 100  # characters of remote text in a reason

T = TypeVar("T")

logging.getLogger("urllib3").setLevel(logging.ERROR)  # it warns of odd headers, at any length, with a traceback

_HEADERS = {
    "User-Agent": f"postfix-mtasts/{__version__}",
    "Accept": "*/*",
    "Accept-Encoding": "identity",  # a policy is too small to gain; some hosts send gzip all the same
    "Connection": "close",
}

_DECODERS = {"gzip": 16 + zlib.MAX_WBITS, "x-gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}  # wbits

_LATE = {
    Stage.ADDRESS: "no connection",
    Stage.TLS: "the TLS handshake was not done",
    Stage.HTTP: "the answer was not complete",
}

_CERTIFICATE = {  # X509_V_ERR_*, from OpenSSL's x509_vfy.h
    2: "the issuer of a certificate is not known",
    9: "the certificate, or one above it, is not yet valid",
    10: "the certificate, or one above it, has expired",
    18: "the certificate is self-signed",
    19: "the certificate's chain ends in a CA that is not trusted",
    20: "the certificate's issuer is not trusted, or the host does not send an intermediate certificate",
    21: "the certificate's issuer is not trusted, or the host does not send an intermediate certificate",
}
_HOSTNAME_MISMATCH = 62

_TLS_WORDS = {  # OpenSSL's reasons in the words of their cause
    "WRONG_VERSION_NUMBER": "what answers there does not speak TLS",
    "RECORD_LAYER_FAILURE": "what answers there does not speak TLS",
    "PACKET_LENGTH_TOO_LONG": "what answers there does not speak TLS",
    "HTTP_REQUEST": "what answers there does not speak TLS",
    "UNSUPPORTED_PROTOCOL": "the host offers no TLS 1.2 or later",
    "TLSV1_ALERT_PROTOCOL_VERSION": "the host offers no TLS 1.2 or later",
    "TLSV1_UNRECOGNIZED_NAME": "the host does not know the name",
}

_ENDS_EARLY = "the body ends early, or its chunks are broken"
_NOT_AS_ENCODED = "the body is not what its Content-Encoding says"

_WORDS: tuple[tuple[type[BaseException], str], ...] = (  # the first that fits
    (RemoteDisconnected, "the connection was closed before an answer came"),
    (UnknownProtocol, "the answer is not HTTP/1"),
    (BadStatusLine, "the answer is not HTTP/1"),
    (LineTooLong, "a line of the header is longer than 65,536 bytes"),
    (IncompleteRead, _ENDS_EARLY),
    (InvalidHeader, "the answer has contradictory lengths"),
    (ssl.SSLEOFError, "the connection ended in the middle, without TLS's end mark"),
    (ConnectionResetError, "the connection was reset"),
    (BrokenPipeError, "the connection was closed before an answer came"),
    (zlib.error, _NOT_AS_ENCODED),
)

_FAILURES = (requests.RequestException, HTTPError, HTTPException, OSError, ValueError, zlib.error)


class Transfer:
    """A fetch under way that any thread may give up; serves one fetch."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._reason: str | None = None

    def abort(self, reason: str) -> None:
        """End it at once, in whatever phase: get() raises FetchError with *reason*."""
        with self._lock:
            self._reason = self._reason or reason
            self._shut_down()

    @property
    def reason(self) -> str | None:
        """Why it was given up, if it was."""
        return self._reason

    def watch(self, sock: socket.socket) -> None:
        """Let abort() end what *sock* does from now on.

        A descriptor of our own is kept: http.client closes *sock* when it
        likes, and its number may then be another fetch's. It is a plain
        socket, because SSLSocket.shutdown() would go on in plain text.
        """
        self.release()
        with self._lock:
            self._socket = sock.dup()
            if self._reason is not None:
                self._shut_down()

    def release(self) -> None:
        """Forget the socket."""
        with self._lock:
            if self._socket is not None:
                self._socket.close()
                self._socket = None

    def _shut_down(self) -> None:
        if self._socket is not None:
            with suppress(OSError):  # never connected, or closed by the other side
                self._socket.shutdown(socket.SHUT_RDWR)


class HttpsPolicyHosts:
    """The real policy hosts (resolving.sources.PolicyHosts); any number of threads may fetch at once."""

    def __init__(self, timeout: float, ca_file: str | None, port: int = 443) -> None:
        """Load the trust store, once.

        Args:
            timeout: seconds for one fetch, from connect to the last byte.
            ca_file: trusted certificates (PEM); None means the system's.

        Raises: ConfigError.
        """
        self._timeout, self._port = timeout, port
        self._context = _make_context(ca_file)

    def get(self, host: str, addresses: Sequence[str], note: Note = no_note, transfer: Any = None) -> bytes:
        """The body of https://HOST/.well-known/mta-sts.txt, BODY_LIMIT bytes at most.

        Args:
            host: LDH labels, lower case.
            addresses: IPv4 and IPv6 literals; a later one is tried only when connecting to the earlier ones failed.
            transfer: a Transfer or None (resolving.sources, which is above this layer, has a Protocol for it).

        Raises: FetchError.
        """
        own: Transfer = transfer or Transfer()
        fetch = _Fetch(host, time.monotonic() + self._timeout, self._timeout, note, own)
        try:
            pool = _Pool(host, self._port, fetch=fetch, addresses=addresses, context=self._context)
            with closing(pool), closing(_ask(pool, host)) as response:
                return _read_answer(fetch, response)
        except _FAILURES as error:
            raise fetch.failure(_sentence(error)) from error
        finally:
            own.release()


def _make_context(ca_file: str | None) -> ssl.SSLContext:
    """What TLS has to be; said in full, because Python's defaults differ from version to version."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.sslsocket_class = _Socket
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    context.check_hostname = True
    context.hostname_checks_common_name = False
    # What is in the trust store is trusted, a root or not. No VERIFY_X509_STRICT (Python 3.13's
    # default): it refuses certificates in use that browsers, and Python 3.11, take.
    context.verify_flags = ssl.VERIFY_X509_TRUSTED_FIRST | ssl.VERIFY_X509_PARTIAL_CHAIN
    context.set_alpn_protocols(["http/1.1"])
    if ca_file is None:
        context.set_default_verify_paths()
        return context
    try:
        context.load_verify_locations(cafile=ca_file)
    except OSError as error:
        why = "it holds no CA certificates" if isinstance(error, ssl.SSLError) else error.strerror
        raise ConfigError(
            [f"fetch.ca_file: {ca_file}: {why}; name a readable file of PEM certificates, or null for the system's"]
        ) from None
    return context


class _Fetch:
    """How far a fetch has come, and how much time is left to it."""

    def __init__(self, host: str, deadline: float, timeout: float, note: Note, transfer: Transfer) -> None:
        self.host, self.note, self.transfer = host, note, transfer
        self.stage = Stage.ADDRESS
        self._deadline, self._timeout = deadline, timeout  # monotonic seconds; seconds
        self._received = 0  # bytes

    def failure(self, reason: str, result_type: ResultType = ResultType.FETCH_ERROR) -> FetchError:
        return FetchError(self.stage, result_type, reason)

    def left(self) -> float:
        """Seconds, more than 0. Raises: FetchError when there are none, or the fetch was given up."""
        self.check()
        left = self.remaining()
        if left <= 0:
            raise self._late()
        return left

    def remaining(self) -> float:
        """Seconds; 0 or less once the deadline has passed."""
        return self._deadline - time.monotonic()

    def check(self) -> None:
        """Raises: FetchError if the fetch was given up."""
        if self.transfer.reason is not None:
            raise self.failure(self.transfer.reason)

    def step(self, sock: socket.socket, work: Callable[..., T], *args: Any) -> T:
        """Have *sock* do its *work* in the time that is left."""
        sock.settimeout(self.left())
        try:
            done = work(*args)
        except OSError as error:
            self.check()
            if isinstance(error, TimeoutError):
                raise self._late() from None
            raise
        self.check()  # an aborted read looks like the end of the stream
        return done

    def count(self, received: int) -> None:
        self._received += received
        if self._received > RECEIVED_LIMIT:
            raise self.failure(f"the answer is longer than {RECEIVED_LIMIT:,} bytes")

    def _late(self) -> FetchError:
        return self.failure(f"{_LATE[self.stage]} within {self._timeout:g} s")


class _Socket(ssl.SSLSocket):
    """TLS of which no step outlives the fetch.

    http.client and urllib3 know timeouts for a single read only; everything
    they do on the socket comes through these three.
    """

    fetch: _Fetch

    def do_handshake(self, block: bool = False) -> None:
        self.fetch.step(self, super().do_handshake)

    def send(self, data: Any, flags: int = 0) -> int:
        return self.fetch.step(self, super().send, data, flags)

    def read(self, size: int = 1024, buffer: Any = None) -> Any:
        """The bytes, or with a *buffer* their number."""
        got: Any = self.fetch.step(self, super().read, size, buffer)
        self.fetch.count(got if isinstance(got, int) else len(got))
        return got


class _Connection(HTTPSConnection):
    """A connection to one of the addresses, TLS and all ours; urllib3 only speaks HTTP over it."""

    def __init__(
        self, *args: Any, fetch: _Fetch, addresses: Sequence[str], context: ssl.SSLContext, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self._fetch, self._addresses, self._context = fetch, addresses, context

    def connect(self) -> None:
        plain = _connect(self._fetch, self._addresses, self.port)
        self.sock = _secure(self._fetch, plain, self._context)
        self.is_verified = True


class _Pool(HTTPSConnectionPool):
    ConnectionCls = _Connection


class _Adapter(HTTPAdapter):
    """Has requests use our pool; two names, because requests 2.32 gave the method a new one."""

    def __init__(self, pool: _Pool) -> None:
        super().__init__(pool_connections=1, pool_maxsize=1)
        self._pool = pool

    def get_connection(self, url: Any, proxies: Any = None) -> Any:
        return self._pool

    def get_connection_with_tls_context(self, request: Any, verify: Any, proxies: Any = None, cert: Any = None) -> Any:
        return self._pool

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Nothing to set: the context verifies. requests would name a trust store of its own."""


def _connect(fetch: _Fetch, addresses: Sequence[str], port: int) -> socket.socket:
    """A connection to the first address that takes one. Raises: FetchError with each address and why."""
    failures = []
    for address in addresses:
        fetch.check()
        limit = min(CONNECT_LIMIT, fetch.remaining())
        if limit <= 0:
            failures.append(f"{address}: no time was left")
            break
        try:
            sock = _connect_to(fetch, address, port, limit)
        except OSError as error:
            fetch.check()
            failures.append(f"{address}: {_why_not_connected(error, limit)}")
        else:
            fetch.note(Stage.ADDRESS, f"connected to {address}")
            return sock
    raise fetch.failure(f"cannot connect to {fetch.host}: {'; '.join(failures) or 'it has no address'}")


def _connect_to(fetch: _Fetch, address: str, port: int, limit: float) -> socket.socket:
    """Raises: OSError, of which gaierror says that *address* is no address."""
    numeric = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV  # never a name
    family, kind, protocol, _, place = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM, flags=numeric)[0]
    sock = socket.socket(family, kind, protocol)
    try:
        sock.settimeout(limit)
        fetch.transfer.watch(sock)
        sock.connect(place)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # the request must not wait for an ACK
        fetch.check()
    except BaseException:
        sock.close()
        raise
    return sock


def _why_not_connected(error: OSError, limit: float) -> str:
    if isinstance(error, socket.gaierror):
        return "not an address"
    if isinstance(error, TimeoutError) and error.errno is None:
        return f"no answer within {limit:.3g} s"
    return _system_words(error)


def _secure(fetch: _Fetch, plain: socket.socket, context: ssl.SSLContext) -> _Socket:
    """TLS over *plain*, verified for the policy host's name. Raises: FetchError."""
    fetch.stage = Stage.TLS
    try:
        sock = cast(
            _Socket,
            context.wrap_socket(
                plain, server_hostname=fetch.host, do_handshake_on_connect=False, suppress_ragged_eofs=False
            ),
        )
    except BaseException:
        plain.close()
        raise
    try:
        sock.fetch = fetch
        sock.do_handshake()
        if fetch.note is not no_note:  # reading the certificate costs as much as a tenth of the fetch
            fetch.note(Stage.TLS, f"{sock.version()}, {_describe(sock.getpeercert())}")
    except ssl.SSLCertVerificationError as error:
        sock.close()
        raise fetch.failure(_certificate_words(error, fetch.host), ResultType.WEBPKI_INVALID) from error
    except BaseException:
        sock.close()
        raise
    fetch.stage = Stage.HTTP
    return sock


def _describe(certificate: Any) -> str:
    """A verified certificate (SSLSocket.getpeercert) in one bounded line."""
    names = [value[:_SHOWN] for kind, value in certificate.get("subjectAltName", ()) if kind == "DNS"]
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    ends = time.strftime("%Y-%m-%d", time.gmtime(ssl.cert_time_to_seconds(certificate["notAfter"])))
    issuer = {key: value for part in certificate.get("issuer", ()) for key, value in part}
    issued_by = [issuer[key][:_SHOWN] for key in ("organizationName", "commonName") if key in issuer]
    return f"certificate of {', '.join(names[:3])}{more}, valid until {ends}, issued by {', '.join(issued_by)}"


def _ask(pool: _Pool, host: str) -> requests.Response:
    """The answer, of which only the header has been read."""
    request = requests.Request("GET", f"https://{host}/.well-known/mta-sts.txt", headers=_HEADERS)
    return _Adapter(pool).send(request.prepare(), stream=True)


def _read_answer(fetch: _Fetch, response: requests.Response) -> bytes:
    """The body of an answer that RFC 8461 section 3.3 takes. Raises: FetchError."""
    status = response.status_code
    if 300 <= status < 400 and "Location" in response.headers:
        target = response.headers["Location"][:_SHOWN]
        raise fetch.failure(f"status {status} points to {target!r}; a redirect is never followed")
    if status != 200:
        raise fetch.failure(f"status {status}, not 200")
    content_type = response.headers.get("Content-Type")
    if content_type is None:
        raise fetch.failure("no Content-Type; it must be text/plain")
    if content_type.partition(";")[0].strip().lower() != "text/plain":
        raise fetch.failure(f"Content-Type is {content_type[:_SHOWN]!r}, not text/plain")
    body = _read_body(fetch, response)
    fetch.note(Stage.HTTP, f"{status} text/plain, {len(body)} bytes")
    return body


def _read_body(fetch: _Fetch, response: requests.Response) -> bytes:
    """Raises: FetchError, and what urllib3 and zlib raise."""
    decoder = _make_decoder(fetch, response.headers.get("Content-Encoding", "").strip().lower())
    body = b""
    while piece := response.raw.read(_PIECE, decode_content=False):
        body += decoder.decompress(piece, BODY_LIMIT + 1 - len(body)) if decoder else piece
        if len(body) > BODY_LIMIT:
            raise fetch.failure(f"the policy is longer than {BODY_LIMIT:,} bytes")
    if response.raw.length_remaining:  # which urllib3 1.26 does not mind
        raise fetch.failure(_ENDS_EARLY)
    if decoder and (not decoder.eof or decoder.unused_data):
        raise fetch.failure(_NOT_AS_ENCODED)
    return body


def _make_decoder(fetch: _Fetch, coding: str) -> zlib._Decompress | None:
    if coding in ("", "identity"):
        return None
    if coding not in _DECODERS:
        raise fetch.failure(f"Content-Encoding is {coding[:_SHOWN]!r}, which was not asked for")
    return zlib.decompressobj(_DECODERS[coding])


def _certificate_words(error: ssl.SSLCertVerificationError, host: str) -> str:
    if error.verify_code == _HOSTNAME_MISMATCH:
        return f"the certificate is not for {host}"
    return _CERTIFICATE.get(error.verify_code) or f"the certificate is not valid: {error.verify_message}"


def _sentence(error: BaseException) -> str:
    """What went wrong, from the outermost exception of a chain that has words of its own."""
    for cause in _chain(error):
        for kind, words in _WORDS:
            if isinstance(cause, kind):
                return words
        if isinstance(cause, ssl.SSLError):
            reason = cause.reason or "no reason given"
            return _TLS_WORDS.get(reason) or f"TLS failed: {reason.lower().replace('_', ' ')}"
        if isinstance(cause, OSError) and cause.errno:
            return _system_words(cause)
        if type(cause) is HTTPException:  # the only one that http.client raises as such
            return "the answer has more than 100 header lines"
    return f"the answer is not HTTP as it should be ({type(error).__name__})"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """*error* and what led to it: requests and urllib3 wrap what happened."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _system_words(error: OSError) -> str:
    return os.strerror(error.errno).lower() if error.errno else "no reason given"
