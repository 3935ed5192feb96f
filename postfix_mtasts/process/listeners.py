"""Bind addresses: inet:HOST:PORT, inet:[V6]:PORT and unix:PATH.

Rule 1: a stale unix socket is replaced; a living daemon's socket, or a file
        that is not a socket, never.
Rule 2: no symbolic link is followed at a unix socket's own name. Mode and
        owner are changed through a descriptor of the file that was bound, and
        only that file is removed: what stands at the path later may be
        somebody else's.
"""

from __future__ import annotations

import errno
import grp
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from ..config.settings import Settings
from ..errors import ListenError

SUN_PATH_LIMIT = 107  # bytes of a unix socket's path, without its final NUL


def split_inet(address: str) -> tuple[str, int]:
    """Return host and port of a checked "inet:HOST:PORT" or "inet:[V6]:PORT"; "inet:" may be missing."""
    host, _, port = address.removeprefix("inet:").rpartition(":")
    return host.strip("[]"), int(port)


def holds(sock: socket.socket, address: str) -> bool:
    """Tell whether *sock* already accepts the connections to *address*, so that it cannot be bound as well."""
    place = sock.getsockname()
    if address.startswith("unix:"):
        return sock.family == socket.AF_UNIX and _real(os.fsdecode(place)) == _real(address.removeprefix("unix:"))
    host, port = split_inet(address)
    if sock.family not in (socket.AF_INET, socket.AF_INET6) or place[1] != port:
        return False
    theirs = ip_address(place[0].partition("%")[0])
    both = sock.family == socket.AF_INET6 and not sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
    try:
        ours = {ip_address(found[4][0].partition("%")[0]) for found in _resolve(host, port)}
    except OSError:  # bind() tells
        return False
    return all(each == theirs or (theirs.is_unspecified and (both or each.version == theirs.version)) for each in ours)


def _real(path: str) -> str:
    """Resolve symbolic links in the directory of *path*, not in its last name."""
    return os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))


def _resolve(host: str, port: int) -> list[tuple[int, int, int, str, tuple[Any, ...]]]:
    return list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE))


@dataclass(frozen=True, slots=True)
class Bound:
    """The sockets that an address was bound to."""

    socks: list[socket.socket]  # not yet listening
    file: SocketFile | None  # of a unix socket

    def give_back(self) -> None:
        """Close all of it."""
        for sock in self.socks:
            sock.close()
        if self.file is not None:
            self.file.remove()


class SocketFile:
    """The file of a unix socket that this process bound."""

    def __init__(self, path: Path) -> None:
        """Open the file at *path*, which must have been bound just now. Raises: OSError, ListenError."""
        self._path = path
        self._descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        if not stat.S_ISSOCK(os.fstat(self._descriptor).st_mode):
            self.close()
            raise ListenError(f"unix:{path}: somebody else replaces the socket; choose a directory of your own")

    def in_place(self) -> bool:
        """Tell whether its path still leads to it."""
        try:
            return os.path.samestat(os.lstat(self._path), os.fstat(self._descriptor))
        except FileNotFoundError:
            return False

    def set_permissions(self, settings: Settings) -> None:
        """Give it socket_group and socket_mode. Raises: OSError, ListenError."""
        file = f"/proc/self/fd/{self._descriptor}"
        if settings.socket_group is not None:
            try:
                group = grp.getgrnam(settings.socket_group).gr_gid
            except KeyError:
                raise ListenError(f"socket_group: there is no group {settings.socket_group}") from None
            os.chown(file, -1, group)
        os.chmod(file, settings.socket_mode)

    def remove(self) -> None:
        """Close it, and remove it if it is still in place."""
        try:
            if self.in_place():
                os.unlink(self._path)
        except OSError:
            pass  # the directory is not ours any more
        self.close()

    def close(self) -> None:
        os.close(self._descriptor)


def bind(address: str, settings: Settings) -> Bound:
    """Bind *address*; nothing listens yet. Raises: ListenError."""
    try:
        if address.startswith("unix:"):
            return _bind_unix(Path(address.removeprefix("unix:")), settings)
        return Bound(_bind_inet(*split_inet(address)), None)
    except OSError as error:
        raise ListenError(f"{address}: {error.strerror or error}") from None


def _bind_inet(host: str, port: int) -> list[socket.socket]:
    socks: list[socket.socket] = []
    try:
        for family, kind, protocol, _, place in _resolve(host, port):
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


def _bind_unix(path: Path, settings: Settings) -> Bound:
    sock = socket.socket(socket.AF_UNIX)
    try:
        with short(path) as name:
            _remove_stale(path, name)
            before = os.umask(0o777)  # nobody connects before mode and group are right
            try:
                sock.bind(name)
            finally:
                os.umask(before)
        file = SocketFile(path)
        try:
            file.set_permissions(settings)
        except (OSError, ListenError):
            file.remove()
            raise
    except (OSError, ListenError):
        sock.close()
        raise
    return Bound([sock], file)


def _remove_stale(path: Path, name: str) -> None:
    """Remove the socket at *path* if nobody listens on it. Raises: OSError, ListenError for anything else."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(status.st_mode):
        raise ListenError(f"unix:{path}: a file that is not a socket is there; remove it, or choose another path")
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)  # a full backlog says EAGAIN: somebody lives there
        if probe.connect_ex(name) != errno.ECONNREFUSED:
            raise ListenError(f"unix:{path}: another process listens there; stop it, or choose another path")
    os.unlink(path)


@contextmanager
def short(path: Path) -> Iterator[str]:
    """Yield a name for *path* that fits into a socket address, however deep the path is."""
    if len(os.fsencode(path)) <= SUN_PATH_LIMIT:
        yield str(path)
        return
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)
