"""The outside world of a test run: policy domains with DNS, policy hosts and certificates, on loopback.

A test publishes domains of names that no other test uses, and counts what
they were asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import trustme

from tests.support.servers.debian import NGINX, NSD, Nginx, Nsd
from tests.support.servers.dnstap import DnsTap
from tests.support.waiting import wait_until

RECORD = "v=STSv1; id=1;"


def policy(*mx: str, mode: str = "enforce", max_age: int = 604800) -> bytes:
    """A policy file as most domains have it."""
    lines = ["version: STSv1", f"mode: {mode}", *(f"mx: {pattern}" for pattern in mx), f"max_age: {max_age}"]
    return "".join(line + "\r\n" for line in lines).encode()


@dataclass(frozen=True, slots=True)
class Site:
    """What one policy domain publishes; None leaves the address or the file away."""

    policy: bytes | None
    records: Sequence[str] = (RECORD,)
    address: str | None = NGINX
    trusted: bool = True  # whether its certificate comes from the CA that the daemon trusts


class Internet:
    """Entered by `with`; DNS at 127.0.0.1:53 (see `dns` for counts and faults), HTTPS at 127.0.0.1:443."""

    def __init__(self, directory: Path) -> None:
        self._stack = ExitStack()
        self._nsd, self.nginx = Nsd(directory / "nsd"), Nginx(directory / "nginx")
        self.dns = DnsTap(NSD)
        self._ca, self._stranger = trustme.CA(), trustme.CA()
        self.ca_file = directory / "ca.pem"
        self._ca.cert_pem.write_to_path(str(self.ca_file))
        self._records: dict[str, list[str]] = {}

    def __enter__(self) -> Self:
        for server in (self._nsd, self.nginx, self.dns):
            self._stack.enter_context(server)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, place: TracebackType | None
    ) -> None:
        self._stack.close()

    def publish(self, domain: str, text: bytes | None = None, **changes: Any) -> None:
        """Publish *domain* with the policy *text*, or anew; see Site for *changes*."""
        self.publish_all({domain: Site(text, **changes)})

    def publish_all(self, sites: Mapping[str, Site], *lines: str) -> None:
        """Publish many domains at once, and *lines* as `add` does: the zone is loaded once."""
        self._records.setdefault("", []).extend(lines)
        for domain, site in sites.items():
            self._records[domain] = list(zone_lines(domain, site))
            self.serve(domain, site.policy, trusted=site.trusted)
        self._nsd.load(line for lines in self._records.values() for line in lines)

    def add(self, *lines: str) -> None:
        """Publish records that no policy domain has, as lines of a zone file."""
        self._records.setdefault("", []).extend(lines)
        self._nsd.load(line for records in self._records.values() for line in records)

    def serve(self, domain: str, text: bytes | None, *, trusted: bool = True) -> None:
        """Have the policy host of *domain* serve *text*; DNS stays as it is."""
        host = f"mta-sts.{domain}"
        issued = (self._ca if trusted else self._stranger).issue_cert(host)
        self.nginx.serve(host, text, issued.private_key_and_cert_chain_pem.bytes())

    def txt_queries(self, domain: str) -> int:
        """How often the record of *domain* has been asked for."""
        return self.dns.count(f"_mta-sts.{domain}", "TXT")

    def gets(self, domain: str) -> int:
        """How often the policy of *domain* has been fetched; waits for the first to be written down."""
        host = f"mta-sts.{domain}"
        wait_until(lambda: bool(self.nginx.requests(host)), f"a request for {host} is logged")
        return len(self.nginx.requests(host))

    def config(self, **changes: Any) -> dict[str, Any]:
        """A daemon's configuration for this world, with times fit for tests."""
        config: dict[str, Any] = {
            "dns": {"servers": [f"{self.dns.address}:53"], "timeout": "2s"},
            "fetch": {"ca_file": str(self.ca_file), "allow_private_addresses": True, "timeout": "20s"},
            "lookup": {"wait": "15s"},
        }
        for section, values in changes.items():
            config[section] = {**config.get(section, {}), **values} if isinstance(values, dict) else values
        return config


def zone_lines(domain: str, site: Site) -> list[str]:
    """The records of one policy domain as lines of a zone file."""
    lines = [f'_mta-sts.{domain}. 60 IN TXT "{record}"' for record in site.records]
    if site.address is not None:
        lines.append(f"mta-sts.{domain}. 60 IN {'AAAA' if ':' in site.address else 'A'} {site.address}")
    return lines
