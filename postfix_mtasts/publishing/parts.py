"""Make the parts of `serve` and join them: the one place that knows which part is told what.

The folder of policies decides. A thread reads it (publisher), the loop serves
what the thread found (host); what is served decides which certificates are
kept, and what can be fetched with one, which record ids stand in DNS.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ..adapters.clock import SystemClock
from ..adapters.dnsupdate import UpdateServer
from ..config.settings import PublishSettings, Settings
from ..core.names import Domain
from ..core.ownrecords import tlsrpt_text
from ..core.quoting import KV
from ..errors import DnsError
from ..process.listeners import split_inet
from ..resolving.audit.outside import outside
from ..resolving.audit.run import examine
from ..resolving.world import dns_client
from .admin import Admin
from .certfiles import CertificateFiles
from .certificates import Certificate, Certificates
from .checks import Checked, Checks, Remark
from .dnsrecord import Records
from .host import HOST_LABEL, ChallengeHost, PolicyHost
from .intake import ReportIntake
from .overview import Overview, problems_of, view_domains
from .publisher import History, Publisher, Table
from .reportviews import ReportViews
from .sockets import Use
from .tls import Names
from .webserver import WebServer, tell_unrecognized_name

log = logging.getLogger(__name__)

ORDERS = 4  # certificates ordered at once
ADMIN_CONNECTIONS = 32
STUCK = 30.0  # seconds without a look at the folder
EXPIRY_DAYS = 14  # fewer days left of a certificate are a warning, as `check` has it


class Parts:
    """The parts of a running `serve`; made and joined on the event loop."""

    def __init__(self, settings: Settings, state: Path) -> None:
        """*state*: the state directory, which nobody else uses. Raises: OSError."""
        publish, clock = settings.publish, SystemClock()
        self._settings, self._publish, self._clock = settings, publish, clock
        self._loop = asyncio.get_running_loop()
        self._dns = dns_client(settings.dns)
        self._names = Names(self._unknown_name)
        self._intake = ReportIntake(settings.reports, clock.wall) if publish.report_host is not None else None
        self.host = PolicyHost(publish.report_host, self._intake.handle if self._intake is not None else None)
        self._records = Records(state, _updates(publish), self._txt, tlsrpt_text(publish.rua), clock.wall)
        self._checks = Checks(state, self._examine, clock.wall)
        self._ordered = self._make_ordered(state) if publish.certificates == "acme" else None
        self._files = self._make_files() if publish.certificates == "files" else None
        self._publisher = Publisher(Path(publish.directory), History(state / "domains"), clock, self._table_changed)
        self._publisher.look()  # what the history says is served from the first moment on
        self._serve(self._publisher.table)
        if self._files is not None:
            self._files.look(self._hosts())

    def _make_ordered(self, state: Path) -> Certificates:
        from ..adapters.acme import AcmeServer  # it takes a while, and only this needs it

        acme = self._publish.acme
        server = AcmeServer(acme.directory_url, acme.contact, acme.ca_file, state)
        ordered = Certificates(state, server, self._has_address, self._clock.wall, self._certificate_changed)
        for name, certificate in list(ordered.certificates.items()):
            try:
                self._names.put(name, certificate.pem)
            except ValueError as error:  # without it the name is due for another
                log.error("certificate-unreadable %s", KV(name=name, reason=error))
                del ordered.certificates[name]
        return ordered

    def _make_files(self) -> CertificateFiles:
        return CertificateFiles(Path(self._publish.certificate_directory or ""), self._certificate_changed)

    def servers(self) -> dict[Use, WebServer]:
        """Return what answers at the sockets, by their use."""
        challenges = ChallengeHost(self._ordered.challenges if self._ordered is not None else {})
        reports = ReportViews(self._settings.reports.directory, lambda: self.host.table.keys(), self._clock.wall)
        admin = Admin(self.overview, self.unwell, reports.page, reports.metrics)
        tls = None if self._publish.certificates == "none" else self._names.front
        return {
            Use.POLICIES: WebServer(self.host.handle, tls=tls, requests=self.host.requests),
            Use.CHALLENGES: WebServer(challenges.handle),
            Use.ADMIN: WebServer(admin.handle, ADMIN_CONNECTIONS),
        }

    def start(self) -> None:
        """Start the threads."""
        work: list[tuple[str, Callable[[], None]]] = [
            ("publisher", self._publisher.run),
            ("records", self._records.run),
            ("checks", self._checks.run),
        ]
        if self._intake is not None:
            work.append(("reports", self._intake.run))
        if self._files is not None:
            work.append(("certificate-files", self._files.run))
        if self._ordered is not None:
            work += [(f"certificates-{number}", self._ordered.run) for number in range(ORDERS)]
        for name, run in work:
            threading.Thread(target=run, name=name, daemon=True).start()

    def look_again(self) -> None:
        """See at once to what is otherwise seen to in turn."""
        self._publisher.wake()
        for part in (self._files, self._ordered):
            if part is not None:
                part.look_again()

    def stop(self) -> None:
        """Let the threads end; what hangs goes on at the next start."""
        for part in (self._publisher, self._records, self._checks, self._intake, self._files, self._ordered):
            if part is not None:
                part.stop()

    # -- what the parts tell each other ------------------------------------------

    def _table_changed(self, table: Table) -> None:
        """The publisher's thread has a new table: serve it, then let certificates and DNS follow."""
        self._loop.call_soon_threadsafe(self._serve, table)

    def _serve(self, table: Table) -> None:
        self.host.table = table
        for part in (self._files, self._ordered):
            if part is not None:
                part.want(self._hosts())
        self._follow()

    def _hosts(self) -> list[str]:
        """The names that need a certificate."""
        names = [HOST_LABEL + domain for domain in self.host.table]
        return [*names, self._publish.report_host] if self._publish.report_host is not None else names

    def _certificate_changed(self, name: str, certificate: Certificate) -> None:
        self._names.put(name, certificate.pem)
        self._loop.call_soon_threadsafe(self._follow)

    def _follow(self) -> None:
        """Have the ids in DNS of all that can be fetched: a record before its certificate would only make failures.

        One that stands there already stays: a certificate file that cannot be read must not end the protection.
        """
        without_tls = self._publish.certificates == "none"
        ids = {
            domain: served.record_id
            for domain, served in self.host.table.items()
            if without_tls or HOST_LABEL + domain in self._names or domain in self._records.written
        }
        self._records.want(ids)
        self._checks.want(ids)

    def _has_address(self, name: str) -> bool:
        for ask in (self._dns.a, self._dns.aaaa):
            with contextlib.suppress(DnsError):
                if ask(name).records:
                    return True
        return False

    def _txt(self, name: str) -> list[bytes]:
        return list(self._dns.txt(name).records)

    def _unknown_name(self, name: str) -> None:
        tell_unrecognized_name()
        self.host.unknown_names += 1
        log.debug("unknown-name %s", KV(name=name))

    def _examine(self, domains: Sequence[Domain]) -> Iterator[tuple[Domain, Checked]]:
        for report in examine(domains, outside(self._settings, True, EXPIRY_DAYS)):
            remarks = (
                Remark(each.code, each.severity, each.subject, each.text, each.advice) for each in report.findings
            )
            yield report.domain, Checked(self._clock.wall(), report.verdict, tuple(remarks))

    # -- what the administrator sees -----------------------------------------------

    def overview(self) -> Overview:
        """Return all of it at this moment."""
        certificates: dict[str, Certificate] = {}
        problems: dict[str, str] = {}
        if self._ordered is not None:
            certificates, problems = self._ordered.certificates, problems_of(dict(self._ordered.failures))
        elif self._files is not None:
            certificates, problems = self._files.certificates, self._files.faults
        faults = self._publisher.faults
        domains = view_domains(
            self.host.table,
            faults,
            certificates,
            problems,
            self._records.written,
            self._records.seen,
            self._checks.last,
        )
        report_host = self._publish.report_host
        held = certificates.get(report_host) if report_host is not None else None
        more = {} if report_host is None or held is None else {report_host: held.not_after}
        requests = dict(self.host.requests)  # a copy: other threads read it, and the loop goes on counting
        return Overview(domains, faults, requests, self.host.unknown_names, self._clock.wall(), more)

    def unwell(self) -> list[str]:
        """Return a sentence for each thing that keeps policies from being as their owner wants them."""
        said = [f"{name}: {fault}" for name, fault in sorted(self._publisher.faults.items())]
        if self._clock.monotonic() - self._publisher.looked_at > STUCK:
            said.append("the folder of policies is not read any more")
        return said


def _updates(publish: PublishSettings) -> UpdateServer | None:
    update = publish.dns_update
    if update.server is None or update.key_file is None:
        return None
    host, port = split_inet(update.server)
    return UpdateServer(host, port, Path(update.key_file), int(update.ttl))
