"""The record id in DNS, in step with what is served.

The text is served first, the id follows: a sender that sees the new id fetches
the new policy (RFC 8461 section 3.1). By dynamic update where one is
configured; else the log and `publish list` say which record to publish.

Rule 1: what was written is on the disk, so a restart neither repeats nor
        forgets an update.
Rule 2: a failed update is tried again, at a minute first, at an hour at most.
Rule 3: what DNS really says is read again each hour, and after an update: what
        somebody else changed is written anew.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Protocol

from ..adapters.files import StateFolder
from ..core.names import Domain
from ..core.ownrecords import mta_sts_text
from ..core.quoting import KV
from ..core.record import select_record
from ..errors import DnsError, InputError, RecordError, UpdateError

log = logging.getLogger(__name__)

FIRST_RETRY, LAST_RETRY = 60.0, 3_600.0  # seconds after a failed update
READ_EVERY = 3_600.0  # seconds between two looks at a record that was as it should be
READ_SOON = 60.0  # the same, where it was not
LOOK_EVERY = 5.0  # seconds between two looks for what is due


class Updates(Protocol):
    """adapters.dnsupdate.UpdateServer."""

    def replace_txt(self, name: str, text: str | None) -> None: ...


class Txt(Protocol):
    """The one question of adapters.dns that is asked here: the records at a name. Raises: DnsError."""

    def __call__(self, name: str) -> list[bytes]: ...


@dataclass(frozen=True, slots=True)
class Written:
    """What this host last wrote for a domain; kept on disk."""

    record_id: str | None  # None: nothing
    tlsrpt: str | None = None  # the text at _smtp._tls
    failures: int = 0
    retry_at: float = 0.0  # UTC seconds
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Seen:
    """What DNS said of a domain."""

    record_id: str | None
    at: float  # UTC seconds


class Records:
    """The records of all domains served, and the thread that keeps them right."""

    def __init__(
        self, folder: Path, updates: Updates | None, txt: Txt, tlsrpt: str | None, wall: Callable[[], float]
    ) -> None:
        """*tlsrpt*: the text for _smtp._tls.D, where `publish.rua` asks for reports. Raises: OSError."""
        self._updates, self._txt, self._tlsrpt, self._wall = updates, txt, tlsrpt, wall
        self._folder = StateFolder(folder / "records")
        self.written = {Domain(name): row for name, row in self._folder.rows(Written)}
        self.seen: dict[Domain, Seen] = {}
        self._wanted: Mapping[Domain, str] = {}
        self._told: dict[Domain, str] = {}
        self._lock = threading.Condition()
        self._stopped = False

    def want(self, wanted: Mapping[Domain, str]) -> None:
        """Have these record ids in DNS, and for domains not among them none that we wrote."""
        with self._lock:
            self._wanted = wanted
            self._lock.notify_all()

    def is_current(self, domain: Domain) -> bool:
        """Tell whether DNS, when it was last read, named the policy that is served."""
        seen = self.seen.get(domain)
        return seen is not None and seen.record_id is not None and seen.record_id == self._wanted.get(domain)

    def stop(self) -> None:
        """End `run` soon."""
        with self._lock:
            self._stopped = True
            self._lock.notify_all()

    def run(self) -> None:
        """Do what is due until `stop`."""
        while True:
            with self._lock:
                if self._stopped:
                    return
                wanted = self._wanted
            for domain in sorted(wanted.keys() | self.written.keys()):
                if self._stopped:
                    return
                try:
                    self.attend(domain, wanted.get(domain))
                except Exception:
                    log.exception("internal-error %s", KV(part="records", domain=domain))
            with self._lock:
                if not self._stopped and self._wanted is wanted:
                    self._lock.wait(LOOK_EVERY)

    def attend(self, domain: Domain, wanted: str | None) -> None:
        """Write and read one domain's record, if either is due."""
        now = self._wall()
        written = self.written.get(domain, Written(None))
        tlsrpt = self._tlsrpt if wanted is not None else written.tlsrpt  # reports go on after a withdrawal
        if self._updates is None:
            self._tell(domain, wanted)
        elif (written.record_id, written.tlsrpt) != (wanted, tlsrpt) and now >= written.retry_at:
            self._write(self._updates, domain, written, wanted, tlsrpt)
            self.seen.pop(domain, None)
        if wanted is not None and self._read_is_due(domain, wanted, now):
            self._read(domain, wanted, now)

    def _tell(self, domain: Domain, wanted: str | None) -> None:
        """Say once which record somebody has to publish."""
        if wanted is not None and self._told.get(domain) != wanted:
            self._told[domain] = wanted
            self.seen.pop(domain, None)
            log.info("record-to-publish %s", KV(domain=domain, name=f"_mta-sts.{domain}", txt=mta_sts_text(wanted)))

    def _write(
        self, updates: Updates, domain: Domain, written: Written, wanted: str | None, tlsrpt: str | None
    ) -> None:
        try:
            if tlsrpt is not None and tlsrpt != written.tlsrpt:
                updates.replace_txt(f"_smtp._tls.{domain}", tlsrpt)
            updates.replace_txt(f"_mta-sts.{domain}", mta_sts_text(wanted) if wanted is not None else None)
        except (UpdateError, InputError) as error:
            wait = min(FIRST_RETRY * 2.0 ** min(written.failures, 20), LAST_RETRY)
            failures = written.failures + 1
            log.warning("record-not-updated %s", KV(domain=domain, reason=error, failures=failures, retry_in_s=wait))
            self._keep(
                domain, replace(written, failures=failures, retry_at=self._wall() + wait, reason=str(error)[:300])
            )
            return
        self._keep(domain, Written(wanted, tlsrpt) if wanted is not None else None)
        log.info("record-updated %s", KV(domain=domain, id=wanted or ""))

    def _keep(self, domain: Domain, written: Written | None) -> None:
        try:
            if written is None:
                self.written.pop(domain, None)
                self._folder.remove(domain)
            else:
                self.written[domain] = written
                self._folder.save(domain, asdict(written))
        except OSError as error:
            log.error("state-unwritten %s", KV(domain=domain, reason=error))

    def _read_is_due(self, domain: Domain, wanted: str, now: float) -> bool:
        seen = self.seen.get(domain)
        if seen is None:
            return True
        return not seen.at <= now < seen.at + (READ_EVERY if seen.record_id == wanted else READ_SOON)

    def _read(self, domain: Domain, wanted: str, now: float) -> None:
        try:
            record = select_record(self._txt(f"_mta-sts.{domain}"))
        except RecordError:
            record = None
        except DnsError as error:
            log.debug("record-unread %s", KV(domain=domain, reason=error))
            return
        record_id = record.id if record is not None else None
        before = self.seen.get(domain)
        self.seen[domain] = Seen(record_id, now)
        written = self.written.get(domain)
        if record_id == wanted or written is None or written.record_id != wanted:
            return
        if before is not None and before.record_id == record_id:  # no resolver's memory, but another hand
            log.warning("record-differs %s", KV(domain=domain, dns=record_id or "", served=wanted))
            self._keep(domain, replace(written, record_id=None))
