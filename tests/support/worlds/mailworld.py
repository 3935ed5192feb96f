"""The world that mail is sent to: each scenario's mail servers, certificates, records and policy."""

from __future__ import annotations

import hashlib

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.support.servers.certificates import DAY, Authority, self_signed
from tests.support.servers.internet import Internet, Site, zone_lines
from tests.support.servers.receivers import Receivers
from tests.support.worlds.scenarios import Host, Scenario, Version


def a_label(domain: str) -> str:
    return domain.encode("idna").decode()


class World:
    """Publishes scenarios on the Internet of the run."""

    def __init__(self, internet: Internet, receivers: Receivers, authority: Authority) -> None:
        self._internet, self._receivers, self._authority = internet, receivers, authority
        self._stranger = Authority("Nobody's CA")
        self._sites: dict[str, Site] = {}
        self._plain: list[str] = []  # records of zones without signatures
        self._shared: dict[str, str] = {}  # addresses of right hosts, by name
        self.signed: list[str] = []  # records of SIGNED

    def add(self, scenario: Scenario, version: Version) -> list[str]:
        """Make what *scenario* needs, to be seen from the next `publish` on: the addresses of its hosts."""
        domain = a_label(scenario.domain(version))
        site = Site(
            scenario.policy(domain),
            records=(scenario.record,) if scenario.record else (),
            trusted=scenario.policy_host_trusted,
        )
        lines = self.signed if scenario.signed else self._plain
        addresses = []
        for number, host in enumerate(scenario.hosts):
            name = host.name.format(d=domain)
            certificate = self._certificate(host, name)
            by_name = {name: self._authority.issue(name)} if host.certificate == "right by SNI" else None
            addresses.append(self._receivers.host(certificate, starttls=host.starttls, by_name=by_name))
            lines += [f"{domain}. 60 IN MX {number * 10} {name}.", f"{name}. 60 IN A {addresses[-1]}"]
            if host.tlsa:
                digest = _key_digest(certificate) if host.tlsa == "right" else "ab" * 32
                lines.append(f"_25._tcp.{name}. 60 IN TLSA 3 1 1 {digest}")
        if scenario.signed:
            lines += zone_lines(domain, site)
            self._internet.serve(domain, site.policy)
        else:
            self._sites[domain] = site
        return addresses

    def add_policy(self, domain: str, policy: bytes, host: str) -> None:
        """Have *domain* publish this policy; its MX is *host*, which is right, and may be that of other domains."""
        if host not in self._shared:
            self._shared[host] = self._receivers.host(self._authority.issue(host))
            self._plain.append(f"{host}. 60 IN A {self._shared[host]}")
        self._plain.append(f"{domain}. 60 IN MX 10 {host}.")
        self._sites[domain] = Site(policy)

    def add_record(self, line: str) -> None:
        """A record more, as a line of a zone file."""
        self._plain.append(line)

    def publish(self) -> None:
        """Publish what was added, but for the signed zone."""
        self._internet.publish_all(self._sites, *self._plain)
        self._sites, self._plain = {}, []

    def _certificate(self, host: Host, name: str) -> bytes:
        match host.certificate:
            case "right":
                return self._authority.issue(name)
            case "other name" | "right by SNI":
                return self._authority.issue("other.test")
            case "unknown CA":
                return self._stranger.issue(name)
            case "expired":
                return self._authority.issue(name, begins=-2 * DAY, ends=-DAY)
            case "self-signed":
                return self_signed(name)


def _key_digest(pem: bytes) -> str:
    key = x509.load_pem_x509_certificate(pem).public_key()
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()
