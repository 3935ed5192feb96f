"""What Postfix is answered: each row of the answer table, from real DNS and real policy hosts."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import dns.message
import dns.rrset
import pytest

from tests.support.fakes.hanging import ADDRESS as HANGING
from tests.support.fakes.hanging import HangingHost
from tests.support.servers.daemon import Daemon
from tests.support.servers.debian import UNBOUND, postmap
from tests.support.servers.dnstap import servfail
from tests.support.servers.internet import Internet, Site, policy
from tests.support.waiting import wait_until

ENFORCED = "OK secure match=mx.example.net servername=hostname"
NOTFOUND = "NOTFOUND "
GOOD = policy("mx.example.net")

SITES = {
    "enforce.lookup.test": Site(policy("MX1.example.net", "*.Example.Net", "mx1.example.net")),
    "testing.lookup.test": Site(policy("mx.example.net", mode="testing")),
    "none.lookup.test": Site(policy(mode="none")),
    "spaced.lookup.test": Site(GOOD, records=["v=STSv1 ; \tid=20260101; other=x"]),
    "one-of-two.lookup.test": Site(GOOD, records=["v=spf1 -all", "v=STSv1; id=1"]),
    "in-parts.lookup.test": Site(GOOD, records=['v=STS" "v1; id=1;']),
    "no-record.lookup.test": Site(GOOD, records=[]),
    "other-record.lookup.test": Site(GOOD, records=["v=spf1 -all"]),
    "no-id.lookup.test": Site(GOOD, records=["v=STSv1;"]),
    "two-records.lookup.test": Site(GOOD, records=["v=STSv1; id=1;", "v=STSv1; id=2;"]),
    "no-host.lookup.test": Site(GOOD, address=None),
    "refused.lookup.test": Site(GOOD, address="127.0.0.8"),
    "no-file.lookup.test": Site(None),
    "not-trusted.lookup.test": Site(GOOD, trusted=False),
    "no-policy.lookup.test": Site(b"<html>it works</html>\n"),
    "no-mx.lookup.test": Site(policy()),
    "unsafe-mx.lookup.test": Site(policy("hostname", "192.0.2.1", "mx.example.net:nexthop")),
    "xn--bcher-kva.lookup.test": Site(GOOD),
}

FETCH, INVALID, WEBPKI = "sts-policy-fetch-error", "sts-policy-invalid", "sts-webpki-invalid"

ANSWERS = [  # domain, answer on map postfix, result type of the warning
    ("enforce", "OK secure match=mx1.example.net:.example.net servername=hostname", None),
    ("testing", NOTFOUND, None),
    ("none", NOTFOUND, None),
    ("spaced", ENFORCED, None),
    ("one-of-two", ENFORCED, None),
    ("in-parts", ENFORCED, None),
    ("no-record", NOTFOUND, None),
    ("other-record", NOTFOUND, None),
    ("no-id", NOTFOUND, None),
    ("two-records", NOTFOUND, None),
    ("never-registered", NOTFOUND, None),
    ("no-host", NOTFOUND, FETCH),
    ("refused", NOTFOUND, FETCH),
    ("no-file", NOTFOUND, FETCH),
    ("not-trusted", NOTFOUND, WEBPKI),
    ("no-policy", NOTFOUND, INVALID),
    ("no-mx", NOTFOUND, INVALID),
    ("unsafe-mx", NOTFOUND, INVALID),
]


@pytest.fixture(scope="module")
def daemon(internet: Internet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One daemon for the tests that need nothing but answers."""
    internet.publish_all(SITES)
    with Daemon(tmp_path_factory.mktemp("daemon"), internet.config()) as running:
        yield running


@pytest.mark.parametrize(("name", "answer", "warning"), ANSWERS, ids=[row[0] for row in ANSWERS])
def test_what_a_domain_publishes_decides_the_answer(
    daemon: Daemon, name: str, answer: str, warning: str | None
) -> None:
    """SPEC 3: a policy is passed on only if it is in force; a fetch that failed is one warning with its type."""
    domain = f"{name}.lookup.test"
    assert [daemon.ask("postfix", domain) for _ in range(2)] == [answer] * 2
    if warning:
        daemon.wait_for("fetch-failed", domain=domain, result=warning)
    assert len(daemon.events("fetch-failed", domain=domain)) == (1 if warning else 0)


def test_a_tlsrpt_map_adds_what_postfix_3_10_reports_and_enforces_by(daemon: Daemon) -> None:
    """The plain line, then policy type and domain, the policy's lines, and its patterns."""
    assert daemon.ask("postfix-tlsrpt", "enforce.lookup.test") == (
        "OK secure match=mx1.example.net:.example.net servername=hostname"
        " policy_type=sts policy_domain=enforce.lookup.test"
        " { policy_string = version: STSv1 } { policy_string = mode: enforce }"
        " { policy_string = mx: MX1.example.net } { policy_string = mx: *.Example.Net }"
        " { policy_string = mx: mx1.example.net } { policy_string = max_age: 604800 }"
        " mx_host_pattern=mx1.example.net mx_host_pattern=*.example.net"
    )
    assert daemon.ask("postfix-tlsrpt", "testing.lookup.test") == NOTFOUND


