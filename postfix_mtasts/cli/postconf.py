"""What the Postfix on this host is set to, and what of it defeats our answers.

`ask` reads facts through postconf(1), which expands $name itself; `warnings`
judges them against our settings and asks nobody. Only tables that main.cf or
master.cf names are looked at, and of socketmap tables only ours: those that
name one of our addresses or one of our maps.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ..config.settings import MapSettings, Settings
from ..config.values import parse_listen
from ..core.quoting import quote

POSTCONF_SECONDS = 10  # it reads two files; longer means that something is broken

_PARAMETERS = (
    "mail_version",
    "queue_directory",
    "smtp_dns_support_level",
    "smtp_tls_CAfile",
    "smtp_tls_CApath",
    "smtp_tls_policy_maps",
    "smtp_tls_security_level",
    "tls_append_default_CA",
)
_TABLE = re.compile(r"(proxy:)?socketmap:((?:inet|unix):[^\s,]+):([^\s,:]+)")
_LOOPBACK = ("127.0.0.1", "[::1]")
_ANYWHERE = ("0.0.0.0", "[::]")


@dataclass(frozen=True, slots=True)
class Table:
    """A socketmap table in smtp_tls_policy_maps."""

    text: str  # as main.cf has it
    proxied: bool  # read by proxymap(8), which is not chrooted
    address: str  # "inet:..." or "unix:..." as written
    name: str  # the map


@dataclass(frozen=True, slots=True)
class Postfix:
    """What postconf says."""

    version: tuple[int, int]
    parameters: Mapping[str, str]  # main.cf, $name expanded
    tables: tuple[Table, ...]  # of main.cf and of -o in master.cf
    chrooted: tuple[str, ...]  # smtp(8) services that run in queue_directory as their root
    unchrooted: tuple[str, ...]

    @property
    def queue(self) -> str:
        return self.parameters["queue_directory"].rstrip("/")

    @property
    def level(self) -> str:
        return self.parameters["smtp_tls_security_level"]


def ask() -> Postfix | None:
    """The facts; None where no postconf is on PATH. Raises: OSError with the reason if it cannot tell."""
    program = shutil.which("postconf")
    if program is None:
        return None
    parameters = dict.fromkeys(_PARAMETERS, "") | dict(_pairs(_run(program, "-x", *_PARAMETERS)))
    overrides = [value for _, value in _pairs(_run(program, "-x", "-P", "*/*/smtp_tls_policy_maps"))]
    version = re.match(r"(\d{1,3})\.(\d{1,3})", parameters["mail_version"])
    if version is None:
        raise OSError(f"{program} names no version")
    services = [line.split() for line in _run(program, "-M").splitlines()]
    smtp = [columns for columns in services if len(columns) > 7 and columns[7] == "smtp"]
    return Postfix(
        version=(int(version[1]), int(version[2])),
        parameters=parameters,
        tables=tuple(dict.fromkeys(_tables(" ".join([parameters["smtp_tls_policy_maps"], *overrides])))),
        chrooted=tuple(columns[0] for columns in smtp if columns[4] == "y"),  # "-" means n from 3.0
        unchrooted=tuple(columns[0] for columns in smtp if columns[4] != "y"),
    )


def _run(program: str, *arguments: str) -> str:
    try:
        done = subprocess.run([program, *arguments], capture_output=True, timeout=POSTCONF_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise OSError(f"{program} did not end within {POSTCONF_SECONDS} s") from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines() or ["it gives no reason"]
        raise OSError(f"{program} failed: {said[-1]}")
    return done.stdout.decode(errors="replace")


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    """The lines "name = value" of postconf."""
    for line in text.splitlines():
        name, equals, value = line.partition("=")
        if equals:
            yield name.strip(), value.strip()


def _tables(text: str) -> Iterator[Table]:
    for word in re.split(r"[\s,]+", text):
        if match := _TABLE.fullmatch(word):
            yield Table(word, match[1] is not None, match[2], match[3])


def warnings(postfix: Postfix, settings: Settings) -> list[str]:
    """What would keep our answers from working: "PLACE: what is wrong; what would be right" each."""
    ours = [table for table in postfix.tables if _is_ours(table, postfix, settings)]
    found = [*_about_postfix(postfix)]
    for table in ours:
        found += _about_place(table, postfix, settings)
        if table.name in settings.maps:
            found += _about_map(table.name, settings, postfix)
        else:
            found.append(
                f"main.cf: {quote(table.text)}: there is no map {quote(table.name)} here, so all mail is deferred; "
                f"use one of {', '.join(settings.maps)}"
            )
    if not ours:
        address = settings.listen[0] if settings.listen else "inet:127.0.0.1:8462"
        address = address.replace(f"unix:{postfix.queue}/", "unix:")  # right whether chrooted or not
        found.append(
            "main.cf: smtp_tls_policy_maps names no map of ours, so Postfix does not ask; "
            f"add socketmap:{address}:{next(iter(settings.maps))}"
        )
    return list(dict.fromkeys(found))


def _about_postfix(postfix: Postfix) -> Iterator[str]:
    version = ".".join(map(str, postfix.version))
    if postfix.version < (3, 4):
        yield f"Postfix {version} does not know servername= and defers on it; 3.4 or later is needed"
    parameters = postfix.parameters
    if (
        not parameters["smtp_tls_CAfile"]
        and not parameters["smtp_tls_CApath"]
        and parameters["tls_append_default_CA"] != "yes"
    ):
        yield (
            "main.cf: there is no CA to verify certificates with, so mail under a policy is deferred; "
            "set smtp_tls_CAfile = /etc/ssl/certs/ca-certificates.crt or tls_append_default_CA = yes"
        )


def _about_map(name: str, settings: Settings, postfix: Postfix) -> Iterator[str]:
    wanted = settings.maps[name]
    at_dane = postfix.level in ("dane", "dane-only")
    tlsrpt = wanted.tlsrpt and postfix.version >= (3, 10)  # all advice agrees
    if wanted.tlsrpt and not tlsrpt:
        version = ".".join(map(str, postfix.version))
        other = _other(settings, MapSettings(dane=at_dane))
        yield (
            f"main.cf: map {name} has tlsrpt: true, and Postfix {version} defers all mail on its attributes, "
            f"which exist from 3.10; use {other}"
        )
    if at_dane and not wanted.dane:
        other = _other(settings, MapSettings(dane=True, tlsrpt=tlsrpt))
        yield (
            f"main.cf: smtp_tls_security_level = {postfix.level}, and map {name} would put MTA-STS in the place "
            f"of DANE (RFC 8461 section 2); use {other}"
        )
    if wanted.dane and not (at_dane and postfix.parameters["smtp_dns_support_level"] == "dnssec"):
        other = _other(settings, MapSettings(tlsrpt=tlsrpt))
        yield (
            f"main.cf: map {name} has dane: true, but Postfix does no DANE by itself; "
            f"set smtp_tls_security_level = dane and smtp_dns_support_level = dnssec, or use {other}"
        )


def _other(settings: Settings, wanted: MapSettings) -> str:
    """Which map to use in the place of another."""
    options = f"dane: {str(wanted.dane).lower()} and tlsrpt: {str(wanted.tlsrpt).lower()}"
    names = [name for name, one in settings.maps.items() if one == wanted]
    return f"the map {names[0]}" if names else f"a map with {options}"


def _is_ours(table: Table, postfix: Postfix, settings: Settings) -> bool:
    return table.name in settings.maps or any(
        _served(_place(table.address, postfix, chrooted), settings) for chrooted in (True, False)
    )


def _about_place(table: Table, postfix: Postfix, settings: Settings) -> Iterator[str]:
    """Whether those who read *table* reach an address that we listen on."""
    if not settings.listen:  # systemd holds the sockets
        return
    inside = bool(postfix.chrooted) and not table.proxied
    outside = bool(postfix.unchrooted) or table.proxied or not inside
    seen_inside = _served(_place(table.address, postfix, True), settings)
    seen_outside = _served(_place(table.address, postfix, False), settings)
    if inside and not seen_inside and seen_outside:
        path = table.address.removeprefix("unix:")
        relative = path.removeprefix(f"{postfix.queue}/")
        if relative == path:  # not below the queue directory at all
            relative = "postfix-mtasts/socketmap"
            listen = f"listen on unix:{postfix.queue}/{relative} and "
        else:
            listen = ""
        yield (
            f"main.cf: {quote(table.text)}: smtp(8) is chrooted to {quote(postfix.queue)} "
            f"({', '.join(postfix.chrooted)} in master.cf) and does not see this path; "
            f"{listen}write socketmap:unix:{relative}:{table.name}"
        )
    elif not (inside and seen_inside) and not (outside and seen_outside):
        yield (
            f"main.cf: {quote(table.text)}: listen has no such address, so mail is deferred; "
            f"listen has {', '.join(settings.listen)}"
        )


def _place(address: str, postfix: Postfix, chrooted: bool) -> str:
    """*address* of main.cf as an address in listen: for unix sockets the path outside the chroot."""
    path = address.removeprefix("unix:")
    if path != address and not path.startswith("/"):  # smtp(8) runs in the queue directory
        address = f"unix:{postfix.queue}/{path}"
    elif path != address and chrooted:
        address = f"unix:{postfix.queue}{path}"
    try:
        return parse_listen(address, {})
    except ValueError:
        return address  # nothing that we could listen on


def _served(place: str, settings: Settings) -> bool:
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
