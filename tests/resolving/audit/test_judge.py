"""resolving/audit/judge.py: findings of record, policy host, policy and TLSRPT, over literal values."""

from __future__ import annotations

from dataclasses import replace

import pytest

from postfix_mtasts.core.certificate import Presented
from postfix_mtasts.core.outcome import Stage
from postfix_mtasts.faults import Fault, Seen
from postfix_mtasts.resolving.audit.gather import Addresses, HostLook, HostSeen, RecordSeen, Texts
from postfix_mtasts.resolving.audit.judge import (
    Rules,
    describe,
    judge_host,
    judge_policy,
    judge_record,
    judge_tlsrpt,
    span,
)
from tests.core.test_txt_records import ROWS, STRICTER, TOLERATED, texts
from tests.support.fakes.owned import DAY, HOST, NOW, POLICY, D, certificate, presented

RULES = Rules(D, NOW, 14)
NAME = "_mta-sts.example.com"


def codes(told: object) -> list[tuple[str, str, str]]:
    return [(found.code, str(found.severity), found.subject) for found in told.findings]  # type: ignore[attr-defined]


@pytest.mark.parametrize("row", ROWS, ids=[f"{number}-{row[1]}-{row[5][:40]}" for number, row in enumerate(ROWS, 2)])
def test_each_real_record_gets_the_right_finding(row: list[str]) -> None:
    """And a sentence with what to do, for whatever somebody published."""
    _, kind, _, cell, verdict, _ = row
    seen = Texts(NAME, tuple(texts(cell)))
    found = judge_record(RecordSeen(seen, ()), RULES) if kind == "sts" else judge_tlsrpt(seen, RULES)
    got = [each.code for each in found.findings]
    if (verdict.startswith(("id ", "rua ")) and STRICTER not in verdict) or verdict == TOLERATED:
        assert got == []
        return
    wanted = {"sts": ["record-absent", "record-invalid"], "tlsrpt": ["tlsrpt-absent", "tlsrpt-invalid"]}[kind]
    if "records" in verdict and verdict.startswith("none"):
        wanted = ["record-multiple"] if kind == "sts" else ["tlsrpt-invalid"]
    elif not verdict.startswith("none"):
        wanted = wanted[1:]
    assert len(got) == 1
    assert got[0] in wanted
    (only,) = found.findings
    assert only.advice.endswith((".", ";")) or '"' in only.advice
    begins = any(text[:5].upper() == b"V=STS" for text in seen.texts)
    if kind == "sts" and begins and got[0] != "record-multiple":
        assert got == ["record-invalid"]


def look(fault: Fault, stage: Stage, shown: Presented | None = None, value: str = "x") -> HostLook:
    return HostLook(None, stage, Seen(fault, HOST, value), shown)


GOOD = HostLook(POLICY, Stage.HTTP, None, presented(HOST))
HOSTS: list[tuple[str, dict[str, HostLook | None], list[tuple[str, str, str]]]] = [
    ("good", {"a": GOOD}, []),
    (
        "refused at one address",
        {"a": look(Fault.NOT_CONNECTED, Stage.ADDRESS), "b": GOOD},
        [("host-unreachable", "warning", "a")],
    ),
    ("refused at all", {"a": look(Fault.NOT_CONNECTED, Stage.ADDRESS)}, [("host-unreachable", "error", "a")]),
    (
        "our own proxy fails",
        {"a": look(Fault.PROXY_AWAY, Stage.ADDRESS), "b": look(Fault.PROXY_AWAY, Stage.ADDRESS)},
        [("proxy-failed", "unknown", HOST)],
    ),
    (
        "the proxy does not get there",
        {HOST: look(Fault.UNREACHED, Stage.ADDRESS)},
        [("host-unreachable", "error", HOST)],
    ),
    ("no end in time", {"a": None}, [("host-unreachable", "error", "a")]),
    ("silent in the handshake", {"a": look(Fault.TLS_LATE, Stage.TLS)}, [("host-tls", "error", "a")]),
    ("silent after it", {"a": look(Fault.HTTP_LATE, Stage.HTTP, presented(HOST))}, [("host-http", "error", "a")]),
    (
        "expired, of another name",
        {"a": look(Fault.CERTIFICATE_EXPIRED, Stage.TLS, presented("www.example.com", left=-DAY))},
        [("host-certificate-expired", "error", "a"), ("host-certificate-name", "error", "a")],
    ),
    (
        "refused without a second look",
        {"a": look(Fault.CERTIFICATE_CA, Stage.TLS)},
        [("host-certificate-untrusted", "error", "a")],
    ),
    (
        "expiring, and status 404",
        {"a": look(Fault.HTTP_STATUS, Stage.HTTP, presented(HOST, left=13.9 * DAY))},
        [("host-certificate-expiring", "warning", "a"), ("host-http", "error", "a")],
    ),
    ("with 14 days left", {"a": replace(GOOD, presented=presented(HOST, left=14 * DAY))}, []),
    ("another policy elsewhere", {"a": GOOD, "b": replace(GOOD, body=b"x")}, [("host-differs", "warning", HOST)]),
]


