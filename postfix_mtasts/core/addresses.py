"""Which addresses a policy host may have, and in which order they are tried.

The table is our own: `ipaddress.is_global` calls 64:ff9b::7f00:1 (127.0.0.1
behind NAT64), fec0::1 and 224.0.0.1 global, and differs between Python
versions. Whoever publishes a policy host's address must not be able to make
this host connect to itself or to its neighbours.

Rule 1: an IPv6 address that carries an IPv4 address is judged by that one.
Rule 2: of the rest of IPv6, only 2000::/3 is given to public hosts.
Rule 3: what cannot be read as an address is forbidden.

Source: the IANA IPv4 and IPv6 special-purpose address registries (RFC 6890),
RFC 4291 (mapped and compatible addresses), RFC 3056 (6to4), RFC 6052 and
RFC 8215 (NAT64).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from itertools import chain, zip_longest

PER_FAMILY = 2  # addresses tried of each family

_FORBIDDEN_V4 = [
    (ipaddress.IPv4Network(network), reason)
    for network, reason in (
        ("0.0.0.0/32", "unspecified"),
        ("0.0.0.0/8", "this network (RFC 791)"),
        ("10.0.0.0/8", "private (RFC 1918)"),
        ("100.64.0.0/10", "shared behind carrier NAT (RFC 6598)"),
        ("127.0.0.0/8", "loopback"),
        ("169.254.0.0/16", "link-local"),
        ("172.16.0.0/12", "private (RFC 1918)"),
        ("192.0.0.0/24", "for IETF protocols (RFC 6890)"),
        ("192.0.2.0/24", "for documentation (RFC 5737)"),
        ("192.88.99.0/24", "6to4 relay anycast (RFC 7526)"),
        ("192.168.0.0/16", "private (RFC 1918)"),
        ("198.18.0.0/15", "for benchmarks (RFC 2544)"),
        ("198.51.100.0/24", "for documentation (RFC 5737)"),
        ("203.0.113.0/24", "for documentation (RFC 5737)"),
        ("224.0.0.0/4", "multicast"),
        ("255.255.255.255/32", "broadcast"),
        ("240.0.0.0/4", "reserved (RFC 1112)"),
    )
]

_FORBIDDEN_V6 = [
    (ipaddress.IPv6Network(network), reason)
    for network, reason in (
        ("::/128", "unspecified"),
        ("::1/128", "loopback"),
        ("100::/64", "discard-only (RFC 6666)"),
        ("2001::/32", "Teredo (RFC 4380)"),
        ("2001:2::/48", "for benchmarks (RFC 5180)"),
        ("2001:10::/28", "ORCHID (RFC 4843)"),
        ("2001:20::/28", "ORCHID (RFC 7343)"),
        ("2001::/23", "for IETF protocols (RFC 2928)"),
        ("2001:db8::/32", "for documentation (RFC 3849)"),
        ("3fff::/20", "for documentation (RFC 9637)"),
        ("fc00::/7", "private (RFC 4193)"),
        ("fe80::/10", "link-local"),
        ("fec0::/10", "site-local (RFC 3879)"),
        ("ff00::/8", "multicast"),
    )
]

_PUBLIC_V6 = ipaddress.IPv6Network("2000::/3")

_LOCAL_NAT64 = ipaddress.IPv6Network("64:ff9b:1::/48")

_V4_INSIDE = [
    (ipaddress.IPv6Network(network), start, kind)
    for network, start, kind in (
        ("::ffff:0:0/96", 12, "IPv4-mapped"),
        ("::/96", 12, "IPv4-compatible"),
        ("64:ff9b::/96", 12, "NAT64"),
        ("2002::/16", 2, "6to4"),
    )
]


def forbidden(address: str) -> str | None:
    """Say why *address* cannot be a public policy host's; None for a public address.

    Never raises. The reason completes "ADDRESS is ...": "loopback", "link-local",
    "NAT64 of 127.0.0.1: loopback".
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return "not an IP address"
    if isinstance(parsed, ipaddress.IPv4Address):
        return _forbidden_v4(parsed)
    if parsed.scope_id is not None:
        return "of one link only (it has a zone)"
    return _forbidden_v6(parsed)


def _forbidden_v4(address: ipaddress.IPv4Address) -> str | None:
    return next((reason for network, reason in _FORBIDDEN_V4 if address in network), None)


def _forbidden_v6(address: ipaddress.IPv6Address) -> str | None:
    for network, reason in _FORBIDDEN_V6:
        if address in network:
            return reason
    for network, start, kind in _V4_INSIDE:
        if address in network:
            return _forbidden_inside(address.packed[start : start + 4], kind)
    if address in _LOCAL_NAT64:
        return _forbidden_local_nat64(address.packed)
    return None if address in _PUBLIC_V6 else "reserved (RFC 4291)"


def _forbidden_inside(packed: bytes, kind: str) -> str | None:
    inside = ipaddress.IPv4Address(packed)
    reason = _forbidden_v4(inside)
    return f"{kind} of {inside}: {reason}" if reason else None


def _forbidden_local_nat64(packed: bytes) -> str | None:
    """Judge a local-use NAT64 address by every IPv4 address it may carry.

    Which of the prefix lengths 48, 56, 64 and 96 the site's translator has
    only its operator knows (RFC 6052 section 2.2: byte 8 is left out).
    Readings in 0.0.0.0/8 come from the zeros of another length: they lead
    nowhere and are passed over unless there is no other.
    """
    inside = (packed[6:8] + packed[9:11], packed[7:8] + packed[9:12], packed[9:13], packed[12:16])
    readings = [each for each in inside if each[0]] or [packed[12:16]]
    reasons = (_forbidden_inside(each, "NAT64") for each in readings)
    return next((reason for reason in reasons if reason), None)


def network(address: str) -> str:
    """Return what counts as one address: an IPv6 /64 belongs to one customer. Raises: ValueError."""
    parsed = ipaddress.ip_address(address)
    return str(int(parsed) >> 64) if isinstance(parsed, ipaddress.IPv6Address) else address


def connect_order(v6: Sequence[str], v4: Sequence[str]) -> tuple[str, ...]:
    """Return what to try to connect to, in order: two of each family at most, in turn, IPv6 first."""
    pairs = zip_longest(v6[:PER_FAMILY], v4[:PER_FAMILY])
    return tuple(address for address in chain.from_iterable(pairs) if address is not None)
