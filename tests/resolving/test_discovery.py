"""resolving/discovery.py: from a domain to its policy, over literal records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from postfix_mtasts.core.dnsdata import DnsAnswer
from postfix_mtasts.core.names import Domain
from postfix_mtasts.core.outcome import Absent, Failed, Found, Note, Outcome, Stage, Unchanged
from postfix_mtasts.core.ports import Sources, Transfer
from postfix_mtasts.errors import DnsError, FetchError
from postfix_mtasts.faults import Fault, Seen
from postfix_mtasts.resolving.discovery import Located, discover, locate
from tests.support.fakes.faults import dns_failed, servfail

D = Domain("example.com")
TXT = b"v=STSv1; id=2;"
BODY = b"version: STSv1\nmode: enforce\nmx: mx.example.com\nmax_age: 86400\n"
V4, V6 = "8.8.8.8", "2001:4860:4860::8888"
NOW = 1_700_000_000.0
RECORD, HOST = "_mta-sts.example.com", "mta-sts.example.com"

Records = Sequence[Any] | DnsError


@dataclass
class World:
    """DNS, a policy host, and what they were asked."""

    txt: Records = (TXT,)
    exists: bool = True
    a: Records = (V4,)
    aaaa: Records = ()
    body: bytes | FetchError = BODY
    private: bool = False
    asked: list[str] = field(default_factory=list)
    notes: list[tuple[Stage, str]] = field(default_factory=list)

    def discover(self, **how: Any) -> Outcome:
        sources = Sources(_Dns(self), _Hosts(self), lambda: NOW, self.private)  # type: ignore[arg-type]
        return discover(D, sources, note=lambda stage, seen: self.notes.append((stage, seen)), **how)


@dataclass
class _Dns:
    world: World

    def _answer(self, question: str, name: str, records: Records) -> DnsAnswer[Any]:
        self.world.asked.append(f"{question} {name}")
        if isinstance(records, DnsError):
            raise records
        return DnsAnswer(tuple(records), False, 300.0, name, self.world.exists)

    def txt(self, name: str) -> DnsAnswer[bytes]:
        return self._answer("txt", name, self.world.txt)

    def a(self, name: str) -> DnsAnswer[str]:
        return self._answer("a", name, self.world.a)

    def aaaa(self, name: str) -> DnsAnswer[str]:
        return self._answer("aaaa", name, self.world.aaaa)


@dataclass
class _Hosts:
    world: World

    def get(self, host: str, addresses: Sequence[str], note: Note, transfer: Transfer | None = None) -> bytes:
        self.world.asked.append(f"get {host} at {' '.join(addresses)}")
        if isinstance(self.world.body, FetchError):
            raise self.world.body
        return self.world.body


def test_a_policy_is_found() -> None:
    """One TXT query, two addresses, one fetch; its time is when it began."""
    world = World()
    found = world.discover()
    assert isinstance(found, Found)
    assert (found.record_id, found.fetched_at, found.policy.mx) == ("2", NOW, ("mx.example.com",))
    assert world.asked == [
        "txt _mta-sts.example.com",
        "aaaa mta-sts.example.com",
        "a mta-sts.example.com",
        f"get mta-sts.example.com at {V4}",
    ]
    assert world.notes == [
        (Stage.RECORD, "_mta-sts.example.com has id 2"),
        (Stage.POLICY, "mode enforce, max_age 86400, 1 mx patterns"),
    ]


NO_RECORD: list[tuple[str, Mapping[str, Any], Outcome]] = [
    ("no name", {"txt": (), "exists": False}, Absent(Seen(Fault.RECORD_NO_NAME, RECORD), 300.0)),
    ("no TXT", {"txt": ()}, Absent(Seen(Fault.RECORD_NONE, RECORD), 300.0)),
    (
        "others only",
        {"txt": (b"v=spf1 -all",)},
        Absent(Seen(Fault.RECORD_NONE, RECORD), 300.0),
    ),
    (
        "two",
        {"txt": (TXT, TXT)},
        Absent(Seen(Fault.RECORD_SEVERAL, value="2"), 300.0),
    ),
    ("malformed", {"txt": (b"v=STSv1;",)}, Absent(Seen(Fault.RECORD_NO_ID), 300.0)),
    ("DNS fails", {"txt": servfail()}, dns_failed()),
]


@pytest.mark.parametrize(("title", "given", "want"), NO_RECORD, ids=[row[0] for row in NO_RECORD])
def test_without_a_record_nothing_is_fetched(title: str, given: Mapping[str, Any], want: Outcome) -> None:
    """RFC 8461 section 3.1: other than exactly one valid record is as none."""
    world = World(**given)
    assert world.discover() == want
    assert world.asked == ["txt _mta-sts.example.com"]


@pytest.mark.parametrize(("title", "given", "want"), NO_RECORD, ids=[row[0] for row in NO_RECORD])
def test_a_refresh_fetches_all_the_same(title: str, given: Mapping[str, Any], want: Outcome) -> None:
    """RFC 8461 section 10.2: the policy is known, lost record or not, and keeps its id."""
    found = World(**given).discover(refetch_as="1")
    assert isinstance(found, Found)
    assert found.record_id == "1"


def test_a_refresh_takes_the_new_id() -> None:
    """Where there is one."""
    found = World().discover(refetch_as="1", avoid=["2"])
    assert isinstance(found, Found)
    assert found.record_id == "2"


def test_an_id_to_avoid_is_not_fetched() -> None:
    """It is known, or was tried a moment ago."""
    world = World()
    assert world.discover(avoid=["1", "2"]) == Unchanged("2")
    assert world.asked == ["txt _mta-sts.example.com"]
    assert isinstance(world.discover(avoid=["1", "3"]), Found)


FAILED: list[tuple[str, Mapping[str, Any], Failed]] = [
    (
        "no address",
        {"a": ()},
        Failed("2", Stage.ADDRESS, Seen(Fault.NO_ADDRESS, HOST)),
    ),
    (
        "addresses cannot be had",
        {"a": servfail("A"), "aaaa": servfail("AAAA")},
        Failed("2", Stage.ADDRESS, servfail("A").seen),
    ),
    (
        "no IPv4 address, and IPv6 cannot be had",
        {"a": (), "aaaa": servfail("AAAA")},
        Failed("2", Stage.ADDRESS, servfail("AAAA").seen),
    ),
    (
        "private addresses only",
        {"a": ("127.0.0.1", "10.0.0.1")},
        Failed(
            "2",
            Stage.ADDRESS,
            Seen(Fault.PRIVATE_ADDRESS, HOST, "127.0.0.1 is loopback, 10.0.0.1 is private (RFC 1918)"),
        ),
    ),
    (
        "a certificate of somebody else",
        {"body": FetchError(Stage.TLS, Fault.CERTIFICATE_SELF_SIGNED, HOST)},
        Failed("2", Stage.TLS, Seen(Fault.CERTIFICATE_SELF_SIGNED, HOST)),
    ),
    (
        "404",
        {"body": FetchError(Stage.HTTP, Fault.HTTP_STATUS, HOST, "404")},
        Failed("2", Stage.HTTP, Seen(Fault.HTTP_STATUS, HOST, "404")),
    ),
    (
        "no policy",
        {"body": b"<html>"},
        Failed("2", Stage.POLICY, Seen(Fault.POLICY_NO_COLON, "", "<html>", 1)),
    ),
]


@pytest.mark.parametrize(("title", "given", "want"), FAILED, ids=[row[0] for row in FAILED])
def test_a_fetch_that_fails(title: str, given: Mapping[str, Any], want: Failed) -> None:
    """The stage, the result type of RFC 8460 section 4.3.2, and a sentence."""
    assert World(**given).discover() == want


ADDRESSES: list[tuple[str, Mapping[str, Any], str]] = [
    ("IPv6 first", {"a": (V4,), "aaaa": (V6,)}, f"{V6} {V4}"),
    ("IPv6 cannot be had", {"aaaa": servfail()}, V4),
    ("IPv4 cannot be had", {"a": servfail(), "aaaa": (V6,)}, V6),
    ("a private one among others", {"a": ("10.0.0.1", V4)}, V4),
    ("private ones, permitted", {"a": ("10.0.0.1",), "private": True}, "10.0.0.1"),
    ("many", {"a": ("8.8.8.1", "8.8.8.2", "8.8.8.3")}, "8.8.8.1 8.8.8.2"),
]


@pytest.mark.parametrize(("title", "given", "want"), ADDRESSES, ids=[row[0] for row in ADDRESSES])
def test_where_to_connect(title: str, given: Mapping[str, Any], want: str) -> None:
    """Two of each family at most, and one family's failure does not matter while the other has an address."""
    world = World(**given)
    assert isinstance(world.discover(), Found)
    assert world.asked[-1] == f"get mta-sts.example.com at {want}"


