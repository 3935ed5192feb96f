"""A verdict is complete, or not made at all."""

from __future__ import annotations

import pytest

from postfix_mtasts.core.policy import Mode, Policy
from postfix_mtasts.core.verdict import Kind, Verdict

POLICY = Policy(Mode.ENFORCE, 86_400, b"mx: mx.example.com")


@pytest.mark.parametrize("kind", list(Kind))
def test_only_a_secure_verdict_has_a_policy(kind: Kind) -> None:
    """Any other pair of kind and policy has no answer that Postfix may get."""
    right, wrong = (POLICY, None) if kind is Kind.SECURE else (None, POLICY)
    assert Verdict(kind, "", 60.0, right).kind is kind
    with pytest.raises(ValueError, match=f"kind {kind} with"):
        Verdict(kind, "", 60.0, wrong)
