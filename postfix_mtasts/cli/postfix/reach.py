"""Whether Postfix reaches one of our addresses: by its place, the chroot, and who may open the unix socket."""

from __future__ import annotations

import grp
import os
import re
import stat
from collections.abc import Iterator

from ...config.settings import Settings
from ...config.values import parse_listen
from ...core.quoting import quote
from .groups import Group, Misfit
from .postconf import Postfix, Table

_LOOPBACK = ("127.0.0.1", "[::1]")
_ANYWHERE = ("0.0.0.0", "[::]")


def about_place(group: Group, table: Table, postfix: Postfix, settings: Settings) -> Iterator[Misfit]:
    """Tell if those who read *table* do not reach an address that we listen on."""
    if not settings.listen:  # systemd holds the sockets
        return
    inside = bool(group.chrooted) and not table.proxied
    outside = bool(group.unchrooted) or table.proxied or not inside
    seen_inside = served(place_of(table.address, postfix, True), settings)
    seen_outside = served(place_of(table.address, postfix, False), settings)
    if inside and not seen_inside and seen_outside:
        path = table.address.removeprefix("unix:")
        relative = path.removeprefix(f"{postfix.queue}/")
        if relative == path:  # not below the queue directory at all
            relative = "postfix-mtasts/socketmap"
            listen = f"listen on unix:{postfix.queue}/{relative} and "
        else:
            listen = ""
        yield Misfit(
            group.place,
            f"{quote(table.text)}: smtp(8) is chrooted to {quote(postfix.queue)} "
            f"({', '.join(group.chrooted)} in master.cf) and does not see this path",
            f"{listen}write socketmap:unix:{relative}:{table.name}",
        )
    elif not (inside and seen_inside) and not (outside and seen_outside):
        yield Misfit(
            group.place,
            f"{quote(table.text)}: listen has no such address, so mail is deferred",
            f"listen has {', '.join(settings.listen)}",
        )
    else:
        yield from _about_permission(group, table, place_of(table.address, postfix, seen_inside), postfix, settings)


def _about_permission(group: Group, table: Table, place: str, postfix: Postfix, settings: Settings) -> Iterator[Misfit]:
    """Tell if the user that smtp(8) runs as may not connect to our unix socket."""
    path = place.removeprefix("unix:")
    if path == place or not postfix.groups:
        return
    for directory in _parents(path):
        found = _stat(directory)
        if found is not None and not _may(found.st_mode, found.st_gid, postfix, stat.S_IXGRP, stat.S_IXOTH):
            yield Misfit(
                group.place,
                f"{quote(table.text)}: user {postfix.owner} may not enter {quote(directory)}, so all mail waits",
                f"let it in, as by `chgrp {postfix.owner} {quote(directory)}` and `chmod g+x {quote(directory)}`",
            )
            return
    mode, gid = _of_socket(path, settings)
    if not _may(mode, gid, postfix, stat.S_IWGRP, stat.S_IWOTH):
        yield Misfit(
            group.place,
            f"{quote(table.text)}: user {postfix.owner} may not connect to this socket (mode "
            f"{stat.S_IMODE(mode):04o}), so all mail waits",
            f"set socket_group: {postfix.owner}",
        )


def _parents(path: str) -> list[str]:
    """Return the directories above *path*, the outermost first."""
    parts = path.split("/")[1:-1]
    return ["/" + "/".join(parts[: number + 1]) for number in range(len(parts))]


def _of_socket(path: str, settings: Settings) -> tuple[int, int | None]:
    """Return mode and group of our socket: as it is, else as the daemon will make it."""
    found = _stat(path)
    if found is not None and stat.S_ISSOCK(found.st_mode):
        return found.st_mode, found.st_gid
    above = _stat(os.path.dirname(path))
    gid = above.st_gid if above is not None and above.st_mode & stat.S_ISGID else None
    if settings.socket_group is not None:
        gid = grp.getgrnam(settings.socket_group).gr_gid
    return settings.socket_mode, gid


def _may(mode: int, gid: int | None, postfix: Postfix, group: int, other: int) -> bool:
    return bool(mode & other or (mode & group and gid in postfix.groups))


def _stat(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except OSError:
        return None


def is_ours(table: Table, postfix: Postfix, settings: Settings) -> bool:
    if not table.address:
        return False
    return table.name in settings.maps or any(
        served(place_of(table.address, postfix, chrooted), settings) for chrooted in (True, False)
    )


def place_of(address: str, postfix: Postfix, chrooted: bool) -> str:
    """Return *address* of main.cf as an address in listen: for unix sockets the path outside the chroot."""
    path = address.removeprefix("unix:")
    if path != address and not path.startswith("/"):  # smtp(8) runs in the queue directory
        address = f"unix:{postfix.queue}/{path}"
    elif path != address and chrooted:
        address = f"unix:{postfix.queue}{path}"
    try:
        return parse_listen(address, {})
    except ValueError:
        return address  # nothing that we could listen on


def served(place: str, settings: Settings) -> bool:
    """Whether we listen on *place*; of names other than localhost only the port is compared."""
    if place in settings.listen:
        return True
    host, port = _split(place)
    for listen in settings.listen:
        other_host, other_port = _split(listen)
        if place.startswith("inet:") and listen.startswith("inet:") and port == other_port:
            if other_host in _ANYWHERE or _is_name(host) or _is_name(other_host):
                return True
            if "localhost" in (host, other_host) and (host in _LOOPBACK or other_host in _LOOPBACK):
                return True
    return False


def _split(place: str) -> tuple[str, str]:
    host, _, port = place.removeprefix("inet:").rpartition(":")
    return host, port


def _is_name(host: str) -> bool:
    """Whether *host* is a name that only its resolver knows."""
    return host != "localhost" and not host.startswith("[") and not re.fullmatch(r"[0-9.]+", host)
