"""`postfix-mtasts serve`, whole: builds the parts, handles signals, ends.

The folder of policies decides. A thread reads it (publisher), the loop serves
what the thread found (host), and what is served decides which certificates are
kept (certificates) and which record ids stand in DNS (dnsrecord).

Order of the start: state and its lock, listeners, the history's policies, READY.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from .. import __version__
from ..adapters.dns.client import DnsClient
from ..adapters.dnsupdate import UpdateServer
from ..adapters.files import make_private
from ..config.file import Loaded
from ..config.settings import PublishSettings, Settings
from ..core.ownrecords import tlsrpt_text
from ..core.quoting import KV
from ..errors import ConfigError, DnsError, StoreBusyError, StoreError
from ..process import systemd
from ..process.listeners import split_inet
from ..process.logs import Log
from .admin import Admin
from .certfiles import CertificateFiles
from .certificates import Certificate, Certificates
from .dnsrecord import Records
from .host import HOST_LABEL, ChallengeHost, PolicyHost
from .intake import ReportIntake
from .overview import Overview, problems_of, view_domains
from .publisher import History, Publisher, Table
from .reportviews import ReportViews
from .sockets import Use, open_sockets
from .tls import Names
from .webserver import WebServer, tell_unrecognized_name

log = logging.getLogger(__name__)

STDERR = 2
LOG_FLUSH = 0.2  # seconds for the log
ADMIN_CONNECTIONS = 32
STUCK = 30.0  # seconds without a look at the folder
DRAIN = 5.0  # seconds that SIGTERM leaves to what is under way
FORGET_EVERY = 3_600.0  # seconds between two looks whether reports are to be forgotten
CERTIFICATE_FILES_EVERY = 5.0  # seconds between two looks at certificate files


def run(loaded: Loaded) -> None:
    """Run until SIGTERM or SIGINT. Raises: ConfigError, ListenError, StoreError, StoreBusyError."""
    settings = loaded.settings
    _check(loaded)
    output = Log(STDERR)
    output.configure(settings.log)
    try:
        state = _state_directory(Path(settings.publish.state_directory))
        with _locked(state):
            sockets = open_sockets(settings)
            asyncio.run(_Serving(settings, state).run(sockets))
    finally:
        output.end(LOG_FLUSH)


def _check(loaded: Loaded) -> None:
    """Raises: ConfigError for settings that are each right and together wrong."""
    publish, faults = loaded.settings.publish, []

    def fault(key: str, wrong: str) -> None:
        place = loaded.origins[key]
        faults.append(f"{place if place != 'default' else loaded.file or 'no configuration file'}: {key}: {wrong}")

    if publish.certificates == "acme" and not publish.acme.agree_to_terms:
        fault("publish.acme.agree_to_terms", "is false; write true once you agree to its terms of service")
    if publish.certificates == "files" and publish.certificate_directory is None:
        fault("publish.certificate_directory", "is null; with certificates: files, name the folder of certificates")
    if (publish.dns_update.server is None) != (publish.dns_update.key_file is None):
        fault("publish.dns_update.key_file", "server and key_file go together; give both, or none")
    if faults:
        raise ConfigError(faults)


def _state_directory(path: Path) -> Path:
    try:
        return make_private(path)
    except OSError as error:
        raise StoreError(f"publish.state_directory: {path}: {error.strerror or error}") from None


@contextlib.contextmanager
def _locked(state: Path) -> Iterator[None]:
    """Hold the lock that says whose *state* is. Raises: StoreBusyError, StoreError."""
    try:
        descriptor = os.open(state / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreError(f"publish.state_directory: {state}: {error.strerror or error}") from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreBusyError(f"{state}: another postfix-mtasts serve uses it") from None
        yield
    finally:
        os.close(descriptor)


class _Serving:
    """The parts, joined."""

    def __init__(self, settings: Settings, state: Path) -> None:
        publish = settings.publish
        self._publish = publish
        self._loop: asyncio.AbstractEventLoop | None = None  # None: nobody is served yet
        self._dns = DnsClient(settings.dns.servers, settings.dns.timeout)
        self.names = Names(self._unknown_name)
        self._reports_directory = settings.reports.directory
        self.intake = ReportIntake(settings.reports, time.time) if publish.report_host is not None else None
        self.host = PolicyHost(publish.report_host, self.intake.handle if self.intake is not None else None)
        self.publisher = Publisher(Path(publish.directory), History(state / "domains"), time.time, self._table_changed)
        self.ordered = self._ordered(publish, state)
        self.files = self._files(publish)
        self.records = Records(state, _updates(publish), self._txt, tlsrpt_text(publish.rua), time.time)
        self._files_due = threading.Event()
        self._ending = threading.Event()

    def _ordered(self, publish: PublishSettings, state: Path) -> Certificates | None:
        if publish.certificates != "acme":
            return None
        from ..adapters.acme import AcmeServer  # it takes a while, and only this needs it

        acme = publish.acme
        server = AcmeServer(acme.directory_url, acme.contact, acme.ca_file, state)
        ordered = Certificates(state, server, self._has_address, time.time, self._certificate)
        for name, certificate in ordered.certificates.items():
            self._certificate(name, certificate)
        return ordered

    def _files(self, publish: PublishSettings) -> CertificateFiles | None:
        if publish.certificates != "files" or publish.certificate_directory is None:
            return None
        return CertificateFiles(Path(publish.certificate_directory), self._certificate)

    # -- what the parts tell each other ----------------------------------------

    def _table_changed(self, table: Table) -> None:
        """The publisher's thread has a new table: serve it, then let certificates and DNS follow."""
        if self._loop is None:
            self._serve(table)
        else:
            self._loop.call_soon_threadsafe(self._serve, table)

    def _serve(self, table: Table) -> None:
        self.host.table = table
        if self.ordered is not None:
            self.ordered.want(self._hosts(table))
        self._files_due.set()
        self._follow()

    def _hosts(self, table: Table) -> list[str]:
        hosts = [HOST_LABEL + domain for domain in table]
        return [*hosts, self._publish.report_host] if self._publish.report_host is not None else hosts

    def _certificate(self, name: str, certificate: Certificate) -> None:
        self.names.put(name, certificate.pem)
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._follow)

    def _follow(self) -> None:
        """Have the ids in DNS of all that can be fetched: a record before its certificate would only make failures."""
        without_tls = self._publish.certificates == "none"
        self.records.want(
            {
                domain: served.record_id
                for domain, served in self.host.table.items()
                if without_tls or HOST_LABEL + domain in self.names
            }
        )

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

    # -- the run ----------------------------------------------------------------

    async def run(self, sockets: Mapping[socket.socket, Use]) -> None:
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, ended.set)
        loop.add_signal_handler(signal.SIGHUP, self._look_again)
        self.publisher.looked_at = time.monotonic()
        self.publisher.look()  # what the history says is served from the first moment on
        self._loop = loop
        servers = self._listen(sockets)
        threads = self._start()
        log.info("started %s", KV(version=__version__, policies=len(self.host.table)))
        systemd.notify("READY=1")
        await ended.wait()
        systemd.notify("STOPPING=1")
        log.info("stopping")
        self._end()
        await asyncio.gather(*(server.close(DRAIN) for server in servers))
        for thread in threads:
            thread.join(0.5)  # what hangs is left alone: all of it goes on at the next start

    def _listen(self, sockets: Mapping[socket.socket, Use]) -> list[WebServer]:
        challenges = ChallengeHost(self.ordered.challenges if self.ordered is not None else {})
        reports = ReportViews(self._reports_directory, lambda: self.host.table.keys(), time.time)
        admin = Admin(self._overview, self._unwell, reports.page, reports.metrics)
        servers = {
            Use.POLICIES: WebServer(self.host.handle),
            Use.CHALLENGES: WebServer(challenges.handle),
            Use.ADMIN: WebServer(admin.handle, ADMIN_CONNECTIONS),
        }
        without_tls = self._publish.certificates == "none"
        for sock, use in sockets.items():
            servers[use].listen(sock, self.names.front if use is Use.POLICIES and not without_tls else None)
        return list(servers.values())

    def _overview(self) -> Overview:
        source = self.ordered or self.files
        problems = problems_of(self.ordered.failures) if self.ordered is not None else {}
        if self.files is not None:
            problems = dict(self.files.faults)
        domains = view_domains(
            self.host.table,
            self.publisher.faults,
            source.certificates if source is not None else {},
            problems,
            self.records.written,
            self.records.seen,
            {},
        )
        return Overview(domains, self.publisher.faults, self.host.requests, self.host.unknown_names, time.time())

    def _unwell(self) -> list[str]:
        """A sentence for each thing that keeps policies from being as their owner wants them."""
        said = [f"{name}: {fault}" for name, fault in sorted(self.publisher.faults.items())]
        if time.monotonic() - self.publisher.looked_at > STUCK:
            said.append("the folder of policies is not read any more")
        return said

    def _start(self) -> list[threading.Thread]:
        threads = [
            threading.Thread(target=self.publisher.run, args=(time.monotonic,), name="publisher", daemon=True),
            threading.Thread(target=self.records.run, name="records", daemon=True),
        ]
        if self.intake is not None:
            threads.append(threading.Thread(target=self._forget_reports, name="reports", daemon=True))
        if self.files is not None:
            threads.append(threading.Thread(target=self._look_at_files, name="certificate-files", daemon=True))
        for thread in threads:
            thread.start()
        if self.ordered is not None:
            self.ordered.start()
        return threads

    def _look_at_files(self) -> None:
        while not self._ending.is_set() and self.files is not None:
            self.files.look(self._hosts(self.host.table))
            self._files_due.wait(CERTIFICATE_FILES_EVERY)
            self._files_due.clear()

    def _forget_reports(self) -> None:
        while self.intake is not None:
            try:
                self.intake.forget_daily()
            except StoreError as error:
                log.error("report-not-stored %s", KV(reason=error))
            if self._ending.wait(FORGET_EVERY):
                return

    def _look_again(self) -> None:
        """SIGHUP: see at once to what is otherwise seen to in turn."""
        self.publisher.wake()
        self._files_due.set()
        if self.ordered is not None:
            self.ordered.look_again()

    def _end(self) -> None:
        self._ending.set()
        self._files_due.set()
        self.publisher.stop()
        self.records.stop()
        if self.ordered is not None:
            self.ordered.stop()


def _updates(publish: PublishSettings) -> UpdateServer | None:
    update = publish.dns_update
    if update.server is None or update.key_file is None:
        return None
    host, port = split_inet(update.server)
    return UpdateServer(host, port, Path(update.key_file), int(update.ttl))
