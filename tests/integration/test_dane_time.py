"""A domain that gains and loses DANE, and DNS that fails, while the daemon runs and holds its policy.

The minutes and hours pass by the daemon's clocks only. unbound keeps
nothing, so a status is believed for the least time, one minute.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.fakes.clocks import HurriedDaemon
from tests.support.servers.daemon import Daemon
from tests.support.servers.debian import UNBOUND, Knot, Unbound
from tests.support.servers.dnstap import servfail
from tests.support.servers.internet import Internet, Site, policy, zone_lines
from tests.support.waiting import wait_until

STS, DANE, TEMP = "OK secure match=mx.example.net servername=hostname", "OK dane-only", "TEMP "
GOOD = policy("mx.example.net")
DOMAINS = ["changes.moving.test", "fails.moving.test", "restart.moving.test"]
PLAIN = [
    line
    for domain in DOMAINS
    for line in (
        *zone_lines(domain, Site(GOOD)),
        f"{domain}. 60 IN MX 10 mx.{domain}.",
        f"mx.{domain}. 60 IN A 127.0.0.2",
    )
]
TLSA = [f"_25._tcp.mx.{domain}. 60 IN TLSA 3 1 1 {'ab' * 32}" for domain in DOMAINS]
MINUTE, HOUR, DAY = 60, 3600, 86_400


@pytest.fixture(scope="module")
def moving(internet: Internet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Knot]:
    """The zone moving.test, signed anew whenever a test loads it, before a validating resolver that keeps nothing."""
    directory = tmp_path_factory.mktemp("moving")
    for domain in DOMAINS:
        internet.serve(domain, GOOD)
    with Knot(directory / "knot", {"moving.test": PLAIN}) as knot:
        anchor = knot.trust_anchor("moving.test")
        with Unbound(directory / "unbound", ["moving.test"], [anchor], caching=False), internet.dns.through(UNBOUND):
            yield knot


def test_a_domain_gains_and_loses_dane(internet: Internet, moving: Knot, tmp_path: Path) -> None:
    """Past its minute a status still answers at once; it is read again behind that, and then the answer changes."""
    domain = DOMAINS[0]
    moving.load("moving.test", PLAIN)
    with HurriedDaemon(tmp_path / "daemon", internet.config()) as daemon:

        def reads() -> int:
            return internet.dns.count(domain, "MX")

        assert daemon.ask("postfix-dane", domain) == STS
        for records, old, new in (([*PLAIN, *TLSA], STS, DANE), (PLAIN, DANE, STS)):
            moving.load("moving.test", records)
            read = reads()
            assert daemon.ask("postfix-dane", domain) == old
            assert reads() == read, "within its minute nobody asks"
            daemon.pass_time(MINUTE + 1)
            seen = len(daemon.lines)
            assert daemon.ask("postfix-dane", domain) == old
            daemon.wait_for("dane-status", seen, domain=domain)
            assert daemon.ask("postfix-dane", domain) == new
            assert reads() == read + 1
        assert internet.gets(domain) == 1, "the policy is not fetched for it"


def test_an_answer_does_not_wait_for_a_reading_in_the_background(
    internet: Internet, moving: Knot, tmp_path: Path
) -> None:
    """The resolver hangs; what was known a minute ago is told meanwhile."""
    domain = DOMAINS[1]
    moving.load("moving.test", [*PLAIN, *TLSA])
    with HurriedDaemon(tmp_path / "daemon", internet.config()) as daemon:
        assert daemon.ask("postfix-dane", domain) == DANE
        asked = internet.dns.count(domain, "MX")
        internet.dns.break_(domain, "MX", lambda query: None)
        try:
            daemon.pass_time(MINUTE + 1)
            wait_until(
                lambda: daemon.ask("postfix-dane", domain) == DANE and internet.dns.count(domain, "MX") > asked,
                "the status is read again",
            )
            assert daemon.ask("postfix-dane", domain) == DANE
        finally:
            internet.dns.mend(domain, "MX")


def test_where_dns_fails_an_earlier_answer_counts_for_a_day(internet: Internet, moving: Knot, tmp_path: Path) -> None:
    """Then mail waits: neither DANE nor its absence is known any more."""
    domain = DOMAINS[1]
    moving.load("moving.test", [*PLAIN, *TLSA])
    with HurriedDaemon(tmp_path / "daemon", internet.config()) as daemon:
        assert daemon.ask("postfix-dane", domain) == DANE
        internet.dns.break_(domain, "MX", servfail)
        try:
            daemon.pass_time(2 * HOUR)
            assert daemon.ask("postfix-dane", domain) == DANE
            daemon.pass_time(DAY - 3 * HOUR)
            assert daemon.ask("postfix-dane", domain) == DANE
            daemon.pass_time(HOUR)
            assert daemon.ask("postfix-dane", domain).startswith(TEMP)
            assert daemon.ask("postfix", domain) == STS
        finally:
            internet.dns.mend(domain, "MX")
        assert daemon.ask("postfix-dane", domain).startswith(TEMP), "for half a minute"
        daemon.pass_time(MINUTE)
        assert daemon.ask("postfix-dane", domain) == DANE


def test_a_restart_forgets_the_status_and_keeps_the_policy(internet: Internet, moving: Knot, tmp_path: Path) -> None:
    """It lives in memory only: with DNS away at the start mail waits, and no earlier answer counts."""
    domain = DOMAINS[2]
    moving.load("moving.test", [*PLAIN, *TLSA])
    daemon = Daemon(tmp_path / "daemon", internet.config())
    with daemon:
        assert daemon.ask("postfix-dane", domain) == DANE
    internet.dns.break_(domain, "MX", servfail)
    try:
        with daemon:
            assert daemon.ask("postfix-dane", domain).startswith(TEMP)
            assert daemon.ask("postfix", domain) == STS
    finally:
        internet.dns.mend(domain, "MX")
    assert internet.gets(domain) == 1
