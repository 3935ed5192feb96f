"""faults.py: every fault has its sentence, and a sentence shows what was seen of it."""

from __future__ import annotations

import pytest

from postfix_mtasts.faults import SENTENCES, SHOWN, Fault, ResultType, Seen, clip

OVERLOADED = (Fault.CROWDED, Fault.GIVEN_UP, Fault.INTERNAL)


def test_each_fault_has_one_sentence() -> None:
    """No fault without words, and no words that nothing means."""
    assert set(SENTENCES) == set(Fault)


@pytest.mark.parametrize("fault", Fault)
def test_a_sentence_survives_any_value(fault: Fault) -> None:
    """Remote text may look like a format; what the sentence names is shown."""
    sentence = str(Seen(fault, "{subject}", "{0}{value!r}%s", 3))
    template = SENTENCES[fault]
    assert ("{subject}" in sentence) is ("{subject" in template)
    assert ("{0}{value!r}%s" in sentence) is ("{value" in template)
    assert ("line 3: " in sentence) is ("{line}" in template)


def test_without_a_line_none_is_named() -> None:
    """The fault is of the policy as a whole."""
    assert str(Seen(Fault.POLICY_MISSING, value="version")) == "version is missing (RFC 8461 section 3.2)"


def test_what_lies_with_our_proxy_is_ours() -> None:
    """That the proxy did not reach a host, which it says itself, is not."""
    assert {fault for fault in Fault if fault.ours} == {fault for fault in Fault if fault.startswith("proxy-")}
    assert not Fault.UNREACHED.ours
    assert Seen(Fault.UNREACHED, "mta-sts.example.com", "our proxy").to_strangers() == (
        "cannot connect to mta-sts.example.com"
    )


OURS = "SERVFAIL from 192.0.2.53:53; 256 fetches were under way"


@pytest.mark.parametrize(
    "fault", [*(each for each in Fault if each.startswith("dns-") and each is not Fault.DNS_NAME), *OVERLOADED]
)
def test_a_report_tells_strangers_nothing_of_our_own(fault: Fault) -> None:
    """Neither our resolvers nor how busy we are; what it happened to is theirs."""
    told = Seen(fault, "_mta-sts.example.com", OURS).to_strangers()
    assert "192.0.2.53" not in told
    assert "256" not in told
    assert ("_mta-sts.example.com" in told) is (fault not in OVERLOADED)


def test_a_report_says_the_rest_as_the_log_does() -> None:
    """The domain's owner needs line and value."""
    seen = Seen(Fault.POLICY_MODE, "", "enforced", 2)
    assert seen.to_strangers() == str(seen)


RESULTS = [
    (Fault.CERTIFICATE_NAME, ResultType.WEBPKI_INVALID),
    (Fault.POLICY_MODE, ResultType.INVALID),
    (Fault.HTTP_POLICY_TOO_LONG, ResultType.FETCH_ERROR),
    (Fault.TLS_OLD, ResultType.FETCH_ERROR),
    (Fault.NO_ADDRESS, ResultType.FETCH_ERROR),
    (Fault.DNS_SERVFAIL, ResultType.FETCH_ERROR),
    (Fault.INTERNAL, ResultType.FETCH_ERROR),
]


@pytest.mark.parametrize(("fault", "result_type"), RESULTS)
def test_what_a_report_calls_it(fault: Fault, result_type: ResultType) -> None:
    """RFC 8460 section 4.3.2.2."""
    assert fault.result_type is result_type


CLIPPED = [
    ("short", "short"),
    (b"short \xa0\xff", "short \xa0\xff"),
    ("x" * SHOWN, "x" * SHOWN),
    ("x" * (SHOWN + 1), "x" * SHOWN + "..."),
    (b"\xff" * 65_000, "\xff" * SHOWN + "..."),
]


@pytest.mark.parametrize(("value", "shown"), CLIPPED, ids=["short", "bytes", "just short enough", "long", "long bytes"])
def test_a_value_is_clipped(value: str | bytes, shown: str) -> None:
    """A body may have 64 KiB; what is kept of it must not."""
    assert clip(value) == shown
