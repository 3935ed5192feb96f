"""Three messages through a real Postfix, without the daemon and with it: who got them?"""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import ExitStack
from pathlib import Path

from demo.world import Authority
from tests.support.servers.daemon import Daemon
from tests.support.servers.dnsserver import DnsServer
from tests.support.servers.receivers import Receivers
from tests.support.worlds.mail import Attempt, Postfix

DOMAINS = {
    "honest.example": "Nobody meddles",
    "stripped.example": "A man in the middle takes STARTTLS out",
    "forged.example": "A forged MX record names the attacker's server",
}
ATTACKER = "mx.attacker.example"  # with a good certificate for this name
WAITING = "kept: not sent to anybody"


def missing() -> str:
    """What keeps mail from being sent here; empty where nothing does."""
    if os.geteuid() != 0 or Path("/proc/self/uid_map").read_text().split()[2] == "1":  # a user's own namespace
        return "root"
    if shutil.which("postfix", path=os.environ["PATH"] + ":/usr/sbin") is None:
        return "Postfix (apt-get install --no-install-recommends postfix)"
    return ""


def resolve_here(directory: Path) -> None:
    """Have this mount namespace, which is the demo's own, ask the demo's DNS server."""
    file = directory / "resolv.conf"
    file.write_text("nameserver 127.0.0.1\n")
    subprocess.run(["mount", "--bind", str(file), "/etc/resolv.conf"], check=True)


def publish(directory: Path, stack: ExitStack, authority: Authority, dns: DnsServer) -> Receivers:
    """The mail servers, the attacker's too, and what DNS says of them."""
    receivers = stack.enter_context(Receivers(directory / "receivers"))
    attacker = receivers.host(authority.issue(ATTACKER, 90))
    dns.records[ATTACKER, "A"] = [attacker]
    for domain in DOMAINS:
        host = ATTACKER if domain == "forged.example" else f"mx.{domain}"
        dns.records[domain, "MX"] = [f"10 {host}."]
        if host != ATTACKER:
            starttls = "withheld" if domain == "stripped.example" else "offered"
            dns.records[host, "A"] = [receivers.host(authority.issue(host, 90), starttls=starttls)]
    return receivers


def send(directory: Path, authority: Authority, daemon: Daemon | None) -> dict[str, str]:
    """Send a message to each domain, by a Postfix that asks *daemon*: what became of it, by domain."""
    main = {} if daemon is None else {"smtp_tls_policy_maps": daemon.table()}
    with Postfix(directory, main=main, ca=authority.pem) as postfix:
        ids = dict(zip(DOMAINS, postfix.send(*(f"you@{domain}" for domain in DOMAINS)), strict=True))
        return {domain: _told(postfix, postfix.outcome(queue_id)) for domain, queue_id in ids.items()}


def _told(postfix: Postfix, outcome: Attempt) -> str:
    if outcome.status != "sent":
        return WAITING
    address = outcome.relay.partition("[")[2].partition("]")[0]
    if outcome.host == ATTACKER:
        return "READ BY THE ATTACKER"
    levels = postfix.tls(address)
    if not levels:
        return "SENT IN CLEAR, for all to read"
    return "sent, TLS verified" if levels == {"Verified"} else "sent, TLS not verified"


def table(without: dict[str, str], with_daemon: dict[str, str]) -> str:
    """What a person reads."""
    rows = [("message to", "without the daemon", "with the daemon"), ("", "", "")]
    rows += [(domain, without[domain], with_daemon[domain]) for domain in DOMAINS]
    lines = [f"    {what}: {domain}" for domain, what in DOMAINS.items()]
    return "\n".join([*lines, "", *(f"    {row[0]:18}{row[1]:32}{row[2]}".rstrip() for row in rows), ""])
