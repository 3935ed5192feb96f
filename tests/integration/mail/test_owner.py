"""A domain from an empty folder to enforced mail and back, as its owner goes: one transcript.

ACME by pebble with real validation, records by dynamic update into knot, the
commands as an administrator types them, and at the other end a daemon and a
Postfix of somebody else.
"""

from __future__ import annotations

import datetime
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from postfix_mtasts.core.publication import WITHDRAWN, policy_id
from tests.integration.mail.conftest import MakePostfix
from tests.support.fakes.clocks import hurried
from tests.support.servers.certificates import Authority
from tests.support.servers.daemon import ENVIRONMENT, Daemon
from tests.support.servers.internet import Internet
from tests.support.servers.pebble import Pebble
from tests.support.servers.primaries import PRIMARY, KnotPrimary
from tests.support.servers.receivers import Receivers, taken
from tests.support.servers.serve import Serve, fetch
from tests.support.waiting import wait_until
from tests.support.worlds.scenarios import OLD

DOMAIN = "owner.whole.test"
HOST, MX = f"mta-sts.{DOMAIN}", f"mx.{DOMAIN}"
ADDRESS = ("127.0.0.9", 443)
LONG = datetime.timedelta(days=365)
FORTNIGHT = 14 * 86_400


class Owner(Serve):
    """A `serve` on clocks that a test moves, and its commands."""

    def __init__(self, directory: Path, publish: dict[str, object], **sections: object) -> None:
        super().__init__(directory, publish, **sections)
        self._passed = directory / "passed"
        self._passed.touch()

    def command(self) -> list[str]:
        return hurried(super().command(), self._passed)

    def pass_time(self, seconds: int) -> None:
        os.truncate(self._passed, self._passed.stat().st_size + seconds)

    def type(self, *words: str) -> tuple[int, str]:
        """What an administrator types, and what comes back."""
        command = ["-m", "postfix_mtasts", *words, "--config", str(self.config_file)]
        done = subprocess.run(
            [self.command()[0], *command], env=ENVIRONMENT, capture_output=True, text=True, timeout=150
        )
        print(f"$ postfix-mtasts {' '.join(words)}\n{done.stdout}{done.stderr}[exit {done.returncode}]\n")
        return done.returncode, done.stdout + done.stderr


@pytest.fixture
def zone(internet: Internet, receivers: Receivers, tmp_path: Path) -> Iterator[tuple[KnotPrimary, str, Authority]]:
    """The owner's name server, mail host and its CA; for as long as the test runs all resolvers ask that server."""
    authority = Authority("Mail CA", ends=LONG)
    mail = receivers.host(authority.issue(MX, ends=LONG))
    lines = [f"{HOST}. 60 IN A {ADDRESS[0]}", f"{DOMAIN}. 60 IN MX 10 {MX}.", f"{MX}. 60 IN A {mail}"]
    with KnotPrimary(tmp_path / "knot", "whole.test", lines) as primary:
        before, internet.dns.upstream = internet.dns.upstream, PRIMARY
        yield primary, mail, authority
        internet.dns.upstream = before


def test_from_an_empty_folder_to_enforced_mail_and_back(
    internet: Internet,
    receivers: Receivers,
    zone: tuple[KnotPrimary, str, Authority],
    make_postfix: MakePostfix,
    tmp_path: Path,
) -> None:
    """Testing, a clean check, enforce, mail of strangers protected, withdrawal until nothing is left."""
    primary, mail, authority = zone
    with Pebble(tmp_path / "pebble", f"{internet.dns.address}:53") as pebble:
        trusted = tmp_path / "trusted.pem"
        trusted.write_text(pebble.root() + authority.pem.decode())
        acme = {"directory_url": pebble.directory_url, "agree_to_terms": True, "ca_file": str(pebble.ca_file)}
        publish = {
            "listen": [f"inet:{ADDRESS[0]}:{ADDRESS[1]}"],
            "http_listen": [f"inet:{ADDRESS[0]}:80"],
            "acme": acme,
            "dns_update": {"server": f"inet:{PRIMARY}:53", "key_file": str(primary.key_file), "ttl": "60s"},
            "rua": [f"mailto:tlsrpt@{DOMAIN}"],
        }
        outside = {"dns": {"servers": [f"{internet.dns.address}:53"]}}
        outside["fetch"] = {"ca_file": str(trusted), "allow_private_addresses": True}
        owner = Owner(tmp_path / "owner", publish, **outside, reports={"directory": str(tmp_path / "reports")})
        with owner:
            assert owner.type("publish", "list")[0] == 1
            assert owner.type("publish", "set", DOMAIN, "--mode", "enforce")[0] == 1  # nothing is published yet
            assert owner.type("publish", "set", DOMAIN)[0] == 0
            owner.wait_for("certificate-obtained", name=HOST)
            owner.wait_for("record-updated")
            assert "mode: testing" in owner.type("publish", "show", DOMAIN)[1]
            code, text = owner.type("check", DOMAIN)
            assert (code, "fine" in text) == (0, True)
            assert owner.type("publish", "set", DOMAIN, "--mode", "enforce", "--max-age", "14d")[0] == 0
            wait_until(lambda: b"enforce" in fetch(HOST, pebble.root(), ADDRESS)[1], "enforce is served")
            assert owner.wait_for("record-updated", id=policy_id(fetch(HOST, pebble.root(), ADDRESS)[1]))
            assert owner.type("publish", "list")[0] == 0
            protected(internet, receivers, make_postfix, mail, authority, trusted, tmp_path)
            assert owner.type("publish", "withdraw", DOMAIN)[0] == 0
            wait_until(lambda: fetch(HOST, pebble.root(), ADDRESS)[1] == WITHDRAWN, "mode none is served")
            owner.pass_time(FORTNIGHT - 60)
            assert fetch(HOST, pebble.root(), ADDRESS)[1] == WITHDRAWN
            owner.pass_time(120)
            wait_until(lambda: fetch(HOST, pebble.root(), ADDRESS)[0] == 404, "nothing is served")
            # Knot's clock stood still, so it takes no update signed in two weeks.
            assert owner.wait_for("record-not-updated", domain=DOMAIN)
        assert pebble.orders() == 1


def protected(
    internet: Internet,
    receivers: Receivers,
    make_postfix: MakePostfix,
    mail: str,
    authority: Authority,
    trusted: Path,
    directory: Path,
) -> None:
    """Somebody else's daemon and Postfix: the honest mail host gets mail over verified TLS, a stranger none."""
    config = internet.config(fetch={"ca_file": str(trusted)})
    with Daemon(directory / "daemon", config) as daemon:
        assert daemon.ask("postfix", DOMAIN) == f"OK secure match={MX} servername=hostname"
        postfix = make_postfix(OLD, "owner", {"smtp_tls_policy_maps": daemon.table()})
        (postfix.directory / "ca.pem").write_bytes(authority.pem)
        (queue_id,) = postfix.send(f"user@{DOMAIN}")
        assert postfix.outcome(queue_id).status == "sent"
        assert postfix.tls(mail) == {"Verified"}
        before = len(list(taken(receivers.sessions(mail))))
        receivers.replace(mail, Authority("Stranger").issue(MX))
        (queue_id,) = postfix.send(f"user@{DOMAIN}")
        assert postfix.outcome(queue_id).status == "deferred"
        assert len(list(taken(receivers.sessions(mail)))) == before
