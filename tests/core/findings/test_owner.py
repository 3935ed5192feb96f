"""core/findings/owner.py: codes, severities, advice, and what they make of a domain."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from postfix_mtasts.core.findings.owner import EACH, TABLE, Finding, Severity, Verdict, capped, find, verdict

E, W, I, U = Severity.ERROR, Severity.WARNING, Severity.INFO, Severity.UNKNOWN  # noqa: E741
MAN = Path(__file__).parents[3] / "man" / "postfix-mtasts.1"


@pytest.mark.parametrize("code", TABLE)
def test_a_code_has_all_its_words(code: str) -> None:
    """What is found says what to do, unless it is for information."""
    row = TABLE[code]
    assert row.meaning
    assert row.reference.startswith("RFC ")
    assert row.advice or row.severity is I
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", code)


@pytest.mark.parametrize("code", TABLE)
def test_a_code_stands_in_the_manual(code: str) -> None:
    """With severity and meaning, as --codes prints them."""
    row, manual = TABLE[code], MAN.read_text().replace("\\-", "-")
    assert f"\n.TP\n.B {code}\n({row.letters}) {row.meaning}\n" in manual


@pytest.mark.parametrize("code", TABLE)
def test_advice_can_be_given_of_anything(code: str) -> None:
    """Names and values may look like a format."""
    found = find(code, "{subject}", "{0} seen", domain="example.com", value="{value}")
    assert found.text == "{0} seen"
    assert "{domain}" not in found.advice


def test_a_severity_of_two_goes_by_the_mode() -> None:
    """An error only where the policy is enforced."""
    assert find("mail-tls", "mx", "text", enforced=True).severity is E
    assert find("mail-tls", "mx", "text").severity is W
    assert find("mail-tls", "mx", "text", enforced=True, severity=W).severity is W


VERDICTS = [
    ((), Verdict.OK),
    ((I,), Verdict.OK),
    ((I, W), Verdict.WARNING),
    ((W, U), Verdict.UNKNOWN),
    ((W, U, E), Verdict.ERROR),
]


@pytest.mark.parametrize(("severities", "want"), VERDICTS)
def test_the_gravest_finding_is_the_verdict(severities: tuple[Severity, ...], want: Verdict) -> None:
    """Exit code 2 over 3 over 1."""
    assert verdict(Finding("mx-null", severity, "", "", "") for severity in severities) is want


def test_no_code_fills_a_terminal() -> None:
    """What is over the limit is counted, with the same severity, and other codes stay."""
    many = [find("mx-unused", f"mx{number}", "unused") for number in range(EACH + 7)]
    told = list(capped([*many, find("mx-null", "example.com", "null")]))
    assert len(told) == EACH + 2
    assert told[-1].text == "7 more like these"
    assert verdict(told) is Verdict.WARNING
