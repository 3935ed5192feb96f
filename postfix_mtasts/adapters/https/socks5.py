"""A tunnel through a SOCKS 5 proxy, spoken by PySocks; proxy.py says what else holds of proxies.

PySocks connects and negotiates on a blocking socket of its own, whose every
read gets the time that is left. What comes out is a plain socket.

Source: RFC 1928 (replies in section 6), RFC 1929.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any

import socks

from ...errors import FetchError
from ...faults import Fault
from .tls import CONNECT_LIMIT, connect_words, words
from .transfer import Fetch

TEXT_LIMIT = 127  # bytes of a name, user or password: PySocks writes a greater length wrong
_UNREACHED = (1, 3, 4, 5, 6)  # general failure, network and host unreachable, refused, TTL expired


class _Bounded(socks.socksocket):  # type: ignore[misc]  # PySocks has no types
    """A socket that reads no longer than *step* lasts."""

    step: Fetch

    def recv_into(self, *args: Any) -> int:
        self.step.check()
        if (left := self.step.remaining()) <= 0:
            raise TimeoutError
        self.settimeout(left)
        return int(super().recv_into(*args))


def tunnel(
    step: Fetch, places: Sequence[str], port: int, target: tuple[str, int], login: tuple[str, str] | None
) -> socket.socket:
    """Open a tunnel to *target* by the first of the proxy's *places* that takes a connection. Raises: FetchError."""
    if len(target[0]) > TEXT_LIMIT:
        raise step.failure(Fault.UNREACHED, "its name is too long for SOCKS")
    if any(len(text.encode()) > TEXT_LIMIT for text in login or ()):
        raise step.failure(Fault.PROXY_LOGIN, f"SOCKS takes {TEXT_LIMIT} bytes of user and password at most")
    failures = []
    for place in places:
        sock = _Bounded(socket.AF_INET6 if ":" in place else socket.AF_INET)
        sock.step = step
        step.transfer.watch(sock)
        step.check()
        sock.set_proxy(socks.SOCKS5, place, port, True, *(login or ()))
        limit = max(0.01, min(CONNECT_LIMIT, step.remaining()))
        sock.settimeout(limit)
        try:
            sock.connect(target)
        except socks.ProxyConnectionError as error:
            step.check()
            failures.append(f"{place}: {connect_words(error.socket_err, limit)}")
        except socks.ProxyError as error:
            step.check()
            raise _failure(step, error) from error
        else:
            return _plain(step, sock)
    raise step.failure(Fault.PROXY_AWAY, "; ".join(failures))


def _failure(step: Fetch, error: Any) -> FetchError:
    """Name what the proxy answered; PySocks wraps it once more where it is a socket's error too."""
    cause = error.socket_err or error
    if isinstance(cause, socks.SOCKS5AuthError):
        return step.failure(Fault.PROXY_LOGIN, cause.msg)
    if isinstance(cause, socks.SOCKS5Error):
        known = _REPLIES.get(cause.msg)
        fault = Fault.UNREACHED if known in _UNREACHED else Fault.PROXY_DENIED
        said = cause.msg.partition(": ")[2].lower()
        return step.failure(fault, f"the proxy says {said}" if fault is Fault.UNREACHED else said)
    if isinstance(cause, TimeoutError):
        return step.failure(Fault.CONNECT_LATE)
    return step.failure(Fault.PROXY_BROKEN, cause.msg.lower() if isinstance(cause, socks.ProxyError) else words(cause))


_REPLIES = {f"{number:#04x}: {text}": number for number, text in socks.SOCKS5_ERRORS.items()}  # as SOCKS5Error has them


def _plain(step: Fetch, sock: Any) -> socket.socket:
    """Take the connection out of PySocks's hands."""
    plain = socket.socket(fileno=sock.detach())
    step.transfer.watch(plain)
    step.check()
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return plain
