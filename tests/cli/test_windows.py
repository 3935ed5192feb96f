"""Times on the command line."""

from __future__ import annotations

import argparse

import pytest

from postfix_mtasts.cli.windows import moment

NOW = 1_780_358_400.0  # 2026-06-02T00:00:00Z
DAY = 86_400.0

READ = [
    ("a duration is ago", "1d", NOW - DAY),
    ("hours", "36h", NOW - 1.5 * DAY),
    ("none", "0s", NOW),
    ("a date is its 00:00", "2026-06-01", NOW - DAY),
    ("RFC 3339", "2026-06-01T12:00:00Z", NOW - DAY / 2),
    ("an offset", "2026-06-02T02:00:00+02:00", NOW),
]


@pytest.mark.parametrize(("title", "text", "want"), READ, ids=[row[0] for row in READ])
def test_a_moment(title: str, text: str, want: float) -> None:
    """UTC seconds since 1970."""
    assert moment(NOW)(text) == want


@pytest.mark.parametrize("text", ["", "soon", "20260601", "7", "-1d", "2026-13-01", "1w", "2026-06-01T12:00:00Z!"])
def test_no_moment(text: str) -> None:
    """Said with what would be right."""
    with pytest.raises(argparse.ArgumentTypeError, match="is not a time; write 30d"):
        moment(NOW)(text)
