"""Times on the command line: --since, --until, --before."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from ..config.settings import DAY
from ..config.values import parse_duration
from ..core.quoting import quote
from ..core.reporttimes import parse_time

_LIMITS = {"low": 0.0, "high": 36500 * DAY}


def moment(now: float) -> Callable[[str], float]:
    """Make the type of an option that takes a duration (ago), a date or RFC 3339."""

    def read(text: str) -> float:
        if text[-1:].isalpha() and text[-1:] not in "zZ":  # digits alone might be meant for a date
            try:
                return now - parse_duration(text, _LIMITS)
            except ValueError:
                pass
        time = parse_time(text)
        if time is None:
            raise argparse.ArgumentTypeError(
                f"{quote(text)} is not a time; write 30d (ago), 2026-06-01 or 2026-06-01T12:00:00Z"
            )
        return time

    return read
