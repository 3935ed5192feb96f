"""Which resolver is asked first, whose AD bit counts, and one question carried there and back."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dns.flags
import dns.message
import pytest

from postfix_mtasts.adapters.dns.absence import TXT, make_question
from postfix_mtasts.adapters.dns.transport import AVOIDED, Nameservers, NoAnswer, exchange, query, sockaddr
from postfix_mtasts.core.dnsdata import DnsResult
from tests.support.servers.dnsserver import DnsServer

NAME = "_mta-sts.example.com"
ONE = {(NAME, "TXT"): ['"v=STSv1; id=1"']}
ANY = ("*", "*")
PATIENT, HASTY = 30.0, 0.2  # seconds
FIRST, SECOND, THIRD = "192.0.2.1:53", "192.0.2.2:53", "127.0.0.1:53"


def question() -> bytes:
    made = make_question(NAME, TXT)
    assert made is not None
    return made


# Who was silent


class Servers:
    """Three resolvers and a clock that stands still until a test moves it."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.known = Nameservers((FIRST, SECOND, THIRD), clock=lambda: self.now)

    def order(self) -> tuple[str, ...]:
        return self.known.in_order()


def test_the_order_is_that_of_the_configuration() -> None:
    """While nobody was silent."""
    assert Servers().order() == (FIRST, SECOND, THIRD)


def test_a_silent_server_comes_last_for_a_while() -> None:
    """Else it would cost each first lookup its patience."""
    servers = Servers()
    servers.known.silent(FIRST, 1.0)
    assert servers.order() == (SECOND, THIRD, FIRST)
    servers.now += AVOIDED - 1
    assert servers.order() == (SECOND, THIRD, FIRST)


def test_one_asker_tries_a_silent_server_again() -> None:
    """The others wait for what it finds."""
    servers = Servers()
    servers.known.silent(FIRST, 1.0)
    servers.now += AVOIDED
    assert servers.order() == (FIRST, SECOND, THIRD)
    assert servers.order() == (SECOND, THIRD, FIRST)


def test_a_server_that_speaks_again_has_its_place_back() -> None:
    """At once."""
    servers = Servers()
    servers.known.silent(FIRST, 1.0)
    servers.known.heard(FIRST)
    assert servers.order() == (FIRST, SECOND, THIRD)


def test_a_server_that_answers_others_meanwhile_is_not_silent() -> None:
    """It is slow with one name, as resolvers are with dead zones."""
    servers = Servers()
    servers.now += 10
    servers.known.heard(FIRST)
    servers.now += 1
    servers.known.silent(FIRST, 2.0)
    assert servers.order() == (FIRST, SECOND, THIRD)
    servers.known.silent(FIRST, 0.5)
    assert servers.order() == (SECOND, THIRD, FIRST)


def test_all_silent_keep_their_order() -> None:
    """There is nobody better to ask."""
    servers = Servers()
    for server in (SECOND, FIRST, THIRD):
        servers.known.silent(server, 1.0)
    assert servers.order() == (FIRST, SECOND, THIRD)


def test_for_dane_those_whose_ad_counts_come_first() -> None:
    """Silent or not: another's answer says nothing about DANE."""
    servers = Servers()
    assert servers.known.in_order(dane=True) == (THIRD, FIRST, SECOND)
    servers.known.silent(THIRD, 1.0)
    assert servers.known.in_order(dane=True) == (THIRD, FIRST, SECOND)
    assert servers.order() == (FIRST, SECOND, THIRD)


# Whose AD bit counts: (title, server, dns.trust_ad, resolv.conf, whether it does)
TRUST = [
    ("on loopback", "127.0.0.1:53", "auto", "", True),
    ("elsewhere in 127.0.0.0/8", "127.9.9.9:5353", "auto", "", True),
    ("on loopback by IPv6", "[::1]:53", "auto", "", True),
    ("on loopback by a mapped address", "[::ffff:127.0.0.1]:53", "auto", "", True),
    ("on another host", "192.0.2.53:53", "auto", "", False),
    ("on another host by a mapped address", "[::ffff:192.0.2.53]:53", "auto", "", False),
    ("in the local network", "[fd00::53]:53", "auto", "", False),
    ("at a link-local address", "[fe80::1%lo]:53", "auto", "", False),
    ("on another host, yes", "192.0.2.53:53", "yes", "", True),
    ("of a resolv.conf that vouches", "192.0.2.53:53", "auto", "nameserver 192.0.2.53\noptions trust-ad\n", True),
    ("of a resolv.conf that does not", "192.0.2.53:53", "auto", "nameserver 192.0.2.53\noptions edns0\n", False),
    ("one that a vouching resolv.conf does not name", "192.0.2.53:53", "auto", "options trust-ad\n", False),
]


@pytest.mark.parametrize(("title", "server", "trust_ad", "text", "want"), TRUST, ids=[t[0] for t in TRUST])
def test_whose_ad_bit_counts(title: str, server: str, trust_ad: str, text: str, want: bool, tmp_path: Path) -> None:
    """dns.trust_ad: auto is loopback, or a resolv.conf that vouches for its own nameservers; yes is all."""
    conf = tmp_path / "resolv.conf"
    conf.write_text(text)
    assert Nameservers((server,), trust_ad, resolv_conf=str(conf)).ad_counts(server) is want


