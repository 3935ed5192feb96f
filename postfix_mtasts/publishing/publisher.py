"""What is served for each domain: the folder of policies and the history, as one table.

A thread reads the folder every second, decides by core.publication, writes the
history, and only then swaps the table that the web host serves from. The
record in DNS follows the table (dnsrecord.py), never the other way round.

Rule 1: the history of a change is on the disk before the change is served: a
        process killed anywhere knows afterwards what senders may hold.
Rule 2: an invalid file changes nothing but the list of faults; the last valid
        policy stays served, over restarts too.
Rule 3: where the history cannot be written, what was served stays served.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ..adapters.files import StateFolder, typed
from ..core import publication as rules
from ..core.names import Domain
from ..core.policy import Policy, parse_policy
from ..core.ports import Clock
from ..core.publication import Publication
from ..core.quoting import KV
from ..errors import InputError
from .policyfiles import NOTHING_READ, Reading, read_folder

log = logging.getLogger(__name__)

LOOK_EVERY = 1.0  # seconds between two looks at the folder; a change is served after two
GONE_KEPT = 86_400.0  # seconds that the history of a domain is kept after nobody holds its policy any more


@dataclass(frozen=True, slots=True)
class Served:
    """One domain's policy, ready to be sent."""

    text: bytes
    policy: Policy
    publication: Publication

    @property
    def record_id(self) -> str:
        return rules.policy_id(self.text)


Table = Mapping[Domain, Served]


@dataclass(frozen=True, slots=True)
class _Row:
    """A publication, as the history has it."""

    text: str
    current: bool
    owed_until: float


class History:
    """The publications on disk, one JSON object a domain."""

    def __init__(self, folder: Path) -> None:
        """Raises: OSError."""
        self._folder = StateFolder(folder)

    def load(self) -> dict[Domain, Publication]:
        """Return every publication; a row that cannot be one is logged and left alone. Raises: OSError."""
        return dict(publications(self._folder.load()))

    def save(self, publication: Publication) -> None:
        """Raises: OSError."""
        row = _Row(publication.text.decode(), publication.current, publication.owed_until)
        self._folder.save(publication.domain, asdict(row))

    def remove(self, domain: Domain) -> None:
        """Raises: OSError."""
        self._folder.remove(domain)


def publications(rows: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[Domain, Publication]]:
    """Read the rows of a history."""
    for name, row in rows.items():
        try:
            yield Domain(name), _from_row(Domain(name), row)
        except (TypeError, ValueError, InputError) as error:
            log.error("history-unreadable %s", KV(domain=name, reason=f"{type(error).__name__}: {error}"))


def _from_row(domain: Domain, values: Mapping[str, Any]) -> Publication:
    row = typed(_Row, values)
    text = row.text.encode()
    return Publication(domain, text, parse_policy(text).max_age, row.current, row.owed_until)


class Publisher:
    """Keeps the table of what is served."""

    def __init__(
        self,
        folder: Path,
        history: History,
        clock: Clock,
        changed: Callable[[Table], None],
    ) -> None:
        """*changed* is called, in the publisher's thread, with each new table. Raises: OSError."""
        self._folder, self._history, self._clock, self._changed = folder, history, clock, changed
        self._publications = history.load()
        self._reading: Reading = NOTHING_READ
        self._unwritten: dict[str, str] = {}  # domain -> why its history cannot be written
        self._wake = threading.Event()
        self._stopped = False
        self.table: Table = {}
        self.faults: Mapping[str, str] = {}  # domain, or the folder -> one sentence
        self.looked_at = clock.monotonic()  # the last look

    def look(self, settled: bool = False) -> None:
        """Read the folder and the clock once; swap the table where that changes what is served."""
        now = self._clock.wall()
        self._reading = read_folder(self._folder, self._reading, settled)
        if not self._reading.fault:
            for domain in self._publications.keys() | self._reading.files.keys():
                self._take(domain, now)
        self._tell_faults()
        self._swap(now)

    def _take(self, domain: Domain, now: float) -> None:
        """Bring one domain's publication up to its file."""
        old, file = self._publications.get(domain), self._reading.files.get(domain)
        if file is not None and file.policy is not None:
            new = rules.publish(old, domain, file.text, file.policy, now)
        elif old is not None and self._reading.is_gone(domain):
            new = rules.withdraw(old, now)
        else:
            return
        if new is old:
            self._unwritten.pop(domain, None)
            return
        try:
            self._history.save(new)
        except OSError as error:
            self._unwritten[domain] = f"its history cannot be written: {error.strerror or error}; the old policy stays"
            return
        self._unwritten.pop(domain, None)
        self._publications[domain] = new
        self._announce(old, new)

    def _announce(self, old: Publication | None, new: Publication) -> None:
        if not new.current:
            log.info("policy-withdrawn %s", KV(domain=new.domain, served_until=new.owed_until))
            return
        event = "policy-published %s" if old is None or not old.current else "policy-replaced %s"
        policy = parse_policy(new.text)
        fields = {"mode": policy.mode, "max_age": policy.max_age, "id": rules.policy_id(new.text)}
        log.info(event, KV(domain=new.domain, **fields))

    def _swap(self, now: float) -> None:
        table: dict[Domain, Served] = {}
        for domain, publication in list(self._publications.items()):
            text = rules.served(publication, now)
            if text is not None:
                old = self.table.get(domain)
                same = old is not None and old.text == text
                table[domain] = Served(text, old.policy if old and same else parse_policy(text), publication)
            elif now >= publication.owed_until + GONE_KEPT:
                self._forget(domain)
        if table != self.table:
            self.table = MappingProxyType(table)
            self._changed(self.table)

    def _forget(self, domain: Domain) -> None:
        try:
            self._history.remove(domain)
        except OSError as error:
            log.warning("history-kept %s", KV(domain=domain, reason=error))
            return
        del self._publications[domain]

    def _tell_faults(self) -> None:
        """Log each fault once, and once that it is over."""
        faults: dict[str, str] = {
            str(domain): file.fault for domain, file in self._reading.files.items() if file.policy is None
        }
        faults.update(self._unwritten)
        if self._reading.fault:
            faults[str(self._folder)] = self._reading.fault
        for name, fault in faults.items():
            if self.faults.get(name) != fault:
                log.error("policy-file-refused %s", KV(name=name, reason=fault))
        for name in self.faults.keys() - faults.keys():
            log.info("policy-file-accepted %s", KV(name=name))
        self.faults = MappingProxyType(faults)

    # -- the thread -----------------------------------------------------------

    def run(self) -> None:
        """Look again every second, or when woken, until `stop`."""
        while not self._stopped:
            try:
                self.look()
            except Exception:
                log.exception("internal-error %s", KV(part="publisher"))
            self.looked_at = self._clock.monotonic()
            self._wake.wait(LOOK_EVERY)
            self._wake.clear()

    def wake(self) -> None:
        """Look now."""
        self._wake.set()

    def stop(self) -> None:
        """End `run` soon."""
        self._stopped = True
        self._wake.set()