SAME_DOMAIN = [
    "enforce.lookup.test",
    "ENFORCE.Lookup.TEST",
    "enforce.lookup.test.",
    "enforce.lookup.test:25",
    "enforce.lookup.test:submission",
]


@pytest.mark.parametrize("key", SAME_DOMAIN)
def test_one_domain_has_one_entry_however_it_is_written(daemon: Daemon, internet: Internet, key: str) -> None:
    """Case, a final dot and a port change nothing, and ask nobody anew."""
    assert daemon.ask("postfix", key) == "OK secure match=mx1.example.net:.example.net servername=hostname"
    assert internet.txt_queries("enforce.lookup.test") == 1
    assert internet.gets("enforce.lookup.test") == 1


def test_a_u_label_and_its_a_label_are_one_domain(daemon: Daemon, internet: Internet) -> None:
    """SMTPUTF8 mail brings U-labels."""
    for key in ("bücher.lookup.test", "xn--bcher-kva.lookup.test", "BÜCHER.lookup.test"):
        assert daemon.ask("postfix", key) == ENFORCED
    assert internet.gets("xn--bcher-kva.lookup.test") == 1


NO_DOMAIN: list[tuple[str, str | bytes]] = [
    ("a parent domain", ".enforce.lookup.test"),
    ("a host in brackets", "[enforce.lookup.test]"),
    ("a host in brackets with a port", "[enforce.lookup.test]:587"),
    ("an IPv4 literal", "[192.0.2.1]"),
    ("an IPv6 literal", "[IPv6:2001:db8::1]"),
    ("a bare address", "192.0.2.1"),
    ("one label", "localhost"),
    ("nothing", ""),
    ("longer than a domain name", "a." * 130 + "test"),
    ("nearly as long as a request may be", "a" * 9900),
    ("blanks", "enforce lookup test"),
    ("bytes that are no text", b"\xff\xfe\x00.test"),
    ("control characters", "enforce\r\n.lookup.test"),
]


@pytest.mark.parametrize("key", [row[1] for row in NO_DOMAIN], ids=[row[0] for row in NO_DOMAIN])
def test_what_is_no_domain_is_not_found_and_dns_is_not_asked(
    daemon: Daemon, internet: Internet, key: str | bytes
) -> None:
    """SPEC 3: NOTFOUND at once."""
    asked = len(internet.dns.questions)
    assert daemon.ask("postfix", key) == NOTFOUND
    assert len(internet.dns.questions) == asked


def test_an_unknown_map_is_refused_for_good(daemon: Daemon) -> None:
    """PERM, with a reason, for a map that is not configured and for a request without one."""
    assert daemon.ask("postfix-typo", "enforce.lookup.test").startswith("PERM ")
    with daemon.client() as client:
        client.sock.sendall(b"7:postfix,")
        assert client.receive().startswith("PERM ")


def test_postmap_prints_the_line(daemon: Daemon, tmp_path: Path) -> None:
    """What an administrator tries first."""
    line = "secure match=mx1.example.net:.example.net servername=hostname\n"
    assert postmap(tmp_path, daemon.table(), "enforce.lookup.test") == (0, line, "")
    assert postmap(tmp_path, daemon.table(), "testing.lookup.test") == (1, "", "")


def test_postmap_asks_many_keys_over_one_connection(daemon: Daemon, tmp_path: Path) -> None:
    """Each key found is printed with its answer, in their order."""
    line = "secure match=mx.example.net servername=hostname"
    code, out, err = postmap(tmp_path, daemon.table(), "spaced.lookup.test", "none.lookup.test", "in-parts.lookup.test")
    assert (code, err) == (0, "")
    assert out == f"spaced.lookup.test\t{line}\nin-parts.lookup.test\t{line}\n"


def test_pipelined_answers_come_in_the_order_of_the_requests(daemon: Daemon) -> None:
    """A domain that has to be looked up holds back those after it, and nothing is mixed up."""
    keys = ["pipelined-unknown.lookup.test", "enforce.lookup.test", "none.lookup.test", "spaced.lookup.test"]
    with daemon.client() as client:
        client.send("postfix", *keys)
        answers = [client.receive() for _ in keys]
    assert answers == [NOTFOUND, "OK secure match=mx1.example.net:.example.net servername=hostname", NOTFOUND, ENFORCED]


def test_a_known_policy_is_answered_whatever_dns_and_host_do(daemon: Daemon, internet: Internet) -> None:
    """SPEC 4: from memory, without the network."""
    internet.publish("gone.lookup.test", GOOD)
    assert daemon.ask("postfix", "gone.lookup.test") == ENFORCED
    internet.publish("gone.lookup.test", None, records=[], address=None)
    internet.dns.break_("_mta-sts.gone.lookup.test", "TXT", servfail)
    assert daemon.ask("postfix", "gone.lookup.test") == ENFORCED
    assert daemon.ask("postfix", "GONE.lookup.test:25") == ENFORCED


