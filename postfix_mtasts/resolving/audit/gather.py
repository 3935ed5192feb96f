"""What there is to see of one domain: DNS, policy host and mail hosts, asked side by side. Nothing is decided here.

The daemon's own pieces ask: its DNS client, its HTTPS fetch at one address at
a time, its reading of DANE, and discover() over what those brought.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ...adapters.certificates import presented
from ...adapters.https.transfer import Transfer
from ...core.addresses import forbidden
from ...core.certificate import Presented
from ...core.dane import DaneFacts
from ...core.dnsdata import DnsAnswer, Mx
from ...core.names import Domain
from ...core.outcome import Note, Outcome, Stage
from ...core.ports import Dns, Look, Sources
from ...core.ports import Transfer as AnyTransfer
from ...errors import DnsError, FetchError
from ...faults import Fault, ResultType, Seen
from .. import dane
from ..discovery import discover, record_name
from .world import Task, World

ALIASES = 16  # followed of one chain
HOSTS = 64  # MX hosts examined
ADDRESSES = 16  # examined of one host, of each family

_UNCONNECTED = (Fault.NOT_CONNECTED, Fault.UNREACHED, Fault.CONNECT_LATE)


@dataclass(frozen=True, slots=True)
class Texts:
    """The TXT records at one name, or why there is no answer."""

    name: str
    texts: tuple[bytes, ...] = ()
    failed: Seen | None = None
    aliases: tuple[str, ...] = ()  # the CNAME chain from the name on, its end last


@dataclass(frozen=True, slots=True)
class RecordSeen:
    record: Texts
    elsewhere: tuple[Texts, ...]  # at the domain itself and at the policy host


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where a host is."""

    name: str
    usable: tuple[str, ...] = ()
    forbidden: tuple[tuple[str, str], ...] = ()  # address and why senders refuse it
    no_route: tuple[str, ...] = ()  # IPv6 that this machine has no way to
    failed: tuple[Seen, ...] = ()  # DNS failures
    left_out: int = 0


@dataclass(frozen=True, slots=True)
class HostLook:
    """What the policy host answered at one address."""

    body: bytes | None
    stage: Stage = Stage.HTTP
    refused: Seen | None = None
    presented: Presented | None = None


@dataclass(frozen=True, slots=True)
class HostSeen:
    addresses: Addresses
    looks: dict[str, HostLook | None] = field(default_factory=dict)  # None: not known in time


@dataclass(frozen=True, slots=True)
class MxSeen:
    failed: Seen | None
    exists: bool = True
    null: bool = False
    hosts: tuple[str, ...] = ()  # by preference; the domain itself where there is no MX
    own: bool = False  # there is no MX
    records: tuple[Mx, ...] = ()
    aliases: dict[str, str] = field(default_factory=dict)  # an MX name and where its alias ends
    left_out: int = 0


@dataclass(frozen=True, slots=True)
class MailSeen:
    mx: MxSeen
    addresses: tuple[Addresses, ...] = ()
    looks: dict[tuple[str, str], Look | None] = field(default_factory=dict)  # by host and address


def record(domain: Domain, dns: Dns) -> RecordSeen:
    found = texts(record_name(domain), dns)
    return RecordSeen(found, tuple(_plain(name, dns) for name in (domain, f"mta-sts.{domain}")))


def texts(name: str, dns: Dns) -> Texts:
    """The TXT records at *name*, and the aliases that lead to them."""
    found = _plain(name, dns)
    return Texts(name, found.texts, found.failed, _chain(name, dns) if found.failed is None else ())


def _plain(name: str, dns: Dns) -> Texts:
    try:
        return Texts(name, dns.txt(name).records)
    except DnsError as error:
        return Texts(name, failed=error.seen)


def _chain(name: str, dns: Dns) -> tuple[str, ...]:
    """Where the alias at *name* leads, step by step."""
    chain: list[str] = []
    try:
        if dns.txt(name).name in (name, ""):
            return ()
        while len(chain) < ALIASES and (alias := dns.cname(name).records):
            name = alias[0]
            chain.append(name)
    except DnsError:
        pass
    return tuple(chain)


def addresses(name: str, world: World) -> Addresses:
    """Every A and AAAA record of *name*, sorted by what can be done with it."""
    found: list[str] = []
    failed: list[Seen] = []
    left_out = 0
    for ask in (world.dns.aaaa, world.dns.a):
        try:
            records = tuple(dict.fromkeys(ask(name).records))
        except DnsError as error:
            failed.append(error.seen)
            continue
        left_out += len(records[ADDRESSES:])
        found += records[:ADDRESSES]
    refused = {} if world.allow_private_addresses else {address: forbidden(address) for address in found}
    open_to_us = [address for address in found if not refused.get(address)]
    no_route = tuple(address for address in open_to_us if ":" in address and not world.has_route(address))
    return Addresses(
        name,
        tuple(address for address in open_to_us if address not in no_route),
        tuple((address, why) for address, why in refused.items() if why),
        no_route,
        tuple(failed),
        left_out,
    )


