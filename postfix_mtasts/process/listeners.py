"""Binding the addresses that Postfix connects to: inet:HOST:PORT and unix:PATH.

Rule: a stale unix socket is replaced; a living daemon's socket, or a file
that is no socket, never.
"""

from __future__ import annotations

import errno
import grp
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..config.settings import Settings
from ..errors import ListenError

SUN_PATH_LIMIT = 107  # bytes of a unix socket's path, without its final NUL


def split_inet(address: str) -> tuple[str, int]:
    """Host and port of a checked "inet:HOST:PORT" or "inet:[V6]:PORT", with or without "inet:"."""
    host, _, port = address.removeprefix("inet:").rpartition(":")
    return host.strip("[]"), int(port)


def bind(address: str, settings: Settings) -> list[socket.socket]:
    """Sockets bound to *address*, not yet listening. Raises: ListenError."""
    try:
        if address.startswith("unix:"):
            return [_bind_unix(Path(address.removeprefix("unix:")), settings)]
        return _bind_inet(*split_inet(address))
    except OSError as error:
        raise ListenError(f"{address}: {error.strerror or error}") from None


def _bind_inet(host: str, port: int) -> list[socket.socket]:
    socks: list[socket.socket] = []
    try:
        for family, kind, protocol, _, place in socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        ):
            sock = socket.socket(family, kind, protocol)
            socks.append(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind(place)
    except OSError:
        for sock in socks:
            sock.close()
        raise
    return socks


def _bind_unix(path: Path, settings: Settings) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    try:
        with short(path) as name:
            _remove_stale(path, name)
            before = os.umask(0o777)  # nobody connects before mode and group are right
            try:
                sock.bind(name)
            finally:
                os.umask(before)
        set_permissions(path, settings)
    except (OSError, ListenError):
        sock.close()
        raise
    return sock


def set_permissions(path: Path, settings: Settings) -> None:
    """Give the unix socket at *path* socket_group and socket_mode. Raises: OSError, ListenError."""
    if settings.socket_group is not None:
        try:
            group = grp.getgrnam(settings.socket_group).gr_gid
        except KeyError:
            raise ListenError(f"socket_group: there is no group {settings.socket_group}") from None
        os.chown(path, -1, group)
    os.chmod(path, settings.socket_mode)


def _remove_stale(path: Path, name: str) -> None:
    """Make room for a socket at *path* if what is there is a socket that nobody answers."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(status.st_mode):
        raise ListenError(f"unix:{path}: a file that is no socket is there; remove it, or choose another path")
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)  # a full backlog says EAGAIN: somebody lives there
        if probe.connect_ex(name) != errno.ECONNREFUSED:
            raise ListenError(f"unix:{path}: another process listens there; stop it, or choose another path")
    os.unlink(path)


@contextmanager
def short(path: Path) -> Iterator[str]:
    """A name of *path* that fits into a socket address, however deep the path is."""
    if len(os.fsencode(path)) <= SUN_PATH_LIMIT:
        yield str(path)
        return
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)


def unlink_ours(address: str, inode: int) -> None:
    """Remove the socket file of *address* if it is still the one with *inode*."""
    path = address.removeprefix("unix:")
    try:
        if os.lstat(path).st_ino == inode:
            os.unlink(path)
    except OSError:
        pass  # gone already, or not ours to remove
