"""cli/text.py: times and remote text as all commands print them."""

from __future__ import annotations

import pytest

from postfix_mtasts.cli.text import shown, span, when
from postfix_mtasts.core.quoting import LIMIT

SPANS = [
    (0.0, "0s"),
    (59.4, "59s"),
    (60.0, "1.0m"),
    (5_400.0, "1.5h"),
    (86_400.0, "1.0d"),
    (31_557_600.0, "365.2d"),
    (-90.0, "-1.5m"),
]


@pytest.mark.parametrize(("seconds", "text"), SPANS)
def test_a_span_is_told_in_its_largest_unit(seconds: float, text: str) -> None:
    """Of what is over, with a minus."""
    assert span(seconds) == text


def test_a_time_names_its_zone() -> None:
    """UTC, wherever the machine stands."""
    assert when(1_700_000_000.0) == "2023-11-14 22:13:20 UTC"


TEXTS = [
    ("as it is", "mx.example.com is down", "mx.example.com is down"),
    ("a terminal code", "\x1b[2Jred", r"\x1b[2Jred"),
    ("a line of its own", "one\ntwo", r"one\ntwo"),
    ("another script", "\u202eevil", r"\u202eevil"),
    ("too long", "x" * (LIMIT + 1), "x" * LIMIT + "..."),
]


@pytest.mark.parametrize(("title", "text", "want"), TEXTS, ids=[case[0] for case in TEXTS])
def test_remote_text_is_harmless(title: str, text: str, want: str) -> None:
    """Visible ASCII and blanks on one line."""
    assert shown(text) == want
