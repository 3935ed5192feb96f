"""core/outcome.py: what a discovery ends in has its reason and result type from the fault alone."""

from __future__ import annotations

import pytest

from postfix_mtasts.core.outcome import Absent, Cause, DnsFailed, Failed, OwnFault, ResultType, Stage
from postfix_mtasts.faults import Fault, Seen

SEEN = Seen(Fault.RECORD_NO_NAME, "_mta-sts.example.com")


@pytest.mark.parametrize("outcome", [Absent(SEEN, 60.0), DnsFailed(SEEN), Failed("1", Stage.HTTP, SEEN)])
def test_the_reason_is_the_faults_sentence(outcome: Absent | DnsFailed | Failed) -> None:
    """One place for the words of log, query and reports."""
    assert outcome.reason == "_mta-sts.example.com does not exist"


RESULTS = [
    (Fault.POLICY_VERSION, ResultType.INVALID),
    (Fault.CERTIFICATE_NAME, ResultType.WEBPKI_INVALID),
    (Fault.HTTP_LATE, ResultType.FETCH_ERROR),
    (Fault.DNS_TIMEOUT, ResultType.FETCH_ERROR),
]


@pytest.mark.parametrize(("fault", "result_type"), RESULTS)
def test_a_failed_fetch_cannot_have_another_result_type(fault: Fault, result_type: ResultType) -> None:
    """It follows from the fault; nobody passes it beside it."""
    assert Failed("1", Stage.HTTP, Seen(fault)).result_type is result_type


@pytest.mark.parametrize("cause", Cause)
def test_only_a_bug_of_ours_would_come_again(cause: Cause) -> None:
    """All else is worth another try soon."""
    assert OwnFault(cause, "why").passing is (cause is not Cause.BUG)
