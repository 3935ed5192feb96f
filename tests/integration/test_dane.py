"""SPEC's DANE table from the running daemon: zones signed by knot, unbound validating, policies enforced.

dane.test is signed and trusted; broken.test is signed with a key that is not
the trusted one, so it is bogus; everything else is unsigned, child.dane.test
below a signed zone too. Single wrong signatures are test_dane_signatures.py's,
what changes in time test_dane_time.py's.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from tests.support.servers.daemon import Daemon
from tests.support.servers.debian import KNOT, UNBOUND, Knot, Unbound, zone_head
from tests.support.servers.dnstap import servfail, silence
from tests.support.servers.internet import Internet, Site, policy, zone_lines
from tests.support.waiting import wait_until

STS = "OK secure match=mx.example.net servername=hostname"
DANE, TEMP = "OK dane-only", "TEMP "
GOOD = policy("mx.example.net")
KEY = "3 1 1 " + "ab" * 32

ROWS: list[tuple[str, str, list[str]]] = [  # name in dane.test, answer, records
    ("full", DANE, ["full MX 10 mx.full", "mx.full A 127.0.0.2", f"_25._tcp.mx.full TLSA {KEY}"]),
    ("none", STS, ["none MX 10 mx.none", "mx.none A 127.0.0.2"]),
    ("pkix", STS, ["pkix MX 10 mx.pkix", "mx.pkix A 127.0.0.2", "_25._tcp.mx.pkix TLSA 1 1 1 " + "ab" * 32]),
    ("short", STS, ["short MX 10 mx.short", "mx.short A 127.0.0.2", "_25._tcp.mx.short TLSA 3 1 1 abcd"]),
    (
        "partial",
        DANE,
        ["partial MX 10 bare.partial", "partial MX 20 mx.full", "bare.partial A 127.0.0.2"],
    ),
    ("one-fails", DANE, ["one-fails MX 10 mx.broken.test.", "one-fails MX 20 mx.full"]),
    ("all-fail", TEMP, ["all-fail MX 10 mx.broken.test."]),
    ("fails-and-bare", TEMP, ["fails-and-bare MX 10 mx.broken.test.", "fails-and-bare MX 20 mx.none"]),
    ("alias", DANE, ["alias MX 10 mx.alias", "mx.alias CNAME mx.full"]),
    (
        "alias-itself",
        DANE,
        ["alias-itself MX 10 mx.alias-itself", "mx.alias-itself CNAME mx.none", f"_25._tcp.mx.alias-itself TLSA {KEY}"],
    ),
    (
        "leaves",
        DANE,
        ["leaves MX 10 mx.leaves", "mx.leaves CNAME mx.plain.test.", f"_25._tcp.mx.leaves TLSA {KEY}"],
    ),
    ("leaves-bare", STS, ["leaves-bare MX 10 mx.leaves-bare", "mx.leaves-bare CNAME mx.plain.test."]),
    ("insecure-host", STS, ["insecure-host MX 10 mx.plain.test."]),
    ("to-the-child", STS, ["to-the-child MX 10 mx.child.dane.test."]),
    ("by-a-detour", STS, ["by-a-detour MX 10 detour.plain.test."]),
    (
        "two-steps",
        DANE,
        [
            "two-steps MX 10 mx.two-steps",
            "mx.two-steps CNAME second.two-steps",
            "second.two-steps CNAME third.two-steps",
            "third.two-steps A 127.0.0.2",
            f"_25._tcp.third.two-steps TLSA {KEY}",
        ],
    ),
    ("bare-alias", STS, ["bare-alias MX 10 mx.bare-alias", "mx.bare-alias CNAME mx.none"]),
    ("null", STS, ["null MX 0 .", f"_25._tcp.null TLSA {KEY}"]),
    (
        "dead-hosts",
        DANE,
        ["dead-hosts MX 1 mx1.dead-hosts", "dead-hosts MX 2 mx2.dead-hosts", "dead-hosts MX 20 mx.full"],
    ),
    ("implicit", DANE, ["implicit A 127.0.0.2", f"_25._tcp.implicit TLSA {KEY}"]),
]


def absolute(record: str, zone: str) -> str:
    """A record of ROWS as a line of a zone file: names without a final dot are in *zone*."""
    owner, rdtype, *data = record.split(" ")
    if rdtype in ("MX", "CNAME") and not data[-1].endswith("."):
        data[-1] += f".{zone}."
    return f"{owner}.{zone}. 60 IN {rdtype} {' '.join(data)}"


@pytest.fixture(scope="module")
def signed(internet: Internet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Internet]:
    """The outside world, behind a validating resolver, with all of ROWS in it."""
    directory = tmp_path_factory.mktemp("dane")
    records: list[str] = []
    for name, _, lines in ROWS:
        domain = f"{name}.dane.test"
        records += [*zone_lines(domain, Site(GOOD)), *(absolute(line, "dane.test") for line in lines)]
        internet.serve(domain, GOOD)
    child = [
        *zone_lines("child.dane.test", Site(GOOD)),
        "child.dane.test. 60 IN MX 10 mx.child.dane.test.",
        "mx.child.dane.test. 60 IN A 127.0.0.2",
        f"_25._tcp.mx.child.dane.test. 60 IN TLSA {KEY}",
    ]
    internet.serve("child.dane.test", GOOD)
    records += ["child.dane.test. 60 IN NS ns.child.dane.test.", f"ns.child.dane.test. 60 IN A {KNOT}"]
    broken = ["mx.broken.test. 60 IN A 127.0.0.2", f"_25._tcp.mx.broken.test. 60 IN TLSA {KEY}"]
    for name in ("plain.test", "hosted.test", "forged.test", "sent-away.test"):
        internet.publish(name, GOOD)
    internet.add(
        "mx.plain.test. 60 IN A 127.0.0.2",
        f"_25._tcp.mx.plain.test. 60 IN TLSA {KEY}",
        "plain.test. 60 IN MX 10 mx.plain.test.",
        "hosted.test. 60 IN MX 10 mx.full.dane.test.",
        "forged.test. 60 IN MX 0 .",
        "detour.plain.test. 60 IN CNAME mx.full.dane.test.",
    )
    ready = {"child.dane.test": [*zone_head("child.dane.test"), *child]}
    with Knot(directory / "knot", {"dane.test": records, "broken.test": broken}, ready) as knot:
        anchor = knot.trust_anchor("dane.test")
        anchors = [anchor, anchor.replace("dane.test", "broken.test")]
        with Unbound(directory / "unbound", ["dane.test", "broken.test"], anchors), internet.dns.through(UNBOUND):
            yield internet


@pytest.fixture(scope="module")
def daemon(signed: Internet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with Daemon(tmp_path_factory.mktemp("daemon"), signed.config()) as daemon:
        yield daemon


@pytest.mark.parametrize(("name", "answer"), [row[:2] for row in ROWS], ids=[row[0] for row in ROWS])
def test_what_dns_says_decides(daemon: Daemon, name: str, answer: str) -> None:
    """RFC 8461 section 2: MTA-STS never overrides DANE, and DANE that is not there never switches it off."""
    assert daemon.ask("postfix-dane", f"{name}.dane.test").startswith(answer)
    assert daemon.ask("postfix", f"{name}.dane.test") == STS


def test_dane_has_no_sts_attributes(daemon: Daemon) -> None:
    """With them Postfix 3.10.5 skips hosts."""
    assert daemon.ask("postfix-dane-tlsrpt", "full.dane.test") == DANE


def test_hosts_without_tlsa_are_named_once(daemon: Daemon) -> None:
    """Of a domain that is left to DANE."""
    daemon.ask("postfix-dane", "partial.dane.test")
    assert "bare.partial.dane.test" in daemon.wait_for("dane-partial", domain="partial.dane.test")


def test_tlsa_is_asked_at_the_port_of_the_next_hop(daemon: Daemon, signed: Internet) -> None:
    """Mail to another port meets another certificate."""
    assert daemon.ask("postfix-dane", "full.dane.test:587") == STS
    assert signed.dns.count("_587._tcp.mx.full.dane.test", "TLSA")


@pytest.mark.parametrize("domain", ["plain.test", "hosted.test", "forged.test", "child.dane.test"])
def test_an_unsigned_mx_answer_never_switches_mta_sts_off(daemon: Daemon, domain: str) -> None:
    """Usable TLSA records behind it, signed ones too, or a null MX: anybody may have put them there."""
    assert daemon.ask("postfix-dane", domain) == STS


def test_a_forged_nxdomain_never_switches_mta_sts_off(daemon: Daemon, signed: Internet) -> None:
    """The domain has a policy, whatever an unsigned answer says of its being there."""

    def nxdomain(query: dns.message.Message) -> bytes:
        reply = dns.message.make_response(query)
        reply.flags |= dns.flags.RA
        reply.set_rcode(dns.rcode.NXDOMAIN)
        return reply.to_wire()

    signed.dns.break_("sent-away.test", "MX", nxdomain)
    assert daemon.ask("postfix-dane", "sent-away.test") == STS


def test_no_mx_answer_defers(signed: Internet, tmp_path: Path) -> None:
    """SERVFAIL says neither yes nor no; the policy is held, so mail waits and nothing is weakened."""
    signed.dns.break_("full.dane.test", "MX", servfail)
    try:
        with Daemon(tmp_path, signed.config()) as daemon:
            assert daemon.ask("postfix-dane", "full.dane.test").startswith("TEMP ")
            assert daemon.ask("postfix", "full.dane.test") == STS
            asked = signed.dns.count("full.dane.test", "MX")
            assert daemon.ask("postfix-dane", "full.dane.test").startswith("TEMP ")
            assert signed.dns.count("full.dane.test", "MX") == asked
    finally:
        signed.dns.mend("full.dane.test", "MX")


def test_a_domain_loses_and_gains_dane_while_its_policy_is_held(signed: Internet, tmp_path: Path) -> None:
    """The status is read anew; the policy is not fetched for it."""

    def nothing(query: dns.message.Message) -> bytes:
        reply = dns.message.make_response(query)
        reply.flags |= dns.flags.RA | dns.flags.AD
        return reply.to_wire()

    question = "_25._tcp.mx.full.dane.test", "TLSA"
    daemon = Daemon(tmp_path, signed.config())
    for faulty, answer in ((False, DANE), (True, STS), (False, DANE)):
        if faulty:
            signed.dns.break_(*question, nothing)
        with daemon:
            assert daemon.ask("postfix-dane", "full.dane.test") == answer
        if faulty:
            signed.dns.mend(*question)


def test_a_domain_without_a_policy_costs_one_query(daemon: Daemon, signed: Internet) -> None:
    """The TXT record's, and not one for DANE: Postfix applies its own."""
    before = len(signed.dns.questions)
    assert daemon.ask("postfix-dane", "nothing.plain.test") == "NOTFOUND "
    assert signed.dns.questions[before:] == [("_mta-sts.nothing.plain.test", "TXT")]


