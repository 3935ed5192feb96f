"""Times and remote text as the commands print them."""

from __future__ import annotations

import time

from ..core.quoting import LIMIT, escape


def when(seconds: float) -> str:
    """A time of day, from UTC seconds since 1970."""
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))


def span(seconds: float) -> str:
    """About how long, in its largest unit."""
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if abs(seconds) >= size:
            return f"{seconds / size:.1f}{unit}"
    return f"{seconds:.0f}s"


def shown(text: str) -> str:
    """Remote text at a line's end: visible ASCII and blanks, bounded."""
    return escape(text if len(text) <= LIMIT else text[:LIMIT] + "...")
