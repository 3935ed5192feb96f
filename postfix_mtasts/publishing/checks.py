"""The published domains, checked as senders see them: once a day, and soon after a change.

The examination itself is handed in (it is what `check` does with several
domains: side by side, a mail host that they share only once); its outcome is
kept on disk, so that the dashboard has something to show after a restart.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..adapters.files import StateFolder, typed
from ..core.names import Domain
from ..core.quoting import KV

log = logging.getLogger(__name__)

AGAIN_AFTER = 86_400.0  # seconds between two checks of a domain
SETTLE = 600.0  # seconds after a change: DNS and certificates follow it
LOOK_EVERY = 10.0  # seconds between two looks for what is due


@dataclass(frozen=True, slots=True)
class Remark:
    """One finding, as it is shown."""

    code: str
    severity: str  # error, warning, info or unknown
    subject: str
    text: str
    advice: str


@dataclass(frozen=True, slots=True)
class Checked:
    """The outcome of one check."""

    at: float  # UTC seconds
    verdict: str  # ok, warning, error or unknown
    remarks: tuple[Remark, ...]


Examine = Callable[[Sequence[Domain]], Iterable[tuple[Domain, Checked]]]


class Checks:
    """The last check of every published domain, and the thread that repeats them."""

    def __init__(self, folder: Path, examine: Examine, wall: Callable[[], float]) -> None:
        """Raises: OSError."""
        self._examine, self._wall = examine, wall
        self._folder = StateFolder(folder / "checks")
        self.last: dict[Domain, Checked] = dict(_rows(self._folder))
        self._due: dict[Domain, float] = {domain: checked.at + AGAIN_AFTER for domain, checked in self.last.items()}
        self._wanted: Mapping[Domain, str] = {}
        self._lock = threading.Condition()
        self._stopped = False

    def want(self, wanted: Mapping[Domain, str]) -> None:
        """Check these domains, whose policies have these record ids, and soon those whose id is another than before."""
        now = self._wall()
        with self._lock:
            for domain, record_id in wanted.items():
                if self._wanted and self._wanted.get(domain) != record_id:
                    self._due[domain] = now + SETTLE
            self._wanted = wanted
            self._lock.notify_all()

    def stop(self) -> None:
        """End `run` soon."""
        with self._lock:
            self._stopped = True
            self._lock.notify_all()

    def run(self) -> None:
        """Check all that is due, until `stop`."""
        while not self._stopped:
            if domains := self.due():
                self.attend(domains)
                continue
            with self._lock:
                self._lock.wait_for(lambda: self._stopped or bool(self.due()), LOOK_EVERY)

    def due(self) -> list[Domain]:
        """Return the domains that are due, the one that has been for longest first."""
        now = self._wall()
        due = [domain for domain in self._wanted if self._due.get(domain, 0.0) <= now]
        return sorted(due, key=lambda domain: self._due.get(domain, 0.0))

    def attend(self, domains: Sequence[Domain]) -> None:
        """Check *domains* now and keep the outcomes."""
        missing = dict.fromkeys(domains)
        for domain in domains:
            self._due[domain] = self._wall() + AGAIN_AFTER
        try:
            for domain, checked in self._examine(domains):
                self._keep(domain, checked)
                del missing[domain]
        except Exception:
            if len(domains) == 1:
                log.exception("internal-error %s", KV(part="checks", domain=domains[0]))
                return
            for domain in missing:  # a bug that one of them meets costs the others nothing
                self.attend([domain])

    def _keep(self, domain: Domain, checked: Checked) -> None:
        self.last[domain] = checked
        try:
            self._folder.save(domain, asdict(checked))
        except OSError as error:
            log.error("state-unwritten %s", KV(name=domain, reason=error))


def _rows(folder: StateFolder) -> Iterable[tuple[Domain, Checked]]:
    for name, row in folder.load().items():
        try:
            yield Domain(name), _from_row(row)
        except (KeyError, TypeError) as error:
            log.error("state-unreadable %s", KV(name=name, reason=f"{type(error).__name__}: {error}"))


def _from_row(row: Mapping[str, Any]) -> Checked:
    return typed(Checked, {**row, "remarks": tuple(typed(Remark, remark) for remark in row["remarks"])})
