"""core/findings/sender.py: what a failure means for who sends mail, and what to do."""

from __future__ import annotations

import pytest

from postfix_mtasts.core.findings import sender
from postfix_mtasts.core.outcome import Absent, DnsFailed, Failed, Stage
from postfix_mtasts.faults import NO_RECORD, Fault, Seen

RECORD_FAULTS = [fault for fault in Fault if fault.value.startswith("record-")]


@pytest.mark.parametrize("fault", RECORD_FAULTS)
def test_only_a_record_that_is_there_is_something_to_fix(fault: Fault) -> None:
    """Most domains publish nothing, which is not a fault."""
    outcome = Absent(Seen(fault), 60.0)
    told = sender.advice(outcome, "example.com")
    if fault in NO_RECORD:
        assert (told, sender.meaning(outcome, "skip").startswith("The domain does not publish")) == ("", True)
    else:
        assert "TXT record at _mta-sts.example.com" in told
        assert "counts as none" in sender.meaning(outcome, "skip")


ADVICE = [
    (Stage.ADDRESS, Fault.NOT_CONNECTED, "curl -v https://mta-sts.example.com/"),
    (Stage.ADDRESS, Fault.DNS_SERVFAIL, "curl -v https://mta-sts.example.com/"),
    (Stage.TLS, Fault.TLS_OLD, "fix TLS at mta-sts.example.com"),
    (Stage.TLS, Fault.CERTIFICATE_EXPIRED, "this machine's clock"),
    (Stage.HTTP, Fault.HTTP_REDIRECT, "with status 200"),
    (Stage.POLICY, Fault.POLICY_MODE, "fix the policy file"),
]


@pytest.mark.parametrize(("stage", "fault", "words"), ADVICE)
def test_a_failed_fetch(stage: Stage, fault: Fault, words: str) -> None:
    """By its stage; a certificate is advised of by itself, since this machine may be at fault."""
    outcome = Failed("1", stage, Seen(fault))
    assert words in sender.advice(outcome, "example.com")
    assert sender.meaning(outcome, "defer").startswith(f"{fault.result_type}. Without a valid policy")


def test_a_dns_failure_means_what_the_settings_say() -> None:
    """lookup.on_dns_failure: the mail goes on, or waits."""
    outcome = DnsFailed(Seen(Fault.DNS_TIMEOUT))
    assert "counts as none" in sender.meaning(outcome, "skip")
    assert "the mail waits" in sender.meaning(outcome, "defer")
    assert "dig TXT _mta-sts.example.com" in sender.advice(outcome, "example.com")


PROXY_FAULTS = [fault for fault in Fault if fault.ours]


@pytest.mark.parametrize("fault", PROXY_FAULTS)
def test_our_own_proxy_is_not_the_domains(fault: Fault) -> None:
    """Each has advice of its own, and none of it is to write to the domain."""
    outcome = Failed("1", Stage.ADDRESS, Seen(fault, "proxy.example:3128", "x"))
    assert "says nothing of this one" in sender.meaning(outcome, "skip")
    assert "mail goes as if there were none" in sender.meaning(outcome, "skip")
    assert "mail waits" in sender.meaning(outcome, "defer")
    told = sender.advice(outcome, "example.com")
    assert "roxy" in told
    assert "postmaster" not in told


def test_behind_a_proxy_curl_needs_it_too() -> None:
    """The host may be at fault, or the proxy's way to it."""
    outcome = Failed("1", Stage.ADDRESS, Seen(Fault.UNREACHED, "mta-sts.example.com", "the proxy says 503"))
    told = sender.advice(outcome, "example.com")
    assert "`curl -v --proxy PROXY https://mta-sts.example.com/.well-known/mta-sts.txt`" in told
    assert "postmaster@example.com" in told


def test_dane_advice_names_the_port() -> None:
    """TLSA is asked at the port that mail goes to."""
    assert "dig TLSA _587._tcp.HOST" in sender.dane_advice("example.com", "587")
