"""docs/dane.rst explains what there is, and nothing that there is not."""

from __future__ import annotations

import re
from pathlib import Path

import postfix_mtasts
from postfix_mtasts.config.settings import DEFAULT_MAPS
from postfix_mtasts.core.outcome import ResultType

TEXT = (Path(__file__).parents[2] / "docs" / "dane.rst").read_text()
PACKAGE = Path(postfix_mtasts.__file__).parent  # here, or where Debian installed it


def test_each_event_about_dane_is_explained() -> None:
    """Those that the daemon logs are the terms of the list."""
    sources = [path.read_text() for path in PACKAGE.rglob("*.py")]
    logged = {event for text in sources for event in re.findall(r'log\.\w+\(\s*"((?:dane|resolver)-[a-z-]+) %s"', text)}
    assert len(logged) == 5
    assert set(re.findall(r"^``([a-z-]+)``$", TEXT, re.MULTILINE)) == logged


def test_each_result_type_is_explained() -> None:
    """In the table of what is reported."""
    assert set(re.findall(r"^``(sts-[a-z-]+)`` ", TEXT, re.MULTILINE)) == set(map(str, ResultType))


def test_the_maps_named_are_there() -> None:
    """With dane, as the page says."""
    named = set(re.findall(r"postfix-dane(?:-tlsrpt)?\b", TEXT))
    assert named == {"postfix-dane", "postfix-dane-tlsrpt"}
    assert all(DEFAULT_MAPS[name].dane for name in named)
