"""adapters/services.py: port numbers by name."""

from __future__ import annotations

import pytest

from postfix_mtasts.adapters.services import port_number


@pytest.mark.parametrize(("word", "number"), [("25", 25), ("587", 587), ("smtp", 25), ("submission", 587)])
def test_a_port_by_number_or_name(word: str, number: int) -> None:
    """As this system knows it."""
    assert port_number(word) == number


def test_a_service_that_nobody_knows_is_smtp() -> None:
    """Mail to it goes somewhere; DANE is then asked at port 25."""
    assert port_number("no-such-service") == 25
