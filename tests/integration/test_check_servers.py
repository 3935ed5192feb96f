"""`check` against Debian's servers: nginx, nsd, zones signed by knot, unbound validating, mail hosts with STARTTLS.

What check says Postfix gets is compared with what query says, for every domain.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support.network import fresh_network
from tests.support.servers.certificates import DAY, Authority
from tests.support.servers.debian import UNBOUND, Knot, Unbound
from tests.support.servers.internet import Internet, Site, policy, zone_lines
from tests.support.servers.receivers import Receivers
from tests.support.worlds.owner import tlsa_of

OTHER_KEY = "3 1 1 " + "ab" * 32
TLSRPT = '60 IN TXT "v=TLSRPTv1; rua=mailto:a@example.test"'

# domain; what is found besides notes of what is right
WANTED = {
    "right.signed.test": {"dane-ok"},
    "mismatch.signed.test": {"dane-mismatch"},
    "pkix.signed.test": {"dane-unusable"},
    "insecure-host.signed.test": {"dane-insecure"},
    "plain.test": {"dane-insecure"},
    "bogus.test": {"dns-failed"},
    "bogus-host.signed.test": {"dns-failed"},
}


class World:
    def __init__(self, directory: Path, internet: Internet, receivers: Receivers, authority: Authority) -> None:
        self.internet, self.receivers, self.authority = internet, receivers, authority
        self.config = directory / "config.yml"
        ca_file = directory / "ca.pem"
        ca_file.write_bytes(internet.ca_file.read_bytes() + authority.pem)
        shape = internet.config(
            dns={"servers": [f"{UNBOUND}:53"], "trust_ad": "yes"},
            fetch={"ca_file": str(ca_file)},
            cache={"directory": str(directory / "store")},
        )
        self.config.write_text(json.dumps(shape))

    def run(self, *words: str) -> list[dict[str, Any]]:
        command = [sys.executable, "-m", "postfix_mtasts", *words, "--config", str(self.config)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.stderr == ""
        return [json.loads(line) for line in done.stdout.splitlines()]

    def mail(self, host: str) -> tuple[str, str]:
        """A mail host's address and the TLSA record of its certificate."""
        certificate = self.authority.issue(host, ends=90 * DAY)
        return self.receivers.host(certificate), tlsa_of(certificate)

    def domain(self, domain: str, *, tlsa: str | None = "", mx: str = "") -> list[str]:
        """A domain that publishes all there is; *tlsa* "" is the right record, *mx* another's mail host."""
        text = policy(mx or f"mx.{domain}", max_age=2_592_000)
        self.internet.serve(domain, text)
        host = mx or f"mx.{domain}"
        lines = [*zone_lines(domain, Site(text)), f"{domain}. 60 IN MX 10 {host}.", f"_smtp._tls.{domain}. {TLSRPT}"]
        if not mx:
            address, right = self.mail(host)
            lines.append(f"{host}. 60 IN A {address}")
            if tlsa is not None:
                lines.append(f"_25._tcp.{host}. 60 IN TLSA {tlsa or right}")
        return lines


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    directory = tmp_path_factory.mktemp("check")
    with (
        fresh_network(),
        Internet(directory / "internet") as internet,
        Receivers(directory / "receivers") as receivers,
    ):
        world = World(directory, internet, receivers, Authority())
        plain = world.domain("plain.test", tlsa=None)
        signed = [
            *world.domain("right.signed.test"),
            *world.domain("mismatch.signed.test", tlsa=OTHER_KEY),
            *world.domain("pkix.signed.test", tlsa=OTHER_KEY.replace("3", "1", 1)),
            *world.domain("insecure-host.signed.test", mx="mx.plain.test"),
            *world.domain("bogus-host.signed.test", mx="mx.bogus.test"),
        ]
        zones: dict[str, Sequence[str]] = {"signed.test": signed, "bogus.test": world.domain("bogus.test")}
        internet.add(*plain)
        with Knot(directory / "knot", zones) as knot:
            anchor = knot.trust_anchor("signed.test")
            anchors = [anchor, anchor.replace("signed", "bogus")]  # a wrong key: bogus.test is bogus
            with Unbound(directory / "unbound", zones, anchors):
                yield world


@pytest.fixture(scope="module")
def reports(world: World) -> dict[str, dict[str, Any]]:
    return {report["domain"]: report for report in world.run("check", "--json", *WANTED)}


@pytest.mark.parametrize(("domain", "codes"), WANTED.items(), ids=list(WANTED))
def test_what_is_found(reports: dict[str, dict[str, Any]], domain: str, codes: set[str]) -> None:
    """DNSSEC, TLSA and certificates as real servers have them."""
    assert {found["code"] for found in reports[domain]["findings"]} == codes


@pytest.mark.parametrize("name", ["postfix", "postfix-tlsrpt", "postfix-dane"])
def test_check_and_query_say_the_same(world: World, reports: dict[str, dict[str, Any]], name: str) -> None:
    """The answer of each map, for each domain."""
    for inquiry in world.run("query", "--json", "--map", name, *WANTED):
        answer = reports[inquiry["domain"]]["answers"][name]
        shown = answer.partition(" (")[0] if answer.startswith("NOTFOUND") else answer
        assert shown == inquiry["answer"]


def test_each_host_saw_one_connection(world: World, reports: dict[str, dict[str, Any]]) -> None:
    """mx.plain.test is shared by two domains; nobody sent mail."""
    sessions = world.receivers.sessions()
    assert len(sessions) == len({session.address for session in sessions})
    assert not any(session.mail for session in sessions)
    assert all(session.tls and session.server_name for session in sessions)
    assert {"right.signed.test", "plain.test"} <= set(reports)
