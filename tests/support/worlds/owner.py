"""A small internet for the owner's side: DNS at 127.0.0.1:53, policy hosts at port 443, mail hosts at port 25.

    with OwnerWorld(directory) as world:
        site = world.publish("example.test")         # all that there is to publish, and all right
        site.policy = ...; world.dns.records[...] = ...   # until a test changes it
        done = world.run("check", "--json", "example.test")

It wants the namespace of tests/support/namespace.py: fixed ports, all of 127.0.0.0/8.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.support.servers.certificates import DAY, Authority
from tests.support.servers.dnsserver import DnsServer
from tests.support.servers.hostile_https import PolicyHost, Script, answer, says, tls
from tests.support.servers.internet import policy
from tests.support.servers.receivers import Receivers, StartTls


@dataclass
class Site:
    """What a domain publishes."""

    domain: str
    host: PolicyHost
    mx: dict[str, list[str]] = field(default_factory=dict)  # MX host: its addresses
    certificates: dict[str, bytes] = field(default_factory=dict)  # by address, PEM


class OwnerWorld:
    def __init__(self, directory: Path, secure: bool = True) -> None:
        self.directory = directory
        self.authority = Authority()
        self.dns = DnsServer(secure=secure, port=53)
        self._stack = ExitStack()
        self._hosts = 0

    def __enter__(self) -> Self:
        self._stack.enter_context(self.dns)
        self.config = self.directory / "config.yml"
        ca_file = self.authority.write(self.directory / "ca.pem")
        shape = {
            "dns": {"servers": ["127.0.0.1:53"], "timeout": "2s", "trust_ad": "yes"},
            "fetch": {"ca_file": str(ca_file), "allow_private_addresses": True, "timeout": "5s"},
            "cache": {"directory": str(self.directory / "store")},
        }
        self.config.write_text(json.dumps(shape))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, place: TracebackType | None
    ) -> None:
        self._stack.close()

    @cached_property
    def mail(self) -> Receivers:
        """The mail servers, which take port 25 of all addresses."""
        return self._stack.enter_context(Receivers(self.directory / "receivers"))

    def publish(
        self,
        domain: str,
        *,
        mode: str = "enforce",
        body: bytes | None = None,
        script: Script | None = None,
        hosts: Sequence[str] = ("mx",),
        addresses: int = 1,
        starttls: StartTls = "offered",
        tlsa: bool = True,
    ) -> Site:
        """Everything that a domain publishes, right unless an argument says otherwise."""
        names = [f"{label}.{domain}" for label in hosts]
        body = policy(*names, mode=mode, max_age=2_592_000) if body is None else body
        site = Site(domain, self.policy_host(domain, script or self.serves(domain, body)))
        records = self.dns.records
        records[f"_mta-sts.{domain}", "TXT"] = ['"v=STSv1; id=20260101;"']
        records[f"_smtp._tls.{domain}", "TXT"] = [f'"v=TLSRPTv1; rua=mailto:tlsrpt@{domain}"']
        records[domain, "MX"] = [f"{10 * number} {name}." for number, name in enumerate(names, 1)]
        for name in names:
            site.mx[name] = []
            for _ in range(addresses):
                self.mail_host(site, name, self.authority.issue(name, ends=90 * DAY), starttls=starttls)
            if tlsa:
                records[f"_25._tcp.{name}", "TLSA"] = [tlsa_of(site.certificates[each]) for each in site.mx[name]]
        return site

    def serves(self, domain: str, body: bytes, **certificate: Any) -> Script:
        """A policy host's script that serves *body*."""
        names = certificate.pop("names", (f"mta-sts.{domain}",))
        certificate.setdefault("ends", 90 * DAY)
        return tls(self.authority.issue(*names, **certificate), says(answer(body)))

    def policy_host(self, domain: str, script: Script) -> PolicyHost:
        """One more address of the policy host."""
        self._hosts += 1
        address = f"127.200.{self._hosts // 250}.{self._hosts % 250 + 1}"
        host = self._stack.enter_context(PolicyHost(script, address, 443))
        self.dns.records.setdefault((f"mta-sts.{domain}", "A"), [])
        self.dns.records[f"mta-sts.{domain}", "A"] = [*self.dns.records[f"mta-sts.{domain}", "A"], address]
        return host

    def mail_host(self, site: Site, name: str, certificate: bytes, starttls: StartTls = "offered") -> str:
        """One more address of a mail host."""
        address = self.mail.host(certificate, starttls=starttls)
        site.mx.setdefault(name, []).append(address)
        site.certificates[address] = certificate
        self.dns.records[name, "A"] = list(site.mx[name])
        return address

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "postfix_mtasts", *words, "--config", str(self.config)]

    def run(self, *words: str, **how: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.command(*words), capture_output=True, text=True, check=False, **how)

    def check(self, *words: str) -> dict[str, Any]:
        """The report of one domain; its exit code goes by its verdict."""
        done = self.run("check", "--json", *words)
        assert done.stderr == "", done.stderr
        report: dict[str, Any] = json.loads(done.stdout)
        assert done.returncode == {"ok": 0, "warning": 1, "error": 2, "unknown": 3}[report["verdict"]]
        return report


def codes(report: dict[str, Any]) -> set[str]:
    """What was found, notes on DANE that is right apart."""
    return {found["code"] for found in report["findings"]}


def tlsa_of(pem: bytes) -> str:
    """The TLSA record 3 1 1 of a certificate, as a zone file has it."""
    certificate = x509.load_pem_x509_certificate(pem[pem.index(b"-----BEGIN CERTIFICATE") :])
    key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return f"3 1 1 {hashlib.sha256(key).hexdigest()}"
