"""Take sockets from systemd, and tell it how the service is.

Source: sd_listen_fds(3), sd_notify(3).
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

from ..errors import ListenError

FIRST_FD = 3
FAMILIES = (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX)


def passed_sockets() -> dict[str, socket.socket]:
    """Return the listening sockets of LISTEN_FDS by their address, as `listen` writes it; children get none of them.

    Raises: ListenError, with none left open.
    """
    count, ours = os.environ.pop("LISTEN_FDS", ""), os.environ.pop("LISTEN_PID", "")
    os.environ.pop("LISTEN_FDNAMES", None)
    if ours != str(os.getpid()) or not (count.isascii() and count.isdecimal()):
        return {}
    found: dict[str, socket.socket] = {}
    try:
        for descriptor in range(FIRST_FD, FIRST_FD + int(count)):
            sock = _passed(descriptor, found)
            found[address_of(sock)] = sock
    except ListenError:
        for sock in found.values():
            sock.close()
        raise
    return found


def _passed(descriptor: int, others: Mapping[str, socket.socket]) -> socket.socket:
    """Return the socket of *descriptor*, which must listen at an address of its own. Raises: ListenError."""
    wrong = f"systemd passed descriptor {descriptor}, which"
    right = "write a line ListenStream=ADDRESS for it in the socket unit"
    try:
        sock = socket.socket(fileno=descriptor)
    except OSError as error:
        raise ListenError(f"{wrong} is not a socket ({error.strerror}); {right}") from None
    try:
        if sock.family not in FAMILIES or sock.type != socket.SOCK_STREAM:
            raise ListenError(f"{wrong} is not an internet or unix stream socket; {right}")
        if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise ListenError(f"{wrong} does not listen; leave Accept=yes out of the socket unit")
        if (address := address_of(sock)) in others:
            raise ListenError(f"{wrong} is a second one for {address}; {right}")
    except ListenError:
        sock.close()
        raise
    sock.set_inheritable(False)
    return sock


def address_of(sock: socket.socket) -> str:
    """Return the address of a listening socket: unix:PATH, inet:HOST:PORT or inet:[V6]:PORT."""
    place = sock.getsockname()
    if sock.family == socket.AF_UNIX:
        return f"unix:{place if isinstance(place, str) else os.fsdecode(place)}"
    host = f"[{place[0]}]" if sock.family == socket.AF_INET6 else place[0]
    return f"inet:{host}:{place[1]}"


def watchdog_seconds() -> float | None:
    """Return within how many seconds systemd wants each sign of life; None if it wants none."""
    text = os.environ.get("WATCHDOG_USEC", "")
    return int(text) / 1e6 if text.isascii() and text.isdecimal() and int(text) else None


def notify(state: str) -> bool:
    """Tell systemd *state* (lines of KEY=VALUE); return False if it has no room for it now.

    Where no systemd listens nothing is told, and nothing is to be told later.
    """
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path:
        return True
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        sock.setblocking(False)
        try:
            sock.sendto(state.encode(), "\0" + path[1:] if path.startswith("@") else path)
        except BlockingIOError:
            return False
        except OSError:
            pass  # systemd went away; the service goes on without it
    return True
