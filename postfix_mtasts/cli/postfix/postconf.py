"""Read what the Postfix on this host is set to, the way Postfix reads it.

postconf(1) expands $name and tells the -o of master.cf. How Postfix cuts
smtp_tls_policy_maps into tables is here; whether they fit our settings is
postfix_check.py's.

Source: postconf(1), postconf(5), DATABASE_README; mystrtokq() for the lists,
dict_sockmap.c for socketmap tables.
"""

from __future__ import annotations

import grp
import pwd
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

POSTCONF_SECONDS = 10  # it reads two files, and waits 2 s where they were changed just now

PARAMETERS = (
    "mail_owner",
    "mail_version",
    "proxy_read_maps",
    "queue_directory",
    "relayhost",
    "smtp_dns_support_level",
    "smtp_tls_CAfile",
    "smtp_tls_CApath",
    "smtp_tls_policy_maps",
    "smtp_tls_security_level",
    "tls_append_default_CA",
)
_COMBINING = ("pipemap", "unionmap")  # kinds of tables that are made of tables
_ADDRESS = re.compile(r"inet:(?:\[[^\]]*\]:|[^:/]*:)?[A-Za-z0-9-]+|unix:.+")


@dataclass(frozen=True, slots=True)
class Table:
    """A table of smtp_tls_policy_maps."""

    text: str  # as main.cf has it
    kind: str  # socketmap, hash, ...; empty if it has none
    rest: str  # what follows the kind
    proxied: bool = False  # read by proxymap(8), which is not chrooted
    inner: tuple[Table, ...] = ()  # of pipemap and unionmap

    @property
    def address(self) -> str:
        """Where a socketmap server listens, as written; empty if this does not name one."""
        address, _, name = self.rest.rpartition(":")
        return address if self.kind == "socketmap" and name and _ADDRESS.fullmatch(address) else ""

    @property
    def name(self) -> str:
        """The map that a socketmap server is asked for."""
        return self.rest.rpartition(":")[2] if self.address else ""

    def all(self) -> Iterator[Table]:
        """Yield this table and all that it is made of."""
        yield self
        for each in self.inner:
            yield from each.all()


@dataclass(frozen=True, slots=True)
class Service:
    """A service of master.cf that runs smtp(8)."""

    name: str
    chrooted: bool  # to queue_directory
    parameters: Mapping[str, str]  # main.cf with its own -o, $name expanded


@dataclass(frozen=True, slots=True)
class Postfix:
    """What postconf says."""

    version: tuple[int, int]
    parameters: Mapping[str, str]  # main.cf, $name expanded
    services: tuple[Service, ...]
    kinds: frozenset[str] = frozenset()  # of tables; empty: not known
    owner: str = ""  # the user that smtp(8) runs as
    groups: frozenset[int] = frozenset()  # its groups; empty: not known

    @property
    def queue(self) -> str:
        return self.parameters["queue_directory"].rstrip("/")


def ask() -> Postfix | None:
    """Return the facts; None if no postconf is on PATH. Raises: OSError with the reason if it cannot tell."""
    program = shutil.which("postconf")
    if program is None:
        return None
    questions = [("-x", *PARAMETERS), ("-x", "-P"), ("-M",), ("-m",)]
    with ThreadPoolExecutor() as threads:  # side by side: each may wait for 2 s
        main, overrides, services, kinds = threads.map(lambda question: _run(program, *question), questions)
    parameters = dict.fromkeys(PARAMETERS, "") | dict(_pairs(main))
    version = re.match(r"(\d{1,3})\.(\d{1,3})", parameters["mail_version"])
    if version is None:
        raise OSError(f"{program} names no version")
    owner = parameters["mail_owner"]
    return Postfix(
        version=(int(version[1]), int(version[2])),
        parameters=parameters,
        services=tuple(_services(services, dict(_pairs(overrides)), parameters)),
        kinds=frozenset(kinds.split()),
        owner=owner,
        groups=_groups(owner),
    )


def _run(program: str, *arguments: str) -> str:
    """Return what *program* prints. Raises: OSError."""
    try:
        done = subprocess.run([program, *arguments], capture_output=True, timeout=POSTCONF_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise OSError(f"{program} did not end within {POSTCONF_SECONDS} s") from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines() or ["it gives no reason"]
        raise OSError(f"{program} failed: {said[-1]}")
    return done.stdout.decode(errors="replace")


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    """Yield name and value of postconf's lines "name = value"."""
    for line in text.splitlines():
        name, equals, value = line.partition("=")
        if equals:
            yield name.strip(), value.strip()


def _services(master: str, overrides: Mapping[str, str], main: Mapping[str, str]) -> Iterator[Service]:
    """Yield what runs smtp(8), from `postconf -M` and `postconf -P`."""
    for line in master.splitlines():
        columns = line.split()
        if len(columns) > 7 and columns[7] == "smtp":
            place = f"{columns[0]}/{columns[1]}/"
            own = {name.removeprefix(place): value for name, value in overrides.items() if name.startswith(place)}
            yield Service(columns[0], columns[4] == "y", {**main, **own})  # "-" means n from Postfix 3.0 on


def _groups(user: str) -> frozenset[int]:
    """Return the groups of *user*, as initgroups(3) gives them to smtp(8)."""
    try:
        account = pwd.getpwnam(user)
    except KeyError:
        return frozenset()
    return frozenset({account.pw_gid} | {group.gr_gid for group in grp.getgrall() if user in group.gr_mem})


def tables(text: str) -> Iterator[Table]:
    """Yield the tables of a list in main.cf."""
    yield from map(_table, words(text))


def _table(text: str) -> Table:
    proxied = text.startswith("proxy:")
    kind, colon, rest = text.removeprefix("proxy:").partition(":")
    if not colon:
        return Table(text, "", kind, proxied)
    inner = tuple(tables(rest.strip().removeprefix("{").removesuffix("}"))) if kind in _COMBINING else ()
    return Table(text, kind, rest, proxied, inner)


def words(text: str) -> Iterator[str]:
    """Cut *text* at blanks and commas that are not in braces."""
    depth, word = 0, ""
    for letter in text:
        depth = max(0, depth + (letter == "{") - (letter == "}"))
        if depth or letter not in ", \t\r\n":
            word += letter
        elif word:
            yield word
            word = ""
    if word:
        yield word
