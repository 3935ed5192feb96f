"""The TXT record at _mta-sts.DOMAIN (RFC 8461 section 3.1).

Bytes of the TXT records in, the one record's id out. Asking DNS, joining a
record's strings and following aliases is adapters/dns/client.py's work.

Rule 1: only records that begin with "v=STSv1", blanks or tabs, ";" count.
        Anything else at the name belongs to somebody else.
Rule 2: with two such records, or with a malformed one, there is no record
        (section 3.1): which of them the domain means must not be guessed.

Nothing here takes more than time proportional to the records' size.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import RecordError
from ..faults import Fault, clip

_BEGIN = re.compile(rb"v=STSv1[ \t]*;")  # sts-version, *WSP ";"
_FIELD = re.compile(rb"([A-Za-z0-9][A-Za-z0-9_.-]{0,31})=[!-:<>-~]+")  # sts-ext-name "=" sts-ext-value
_ID = re.compile(rb"[A-Za-z0-9]{1,32}")


@dataclass(frozen=True, slots=True)
class Record:
    """The one valid record of a domain."""

    id: str  # 1 to 32 letters and digits; another id means another policy


def begins(text: bytes) -> bool:
    """Whether a TXT record is one of MTA-STS, valid or not."""
    return _BEGIN.match(text) is not None


def select_record(texts: Sequence[bytes]) -> Record | None:
    """Return the domain's record, or None where no TXT record is an MTA-STS one.

    Args:
        texts: each TXT record's strings, joined without blanks.

    Raises: RecordError, if there are several, or if the one is malformed.
    Source: RFC 8461 section 3.1.
    """
    records = [text for text in texts if begins(text)]
    if not records:
        return None
    if len(records) > 1:
        raise RecordError(Fault.RECORD_SEVERAL, value=str(len(records)))
    return Record(_read_id(records[0]))


def _read_id(record: bytes) -> str:
    fields = [field.strip(b" \t") for field in record.split(b";")]
    if not fields[-1]:  # the last ";" may be left out
        fields.pop()
    record_id: bytes | None = None
    for field in fields[1:]:
        match = _FIELD.fullmatch(field)
        if match is None:
            raise RecordError(Fault.RECORD_FIELD if field else Fault.RECORD_FIELD_EMPTY, value=clip(field))
        if match[1] == b"id" and record_id is None:  # of a repeated field all but the first are ignored
            record_id = field[3:]
    if record_id is None:
        raise RecordError(Fault.RECORD_NO_ID)
    if not _ID.fullmatch(record_id):
        raise RecordError(Fault.RECORD_ID, value=clip(record_id))
    return record_id.decode("ascii")
