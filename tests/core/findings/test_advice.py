"""core/findings/advice.py: advice for single faults."""

from __future__ import annotations

import pytest

from postfix_mtasts.core.findings.advice import ADVICE
from postfix_mtasts.core.findings.owner import find
from postfix_mtasts.faults import Fault, Seen


@pytest.mark.parametrize("fault", ADVICE)
def test_a_fault_may_have_advice_of_its_own(fault: Fault) -> None:
    """It is better than that of the code."""
    found = find("policy-invalid", "line 1", Seen(fault, "s", "v", 1), domain="example.com", name="mx.example.com")
    assert found.advice != find("policy-invalid", "line 1", "text").advice
    assert found.text == str(Seen(fault, "s", "v", 1))
