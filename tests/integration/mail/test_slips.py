"""An administrator's slips in main.cf: what becomes of the mail, and that `config check` tells of each."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.servers.daemon import ENVIRONMENT, Daemon
from tests.support.servers.internet import Internet
from tests.support.waiting import wait_until
from tests.support.worlds.mail import Postfix
from tests.support.worlds.mailworld import World
from tests.support.worlds.scenarios import VERSIONS, Scenario, Want

pytestmark = pytest.mark.timeout(600)

OLD = VERSIONS[0]  # this machine's own, whose postconf can be asked
BYPASSED = "sent without the policy"


@dataclass(frozen=True)
class Slip:
    """What a service of master.cf has instead of {ours}, what Postfix logs then, and what config check says."""

    title: str
    options: str
    logged: str  # in Postfix's log; of BYPASSED: the policy had no part in the delivery
    said: str


HELD_UP = "client TLS configuration problem"
SLIPS = [
    Slip(
        "no-name", "smtp_tls_policy_maps=socketmap:{address}", "fatal: 127.0.0.1: garbage after numerical", "is missing"
    ),
    Slip("slash", "smtp_tls_policy_maps=socketmap:{address}/postfix", "garbage after numerical", "is missing"),
    Slip("tcp", "smtp_tls_policy_maps=tcp:{hostport}", "read TCP map reply from", "tcp_table(5) is another protocol"),
    Slip("inet", "smtp_tls_policy_maps={address}:postfix", "unsupported dictionary type: inet", "no such table"),
    Slip("quotes", 'smtp_tls_policy_maps="{ours}"', 'unsupported dictionary type: "socketmap', "quotes"),
    Slip("missing", "smtp_tls_policy_maps=hash:/no/table,{ours}", "/no/table.db: No such file", "no file /no/table.db"),
    Slip("unix", "smtp_tls_policy_maps=socketmap:unix:shut/socketmap:postfix", "Permission denied", "may not connect"),
    Slip("ca", "smtp_tls_policy_maps={ours} -o smtp_tls_CAfile=/no/ca.pem", "disabling TLS support", "no such file"),
    Slip("union", "{{ smtp_tls_policy_maps = unionmap:{{static:encrypt,{ours}}} }}", HELD_UP, "unionmap joins"),
    Slip("static", "smtp_tls_policy_maps=static:may,{ours}", BYPASSED, "answers for every domain"),
]


@dataclass(frozen=True)
class Site:
    """A Postfix with a transport a slip, and what came of a message by each."""

    postfix: Postfix
    queue_ids: dict[str, str]
    addresses: dict[str, str]
    warnings: list[str]


@pytest.fixture(scope="module")
def site(
    internet: Internet, world: World, make_postfix: Callable[..., Postfix], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    scenarios = {slip.title: Scenario("", Want(), label=f"slip-{slip.title}") for slip in SLIPS}
    addresses = {title: world.add(scenario, OLD)[0] for title, scenario in scenarios.items()}
    world.publish()
    domains = {title: scenario.domain(OLD) for title, scenario in scenarios.items()}
    daemon = Daemon(tmp_path_factory.mktemp("slips") / "daemon", internet.config())
    words = {"ours": daemon.table(), "address": daemon.address, "hostport": daemon.address.removeprefix("inet:")}
    services = [f"{slip.title} unix - - n - - smtp -o {slip.options.format(**words)}" for slip in SLIPS]
    transport = [f"{domains[title]} {title}:" for title in domains]
    main = {"smtp_tls_policy_maps": daemon.table()}
    postfix = make_postfix(OLD, "slips", main, services=services, transport=transport)
    shut = postfix.directory / "spool" / "shut"
    shut.mkdir(mode=0o755)
    daemon.configure({**daemon.config, "listen": [*daemon.config["listen"], f"unix:{shut}/socketmap"]})
    with daemon:
        ids = dict(zip(domains, postfix.send(*(f"user@{domain}" for domain in domains.values())), strict=True))
        yield Site(postfix, ids, addresses, _checked(postfix, daemon.config_file))


def _checked(postfix: Postfix, config: Path) -> list[str]:
    """What `config check` says of this Postfix."""
    environment = {
        **ENVIRONMENT,
        "MAIL_CONFIG": str(postfix.directory / "conf"),
        "PATH": os.environ["PATH"] + ":/usr/sbin",
    }
    command = [sys.executable, "-m", "postfix_mtasts", "config", "check", "--config", str(config)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1, done
    return done.stderr.splitlines()


@pytest.mark.parametrize("slip", SLIPS, ids=[slip.title for slip in SLIPS])
def test_a_slip_does_what_config_check_says(site: Site, slip: Slip) -> None:
    """All mail waits, or goes without the policy; and the warning names the service."""
    postfix, queue_id = site.postfix, site.queue_ids[slip.title]
    if slip.logged is BYPASSED:
        outcome = postfix.outcome(queue_id)
        assert (outcome.status, postfix.tls(site.addresses[slip.title])) == ("sent", {"Trusted"})
    else:
        wait_until(lambda: any(slip.logged in line for line in postfix.log()), f"{slip.logged}: {postfix.tail()}")
        assert queue_id in postfix.queue(), postfix.tail()
    named = [line for line in site.warnings if line.startswith(f"warning: master.cf: {slip.title}: ")]
    assert [line for line in named if slip.said in line], site.warnings


def test_the_right_line_beside_them_is_not_blamed(site: Site) -> None:
    """main.cf itself is right."""
    assert not [line for line in site.warnings if line.startswith("warning: main.cf:")]
