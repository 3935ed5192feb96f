"""Everything about the published domains at one moment: what the dashboard, /metrics and /healthz show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from ..core.names import Domain
from .certificates import Certificate, Failure
from .checks import Checked
from .dnsrecord import Seen, Written
from .host import HOST_LABEL
from .publisher import Table


class CertificateSource(Protocol):
    """Certificates or CertificateFiles: what is held, by name."""

    certificates: dict[str, Certificate]


@dataclass(frozen=True, slots=True)
class DomainView:
    """One domain; times are UTC seconds, and texts may come from elsewhere."""

    domain: Domain
    mode: str
    max_age: int  # seconds
    mx: tuple[str, ...]
    id: str
    dns_id: str | None  # as DNS was last read; None: it has no valid record, or was not read yet
    dns_read: bool
    dns_problem: str  # why the record could not be written
    certificate_end: float | None
    certificate_problem: str
    withdrawn_until: float | None
    fault: str  # why the domain's file is refused
    checked: Checked | None

    @property
    def dns_current(self) -> bool:
        """Whether DNS names the policy that is served."""
        return self.dns_id == self.id


@dataclass(frozen=True, slots=True)
class Overview:
    """All of it."""

    domains: tuple[DomainView, ...]
    faults: Mapping[str, str]  # domain or folder -> one sentence; domains that were never valid are here only
    requests: Mapping[str, int]  # by status code
    unknown_names: int
    now: float  # UTC seconds
    more_certificates: Mapping[str, float] = field(default_factory=dict)  # of the report host: UTC seconds of its end


def view_domains(
    table: Table,
    faults: Mapping[str, str],
    certificates: Mapping[str, Certificate],
    certificate_problems: Mapping[str, str],
    written: Mapping[Domain, Written],
    seen: Mapping[Domain, Seen],
    checked: Mapping[Domain, Checked],
) -> tuple[DomainView, ...]:
    """Return every domain that is served, by name."""
    found = []
    for domain, served in sorted(table.items()):
        name = HOST_LABEL + domain
        held, looked = certificates.get(name), seen.get(domain)
        publication = served.publication
        found.append(
            DomainView(
                domain=domain,
                mode=str(served.policy.mode),
                max_age=served.policy.max_age,
                mx=served.policy.mx,
                id=served.record_id,
                dns_id=looked.record_id if looked is not None else None,
                dns_read=looked is not None,
                dns_problem=written[domain].reason if domain in written else "",
                certificate_end=held.not_after if held is not None else None,
                certificate_problem=certificate_problems.get(name, ""),
                withdrawn_until=None if publication.current else publication.owed_until,
                fault=faults.get(domain, ""),
                checked=checked.get(domain),
            )
        )
    return tuple(found)


def problems_of(failures: Mapping[str, Failure]) -> dict[str, str]:
    """Return why names have no new certificate, one sentence each."""
    return {name: failure.reason for name, failure in failures.items()}
