"""The sockets that `serve` listens on: passed by systemd, or bound here, and what each is for.

`inet:[::]:443` takes IPv4 too, unless `inet:0.0.0.0:443` stands beside it; on
a machine without IPv6 it means every IPv4 address.
"""

from __future__ import annotations

import errno
import socket
from enum import StrEnum

from ..config.settings import Settings
from ..errors import ListenError
from ..process import systemd
from ..process.listeners import bind, split_inet

ANY_V6 = "::"


class Use(StrEnum):
    """What a socket is for."""

    POLICIES = "policies"
    CHALLENGES = "challenges"
    ADMIN = "admin"


def wanted(settings: Settings) -> dict[str, Use]:
    """Return the addresses that *settings* name, and what each is for. Raises: ListenError."""
    publish = settings.publish
    uses: dict[str, Use] = dict.fromkeys(publish.listen, Use.POLICIES)
    others = dict.fromkeys(publish.http_listen, Use.CHALLENGES) if publish.certificates == "acme" else {}
    if settings.admin.listen is not None:
        others[settings.admin.listen] = Use.ADMIN
    for address, use in others.items():
        if address in uses:
            raise ListenError(f"{address}: is named for {uses[address]} and for {use}; give each its own")
        uses[address] = use
    return uses


def open_sockets(settings: Settings) -> dict[socket.socket, Use]:
    """Return all sockets, bound and not yet listening. Raises: ListenError, with none left open."""
    found: dict[socket.socket, Use] = {}
    try:
        uses = wanted(settings)
        # The socket unit passes port 80 whatever certificates are: without ACME it is taken, and all of it is 404.
        spare = {address: Use.CHALLENGES for address in settings.publish.http_listen if address not in uses}
        offered = uses | spare
        for address, sock in systemd.passed_sockets().items():
            found[sock] = _take(address, sock, offered)
        for address, use in offered.items():
            if address not in spare:
                found |= dict.fromkeys(_bind(address, settings, uses), use)
    except (ListenError, OSError) as error:
        for sock in found:
            sock.close()
        raise error if isinstance(error, ListenError) else ListenError(str(error)) from None
    if Use.POLICIES not in found.values():
        raise ListenError("publish.listen is empty and systemd passed no socket for it; name an address")
    return found


def _take(address: str, sock: socket.socket, uses: dict[str, Use]) -> Use:
    """Say what a passed socket is for, and take its address off *uses*.

    It may be bound to one address where the setting names all of them: then the port tells.
    """
    if address in uses:
        return uses.pop(address)
    if sock.family != socket.AF_UNIX:
        port = sock.getsockname()[1]
        for other in uses:
            if other.startswith("inet:") and split_inet(other)[1] == port:
                return uses.pop(other)
    raise ListenError(f"{address}: systemd passed this socket, and neither publish nor admin.listen names it")


def _bind(address: str, settings: Settings, uses: dict[str, Use]) -> list[socket.socket]:
    if not address.startswith("inet:") or split_inet(address)[0] != ANY_V6:
        return bind(address, settings).socks
    port = split_inet(address)[1]
    alone = f"inet:0.0.0.0:{port}" not in uses
    try:
        sock = socket.socket(socket.AF_INET6)
    except OSError as error:
        if error.errno == errno.EAFNOSUPPORT and alone:
            return bind(f"inet:0.0.0.0:{port}", settings).socks
        raise
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if alone else 1)
        sock.bind((ANY_V6, port))
    except OSError as error:
        sock.close()
        raise ListenError(f"{address}: {error.strerror or error}") from None
    return [sock]