def test_servers_of_resolv_conf_are_used_without_any_of_our_own(tmp_path: Path) -> None:
    """And read again when the file changes."""
    conf = tmp_path / "resolv.conf"
    conf.write_text("nameserver 192.0.2.1\n")
    known = Nameservers(resolv_conf=str(conf))
    assert known.in_order() == ("192.0.2.1:53",)
    conf.write_text("nameserver 192.0.2.22\nnameserver ::1\n")
    assert known.in_order() == ("192.0.2.22:53", "[::1]:53")


# One question


def ask(server: str, seconds: float = PATIENT) -> bytes:
    return exchange(server, question(), time.monotonic() + seconds)


def test_the_query_is_what_dnspython_would_send() -> None:
    """RD and AD, EDNS with 1232 bytes, no DO."""
    flags = dns.flags.RD | dns.flags.AD
    theirs = dns.message.make_query(NAME, "TXT", use_edns=0, payload=1232, flags=flags)
    assert query(theirs.id.to_bytes(2, "big"), question()) == theirs.to_wire()


def test_the_query_without_edns_is_what_dnspython_would_send() -> None:
    """For servers that do not know EDNS."""
    theirs = dns.message.make_query(NAME, "TXT", use_edns=False, flags=dns.flags.RD | dns.flags.AD)
    assert query(theirs.id.to_bytes(2, "big"), question(), edns=False) == theirs.to_wire()


def test_servers_are_numbers() -> None:
    """As the configuration and resolv.conf give them."""
    assert sockaddr("127.0.0.1:53") == (socket.AF_INET, ("127.0.0.1", 53))
    assert sockaddr("[::1]:5353")[0] == socket.AF_INET6
    assert sockaddr("[::1]:5353")[1][:2] == ("::1", 5353)
    with pytest.raises(OSError, match=r"not known|not supported|service"):
        sockaddr("localhost:53")


@pytest.mark.parametrize("rcode", ["FORMERR", "NOTIMP"])
def test_a_server_without_edns_is_asked_again_without_it(rcode: str) -> None:
    """RFC 6891 section 7."""
    with DnsServer(ONE, {ANY: f"no-edns {rcode}"}) as server:
        assert b"v=STSv1" in ask(server.address)
    assert [sent.edns for sent in server.queries] == [0, -1]
    assert all(sent.flags & dns.flags.AD for sent in server.queries)


def test_a_long_answer_without_edns_comes_by_tcp() -> None:
    """512 bytes are the limit then."""

    def truncate(reply: bytes, tcp: bool) -> list[bytes]:
        return [reply if tcp else reply[:2] + bytes([reply[2] | 2]) + reply[3:]]

    with DnsServer(ONE, {ANY: ["no-edns FORMERR", truncate]}) as server:
        assert b"v=STSv1" in ask(server.address)
    assert [sent.edns for sent in server.queries] == [0, -1, -1]
    assert server.asked_by_tcp[NAME, "TXT"] == 1


@pytest.mark.parametrize("rcode", ["FORMERR", "NOTIMP", "REFUSED", "SERVFAIL"])
def test_a_failure_without_edns_is_the_answer(rcode: str) -> None:
    """It is asked twice at most, and where EDNS cannot be the cause, once."""
    with DnsServer(ONE, {ANY: rcode}) as server:
        assert dns.message.from_wire(ask(server.address)).rcode().name == rcode
    assert server.asked[NAME, "TXT"] == (2 if rcode in ("FORMERR", "NOTIMP") else 1)


FAULTS: list[tuple[str, Any, DnsResult, str]] = [
    ("silence", "silence", DnsResult.TIMEOUT, "no answer"),
    (
        "an empty message by TCP",
        lambda reply, tcp: [b"" if tcp else reply[:2] + b"\x83" + reply[3:]],
        DnsResult.BROKEN,
        "another question",
    ),
]


@pytest.mark.parametrize(("title", "behaviour", "result", "text"), FAULTS, ids=[f[0] for f in FAULTS])
def test_faults(title: str, behaviour: str | Callable[..., Any], result: DnsResult, text: str) -> None:
    """What was wrong is told by a member of a fixed set."""
    with DnsServer(ONE, {ANY: behaviour}) as server, pytest.raises(NoAnswer, match=text) as caught:
        ask(server.address, HASTY if behaviour == "silence" else PATIENT)
    assert caught.value.result is result


def test_nobody_listening_is_told_apart_from_silence() -> None:
    """A connected socket hears the refusal."""
    with DnsServer() as server:
        pass
    with pytest.raises(NoAnswer, match="Connection refused") as caught:
        ask(server.address)
    assert caught.value.result is DnsResult.UNREACHABLE


def test_a_server_that_is_no_address_is_unreachable() -> None:
    """It cannot come from the configuration; still no other exception gets out."""
    with pytest.raises(NoAnswer) as caught:
        ask("localhost:53")
    assert caught.value.result is DnsResult.UNREACHABLE
