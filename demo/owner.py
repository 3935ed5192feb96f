"""A domain owner's act: a domain with five faults, `check`, the faults repaired one by one, `check` again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from demo.world import Authority, PolicyHosts, Site
from tests.support.servers.dnsserver import DnsServer
from tests.support.servers.receivers import Receivers, StartTls

DOMAIN = "garden.example"
MX = f"mx.{DOMAIN}"
POLICY = "version: STSv1\r\nmode: {mode}\r\nmx: mx.{domain}\r\nmax_age: 604800\r\n"
SITE = Site("report", 3, POLICY)  # a mode that RFC 8461 does not know; a certificate that expires in three days
FAULTS = ("policy-invalid", "host-certificate-expiring", "record-invalid", "mail-starttls", "tlsrpt-absent")


@dataclass
class Garden:
    """The domain and what its owner can repair."""

    dns: DnsServer
    hosts: PolicyHosts
    receivers: Receivers
    authority: Authority

    def plant(self) -> None:
        """Publish the domain with all its faults."""
        self.dns.records[f"_mta-sts.{DOMAIN}", "TXT"] = ['"v=STSv1; id=2026-01-01;"']
        self.dns.records[f"mta-sts.{DOMAIN}", "A"] = ["127.0.0.1"]
        self.dns.records[DOMAIN, "MX"] = [f"10 {MX}."]
        self._mail_host("withheld")

    def _mail_host(self, starttls: StartTls) -> None:
        address = self.receivers.host(self.authority.issue(MX, 90), starttls=starttls)
        self.dns.records[MX, "A"] = [address]

    def repairs(self) -> Iterator[tuple[str, Callable[[], None]]]:
        """What the owner does, in the order of the findings, and how."""
        yield (
            "The record's id holds hyphens. New text at _mta-sts: v=STSv1; id=20260101;",
            lambda: self._record(f"_mta-sts.{DOMAIN}", "v=STSv1; id=20260101;"),
        )
        yield "The policy says mode: report. It is testing in RFC 8461.", lambda: self._site(Site("testing", 3, POLICY))
        yield "The policy host's certificate is renewed.", lambda: self._site(Site("testing", 90, POLICY))
        yield "STARTTLS is switched on at the mail host.", lambda: self._mail_host("offered")
        yield (
            "Somebody is to be told of failures: a record at _smtp._tls.",
            lambda: self._record(f"_smtp._tls.{DOMAIN}", f"v=TLSRPTv1; rua=mailto:tlsrpt@{DOMAIN}"),
        )

    def _record(self, name: str, text: str) -> None:
        self.dns.records[name, "TXT"] = [f'"{text}"']

    def _site(self, site: Site) -> None:
        self.hosts.change(DOMAIN, site)


def play(garden: Garden, say: Callable[[str], None], check: Callable[..., None]) -> None:
    """Check, repair one fault after the other, check again."""
    garden.plant()
    say(
        f"{DOMAIN} also wants its own mail protected, and its owner has published all that it takes. Is it right? "
        "`check` looks at it as a strict sender does:"
    )
    check(DOMAIN)
    say("Five things are wrong. The owner repairs them one by one, and looks again after each:")
    for words, repair in garden.repairs():
        say(f"* {words}")
        repair()
        check("--monitor", DOMAIN)
        print(flush=True)
    say("Now everything is as it should be; what is left is for the owner's information:")
    check(DOMAIN)