def test_the_first_half_of_the_way_is_dns_alone() -> None:
    """A place among the fetches is taken only once there is somewhere to go."""
    world = World(a=(V4, "8.8.4.4"))
    sources = Sources(_Dns(world), _Hosts(world), lambda: NOW, False)  # type: ignore[arg-type]
    assert locate(D, sources) == Located("2", HOST, (V4, "8.8.4.4"))
    assert not [asked for asked in world.asked if asked.startswith("get")]


def test_a_domain_that_is_too_long_costs_no_query() -> None:
    """_mta-sts. before it would make no domain name; nor can there be such a record."""
    world = World()
    domain = Domain(".".join(["a" * 61] * 4))
    sources = Sources(_Dns(world), _Hosts(world), lambda: NOW, False)  # type: ignore[arg-type]
    outcome = discover(domain, sources)
    assert isinstance(outcome, Absent)
    assert (outcome.ttl, world.asked) == (float("inf"), [])


def test_through_a_proxy_that_goes_by_name_no_address_is_asked_for() -> None:
    """This machine may know none, and whatever it knows would not count."""
    world = World(a=("10.0.0.1",))
    sources = Sources(_Dns(world), _Hosts(world), lambda: NOW, False, by_name=True)  # type: ignore[arg-type]
    assert isinstance(discover(D, sources), Found)
    assert world.asked == [f"txt {RECORD}", f"get {HOST} at "]
