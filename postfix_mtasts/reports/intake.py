"""What becomes of a mail, a file or a POST: stored, already there, or set aside.

Rule 1: whatever arrives is kept: as reports, or set aside as it came.
Rule 2: what failed for a reason of our own (the store, DNS) raises
        StoreError or UnavailableError; the caller lets the sender try again.
Rule 3: files given to `report import` are never set aside: they are there already.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import BinaryIO, Protocol

from ..adapters.mailbox import MAIL_LIMIT, subject_of
from ..adapters.mailfiles import Item
from ..adapters.reportdb import Entry, ReportDb
from ..core.quoting import KV
from ..core.tlsreport import clean
from ..core.trust import UNCHECKED, Trust
from ..errors import UnavailableError
from .reading import Reading, read_file, read_mail

log = logging.getLogger(__name__)

DAY = 86400.0

_CHUNK = 1024 * 1024
_TOGETHER = 100  # items of an import in one transaction
_FORGOTTEN = "forgotten"  # when forget() was last called by itself


class Verifier(Protocol):
    def verify(self, mail: bytes) -> Trust: ...


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of one mail or file; neither reports nor faults: it is something else than a TLS report."""

    new: int
    known: int
    faults: tuple[str, ...]


class Intake:
    """Takes reports into a store.

    Args:
        verifier: says who signed a mail; None where DKIM is off.
        require_dkim: set a mail aside that does not pass.
        keep: seconds that reports are kept.
        clock: UTC seconds since 1970.
    """

    def __init__(
        self, store: ReportDb, verifier: Verifier | None, require_dkim: bool, keep: float, clock: Callable[[], float]
    ) -> None:
        self._store, self._verifier, self._require_dkim = store, verifier, require_dkim
        self._keep, self._clock = keep, clock

    def mail(self, stream: BinaryIO) -> Taken:
        """Take in one mail as it arrives; what is not a report is set aside. Raises: StoreError, UnavailableError."""
        mail = stream.read(MAIL_LIMIT + 1)
        if len(mail) > MAIL_LIMIT:
            return self._aside(chain([mail], _chunks(stream)), "", [f"the mail is over {MAIL_LIMIT >> 20} MiB"])
        reading = read_mail(mail)
        trust = self._trust(mail, reading)
        faults = list(reading.faults) if reading.faults or reading.documents else ["not a TLS report"]
        if reading.documents and self._require_dkim and trust.dkim != "pass":
            if trust.again:
                raise UnavailableError("DNS did not say whether the mail's DKIM signature is good")
            return self._aside([mail], subject_of(mail), [f"DKIM: {trust.dkim}", *faults])
        taken = self._store_all(reading, trust)
        if reading.documents:
            log.info("reports-stored %s", KV(new=taken.new, known=taken.known, dkim=trust.dkim, signer=trust.domain))
        if faults:
            self._aside([mail], subject_of(mail), faults)
        return Taken(taken.new, taken.known, tuple(faults))

    def document(self, data: bytes, name: str) -> Taken:
        """Take in the body of an HTTPS POST; what is not a report is set aside. Raises: StoreError."""
        reading = read_file(data, name)
        if reading.documents:
            return self._store_all(reading, UNCHECKED)
        return self._aside([data], name, list(reading.faults) or ["not a TLS report"])

    def items(self, items: Iterable[Item]) -> Iterator[tuple[str, Taken]]:
        """Take in what `report import` finds, and tell what became of it, by name. Raises: StoreError.

        Several items make one transaction, which costs less; the store is locked only while
        they are written.
        """
        waiting: list[tuple[str, Reading, Trust]] = []
        size = 0
        for item in items:
            if item.fault:
                yield item.name, Taken(0, 0, (item.fault,))
                continue
            reading = read_mail(item.data) if item.is_mail else read_file(item.data, item.name)
            waiting.append((item.name, reading, self._trust(item.data, reading) if item.is_mail else UNCHECKED))
            size += sum(len(document.data) for document in reading.documents)
            if len(waiting) >= _TOGETHER or size >= _CHUNK:
                yield from self._store_waiting(waiting)
                waiting, size = [], 0
        yield from self._store_waiting(waiting)

    def _store_waiting(self, waiting: Sequence[tuple[str, Reading, Trust]]) -> Iterator[tuple[str, Taken]]:
        entries = [entry for _, reading, trust in waiting for entry in _entries(reading, trust)]
        numbers = iter(self._store.take_all(entries, self._clock()) if entries else ())
        for name, reading, _ in waiting:
            new = sum(next(numbers) for _ in reading.documents)
            yield name, Taken(new, len(reading.reports) - new, reading.faults)

    def forget_daily(self) -> None:
        """Once a day, forget what has been here for longer than it is kept. Raises: StoreError."""
        now, last = self._clock(), self._store.remembered(_FORGOTTEN)
        if last is not None and 0 <= now - last < DAY:
            return
        self._store.remember(_FORGOTTEN, now)
        reports, unreadable = self._store.forget(now - self._keep, by_arrival=True)
        if reports or unreadable:
            log.info("reports-forgotten %s", KV(reports=reports, unreadable=unreadable))

    def _trust(self, mail: bytes, reading: Reading) -> Trust:
        if self._verifier is None or not reading.documents:
            return UNCHECKED
        return self._verifier.verify(mail)

    def _store_all(self, reading: Reading, trust: Trust) -> Taken:
        new = sum(self._store.take_all(_entries(reading, trust), self._clock())) if reading.documents else 0
        return Taken(new, len(reading.reports) - new, reading.faults)

    def _aside(self, chunks: Iterable[bytes], name: str, reasons: list[str]) -> Taken:
        reason = "; ".join(reasons)
        self._store.set_aside(chunks, clean(name), reason, self._clock())
        log.warning("report-unreadable %s", KV(name=name, reason=reason))
        return Taken(0, 0, tuple(reasons))


def _entries(reading: Reading, trust: Trust) -> list[Entry]:
    return [Entry(document.data, document.hints, document.reports, trust) for document in reading.documents]


def _chunks(stream: BinaryIO) -> Iterator[bytes]:
    while chunk := stream.read(_CHUNK):
        yield chunk
