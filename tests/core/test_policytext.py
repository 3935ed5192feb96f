"""core/policytext.py: what is composed is what senders read."""

from __future__ import annotations

import pytest

from postfix_mtasts.core.policy import Mode, parse_policy
from postfix_mtasts.core.policytext import compose

PARTS = [
    (Mode.ENFORCE, ("mx.example.com", "*.backup.example.net"), 604800),
    (Mode.TESTING, ("mx.example.com",), 86400),
    (Mode.NONE, (), 86400),
]


@pytest.mark.parametrize(("mode", "mx", "max_age"), PARTS, ids=[row[0] for row in PARTS])
def test_what_is_composed_reads_as_its_parts(mode: Mode, mx: tuple[str, ...], max_age: int) -> None:
    """By the parser that the daemon uses."""
    policy = parse_policy(compose(mode, mx, max_age))
    assert (policy.mode, policy.mx, policy.max_age) == (mode, mx, max_age)


def test_lines_end_in_crlf() -> None:
    """As in the RFC's example."""
    assert compose(Mode.NONE, (), 1) == b"version: STSv1\r\nmode: none\r\nmax_age: 1\r\n"
