"""core/findings/reports.py: each result type of RFC 8460 in words."""

from __future__ import annotations

import pytest

from postfix_mtasts.core.findings.reports import RESULTS, UNKNOWN, Explained, explain_result
from postfix_mtasts.faults import ResultType

RFC_8460 = [
    "starttls-not-supported",
    "certificate-host-mismatch",
    "certificate-expired",
    "certificate-not-trusted",
    "validation-failure",
    "tlsa-invalid",
    "dnssec-invalid",
    "dane-required",
    "sts-policy-fetch-error",
    "sts-policy-invalid",
    "sts-webpki-invalid",
]


@pytest.mark.parametrize("result", [*RFC_8460, "unspecified", *ResultType])
def test_a_result_type_is_explained(result: str) -> None:
    """Those of RFC 8460 section 4.3, and those that our own daemon reports."""
    assert explain_result(result) is not UNKNOWN


@pytest.mark.parametrize("result", ["", "Certificate-Expired", "a new one", "\x00" * 1000])
def test_any_other_text_has_words_too(result: str) -> None:
    """Reports are remote input."""
    assert explain_result(result) is UNKNOWN


@pytest.mark.parametrize("explained", [*RESULTS.values(), UNKNOWN])
def test_meaning_and_advice_are_one_sentence_each(explained: Explained) -> None:
    """They stand in a table's column."""
    for text in (explained.meaning, explained.advice):
        assert text.endswith(".")
        assert ". " not in text
        assert text.isascii()
