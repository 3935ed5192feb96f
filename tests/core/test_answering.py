"""core/answering.py: what is known of a domain, as the one thing that Postfix is told."""

from __future__ import annotations

import pytest

from postfix_mtasts.config.settings import LookupSettings
from postfix_mtasts.core.answering import of_failure, of_policy
from postfix_mtasts.core.dane import DaneStatus
from postfix_mtasts.core.outcome import Absent, DnsFailed, Failed, ResultType, Stage
from postfix_mtasts.core.verdict import Kind
from postfix_mtasts.faults import Fault, Seen
from tests.support.fakes.entries import policy
from tests.support.fakes.faults import dns_failed, failed, proxy_failed

USABLE, UNUSABLE, UNKNOWN = DaneStatus.USABLE, DaneStatus.UNUSABLE, DaneStatus.UNKNOWN

POLICIES = [  # mode, DANE status (None: not a dane map), what Postfix is told, why
    ("enforce", None, Kind.SECURE, "the policy's mode is enforce"),
    ("enforce", UNUSABLE, Kind.SECURE, "the policy's mode is enforce"),
    ("enforce", USABLE, Kind.DANE_ONLY, "said so"),
    ("enforce", UNKNOWN, Kind.TEMP, "said so"),
    *(
        (mode, status, Kind.NOTFOUND, f"the policy's mode is {mode}")
        for mode in ("testing", "none")
        for status in (None, USABLE, UNUSABLE, UNKNOWN)
    ),
]


@pytest.mark.parametrize(("mode", "status", "kind", "reason"), POLICIES)
def test_a_policy(mode: str, status: DaneStatus | None, kind: Kind, reason: str) -> None:
    """RFC 8461 sections 2 and 5: only an enforced policy says anything, and never over DANE."""
    held = policy(mode)
    verdict = of_policy(held, 42.0, None if status is None else (status, "said so"))
    assert (verdict.kind, verdict.reason, verdict.lasts) == (kind, reason, 42.0)
    assert verdict.policy is (held if kind is Kind.SECURE else None)


LOOKUP = LookupSettings(negative_ttl=600.0, failure_ttl=300.0, on_dns_failure="skip")
GONE = Seen(Fault.RECORD_NO_NAME, "_mta-sts.example.com")
DEFER = LookupSettings(on_dns_failure="defer")

FAILURES = [
    ("absent, for its TTL", Absent(GONE, 120.0), LOOKUP, Kind.NOTFOUND, 120.0),
    ("absent, a minute at least", Absent(GONE, 5.0), LOOKUP, Kind.NOTFOUND, 60.0),
    ("absent, no longer than negative_ttl", Absent(GONE, 86_400.0), LOOKUP, Kind.NOTFOUND, 600.0),
    ("absent for ever", Absent(GONE, float("inf")), LOOKUP, Kind.NOTFOUND, 600.0),
    (
        "absent, negative_ttl being shorter than a minute",
        Absent(GONE, 5.0),
        LookupSettings(negative_ttl=10.0),
        Kind.NOTFOUND,
        10.0,
    ),
    ("absent, though DNS failures defer", Absent(GONE, 120.0), DEFER, Kind.NOTFOUND, 120.0),
    ("DNS fails, and mail goes on", dns_failed(), LOOKUP, Kind.NOTFOUND, 30.0),
    ("DNS fails, and mail waits", dns_failed(), DEFER, Kind.TEMP, 30.0),
    ("the proxy fails, and mail goes on", proxy_failed(), LOOKUP, Kind.NOTFOUND, 30.0),
    ("the proxy fails, and mail waits", proxy_failed(), DEFER, Kind.TEMP, 30.0),
]


@pytest.mark.parametrize(("title", "outcome", "settings", "kind", "lasts"), FAILURES, ids=[row[0] for row in FAILURES])
def test_no_policy(
    title: str, outcome: Absent | DnsFailed | Failed, settings: LookupSettings, kind: Kind, lasts: float
) -> None:
    """How long that is remembered goes by what DNS allows and the settings want."""
    verdict = of_failure(outcome, settings)
    assert (verdict.kind, verdict.lasts, verdict.reason, verdict.policy) == (kind, lasts, outcome.reason, None)


@pytest.mark.parametrize("settings", [LOOKUP, LookupSettings(failure_ttl=300.0, on_dns_failure="defer")])
@pytest.mark.parametrize("result", ResultType)
def test_a_failed_fetch_never_holds_mail_up(result: ResultType, settings: LookupSettings) -> None:
    """RFC 8461 section 3.3: without a cached policy mail goes on; on_dns_failure changes nothing."""
    outcome = failed("1", Stage.HTTP, "404", result)
    verdict = of_failure(outcome, settings)
    assert (verdict.kind, verdict.lasts, verdict.reason) == (Kind.NOTFOUND, 300.0, f"{result}: {outcome.reason}")