def test_dead_hosts_before_a_usable_one_hold_nothing_up(signed: Internet, tmp_path: Path) -> None:
    """Two preferred hosts whose name servers are silent for far longer than lookup.wait: the third is enough."""
    questions = [(f"mx{number}.dead-hosts.dane.test", rdtype) for number in (1, 2) for rdtype in ("A", "AAAA")]
    asked = signed.dns.count("dead-hosts.dane.test", "MX")
    for question in questions:
        signed.dns.break_(*question, silence)
    try:
        with Daemon(tmp_path, signed.config(dns={"servers": ["127.0.0.1:53"], "timeout": "60s"})) as daemon:
            assert daemon.ask("postfix-dane", "dead-hosts.dane.test") == DANE
            assert daemon.ask("postfix-dane", "dead-hosts.dane.test") == DANE
            assert daemon.events("dane-partial") == []
            assert signed.dns.count("dead-hosts.dane.test", "MX") == asked + 1
    finally:
        for question in questions:
            signed.dns.mend(*question)


DANE_MAP = {"postfix-dane": {"dane": True}}


def test_the_resolver_is_judged_at_the_start(signed: Internet, tmp_path: Path) -> None:
    """This one validates nothing above its two zones: the root has no key, so AD does not come back."""
    with Daemon(tmp_path, signed.config(maps=DANE_MAP)) as daemon:
        assert daemon.wait_for("resolver-not-validating")
        assert daemon.events("resolver-not-trusted") == []