@pytest.mark.parametrize(("title", "looks", "want"), HOSTS, ids=[row[0] for row in HOSTS])
def test_the_policy_host(title: str, looks: dict[str, HostLook | None], want: list[tuple[str, str, str]]) -> None:
    """By the stage at which it failed, for each address."""
    assert codes(judge_host(HostSeen(Addresses(HOST, tuple(looks)), looks), RULES)) == want


PLACES = [
    ("no address", Addresses(HOST), [("host-absent", "error", HOST)]),
    ("a private one", Addresses(HOST, forbidden=(("10.0.0.1", "private"),)), [("host-private", "error", "10.0.0.1")]),
    ("IPv6 only, and none here", Addresses(HOST, no_route=("2001:db8::1",)), [("ipv6-untried", "info", HOST)]),
    ("DNS fails", Addresses(HOST, failed=(Seen(Fault.DNS_TIMEOUT, HOST, "late"),)), [("dns-failed", "unknown", HOST)]),
]


@pytest.mark.parametrize(("title", "place", "want"), PLACES, ids=[row[0] for row in PLACES])
def test_its_addresses(title: str, place: Addresses, want: list[tuple[str, str, str]]) -> None:
    """What cannot be tried is told as what it is, never as failed."""
    assert codes(judge_host(HostSeen(place), RULES)) == want


def test_addresses_that_were_left_out_are_counted() -> None:
    """Nothing is passed over in silence."""
    told = judge_host(HostSeen(Addresses(HOST, ("a",), left_out=7), {"a": GOOD}), RULES)
    assert "7 more addresses were not examined" in told.lines


def test_a_record_elsewhere_and_an_alias() -> None:
    """A record where no sender looks, valid or not; the chain with its end."""
    other = Texts("example.com", (b"v=spf1 -all", b"v=STSv1; id=1;"))
    seen = RecordSeen(Texts(NAME, (b"v=STSv1; id=1;",), None, ("a.example", "b.example")), (other,))
    told = judge_record(seen, RULES)
    assert codes(told) == [("record-alias", "info", NAME), ("record-misplaced", "error", "example.com")]
    assert "_mta-sts.example.com -> a.example -> b.example" in told.findings[0].text


def test_the_first_policy_that_was_served_is_judged() -> None:
    """Without one there is nothing to say of it."""
    assert judge_policy(None).policy is None
    seen = HostSeen(Addresses(HOST), {"a": None, "b": GOOD})
    assert judge_policy(seen).body == POLICY


def test_a_certificate_is_described_in_one_line() -> None:
    """Names, issuer, days left; and what has none of them."""
    shown = presented(HOST, "a.example", "b.example", "c.example")
    line = (
        "TLSv1.3, certificate of mta-sts.example.com, a.example, b.example and 1 more, issued by Test CA, 90 days left"
    )
    assert describe(shown, NOW) == line
    assert describe(None, NOW) == "no certificate was shown"
    bare = Presented("TLSv1.2", (replace(certificate(left=-2 * DAY), common_name="cn", issuer=""),))
    assert describe(bare, NOW) == (
        "TLSv1.2, certificate of no DNS name (CN cn), issued by nobody named, expired 2 days ago"
    )


SPANS = [(90 * DAY, "90 days"), (2 * DAY, "2 days"), (2 * DAY - 1, "47 hours"), (3_601, "1 hour"), (59, "0 hours")]


@pytest.mark.parametrize(("seconds", "text"), SPANS)
def test_a_span_is_told_in_days_or_hours(seconds: float, text: str) -> None:
    """Whole ones, rounded down: what is left must not look longer."""
    assert span(seconds) == text
