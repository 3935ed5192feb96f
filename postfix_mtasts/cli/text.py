"""Print times and remote text in one way."""

from __future__ import annotations

import time

from ..core.quoting import LIMIT, escape


def when(seconds: float) -> str:
    """Return a date and time from UTC seconds since 1970."""
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))


def span(seconds: float) -> str:
    """Return about how long, in the largest unit that fits: 1.5d."""
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if abs(seconds) >= size:
            return f"{seconds / size:.1f}{unit}"
    return f"{seconds:.0f}s"


def shown(text: str) -> str:
    """Return remote text for the end of a line: visible ASCII and blanks, LIMIT characters at most."""
    return escape(text if len(text) <= LIMIT else text[:LIMIT] + "...")
