"""resolving/audit/gather.py: what is asked, of whom, and what becomes of the answers."""

from __future__ import annotations

import time

from postfix_mtasts.core.dnsdata import Mx
from postfix_mtasts.core.outcome import Failed, Found, Stage
from postfix_mtasts.errors import FetchError
from postfix_mtasts.faults import Fault
from postfix_mtasts.resolving.audit import gather
from tests.support.fakes.faults import servfail
from tests.support.fakes.owned import HOST, MX, POLICY, PUBLIC, D, Owned


def soon() -> float:
    return time.monotonic() + 10


def test_addresses_are_sorted_by_what_can_be_done_with_them() -> None:
    """Public ones, private ones, those without a route, DNS failures; each address once."""
    owned = Owned()
    owned.records["a", HOST] = (PUBLIC, "10.0.0.1", PUBLIC)
    owned.records["aaaa", HOST] = ("2001:4860:4860::8888",)
    found = gather.addresses(HOST, owned.world(has_route=lambda address: False))
    assert found.usable == (PUBLIC,)
    assert [address for address, _ in found.forbidden] == ["10.0.0.1"]
    assert found.no_route == ("2001:4860:4860::8888",)
    owned.records["aaaa", HOST] = servfail()
    assert [seen.fault for seen in gather.addresses(HOST, owned.world()).failed] == [Fault.DNS_SERVFAIL]
    allowed = gather.addresses(HOST, owned.world(allow_private_addresses=True))
    assert allowed.usable == (PUBLIC, "10.0.0.1")


def test_a_flood_of_addresses_and_hosts_is_cut() -> None:
    """DNS is hostile input; what is left out is counted."""
    owned = Owned()
    owned.records["a", HOST] = tuple(f"8.8.{a}.{b}" for a in range(4) for b in range(50))
    found = gather.addresses(HOST, owned.world())
    assert (len(found.usable), found.left_out) == (gather.ADDRESSES, 200 - gather.ADDRESSES)
    owned.records["mx", D] = tuple(Mx(number, f"mx{number}.example.com") for number in range(100))
    mx = gather.mx(D, owned.world().dns)
    assert (len(mx.hosts), mx.left_out) == (gather.HOSTS, 100 - gather.HOSTS)


def test_an_alias_is_followed_step_by_step() -> None:
    """To its end, and no further than the limit where there is none."""
    owned = Owned(aliases={"_mta-sts.example.com": "a.example", "a.example": "b.example"})
    owned.records["txt", "b.example"] = owned.records["txt", "_mta-sts.example.com"]
    assert gather.record(D, owned.world().dns).record.aliases == ("a.example", "b.example")
    assert gather.record(D, Owned().world().dns).record.aliases == ()


def test_mx_hosts_come_by_preference_and_aliases_are_named() -> None:
    """Null MX, no MX and no answer are told apart."""
    owned = Owned(aliases={"b.example.com": "c.example.com"})
    owned.records["mx", D] = (Mx(20, "b.example.com"), Mx(10, "a.example.com"), Mx(10, "a.example.com"))
    found = gather.mx(D, owned.world().dns)
    assert (found.hosts, found.aliases) == (("a.example.com", "b.example.com"), {"b.example.com": "c.example.com"})
    owned.records["mx", D] = (Mx(0, ""),)
    assert gather.mx(D, owned.world().dns).null
    owned.records["mx", D] = ()
    found = gather.mx(D, owned.world().dns)
    assert (found.own, found.hosts) == (True, (D,))
    owned.records["mx", D] = servfail()
    assert gather.mx(D, owned.world().dns).failed is not None


def test_every_address_of_the_policy_host_is_asked() -> None:
    """The outcome goes by the first that takes a connection, as a sender's does."""
    owned = Owned()
    owned.records["a", HOST] = ("8.8.8.1", PUBLIC)
    owned.bodies["8.8.8.1"] = FetchError(Stage.ADDRESS, Fault.NOT_CONNECTED, HOST, "8.8.8.1: refused")
    world = owned.world()
    seen = gather.host(D, world, soon())
    assert set(seen.looks) == {"8.8.8.1", PUBLIC}
    outcome = gather.outcome(D, world, seen)
    assert isinstance(outcome, Found)
    assert outcome.policy.text == POLICY.decode().replace("\r\n", "\n").strip()
    owned.bodies["8.8.8.1"] = FetchError(Stage.HTTP, Fault.HTTP_STATUS, HOST, "404")
    failed = gather.outcome(D, world, gather.host(D, world, soon()))
    assert isinstance(failed, Failed)
    assert failed.seen.fault is Fault.HTTP_STATUS


def test_mail_hosts_are_looked_at_at_each_address() -> None:
    """Or not at all."""
    owned = Owned()
    owned.records["a", MX] = ("9.9.9.9", "9.9.9.10")
    owned.looks[MX, "9.9.9.10"] = owned.looks[MX, "9.9.9.9"]
    assert set(gather.mail(D, owned.world(), soon()).looks) == {(MX, "9.9.9.9"), (MX, "9.9.9.10")}
    assert gather.mail(D, owned.world(looks=None), soon()).looks == {}


def test_dane_is_read_by_the_daemons_own_code() -> None:
    """The MX set decides first."""
    assert gather.dane_facts(D, Owned().world()).seen.fault is Fault.DANE_MX_INSECURE
