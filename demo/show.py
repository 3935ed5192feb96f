"""What the demo shows, in the order a newcomer meets it."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from demo import mail, owner
from demo.owner import Garden
from demo.world import Authority, PolicyHosts, Site
from tests.support.servers.daemon import ENVIRONMENT, Daemon
from tests.support.servers.debian import postmap
from tests.support.servers.dnsserver import DnsServer, Key
from tests.support.servers.receivers import Receivers

SITES = {
    "bank.example": Site("enforce", 90),
    "shop.example": Site("testing", 90),
    "late.example": Site("enforce", -3),
}
SITES |= {domain: Site("enforce", 90) for domain in mail.DOMAINS}
SITES[owner.DOMAIN] = owner.SITE
PROGRAM = [sys.executable, "-m", "postfix_mtasts"]
WITHOUT = "plain.example"  # has no MTA-STS


def show(directory: Path, stack: ExitStack) -> None:
    """The whole show."""
    authority = Authority()
    ca_file = directory / "ca.pem"
    ca_file.write_bytes(authority.pem)
    missing = mail.missing()
    dns = stack.enter_context(DnsServer(records(SITES), port=0 if missing else 53))
    hosts = stack.enter_context(PolicyHosts(directory, authority, SITES))
    config: dict[str, Any] = {
        "dns": {"servers": [dns.address]},
        "fetch": {"ca_file": str(ca_file), "allow_private_addresses": True},
    }
    daemon = stack.enter_context(Daemon(directory / "daemon", config))
    receivers = None
    if missing:
        _say(
            f"With {missing} this demo would first send three messages through a Postfix of its own, one of them "
            "past a man in the middle. It is left out."
        )
    else:
        receivers = _send_mail(directory, stack, authority, dns, daemon)
    _say(
        "This machine now holds a small world of its own: a DNS server, three policy hosts with certificates "
        "of a CA made a moment ago, and postfix-mtasts. Postfix would ask it before each delivery, by this line "
        "of main.cf:"
    )
    print(f"    smtp_tls_policy_maps = {daemon.table()}\n")

    _title("1. A domain with MTA-STS")
    _say("bank.example wants its mail over verified TLS only. What Postfix asks, and what it is told:")
    _ask(directory, daemon, "bank.example")
    _say(
        "So Postfix delivers to mx.bank.example, or to a host below mail.bank.example, whose certificate is valid, "
        "and to nobody else, whatever DNS says."
    )

    _title("2. Domains that enforce nothing")
    _say(f"shop.example has a policy in mode testing, and {WITHOUT} has none. Mail goes there as before:")
    _ask(directory, daemon, "shop.example")
    _ask(directory, daemon, WITHOUT)

    _title("3. A domain with a fault")
    _say("late.example forgot to renew a certificate. Its mail is not held up; but why is it not protected?")
    _ask(directory, daemon, "late.example")
    _run(PROGRAM, "query", "--explain", "--config", str(daemon.config_file), "late.example")

    _title("4. A domain's owner")
    if receivers is None:
        receivers = stack.enter_context(Receivers(directory / "receivers"))
    garden = Garden(dns, hosts, receivers, authority)
    owner.play(garden, _say, lambda *words: _run(PROGRAM, "check", "--config", str(daemon.config_file), *words))

    _title("5. An attack")
    _say(
        "Somebody between here and bank.example takes its record out of DNS and blocks its policy host, to have "
        "mail sent without TLS. The policy that was fetched counts for its max_age, 7 days:"
    )
    dns.records.pop(("_mta-sts.bank.example", "TXT"))
    hosts.stop()
    _ask(directory, daemon, "bank.example")

    _title("That was all")
    _say("What the daemon wrote to its log meanwhile:")
    for line in daemon.lines:
        print(textwrap.fill(line, 80, initial_indent="    ", subsequent_indent="        ", break_on_hyphens=False))
    print()
    _say("To have it on this machine: `make run`, and README.rst for main.cf.")


def _send_mail(directory: Path, stack: ExitStack, authority: Authority, dns: DnsServer, daemon: Daemon) -> Receivers:
    """Mail through Postfix, before anything is explained."""
    _title("What it is for")
    _say(
        "Three domains have a policy: their mail is for their own mail server, over verified TLS, and for nobody "
        "else. A message goes to each, through a real Postfix that stands alone, then through one that asks "
        "postfix-mtasts."
    )
    mail.resolve_here(directory)
    directory.chmod(0o755)  # Postfix's programs are not root
    receivers = mail.publish(directory, stack, authority, dns)
    without = mail.send(directory / "alone", authority, None)
    print(mail.table(without, mail.send(directory / "asking", authority, daemon)))
    _say(f"What is {mail.WAITING.partition(':')[0]} is tried again by Postfix, and goes when the attack is over.")
    return receivers


def _ask(directory: Path, daemon: Daemon, domain: str) -> None:
    """Ask as Postfix does: by postmap where it is installed, else over a socketmap connection of our own."""
    if Path("/usr/sbin/postmap").exists():
        print(f"    $ postmap -q {domain} {daemon.table()}")
        _, answer, fault = postmap(directory / "postfix", daemon.table(), domain)
        print(f"    {(answer or fault).strip() or '(no output: no policy)'}\n")
    else:
        print(f"    > postfix {domain}        (postmap is not installed: asked over the socket itself)")
        print(f"    < {daemon.ask('postfix', domain)}\n")


def _run(program: list[str], *words: str) -> None:
    shown = [word if "/" not in word else "config.yml" for word in words]
    print(f"    $ postfix-mtasts {' '.join(shown)}\n", flush=True)
    # A session of its own: Ctrl-C is for the demo, which then ends this too.
    subprocess.run([*program, *words], env=ENVIRONMENT, check=False, start_new_session=True)


def _say(text: str) -> None:
    print(textwrap.fill(text, 80, break_on_hyphens=False) + "\n", flush=True)


def _title(text: str) -> None:
    print(f"{text}\n{'-' * len(text)}\n")


def records(domains: Iterable[str]) -> dict[Key, list[str | bytes]]:
    """What DNS says of the policies of *domains*."""
    found: dict[Key, list[str | bytes]] = {}
    for domain in domains:
        found[f"_mta-sts.{domain}", "TXT"] = ['"v=STSv1; id=20260101;"']
        found[f"mta-sts.{domain}", "A"] = ["127.0.0.1"]
    return found
