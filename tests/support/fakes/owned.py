"""A domain of literal records for audits: DNS, policy host and mail hosts without a socket.

domain = Owned()                       # example.com, and everything is right
domain.records["txt", "_mta-sts.example.com"] = (b"v=STSv1;",)
report = domain.audit()
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from postfix_mtasts.config.settings import LookupSettings, MapSettings
from postfix_mtasts.core.certificate import Certificate, Presented, Shown
from postfix_mtasts.core.dnsdata import DnsAnswer, Mx
from postfix_mtasts.core.names import Domain
from postfix_mtasts.core.ports import Look
from postfix_mtasts.errors import DnsError, FetchError
from postfix_mtasts.resolving.audit.audit import Report, audit
from postfix_mtasts.resolving.audit.world import MemoDns, SharedLooks, World

D = Domain("example.com")
HOST, MX = "mta-sts.example.com", "mx.example.com"
NOW = 1_700_000_000.0
DAY = 86_400.0
POLICY = b"version: STSv1\r\nmode: enforce\r\nmx: mx.example.com\r\nmax_age: 1209600\r\n"
PUBLIC, PUBLIC_MX = "8.8.8.8", "9.9.9.9"


def certificate(*names: str, left: float = 90 * DAY, key: bytes = b"KEY") -> Certificate:
    return Certificate(names, "", "Test CA", NOW - DAY, NOW + left, False, b"DER" + key, key)


def presented(*names: str, **how: Any) -> Presented:
    return Presented("TLSv1.3", (certificate(*names, **how),))


@dataclass
class Owned:
    """What a domain publishes; literal, and right until a test changes it."""

    records: dict[tuple[str, str], Any] = field(default_factory=dict)  # by type and name: records, or a DnsError
    aliases: dict[str, str] = field(default_factory=dict)  # a name: where its alias leads
    bodies: dict[str, bytes | FetchError] = field(default_factory=dict)  # by address
    looks: dict[tuple[str, str], Look] = field(default_factory=dict)  # by host and address
    secure: bool = False
    asked: Counter[tuple[str, str]] = field(default_factory=Counter)
    looked: Counter[tuple[str, str]] = field(default_factory=Counter)
    hanging: threading.Event | None = None  # what policy hosts wait for
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.records |= {
            ("txt", f"_mta-sts.{D}"): (b"v=STSv1; id=1;",),
            ("txt", f"_smtp._tls.{D}"): (b"v=TLSRPTv1; rua=mailto:r@example.com",),
            ("a", HOST): (PUBLIC,),
            ("mx", D): (Mx(10, MX),),
            ("a", MX): (PUBLIC_MX,),
        }
        self.bodies[PUBLIC] = POLICY
        self.looks.setdefault((MX, PUBLIC_MX), Look(None, presented(MX)))

    def world(self, **options: Any) -> World:
        dns: Any = _Dns(self)
        hosts: Any = _Hosts(self)
        world = World(
            dns=MemoDns(dns),
            hosts=hosts,
            looks=SharedLooks(_Mail(self)),
            maps={"postfix": MapSettings(), "dane": MapSettings(dane=True)},
            lookup=LookupSettings(),
            clock=lambda: NOW,
            has_route=lambda address: True,
            seconds=20.0,
        )
        return replace(world, **(self.options | options))

    def audit(self, **options: Any) -> Report:
        return audit(D, self.world(**options))

    def codes(self, **options: Any) -> list[str]:
        """The codes found, dane-insecure apart, which an unsigned domain always has."""
        return [found.code for found in self.audit(**options).findings if found.code != "dane-insecure"]


class _Dns:
    def __init__(self, owned: Owned) -> None:
        self._owned = owned

    def for_dane(self) -> _Dns:
        return self

    def _ask(self, kind: str, name: str) -> DnsAnswer[Any]:
        owned = self._owned
        owned.asked[kind, name] += 1
        end = name
        while kind != "cname" and end in owned.aliases:
            end = owned.aliases[end]
        found = owned.records.get((kind, end), ())
        if kind == "cname" and name in owned.aliases:
            found = (owned.aliases[name],)
        if isinstance(found, DnsError):
            raise found
        return DnsAnswer(
            tuple(found), owned.secure, 300.0, end, bool(found) or any(key[1] == end for key in owned.records)
        )

    def __getattr__(self, kind: str) -> Any:
        return lambda name: self._ask(kind, name)


class _Hosts:
    def __init__(self, owned: Owned) -> None:
        self._owned = owned

    def get(self, host: str, addresses: Sequence[str], note: Any, transfer: Any = None) -> bytes:
        if self._owned.hanging is not None:
            self._owned.hanging.wait(10)
        body = self._owned.bodies[addresses[0]]
        if isinstance(body, FetchError):
            raise body
        return body

    def peek(self, host: str, address: str) -> Shown | None:
        return None


class _Mail:
    def __init__(self, owned: Owned) -> None:
        self._owned = owned

    def look(self, host: str, address: str, seconds: float) -> Look:
        self._owned.looked[host, address] += 1
        return self._owned.looks[host, address]