def test_the_resolver_is_judged_when_a_dane_map_is_first_asked(signed: Internet, tmp_path: Path) -> None:
    """The default configuration has such maps, and a site that uses none of them hears nothing of it."""
    asked = signed.dns.count(".", "DNSKEY")
    with Daemon(tmp_path, signed.config()) as daemon:
        assert daemon.ask("postfix", "full.dane.test") == STS
        assert signed.dns.count(".", "DNSKEY") == asked
        assert daemon.ask("postfix-dane", "nothing.plain.test") == "NOTFOUND "
        assert daemon.wait_for("resolver-not-validating")


def test_a_resolver_elsewhere_is_named_at_the_start(signed: Internet, tmp_path: Path) -> None:
    """Its AD bit is set on another host, and can be set on the way."""
    servers = ["127.0.0.1:53", "[fd00::53]:53"]
    with Daemon(tmp_path, signed.config(maps=DANE_MAP, dns={"servers": servers, "timeout": "2s"})) as daemon:
        assert daemon.wait_for("resolver-not-trusted", servers="[fd00::53]:53")


def test_a_validating_resolver_here_draws_no_warning(signed: Internet, tmp_path: Path) -> None:
    """AD comes back for the root's key."""

    def secure(query: dns.message.Message) -> bytes:
        reply = dns.message.make_response(query)
        reply.flags |= dns.flags.RA | dns.flags.AD
        key = "257 3 13 " + "A" * 86 + "=="
        reply.answer.append(dns.rrset.from_text(".", 60, "IN", "DNSKEY", key))
        return reply.to_wire()

    signed.dns.break_(".", "DNSKEY", secure)
    try:
        with Daemon(tmp_path, signed.config(maps=DANE_MAP)) as daemon:
            asked = signed.dns.count(".", "DNSKEY")
            daemon.reload()  # it is judged again
            wait_until(lambda: signed.dns.count(".", "DNSKEY") > asked, "the resolver is asked")
            assert daemon.ask("postfix-dane", "full.dane.test") == DANE  # behind it, through the same worker
            assert daemon.events("resolver-not-validating") == []
    finally:
        signed.dns.mend(".", "DNSKEY")


def test_a_reload_that_brings_a_dane_map_judges_the_resolver(signed: Internet, tmp_path: Path) -> None:
    """A site without DANE need not run a validating resolver, and hears no word of it."""
    with Daemon(tmp_path, signed.config(maps={"postfix": {}})) as daemon:
        asked = signed.dns.count(".", "DNSKEY")
        assert daemon.ask("postfix", "full.dane.test") == STS
        daemon.reload()
        assert daemon.ask("postfix", "full.dane.test") == STS
        assert signed.dns.count(".", "DNSKEY") == asked
        assert daemon.events("resolver-not-validating") == []
        daemon.configure({**daemon.config, "maps": {"postfix": {}, "mine": {"dane": True}}})
        daemon.reload()
        assert daemon.wait_for("resolver-not-validating", servers="127.0.0.1:53")