@pytest.mark.parametrize(("setting", "answer"), [("skip", NOTFOUND), ("defer", "TEMP ")])
def test_when_dns_fails_the_site_decides(internet: Internet, tmp_path: Path, setting: str, answer: str) -> None:
    """lookup.on_dns_failure: as if there were no policy, or defer."""
    domain = f"dns-fails-{setting}.lookup.test"
    internet.publish(domain, GOOD)
    internet.dns.break_(f"_mta-sts.{domain}", "TXT", servfail)
    with Daemon(tmp_path / "daemon", internet.config(lookup={"on_dns_failure": setting})) as daemon:
        assert daemon.ask("postfix", domain).startswith(answer)
        code, out, err = postmap(tmp_path / "conf", daemon.table(), domain)
        assert (code, out) == (1, "")
        assert bool(err) == (setting == "defer")


def test_a_slow_first_lookup_is_deferred_and_its_outcome_kept(internet: Internet, tmp_path: Path) -> None:
    """SPEC 3: TEMP after lookup.wait, at once for those who ask later; the work goes on for the retry."""
    internet.publish("slow.lookup.test", GOOD)
    opened = threading.Event()

    def held_back(query: dns.message.Message) -> bytes | None:
        opened.wait(30)
        reply = dns.message.make_response(query)
        reply.answer.append(dns.rrset.from_text(query.question[0].name, 60, "IN", "A", "127.0.0.1"))
        return reply.to_wire()

    internet.dns.break_("mta-sts.slow.lookup.test", "A", held_back)
    config = internet.config(lookup={"wait": "3s"}, dns={"timeout": "30s"})
    with Daemon(tmp_path, config) as daemon:
        assert daemon.ask("postfix", "slow.lookup.test").startswith("TEMP ")
        with daemon.client(timeout=2) as client:  # less than lookup.wait: its time began with the work
            assert client.ask("postfix", "slow.lookup.test").startswith("TEMP ")
        opened.set()
        daemon.wait_for("policy-new")
        assert daemon.ask("postfix", "slow.lookup.test") == ENFORCED
    assert internet.txt_queries("slow.lookup.test") == 1
    assert internet.gets("slow.lookup.test") == 1


@pytest.mark.parametrize("limit", [100_000, 0])
def test_a_host_that_hangs_for_ever_does_not_hold_mail_up_for_ever(
    internet: Internet, tmp_path: Path, limit: int
) -> None:
    """TEMP once; after a failed fetch NOTFOUND, while the next one is under way too (RFC 8461 section 3.3)."""
    internet.publish("hangs.lookup.test", GOOD, address=HANGING)
    config = internet.config(lookup={"wait": "500ms", "failure_ttl": "1s"}, fetch={"timeout": "2s"})
    config["cache"] = {"negative_limit": limit}
    with HangingHost() as host, Daemon(tmp_path, config) as daemon:
        assert daemon.ask("postfix", "hangs.lookup.test").startswith("TEMP ")
        daemon.wait_for("fetch-failed", result=FETCH)
        assert host.connections == 1

        def asked_again() -> bool:
            assert daemon.ask("postfix", "hangs.lookup.test") == NOTFOUND
            return host.connections == 2

        wait_until(asked_again, "a second fetch, after failure_ttl")
        assert daemon.ask("postfix", "hangs.lookup.test") == NOTFOUND


def test_a_policy_of_2500_mx_lines_is_answered_whole(daemon: Daemon, internet: Internet) -> None:
    """Postfix reads no reply over 100,000 bytes: the patterns are all there on both kinds of map."""
    names = [f"mx{number:04}.big.test" for number in range(2500)]
    internet.publish("big.lookup.test", policy(*names).replace(b"\r\n", b"\n"))
    plain = daemon.ask("postfix", "big.lookup.test")
    assert plain == f"OK secure match={':'.join(names)} servername=hostname"
    reported = daemon.ask("postfix-tlsrpt", "big.lookup.test")
    assert reported.startswith(plain)
    assert len(reported.encode()) <= 100_000


def test_a_signed_domain_behind_a_validating_resolver(internet: Internet, resolver: object, tmp_path: Path) -> None:
    """A good signature changes nothing; a bad one is a DNS failure."""
    for domain in ("signed.test", "bogus.test"):
        internet.serve(domain, GOOD)
    with Daemon(tmp_path, internet.config(dns={"servers": [f"{UNBOUND}:53"]})) as daemon:
        assert daemon.ask("postfix", "signed.test") == ENFORCED
        assert daemon.ask("postfix", "bogus.test") == NOTFOUND
        assert daemon.wait_for("dns-failed", domain="bogus.test")
