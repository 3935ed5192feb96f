"""Judge what in main.cf and master.cf would defeat our answers.

Facts come from postconf.py; beside them this looks at the files that they
name: tables, CA certificates, our unix socket. Of tables whose names say that
they are not ours, only that is told which keeps ours from being asked.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from ...config.settings import MapSettings, Settings
from ...core.quoting import quote
from .groups import Group, Misfit, groups
from .postconf import Postfix, Service, Table, tables, words
from .reach import about_place, is_ours, place_of, served

_MAPS = "smtp_tls_policy_maps"
_LEVEL, _DNS = "smtp_tls_security_level", "smtp_dns_support_level"
_CAS = ("smtp_tls_CAfile", "smtp_tls_CApath", "tls_append_default_CA")
_FILES = {  # kinds of tables that are files, and how the file's name ends
    "hash": ".db",
    "btree": ".db",
    "cdb": ".cdb",
    "lmdb": ".lmdb",
    "dbm": ".pag",
    "sdbm": ".pag",
    "texthash": "",
    "regexp": "",
    "pcre": "",
    "cidr": "",
}


def misfits(postfix: Postfix, settings: Settings) -> list[Misfit]:
    """Return all that would defeat our answers."""
    found = list(_about_version(postfix))
    asking: list[Service] = []
    for group in groups(postfix, postfix.services, _MAPS):
        listed = list(tables(group.parameters[_MAPS]))
        broken = [
            misfit for table in listed for each in table.all() for misfit in _broken(group, each, postfix, settings)
        ]
        if any(is_ours(each, postfix, settings) for table in listed for each in table.all()):
            found += broken
            found += _about_order(group, listed, postfix, settings)
            asking += group.services
        elif any(_tries(table, postfix, settings) for table in listed):
            found += broken
            asking += group.services
    if not asking:
        found.append(_nobody_asks(postfix, settings))
        asking = list(postfix.services)
    for group in groups(postfix, asking, _MAPS, _LEVEL, _DNS):
        for table in tables(group.parameters[_MAPS]):
            for each in table.all():
                if is_ours(each, postfix, settings):
                    found += _about_map(group, each, settings, postfix)
    for group in groups(postfix, asking, *_CAS):
        found += _about_cas(group)
    found += _about_relayhost(postfix, settings)
    return list(dict.fromkeys(found))


def _about_version(postfix: Postfix) -> Iterator[Misfit]:
    if postfix.version < (3, 4):
        version = ".".join(map(str, postfix.version))
        yield Misfit("", f"Postfix {version} does not know servername= and defers on it", "3.4 or later is needed")


def _nobody_asks(postfix: Postfix, settings: Settings) -> Misfit:
    return Misfit(
        "main.cf", f"{_MAPS} names no map of ours, so Postfix does not ask", f"add {_line(postfix, settings)}"
    )


def _line(postfix: Postfix, settings: Settings) -> str:
    """Return a table as it should stand in main.cf."""
    address = settings.listen[0] if settings.listen else "inet:127.0.0.1:8462"
    address = address.replace(f"unix:{postfix.queue}/", "unix:")  # right whether chrooted or not
    return f"socketmap:{address}:{next(iter(settings.maps))}"


# -- single tables ------------------------------------------------------------


def _broken(group: Group, table: Table, postfix: Postfix, settings: Settings) -> Iterator[Misfit]:
    """Tell what makes every lookup in *table* fail."""
    text, waits = quote(table.text), "so all mail waits"
    example = "write socketmap:ADDRESS:MAP, such as socketmap:inet:127.0.0.1:8462:postfix"
    if table.text[0] in "\"'":
        yield Misfit(group.place, f"{text}: Postfix takes quotes as a part of the name, {waits}", "take them out")
    elif not table.kind:
        yield Misfit(group.place, f"{text}: a table needs a type, lookups fail, {waits}", example)
    elif table.kind in ("inet", "unix") and not table.rest.endswith(".byname"):
        yield Misfit(
            group.place, f"{text}: Postfix has no such table, lookups fail, {waits}", f"write socketmap:{text}"
        )
    elif postfix.kinds and table.kind not in postfix.kinds:
        ours = _tries(table, postfix, settings)
        yield Misfit(
            group.place,
            f"{text}: Postfix has no table of type {quote(table.kind)}, lookups fail, {waits}",
            example if ours else "install what it needs (`postconf -m` lists what there is), or take it out",
        )
    elif table.kind == "socketmap" and not table.address:
        yield Misfit(
            group.place, f"{text}: the address or the map's name is missing, smtp(8) dies on it, {waits}", example
        )
    elif table.kind == "tcp" and served(f"inet:{table.rest}", settings):
        yield Misfit(
            group.place,
            f"{text}: tcp_table(5) is another protocol than ours, lookups fail, {waits}",
            f"write socketmap:inet:{table.rest}:{next(iter(settings.maps))}",
        )
    elif table.kind in _FILES and table.rest.startswith("/") and _is_missing(table.rest + _FILES[table.kind]):
        file = table.rest + _FILES[table.kind]
        make = f"make it with `postmap {quote(table.rest)}`" if _FILES[table.kind] else "make it"
        yield Misfit(
            group.place, f"{text}: there is no file {quote(file)}, lookups fail, {waits}", f"{make}, or take it out"
        )


def _tries(table: Table, postfix: Postfix, settings: Settings) -> bool:
    """Whether *table* is meant to be ours, though Postfix cannot read it so."""
    text = table.text.strip("\"'").removeprefix("proxy:").removeprefix("socketmap:").replace("tcp:", "inet:")
    address, _, name = text.replace("/", ":").rpartition(":")
    addresses = (text, text.rpartition(":")[0], address, text.rpartition("/")[0])
    return name in settings.maps or any(
        served(place_of(each, postfix, chrooted), settings) for each in addresses for chrooted in (False, True)
    )


def _is_missing(path: str) -> bool:
    """Whether there is certainly nothing at *path*."""
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        pass  # this user cannot see it, Postfix may
    return False


# -- tables beside each other ----------------------------------------------------


def _about_order(group: Group, listed: Sequence[Table], postfix: Postfix, settings: Settings) -> Iterator[Misfit]:
    """Tell what keeps our table from being asked as it should."""
    asked = False
    for table in reversed(listed):
        text = quote(table.text)
        ours = [each for each in table.all() if is_ours(each, postfix, settings)]
        asked = asked or bool(ours)
        if (
            asked
            and not ours
            and table.kind != "pipemap"
            and {each.kind for each in table.all()} & {"static", "randmap"}
        ):
            yield Misfit(
                group.place,
                f"{text} answers for every domain and stands in front, so no policy is ever asked for",
                "put it behind ours",
            )
        if ours and table.kind == "pipemap":
            yield Misfit(
                group.place,
                f"{text}: pipemap gives one table's answer to the next one as its key, which is no use with ours",
                "list the tables one after another",
            )
        if ours and table.kind == "unionmap":
            yield Misfit(
                group.place,
                f"{text}: unionmap joins the answers of its tables, and mail waits where two of them answer",
                "list the tables one after another",
            )
        if ours and table.proxied and table.text not in words(postfix.parameters["proxy_read_maps"]):
            yield Misfit(
                group.place,
                f"{text}: proxymap(8) does not let smtp(8) read this table, so all mail waits",
                f"add it to proxy_read_maps, or write {quote(table.text.removeprefix('proxy:'))}",
            )
        for each in ours:
            yield from about_place(group, each, postfix, settings)


# -- the map and the site's level ------------------------------------------------


def _about_map(group: Group, table: Table, settings: Settings, postfix: Postfix) -> Iterator[Misfit]:
    name, parameters = table.name, group.parameters
    wanted = settings.maps.get(name)
    if wanted is None:
        yield Misfit(
            group.place,
            f"{quote(table.text)}: there is no map {quote(name)} here, so all mail is deferred",
            f"use one of {', '.join(settings.maps)}",
        )
        return
    level = parameters[_LEVEL]
    at_dane = level in ("dane", "dane-only")
    tlsrpt = wanted.tlsrpt and postfix.version >= (3, 10)  # all advice agrees
    if wanted.tlsrpt and not tlsrpt:
        version = ".".join(map(str, postfix.version))
        yield Misfit(
            group.place,
            f"map {name} has tlsrpt: true, and Postfix {version} defers all mail on its attributes, "
            "which exist from 3.10",
            f"use {_other(settings, MapSettings(dane=at_dane))}",
        )
    if at_dane and not wanted.dane:
        yield Misfit(
            group.place,
            f"{_LEVEL} = {level}, and map {name} would put MTA-STS in the place of DANE (RFC 8461 section 2)",
            f"use {_other(settings, MapSettings(dane=True, tlsrpt=tlsrpt))}",
        )
    if wanted.dane and not (at_dane and parameters[_DNS] == "dnssec"):
        yield Misfit(
            group.place,
            f"map {name} has dane: true, but Postfix does no DANE by itself",
            f"set {_LEVEL} = dane and {_DNS} = dnssec, or use {_other(settings, MapSettings(tlsrpt=tlsrpt))}",
        )


def _other(settings: Settings, wanted: MapSettings) -> str:
    """Say which map to use in the place of another."""
    options = f"dane: {str(wanted.dane).lower()} and tlsrpt: {str(wanted.tlsrpt).lower()}"
    names = [name for name, one in settings.maps.items() if one == wanted]
    return f"the map {names[0]}" if names else f"a map with {options}"


def _about_cas(group: Group) -> Iterator[Misfit]:
    file, directory, default = (group.parameters[name] for name in _CAS)
    set_one = "set smtp_tls_CAfile = /etc/ssl/certs/ca-certificates.crt"
    if file and _is_missing(file):
        yield Misfit(
            group.place,
            f"smtp_tls_CAfile = {quote(file)}: there is no such file, smtp(8) then uses no TLS at all, "
            "and mail under a policy waits",
            set_one,
        )
    elif not file and default != "yes" and (not directory or _is_missing(directory)):
        yield Misfit(
            group.place,
            "there is no CA to verify certificates with, so mail under a policy is deferred",
            f"{set_one} or tls_append_default_CA = yes",
        )


def _about_relayhost(postfix: Postfix, settings: Settings) -> Iterator[Misfit]:
    host = postfix.parameters["relayhost"]
    first = next(tables(postfix.parameters[_MAPS]), None)
    if host.startswith("[") and first is not None and is_ours(first, postfix, settings):
        yield Misfit(
            "main.cf",
            f"relayhost = {quote(host)}: mail goes to this host, which has no policy, and no policy of a recipient's "
            "domain is asked for",
            f"put a table in front that holds `{host} secure`",
        )
