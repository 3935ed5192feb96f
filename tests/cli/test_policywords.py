"""cli/policywords.py: mode, max_age and patterns as a command line has them."""

from __future__ import annotations

import pytest

from postfix_mtasts.cli import policywords

AGES = [("1d", 86_400), ("0", 0), ("90s", 90), ("31557600", 31_557_600)]


@pytest.mark.parametrize(("word", "seconds"), AGES)
def test_a_max_age(word: str, seconds: int) -> None:
    """A duration in whole seconds, a year at most."""
    assert policywords.max_age(word) == seconds


@pytest.mark.parametrize("word", ["", "-1", "500ms", "31557601", "2y", "1e3"])
def test_a_max_age_that_is_none(word: str) -> None:
    """The sentence names the option."""
    with pytest.raises(ValueError, match="--max-age"):
        policywords.max_age(word)


@pytest.mark.parametrize("word", ["enforce", "testing", "none"])
def test_a_mode(word: str) -> None:
    """In lower case, as policies have it."""
    assert policywords.mode(word) == word


@pytest.mark.parametrize("word", ["Enforce", "report", ""])
def test_a_mode_that_is_none(word: str) -> None:
    """And which there are."""
    with pytest.raises(ValueError, match="enforce, testing or none"):
        policywords.mode(word)


PATTERNS = [("mx.example.com", "mx.example.com"), ("*.Example.COM", "*.example.com")]


@pytest.mark.parametrize(("word", "pattern"), PATTERNS)
def test_a_pattern(word: str, pattern: str) -> None:
    """A host name, or *. and a host name."""
    assert policywords.pattern(word) == pattern


@pytest.mark.parametrize(
    "word", ["", "localhost", "192.0.2.1", "*", "*.*.example", "a.example.", "a.example b.example", "a.b\nmode: none"]
)
def test_a_pattern_that_is_none(word: str) -> None:
    """Nothing gets into the file that way."""
    with pytest.raises(ValueError, match="--mx"):
        policywords.pattern(word)
