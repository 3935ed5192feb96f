"""From the bytes of a mail or a file to reports, each with the document it came from."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from ..adapters.mailbox import Budget, Fault, Found, documents_of_file, documents_of_mail
from ..core.tlsreport import Hints, Report, Room, read_reports
from ..errors import ReportError

_DMARC = re.compile(rb"[\s\xef\xbb\xbf]*<(?:\?xml|feedback)")  # another kind of report, in the same mailboxes


@dataclass(frozen=True, slots=True)
class Reading:
    """What was found; neither reports nor faults: this is something else than a TLS report."""

    documents: tuple[Read, ...]
    faults: tuple[str, ...]  # why something that claims to be a report cannot be read

    @property
    def reports(self) -> list[Report]:
        return [report for document in self.documents for report in document.reports]


@dataclass(frozen=True, slots=True)
class Read:
    """One document that was read."""

    data: bytes | bytearray
    hints: Hints
    reports: tuple[Report, ...]


def read_mail(mail: bytes) -> Reading:
    """Read the reports in one mail. Never raises, whatever the bytes."""
    return _read(documents_of_mail(mail, Budget()))


def read_file(data: bytes, name: str) -> Reading:
    """Read the reports in a file: JSON, gzip or zip. Never raises, whatever the bytes."""
    return _read(documents_of_file(data, name, Budget()))


def _read(found: Iterable[Found]) -> Reading:
    documents, faults, room = [], [], Room()
    for item in found:
        if isinstance(item, Fault):
            faults.append(item.reason)
            continue
        try:
            reports = read_reports(item.data, item.hints, room)
        except ReportError as error:
            if item.claimed and not _DMARC.match(item.data):
                faults.append(str(error))
            continue
        documents.append(Read(item.data, item.hints, reports))
    return Reading(tuple(documents), tuple(faults))
