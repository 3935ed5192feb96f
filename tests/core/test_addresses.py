"""Which addresses a policy host may have."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mtasts.core.addresses import connect_order, forbidden, network

PUBLIC = [
    "1.1.1.1",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "192.0.1.0",
    "192.167.255.255",
    "198.17.255.255",
    "198.20.0.0",
    "223.255.255.255",
    "2606:4700::1111",
    "2001:200::1",
    "2001:db7:ffff::1",
    "2a00::1",
    "3ffe:ffff::1",
    "::ffff:1.1.1.1",
    "64:ff9b::1.1.1.1",
    "64:ff9b:1::1.1.1.1",
    "64:ff9b:1:101:1:100::",
    "2002:101:101::1",
]

FORBIDDEN = [
    ("0.0.0.0", "unspecified"),
    ("0.1.2.3", "this network"),
    ("10.0.0.0", "private"),
    ("10.255.255.255", "private"),
    ("100.64.0.0", "carrier"),
    ("100.127.255.255", "carrier"),
    ("127.0.0.1", "loopback"),
    ("127.255.255.255", "loopback"),
    ("169.254.169.254", "link-local"),
    ("172.16.0.0", "private"),
    ("172.31.255.255", "private"),
    ("192.0.0.9", "IETF"),
    ("192.0.2.1", "documentation"),
    ("192.88.99.1", "6to4"),
    ("192.168.255.255", "private"),
    ("198.18.0.0", "benchmarks"),
    ("198.19.255.255", "benchmarks"),
    ("198.51.100.1", "documentation"),
    ("203.0.113.1", "documentation"),
    ("224.0.0.1", "multicast"),
    ("239.255.255.255", "multicast"),
    ("240.0.0.1", "reserved"),
    ("255.255.255.255", "broadcast"),
    ("::", "unspecified"),
    ("::1", "loopback"),
    ("::127.0.0.1", "IPv4-compatible of 127.0.0.1: loopback"),
    ("::ffff:127.0.0.1", "IPv4-mapped of 127.0.0.1: loopback"),
    ("::ffff:0:127.0.0.1", "reserved"),
    ("64:ff9b::7f00:1", "NAT64 of 127.0.0.1: loopback"),
    ("64:ff9b::10.1.2.3", "NAT64 of 10.1.2.3: private"),
    ("64:ff9b:1::10.1.2.3", "NAT64 of 10.1.2.3: private"),
    ("64:ff9b:1::", "NAT64 of 0.0.0.0: unspecified"),
    ("64:ff9b:1:a01:2:300::", "NAT64 of 10.1.2.3: private"),
    ("64:ff9b:1:a01:2:300:808:808", "NAT64 of 10.1.2.3: private"),
    ("64:ff9b:1:a:1:203::", "NAT64 of 10.1.2.3: private"),
    ("64:ff9b:1:0:a:102:300::", "NAT64 of 10.1.2.3: private"),
    ("64:ff9b:2::8.8.8.8", "reserved"),
    ("100::1", "discard-only"),
    ("100:0:0:1::1", "reserved"),
    ("200::1", "reserved"),
    ("1fff:ffff::1", "reserved"),
    ("2001:0:4136:e378::1", "Teredo"),
    ("2001:2::1", "benchmarks"),
    ("2001:3::1", "IETF"),
    ("2001:10::1", "ORCHID"),
    ("2001:2f::1", "ORCHID"),
    ("2001:1ff::1", "IETF"),
    ("2001:db8::1", "documentation"),
    ("2002:7f00:1::1", "6to4 of 127.0.0.1: loopback"),
    ("2002:c0a8:101::1", "6to4 of 192.168.1.1: private"),
    ("3fff::1", "documentation"),
    ("3fff:fff:ffff::1", "documentation"),
    ("4000::1", "reserved"),
    ("5f00::1", "reserved"),
    ("fc00::1", "private"),
    ("fdff:ffff::1", "private"),
    ("fe80::1", "link-local"),
    ("febf::1", "link-local"),
    ("fec0::1", "site-local"),
    ("ff02::1", "multicast"),
    ("fe80::1%eth0", "zone"),
    ("2606:4700::1111%eth0", "zone"),
    ("127.1", "not an IP address"),
    ("0177.0.0.1", "not an IP address"),
    ("2130706433", "not an IP address"),
    ("localhost", "not an IP address"),
    ("[::1]", "not an IP address"),
    ("1.1.1.1 ", "not an IP address"),
    ("", "not an IP address"),
]


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_allowed(address: str) -> None:
    """What lies just outside each special range is anybody's."""
    assert forbidden(address) is None


@pytest.mark.parametrize(("address", "reason"), FORBIDDEN, ids=[f"{a} is {r}" for a, r in FORBIDDEN])
def test_special_addresses_are_forbidden(address: str, reason: str) -> None:
    """First, last or typical address of each special range; the reason says which."""
    assert reason in (forbidden(address) or "allowed")


CARRIERS = ["::ffff:0:0", "::", "64:ff9b::", "64:ff9b:1::"]


@given(st.ip_addresses(v=4), st.sampled_from(CARRIERS))
def test_an_ipv4_address_is_judged_the_same_however_it_is_carried(inside: ipaddress.IPv4Address, carrier: str) -> None:
    """Mapped, compatible and NAT64 addresses are as good as the IPv4 address in them."""
    carried = ipaddress.IPv6Address(int(ipaddress.IPv6Address(carrier)) + int(inside))
    assert (forbidden(str(carried)) is None) is (forbidden(str(inside)) is None)


@given(st.ip_addresses())
def test_no_address_that_python_knows_as_special_is_allowed(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    """The table is stricter than ipaddress, except where a public IPv4 address is carried."""
    special = (
        address.is_private
        or address.is_loopback
        or address.is_multicast
        or address.is_link_local
        or address.is_unspecified
        or address.is_reserved
    )
    carries_ipv4 = address.version == 6 and (int(address) >> 96 in (0, 0x64FF9B) or int(address) >> 112 == 0x2002)
    assert carries_ipv4 or not special or forbidden(str(address))


@given(st.text(max_size=50))
def test_no_text_whatever_raises(text: str) -> None:
    """What is no address is forbidden, or is one that ipaddress reads."""
    reason = forbidden(text)
    assert reason is None or reason


ORDERS = [
    ("both families in turn, IPv6 first", ["6a", "6b"], ["4a", "4b"], ("6a", "4a", "6b", "4b")),
    ("at most two of each", ["6a", "6b", "6c"], ["4a", "4b", "4c"], ("6a", "4a", "6b", "4b")),
    ("IPv4 only", [], ["4a", "4b", "4c"], ("4a", "4b")),
    ("IPv6 only", ["6a"], [], ("6a",)),
    ("one IPv6, two IPv4", ["6a"], ["4a", "4b"], ("6a", "4a", "4b")),
    ("none", [], [], ()),
]


@pytest.mark.parametrize(("title", "v6", "v4", "want"), ORDERS, ids=[o[0] for o in ORDERS])
def test_connect_order(title: str, v6: list[str], v4: list[str], want: tuple[str, ...]) -> None:
    """What is tried, and in which order."""
    assert connect_order(v6, v4) == want


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8::2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
    ],
)
def test_what_counts_as_one_address(one: str, other: str, same: bool) -> None:
    """An IPv6 /64 is given to one customer."""
    assert (network(one) == network(other)) is same
