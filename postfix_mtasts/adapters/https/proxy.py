"""The way to policy hosts through fetch.proxy: a tunnel, over which TLS then goes as it does without a proxy.

Rule 1: the proxy carries bytes, nothing more. SNI and certificate are the
        policy host's, and nothing that a proxy says in its place is believed.
Rule 2: whose failure is it? A proxy that is away, silent, refuses, wants other
        credentials or talks nonsense is ours (Fault.ours). That it did not
        reach the policy host is the host's, and so is its silence where it
        answers others meanwhile: proxies are silent while they connect.
Rule 3: an answer is bounded in time, bytes and lines. Its body is not read, and
        bytes behind it, before TLS has begun, end the fetch.

The proxy is the one of the configuration, whatever address that has, and never
one of the environment. How SOCKS is spoken is socks5.py's.

Source: RFC 9110 section 9.3.6 (CONNECT), RFC 7617 (Basic).
"""

from __future__ import annotations

import re
import socket
import threading
import time
from base64 import b64encode
from collections.abc import Sequence
from concurrent.futures import Future
from urllib.parse import urlsplit

from ... import __version__
from ...config.settings import FetchSettings
from ...config.values import read_login
from ...core.outcome import Stage, no_note
from ...errors import FetchError
from ...faults import Fault, clip
from .tls import CONNECT_LIMIT, connect, words
from .transfer import Fetch, Transfer

BY_NAME_LIMIT = 4 * CONNECT_LIMIT  # seconds: the proxy may try as many addresses as we would
HEAD_LIMIT, LINES = 16_384, 100  # bytes and lines of an answer
REMEMBERED = 60.0  # seconds that the proxy's own addresses are used

_END = re.compile(rb"\r?\n\r?\n")
_STATUS = re.compile(rb"HTTP/1\.[01] ([2-5][0-9]{2})(?: ([^\r\n]*))?\r?\n")
_UNREACHED = (500, 502, 503, 504)  # what proxies answer where the other side does not
_LOGIN = (401, 407)  # tinyproxy says 401 to a wrong password
_ANSWERED = (Fault.UNREACHED, Fault.PROXY_DENIED, Fault.PROXY_LOGIN)


class Proxy:
    """fetch.proxy; any number of threads may connect at once."""

    def __init__(self, settings: FetchSettings) -> None:
        parts = urlsplit(settings.proxy or "")
        self.name = parts.netloc  # HOST:PORT
        self._socks, self._place, self._port = parts.scheme != "http", _Place(parts.hostname or ""), parts.port or 0
        self._by_name, self._login_file = settings.by_name, settings.proxy_password_file
        self._answered_at = float("-inf")  # when it last answered anybody, by the monotonic clock

    def connect(self, fetch: Fetch, addresses: Sequence[str], port: int) -> socket.socket:
        """Connect to the policy host, by its name or by one of *addresses*; a tls.Connect. Raises: FetchError."""
        failures = []
        for target in (fetch.host,) if self._by_name else addresses:
            limit = min(BY_NAME_LIMIT if self._by_name else CONNECT_LIMIT, fetch.remaining())
            if limit <= 0:
                failures.append(f"{target}: no time was left")
                break
            try:
                sock = self._open(fetch.transfer, target, port, limit)
            except FetchError as error:
                if error.seen.fault is not Fault.UNREACHED:
                    raise
                failures.append(error.seen.value if self._by_name else f"{target}: {error.seen.value}")
            else:
                fetch.note(Stage.ADDRESS, f"connected to {target} through the proxy {self.name}")
                return sock
        raise fetch.failure(Fault.UNREACHED, "; ".join(failures) or "it has no address")

    def _open(self, transfer: Transfer, target: str, port: int, limit: float) -> socket.socket:
        """Open a tunnel to *target*. Raises: FetchError, with UNREACHED where the proxy does not get there."""
        step, began = Fetch(self.name, limit, no_note, transfer), time.monotonic()
        login = self._login(step)
        try:
            sock = self._tunnel(step, target, port, login)
        except FetchError as error:
            if error.seen.fault in _ANSWERED:
                self._answered_at = time.monotonic()
            if error.seen.fault is not Fault.CONNECT_LATE:
                raise
        except OSError as error:
            step.check()
            raise step.failure(Fault.PROXY_BROKEN, words(error)) from error
        else:
            self._answered_at = time.monotonic()
            return sock
        late = f"{round(limit, 1):g}"
        if self._answered_at > began:
            raise step.failure(Fault.UNREACHED, f"the proxy, which answers others, was silent for {late} s")
        raise step.failure(Fault.PROXY_SILENT, late)

    def _login(self, step: Fetch) -> tuple[str, str] | None:
        """Read user and password anew each time: a changed file counts at once, and nothing keeps them."""
        if self._login_file is None:
            return None
        try:
            return read_login(self._login_file)
        except (OSError, ValueError) as error:
            why = words(error) if isinstance(error, OSError) else "it holds something else than USER:PASSWORD"
            raise step.failure(Fault.PROXY_LOGIN, f"fetch.proxy_password_file: {why}") from None

    def _tunnel(self, step: Fetch, target: str, port: int, login: tuple[str, str] | None) -> socket.socket:
        """Raises: FetchError, OSError."""
        places = self._place.addresses(step)
        if self._socks:
            from . import socks5  # its library may be missing, and few use it

            return socks5.tunnel(step, places, self._port, (target, port), login)
        try:
            sock = connect(step, places, self._port)
        except FetchError as error:
            if error.seen.fault is Fault.NOT_CONNECTED:
                raise step.failure(Fault.PROXY_AWAY, error.seen.value) from error
            raise
        step.send(sock, _request(f"[{target}]:{port}" if ":" in target else f"{target}:{port}", login))
        _judge(step, _head(step, sock), login is not None)
        return sock


