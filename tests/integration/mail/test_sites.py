"""The lines of main.cf and master.cf that docs/postfix.rst gives for each kind of site: mail goes through."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from tests.support.servers.daemon import Daemon
from tests.support.servers.internet import Internet
from tests.support.worlds.mail import Postfix
from tests.support.worlds.mailworld import World
from tests.support.worlds.scenarios import VERSIONS, Host, Scenario, Version, Want

pytestmark = pytest.mark.timeout(600)  # the first of them may make a Debian 13

SITES = {  # transport: its columns in master.cf after the name, and its policy maps
    "tcp": ("unix - - n - - smtp", "{inet}"),
    "unix": ("unix - - n - - smtp", "socketmap:unix:postfix-mtasts/socketmap:{map}"),
    "chroot": ("unix - - y - - smtp", "socketmap:unix:postfix-mtasts/socketmap:{map}"),
    "chroot-tcp": ("unix - - y - - smtp", "{inet}"),
    "proxy": ("unix - - y - - smtp", "proxy:{inet}"),
    "in-front": ("unix - - n - - smtp", "texthash:{directory}/conf/tls_policy,{inet}"),
}


@dataclass(frozen=True)
class Sent:
    """A message, and whom it went to."""

    postfix: Postfix
    queue_id: str
    address: str


@pytest.fixture(scope="module")
def sent(
    internet: Internet,
    world: World,
    make_postfix: Callable[..., Postfix],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[tuple[str, str], Sent]]:
    """One message by each transport, and one to a domain for which the table in front has an exception."""
    labels = [*SITES, "excepted"]
    scenarios = {label: Scenario("", Want(), label=f"site-{label}") for label in SITES}
    scenarios["excepted"] = Scenario("", Want(), label="site-excepted", hosts=(Host(certificate="other name"),))
    addresses = {(label, v.name): world.add(scenarios[label], v)[0] for label in labels for v in VERSIONS}
    world.publish()
    with ExitStack() as stack:
        found = {}
        for version in VERSIONS:
            domains = {label: scenarios[label].domain(version) for label in labels}
            daemon = Daemon(tmp_path_factory.mktemp("sites") / "daemon", internet.config())
            inet = daemon.table(version.map)
            services, transport = [], [f"{domains['excepted']} in-front:"]
            for label, (columns, maps) in SITES.items():
                text = maps.format(inet=inet, map=version.map, directory="$config_directory/..")
                services.append(f"{label} {columns} -o smtp_tls_policy_maps={text} -o smtp_tls_CAfile=$ca_file")
                transport.append(f"{domains[label]} {label}:")
            # what a chrooted smtp(8) reads is read before it goes into the chroot, but for resolv.conf
            main = {"ca_file": "$config_directory/../ca.pem", "proxy_read_maps": f"proxy:{inet}"}
            postfix = make_postfix(version, "sites", main, services=services, transport=transport)
            postfix.add("conf/tls_policy", f"{domains['excepted']} encrypt\n")
            postfix.add("spool/etc/resolv.conf", "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
            (postfix.directory / "spool" / "postfix-mtasts").mkdir(mode=0o755)
            unix = f"unix:{postfix.directory}/spool/postfix-mtasts/socketmap"
            changes = {"listen": [*daemon.config["listen"], unix], "socket_mode": "0666"}
            daemon.configure({**daemon.config, **changes})
            stack.enter_context(daemon)
            ids = postfix.send(*(f"user@{domains[label]}" for label in labels))
            for label, queue_id in zip(labels, ids, strict=True):
                found[label, version.name] = Sent(postfix, queue_id, addresses[label, version.name])
        yield found


@pytest.mark.parametrize("label", SITES)
def test_each_kind_of_site_delivers_verified(sent: dict[tuple[str, str], Sent], version: Version, label: str) -> None:
    """Over TCP and a unix socket, in the chroot and out of it, through proxymap(8), behind another table."""
    mail = sent[label, version.name]
    outcome = mail.postfix.outcome(mail.queue_id)
    assert (outcome.status, mail.postfix.tls(mail.address)) == ("sent", {"Verified"}), (outcome, mail.postfix.tail())


def test_a_table_in_front_makes_an_exception(sent: dict[tuple[str, str], Sent], version: Version) -> None:
    """The first table that knows the domain decides: here a host that the policy would refuse."""
    mail = sent["excepted", version.name]
    outcome = mail.postfix.outcome(mail.queue_id)
    assert (outcome.status, mail.postfix.tls(mail.address)) == ("sent", {"Trusted"}), (outcome, mail.postfix.tail())