def host(domain: Domain, world: World, until: float) -> HostSeen:
    """The policy, asked for at every address of the policy host, or once by its name."""
    place = addresses(f"mta-sts.{domain}", world)
    found = place.usable
    if world.by_name:
        found = (place.name,) if place.usable or place.no_route else ()
        place = replace(place, no_route=())  # the proxy's way counts, not this machine's
    transfers = {address: Transfer() for address in found}
    tasks = {address: Task(_fetching(place.name, address, transfers[address], world)) for address in found}
    looks = {address: task.wait(until) for address, task in tasks.items()}
    for address, look in looks.items():
        if look is None:
            transfers[address].abort("the time for the whole domain was over")
    return HostSeen(place, looks)


def _fetching(name: str, address: str, transfer: Transfer, world: World) -> Callable[[], HostLook]:
    def fetch() -> HostLook:
        try:
            body = world.hosts.get(name, [address], lambda stage, seen: None, transfer)
        except FetchError as error:
            shown = transfer.shown
            if error.result_type is ResultType.WEBPKI_INVALID:
                shown = world.hosts.peek(name, address)
            return HostLook(None, Stage(error.stage), error.seen, presented(shown))
        return HostLook(body, Stage.HTTP, None, presented(transfer.shown))

    return fetch


class _Recorded:
    """core.ports.PolicyHosts that repeats what each address answered, in the order a sender tries them."""

    def __init__(self, looks: dict[str, HostLook | None]) -> None:
        self._looks = looks

    def get(self, host: str, addresses: Sequence[str], note: Note, transfer: AnyTransfer | None = None) -> bytes:
        said = []
        for address in addresses or self._looks:  # none where the name alone is known
            look = self._looks.get(address)
            if look is not None and look.body is not None:
                return look.body
            refused = look.refused if look is not None else None
            if look is not None and refused is not None and refused.fault not in _UNCONNECTED:
                raise FetchError(look.stage, refused.fault, refused.subject, refused.value)
            said.append(refused.value if refused is not None else f"{address}: not tried")
        raise FetchError(Stage.ADDRESS, Fault.NOT_CONNECTED, host, "; ".join(said))


def outcome(domain: Domain, world: World, seen: HostSeen) -> Outcome:
    """What the daemon's lookup ends in, by what was seen at the policy host."""
    hosts: Any = _Recorded(seen.looks)
    return discover(domain, Sources(world.dns, hosts, world.clock, world.allow_private_addresses, world.by_name))


def mx(domain: Domain, dns: Dns) -> MxSeen:
    try:
        answer: DnsAnswer[Mx] = dns.mx(domain)
    except DnsError as error:
        return MxSeen(error.seen)
    ordered = tuple(sorted(answer.records, key=lambda each: (each.preference, each.host)))
    if not ordered:
        return MxSeen(None, answer.exists, hosts=(domain,) if answer.exists else (), own=True)
    names = tuple(dict.fromkeys(each.host for each in ordered if each.host))
    aliases = {name: end for name in names[:HOSTS] if (end := _alias(name, dns))}
    return MxSeen(None, True, not names, names[:HOSTS], False, ordered, aliases, len(names[HOSTS:]))


def _alias(name: str, dns: Dns) -> str:
    """Where the alias at *name* leads, "" where there is none."""
    try:
        answer = dns.a(name)
        if answer.name != name:
            return answer.name
        found = dns.cname(name).records
        return found[0] if found else ""
    except DnsError:
        return ""


def mail(domain: Domain, world: World, until: float) -> MailSeen:
    """Every address of every MX host, each greeted once in this run."""
    found = mx(domain, world.dns)
    tasks = [Task(_addressing(name, world)) for name in found.hosts]
    places = tuple(place for task in tasks if (place := task.wait(until)) is not None)
    if world.looks is None:
        return MailSeen(found, places)
    left = until - time.monotonic()
    looking = {
        (place.name, address): world.looks.look(place.name, address, left)
        for place in places
        for address in place.usable
    }
    return MailSeen(found, places, {key: task.wait(until) for key, task in looking.items()})


def _addressing(name: str, world: World) -> Callable[[], Addresses]:
    return lambda: addresses(name, world)


def dane_facts(domain: Domain, world: World) -> DaneFacts:
    return dane.facts(domain, world.port, world.dns, beside=dane.in_a_thread)
