"""Resolvers that fail, and those that lie, from the running daemon: no policy is lost, and nobody waits twice."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from postfix_mtasts.adapters.dns.client import DnsClient
from postfix_mtasts.errors import DnsError
from postfix_mtasts.faults import Fault
from tests.support.servers.daemon import Daemon
from tests.support.servers.debian import NGINX, Unbound
from tests.support.servers.dnsserver import DnsServer
from tests.support.servers.dnstap import lame, servfail
from tests.support.servers.internet import Internet, policy

STS = "OK secure match=mx.example.net servername=hostname"
NOTFOUND, DANE = "NOTFOUND ", "OK dane-only"
GOOD = policy("mx.example.net")
ANY = ("*", "*")
REMOTE = "192.0.2.53"  # an address of this machine that is not loopback


@pytest.fixture
def remote() -> Iterator[str]:
    subprocess.run(["ip", "address", "add", f"{REMOTE}/32", "dev", "lo"], check=True)
    yield REMOTE
    subprocess.run(["ip", "address", "del", f"{REMOTE}/32", "dev", "lo"], check=True)


def with_servers(internet: Internet, *servers: str, **changes: object) -> dict[str, Any]:
    return internet.config(**changes) | {"dns": {"servers": list(servers), "timeout": "2s"}}


@pytest.mark.parametrize(("setting", "answer"), [("skip", NOTFOUND), ("defer", "TEMP ")])
def test_a_lame_resolver_alone_is_a_dns_failure(internet: Internet, tmp_path: Path, setting: str, answer: str) -> None:
    """Its empty answers are not "no record": with on_dns_failure: defer mail waits, with skip the log says so."""
    domain = f"lame-{setting}.resolvers.test"
    internet.publish(domain, GOOD)
    internet.dns.break_(f"_mta-sts.{domain}", "TXT", lame)
    with Daemon(tmp_path, internet.config(lookup={"on_dns_failure": setting})) as daemon:
        assert daemon.ask("postfix", domain).startswith(answer)
        assert daemon.wait_for("temp" if setting == "defer" else "dns-failed")


@pytest.mark.parametrize("rdtype", ["TXT", "A", "AAAA"])
def test_after_a_lame_resolver_the_next_is_asked(internet: Internet, tmp_path: Path, rdtype: str) -> None:
    """As libresolv does; for the record, and for the policy host's addresses."""
    domain = f"{rdtype.lower()}.next.resolvers.test"
    internet.publish(domain, GOOD)

    def without_recursion(reply: bytes, tcp: bool) -> list[bytes]:
        return [reply[:3] + bytes([reply[3] & 0x7F]) + reply[4:]]

    name = f"_mta-sts.{domain}" if rdtype == "TXT" else f"mta-sts.{domain}"
    with (
        DnsServer({}, {(name, rdtype): without_recursion, ANY: "REFUSED"}, host="127.0.0.53") as bad,
        Daemon(tmp_path, with_servers(internet, bad.address, f"{internet.dns.address}:53")) as daemon,
    ):
        assert daemon.ask("postfix", domain) == STS
    assert bad.asked[name, rdtype] >= 1


def test_a_silent_first_resolver_is_left_alone_for_a_while(internet: Internet, tmp_path: Path) -> None:
    """It holds up one lookup of each process, and not each of them."""
    domains = [f"n{number}.silent.resolvers.test" for number in range(12)]
    with (
        DnsServer({}, {ANY: "silence"}, host="127.0.0.53") as silent,
        Daemon(tmp_path, with_servers(internet, silent.address, f"{internet.dns.address}:53")) as daemon,
    ):
        assert [daemon.ask("postfix", domain) for domain in domains] == [NOTFOUND] * len(domains)
    asked = [name for name, _ in silent.asked]
    assert len(asked) <= 3  # the probe's first, and the first of each worker
    assert domains[-1] not in {name.removeprefix("_mta-sts.") for name in asked}