class _Place:
    """Where the proxy is. A name is looked up as this system does (/etc/hosts and all), which may take for ever."""

    def __init__(self, host: str) -> None:
        self._host, self._lock = host, threading.Lock()
        self._asked: Future[list[str]] = Future()
        self._asked_at = float("-inf")

    def addresses(self, step: Fetch) -> Sequence[str]:
        """Raises: FetchError."""
        with self._lock:
            now = time.monotonic()
            failed = self._asked.done() and self._asked.exception() is not None
            if failed or now >= self._asked_at + REMEMBERED:
                self._asked, self._asked_at = Future(), now
                threading.Thread(target=self._ask, args=(self._asked,), daemon=True).start()
            asked = self._asked
        try:
            return asked.result(min(CONNECT_LIMIT, max(0.0, step.remaining())))
        except TimeoutError:
            raise step.failure(Fault.PROXY_AWAY, "nothing says what its address is") from None
        except OSError as error:
            raise step.failure(Fault.PROXY_AWAY, f"no address: {(error.strerror or 'unknown').lower()}") from None

    def _ask(self, asked: Future[list[str]]) -> None:
        try:
            found = socket.getaddrinfo(self._host, None, type=socket.SOCK_STREAM)
            asked.set_result(list(dict.fromkeys(str(place[0]) for *_, place in found)))
        except (OSError, UnicodeError) as error:
            asked.set_exception(error if isinstance(error, OSError) else OSError(0, "not a name"))


def _request(place: str, login: tuple[str, str] | None) -> bytes:
    lines = [f"CONNECT {place} HTTP/1.1", f"Host: {place}", f"User-Agent: postfix-mtasts/{__version__}"]
    if login is not None:
        lines.append(f"Proxy-Authorization: Basic {b64encode(':'.join(login).encode()).decode()}")
    return "\r\n".join([*lines, "", ""]).encode()


def _head(step: Fetch, sock: socket.socket) -> re.Match[bytes]:
    """Read the header of the answer, and return its first line. Raises: FetchError, OSError."""
    head, end = b"", None
    while end is None and len(head) <= HEAD_LIMIT:
        piece, seen = step.receive(sock), max(0, len(head) - 3)
        if not piece:
            raise step.failure(Fault.PROXY_BROKEN, "it closed the connection" + (" within its answer" if head else ""))
        head += piece
        status, end = _STATUS.match(head), _END.search(head, seen)
        if status is None and b"\n" in head:  # a server of another kind may say one line and wait
            raise step.failure(Fault.PROXY_BROKEN, f"{clip(head)!r} is not HTTP/1")
    if status is None or end is None or end.end() > HEAD_LIMIT or head.count(b"\n", 0, end.end()) > LINES:
        raise step.failure(Fault.PROXY_BROKEN, f"its answer is longer than {HEAD_LIMIT:,} bytes or {LINES} lines")
    if status[1][:1] == b"2" and end.end() != len(head):
        raise step.failure(Fault.PROXY_BROKEN, "bytes behind its answer, which cannot be the policy host's")
    return status


def _judge(step: Fetch, status: re.Match[bytes], with_login: bool) -> None:
    """Raises: FetchError, unless there is a tunnel."""
    code, reason = int(status[1]), clip((status[2] or b"").strip())
    said = f"{code} {reason}".strip()
    if 200 <= code < 300:
        return
    if code in _LOGIN:
        why = "" if with_login else ", and fetch.proxy_password_file names none"
        raise step.failure(Fault.PROXY_LOGIN, said + why)
    if code in _UNREACHED:
        raise step.failure(Fault.UNREACHED, f"the proxy says {said}")
    raise step.failure(Fault.PROXY_DENIED, said)
