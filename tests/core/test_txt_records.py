"""Records as domains publish them and as other projects test them: what core/record.py and core/tlsrpt.py make of each.

The verdict by the RFC stands in tests/corpus/txt-records.tsv. TOLERATED and
STRICTER name the rows where we differ from it, and why.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from postfix_mtasts.core import record, tlsrpt
from postfix_mtasts.errors import RecordError
from postfix_mtasts.faults import Fault

TABLE = Path(__file__).parent.parent / "corpus" / "txt-records.tsv"
ROWS = [line.rstrip("\n").split("\t") for line in TABLE.read_text().splitlines(keepends=True)[1:]]

TOLERATED = "invalid: blank at the end without ;"  # nobody can misread it, and refusing it would cost protection
STRICTER = "; unusable: "  # a scheme that RFC 8460 does not know: nobody would ever send a report there
_ESCAPES = {"t": "\t", "n": "\n", "\\": "\\"}


def texts(cell: str) -> list[bytes]:
    """The records of a row."""

    def unescape(match: re.Match[str]) -> str:
        return chr(int(match[1][1:], 16)) if match[1][0] == "x" else _ESCAPES[match[1]]

    return [re.sub(r"\\(x[0-9a-f]{2}|.)", unescape, part).encode("latin-1") for part in cell.split(" || ")]


def read(kind: str, records: list[bytes]) -> str:
    """What we make of them, in the table's words."""
    try:
        if kind == "sts":
            found = record.select_record(records)
            return f"id {found.id}" if found is not None else "none"
        wanted = tlsrpt.read_record(records)
        return f"rua {','.join(wanted.rua)}" if wanted is not None else "none"
    except RecordError as error:
        several = error.seen.fault in (Fault.RECORD_SEVERAL, Fault.TLSRPT_SEVERAL)
        return f"none: {error.seen.value} records" if several else "invalid"


@pytest.mark.parametrize("row", ROWS, ids=[f"{number}-{row[1]}-{row[5][:40]}" for number, row in enumerate(ROWS, 2)])
def test_a_record_is_read_as_the_rfc_says(row: list[str]) -> None:
    """RFC 8461 section 3.1, RFC 8460 section 3."""
    _, kind, _, cell, verdict, _ = row
    got = read(kind, texts(cell))
    if verdict == TOLERATED:
        assert got.startswith(("id ", "rua "))
    elif STRICTER in verdict:
        assert got == "invalid"
    elif verdict.startswith("none: ") and "records" in verdict:
        assert got == verdict
    elif verdict.startswith(("none: ", "invalid: ")):
        assert got == verdict.partition(":")[0]
    else:
        assert got == " ".join(re.split(r" \(|; no address", verdict)[0].split(" ")[:2])