MX, HOST, TLSA = ["10 mx.forged.test."], ["127.0.0.2"], ["3 1 1 " + "ab" * 32]
FORGED: dict[tuple[str, str], list[str | bytes]] = {
    ("forged.resolvers.test", "MX"): MX,
    ("mx.forged.test", "A"): HOST,
    ("_25._tcp.mx.forged.test", "TLSA"): TLSA,
}


@pytest.mark.parametrize(
    ("trust_ad", "answer"), [("auto", STS), ("yes", DANE)], ids=["auto: MTA-STS stays", "yes: believed"]
)
def test_ad_of_a_resolver_on_another_host(
    internet: Internet, tmp_path: Path, remote: str, trust_ad: str, answer: str
) -> None:
    """One forged answer must not turn an enforced policy into dane-only."""
    domain = "forged.resolvers.test"
    internet.publish(domain, GOOD)
    ours = {(f"_mta-sts.{domain}", "TXT"): ['"v=STSv1; id=1;"'], (f"mta-sts.{domain}", "A"): [NGINX]}
    with DnsServer({**FORGED, **ours}, secure=True, host=remote) as server:
        config = with_servers(internet, server.address)
        config["dns"] = {"servers": [server.address], "timeout": "2s", "trust_ad": trust_ad}
        with Daemon(tmp_path, config) as daemon:
            assert daemon.ask("postfix-dane", domain) == answer
            if trust_ad == "auto":
                assert daemon.wait_for("resolver-not-trusted", servers=server.address)
            else:  # what was believed is forgotten with the setting
                daemon.configure({**daemon.config, "dns": {**config["dns"], "trust_ad": "auto"}})
                daemon.reload()
                assert daemon.ask("postfix-dane", domain) == STS


def test_what_the_local_validator_refuses_no_other_is_asked_for(internet: Internet, tmp_path: Path) -> None:
    """SERVFAIL of a server whose AD counts is the last word: TEMP, as SPEC's table has it for a failed MX answer."""
    domain = "refused.resolvers.test"
    internet.publish(domain, GOOD)
    internet.dns.break_(domain, "MX", servfail)
    with (
        DnsServer({(domain, "MX"): MX, **FORGED}, secure=True, host="127.0.0.53") as other,
        Daemon(tmp_path, with_servers(internet, f"{internet.dns.address}:53", other.address)) as daemon,
    ):
        assert daemon.ask("postfix-dane", domain).startswith("TEMP ")
        assert not other.asked[domain, "MX"]


def test_a_resolver_that_does_not_answer_is_not_said_to_validate_nothing(internet: Internet, tmp_path: Path) -> None:
    """An outage at the start is not a wrong configuration."""
    with (
        DnsServer({}, {ANY: "silence"}, host="127.0.0.53") as silent,
        Daemon(tmp_path, with_servers(internet, silent.address)) as daemon,
    ):
        assert daemon.ask("postfix-dane", "silent.resolvers.test") == "NOTFOUND "
        assert daemon.wait_for("resolver-not-answering", servers=silent.address)
        assert daemon.events("resolver-not-validating") == []


REAL: list[tuple[str, str, Fault | None, bool]] = [
    ("signed and trusted", "signed.test", None, True),
    ("unsigned", "unsigned.test", None, False),
    ("signed by another key than the trusted one", "bogus.test", Fault.DNS_BOGUS, False),
]


@pytest.mark.parametrize(("title", "zone", "fault", "secure"), REAL, ids=[r[0] for r in REAL])
def test_what_unbound_says(resolver: Unbound, title: str, zone: str, fault: Fault | None, secure: bool) -> None:
    """A real validating resolver: AD counts from loopback, and it says by an extended error what is bogus."""
    client = DnsClient([f"{resolver.address}:53"], 10.0)
    if fault is None:
        assert client.txt(f"nothing.{zone}").secure is secure
    else:
        with pytest.raises(DnsError) as caught:
            client.txt(f"nothing.{zone}")
        assert caught.value.seen.fault is fault
