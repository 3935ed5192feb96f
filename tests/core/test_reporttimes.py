"""Times as senders of reports write them."""

from __future__ import annotations

import pytest

from postfix_mtasts.core.reporttimes import parse_time, time_text

READ = [
    ("RFC 3339", "2026-06-01T00:00:00Z", "2026-06-01T00:00:00Z"),
    ("no zone is UTC", "2026-06-01T00:00:00", "2026-06-01T00:00:00Z"),
    ("an offset", "2026-06-01T00:00:00+02:00", "2026-05-31T22:00:00Z"),
    ("a negative offset without a colon", "2026-06-01T00:00:00-0130", "2026-06-01T01:30:00Z"),
    ("lower case", "2026-06-01t00:00:00z", "2026-06-01T00:00:00Z"),
    ("a blank for T", "2026-06-01 12:30:00", "2026-06-01T12:30:00Z"),
    ("a fraction", "2026-06-01T00:00:00.999999999Z", "2026-06-01T00:00:00Z"),
    ("no seconds", "2026-06-01T12:30Z", "2026-06-01T12:30:00Z"),
    ("a date alone is its 00:00", "2026-06-01", "2026-06-01T00:00:00Z"),
    ("a leap second", "2016-12-31T23:59:60Z", "2017-01-01T00:00:00Z"),
    ("24:00 does not exist", "2026-06-01T24:00:00Z", None),
    ("a number", 1780272000, "2026-06-01T00:00:00Z"),
    ("a fractional number", 1780272000.5, "2026-06-01T00:00:00Z"),
    ("a number before 1970", -1, None),
    ("a number beyond the year 9999", 10**30, None),
    ("infinity", float("inf"), None),
    ("no number", float("nan"), None),
    ("true", True, None),
    ("the 30th of February", "2026-02-30T00:00:00Z", None),
    ("an offset that is none", "2026-06-01T00:00:00+99:00", None),
    ("the year 0", "0000-01-01T00:00:00Z", None),
    ("Arabic digits", "٢٠٢٦-06-01", None),
    ("a list", ["2026-06-01"], None),
    ("nothing", None, None),
    ("a book", "2026-06-01" + " " * 100_000, None),
]


@pytest.mark.parametrize(("title", "value", "want"), READ, ids=[row[0] for row in READ])
def test_parse_time(title: str, value: object, want: str | None) -> None:
    """Liberal in form, strict in value."""
    time = parse_time(value)
    assert (None if time is None else time_text(time)) == want
