"""Times as the reports of senders write them, and as ours are written.

Source: RFC 3339; what else is read was seen in reports.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

_LATEST = 253_402_300_799.0  # the end of the year 9999
_TIME = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})"
    r"(?:[Tt ]([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:[.,]([0-9]{1,9}))?)?)?"
    r" ?(?:[Zz]|([+-])([0-9]{2}):?([0-9]{2}))?",
    re.ASCII,
)


def parse_time(value: Any) -> float | None:
    """Read a time as UTC seconds since 1970, or return None.

    RFC 3339; a blank for T; no zone means UTC; a date alone is its 00:00; a number is seconds since 1970.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value) if 0 <= value <= _LATEST else None
    match = _TIME.fullmatch(value.strip()) if isinstance(value, str) and len(value) < 60 else None
    if match is None:
        return None
    year, month, day, hour, minute, second = (int(part or 0) for part in match.groups()[:6])
    zone = timedelta(hours=int(match[9] or 0), minutes=int(match[10] or 0)) * (-1 if match[8] == "-" else 1)
    leap = second == 60  # a leap second is the next one here
    try:
        time = datetime(year, month, day, hour, minute, second - leap, tzinfo=timezone(zone)).timestamp() + leap
    except (ValueError, OverflowError):
        return None
    return time if 0 <= time <= _LATEST else None


def time_text(seconds: float) -> str:
    """RFC 3339 in UTC, as whole seconds."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def day_text(seconds: float) -> str:
    """The day in UTC."""
    return time_text(seconds)[:10]
