"""policies/announcing.py: what an operator reads of domains, and how often."""

from __future__ import annotations

import logging

import pytest

from postfix_mtasts.core.entry import Trouble, Warned
from postfix_mtasts.core.names import Domain
from postfix_mtasts.daemon.policies import announcing
from postfix_mtasts.daemon.policies.announcing import DNS_COMPLAINTS, Announcer
from postfix_mtasts.daemon.policies.held import Missing
from tests.support.fakes.entries import entry
from tests.support.fakes.keeping import BUG, DIED, DNS_FAILED, D, absent, failed

LACKING: list[tuple[str, Missing, list[str]]] = [
    ("no record is no event", absent(), []),
    ("a failed fetch", failed(), ["fetch-failed domain=example.com result=sts-policy-fetch-error"]),
    ("a DNS failure", DNS_FAILED, ["dns-failed domain=example.com"]),
    ("a failure of our own is said where it happened", DIED, []),
    ("a bug too", BUG, []),
]


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    found = [record.getMessage() for record in caplog.records if record.levelno >= logging.INFO]
    caplog.clear()
    return found


@pytest.mark.parametrize(("title", "why", "want"), LACKING, ids=[case[0] for case in LACKING])
def test_why_a_domain_has_no_policy(
    title: str, why: Missing, want: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Only a failure is worth a line."""
    Announcer().missing(D, why, 0.0)
    assert [line[: len(begin)] for line, begin in zip(lines(caplog), want, strict=True)] == want


def test_dns_failures_are_not_logged_one_by_one(caplog: pytest.LogCaptureFixture) -> None:
    """Where a resolver is down every domain fails: one warning a minute tells it."""
    announcer = Announcer()
    for number in range(100):
        announcer.missing(Domain(f"d{number}.example"), DNS_FAILED, 0.0)
    assert len(lines(caplog)) == 1
    announcer.missing(D, DNS_FAILED, DNS_COMPLAINTS)
    assert len(lines(caplog)) == 1


@pytest.mark.parametrize(("new", "event"), [(True, "policy-new"), (False, "policy-changed")])
def test_a_policy(new: bool, event: str, caplog: pytest.LogCaptureFixture) -> None:
    """Its domain, mode, time, id and patterns."""
    caplog.set_level("INFO")
    announcing.policy(entry(), new)
    assert lines(caplog) == [f"{event} domain=example.com mode=enforce max_age=604800 id=20231114 mx=mx.example.com"]


TROUBLE = Trouble(2, "sts-policy-fetch-error", "connection refused")
WARNINGS = [
    (Warned.NOTHING, []),
    (Warned.FAILING, ["refresh-failing"]),
    (Warned.TENTH, ["refresh-failing"]),
    (Warned.ENDED, ["policy-expired"]),
]


@pytest.mark.parametrize(("warning", "events"), WARNINGS)
def test_a_failing_refresh(warning: Warned, events: list[str], caplog: pytest.LogCaptureFixture) -> None:
    """It is told with its reason, how often it failed, and the time left."""
    announcing.refresh_failing(D, TROUBLE, warning, 86_400.0)
    told = lines(caplog)
    assert [line.split()[0] for line in told] == events
    assert all('reason="connection refused" failures=2 policy_left_s=86400' in line for line in told)
