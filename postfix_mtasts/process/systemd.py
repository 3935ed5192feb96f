"""systemd's side of a service: sockets passed in, and notices sent out.

Source: sd_listen_fds(3), sd_notify(3).
"""

from __future__ import annotations

import contextlib
import os
import socket

FIRST_FD = 3


def passed_sockets() -> dict[str, socket.socket]:
    """The listening sockets of LISTEN_FDS by their address, as `listen` writes it; none are left for children."""
    count, ours = os.environ.pop("LISTEN_FDS", ""), os.environ.pop("LISTEN_PID", "")
    os.environ.pop("LISTEN_FDNAMES", None)
    if ours != str(os.getpid()) or not count.isdigit():
        return {}
    socks = [socket.socket(fileno=fd) for fd in range(FIRST_FD, FIRST_FD + int(count))]
    for sock in socks:
        os.set_inheritable(sock.fileno(), False)
    return {address_of(sock): sock for sock in socks}


def address_of(sock: socket.socket) -> str:
    """The address of a listening socket: unix:PATH, inet:HOST:PORT or inet:[V6]:PORT."""
    place = sock.getsockname()
    if sock.family == socket.AF_UNIX:
        return f"unix:{place if isinstance(place, str) else os.fsdecode(place)}"
    host = f"[{place[0]}]" if sock.family == socket.AF_INET6 else place[0]
    return f"inet:{host}:{place[1]}"


def notify(state: str) -> None:
    """Tell systemd *state* (lines of KEY=VALUE); nothing where no systemd listens."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        sock.setblocking(False)
        with contextlib.suppress(OSError):  # a notice lost is a notice lost: the service goes on
            sock.sendto(state.encode(), "\0" + path[1:] if path.startswith("@") else path)
