"""Reading a report liberally and counting it strictly (RFC 8460 section 4.4)."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mtasts.core.tlsreport import (
    COUNT_LIMIT,
    Hints,
    Report,
    Room,
    hints_of_name,
    id_of_subject,
    read_reports,
)
from postfix_mtasts.errors import ReportError

PERIOD = {"start-datetime": "2026-06-01T00:00:00Z", "end-datetime": "2026-06-01T23:59:59Z"}


def policy(
    successful: Any = 0, failed: Any = 0, *details: Any, domain: Any = "example.org", type: Any = "sts"
) -> dict[str, Any]:
    return {
        "policy": {"policy-type": type, "policy-domain": domain},
        "summary": {"total-successful-session-count": successful, "total-failure-session-count": failed},
        "failure-details": list(details),
    }


def detail(count: Any, result: Any = "certificate-expired", **more: Any) -> dict[str, Any]:
    return {"result-type": result, "failed-session-count": count} | more


def report(*policies: Any, **members: Any) -> Report:
    value = {"organization-name": "Sender", "date-range": PERIOD, "report-id": "1", "policies": list(policies)}
    (found,) = read_reports(json.dumps(value | members).encode())
    return found


COUNTS = [
    ("a number", 5, 5, ""),
    ("zero", 0, 0, ""),
    ("digits as text", "42", 42, ""),
    ("a float without a fraction", 5.0, 5, ""),
    ("the limit itself", COUNT_LIMIT, COUNT_LIMIT, ""),
    ("one over the limit", COUNT_LIMIT + 1, 0, "over 10^12"),
    ("beyond 64 bits", 10**30, 0, "over 10^12"),
    ("5,000 digits", 10**4999, 0, "over 10^12"),
    ("5,000 negative digits", -(10**4999), 0, "negative"),
    ("negative", -1, 0, "negative"),
    ("a fraction", 1.5, 0, "not a whole number"),
    ("not a number", float("nan"), 0, "not a whole number"),
    ("infinity", float("inf"), 0, "not a whole number"),
    ("true", True, 0, "not a number"),
    ("null", None, 0, "missing"),
    ("a word", "many", 0, "not a number"),
    ("a list", [1], 0, "not a number"),
    ("Arabic digits", "٤٢", 0, "not a number"),
]


@pytest.mark.parametrize(("title", "value", "want", "odd"), COUNTS, ids=[row[0] for row in COUNTS])
def test_a_count_that_cannot_be_believed_is_0_and_marked(
    title: str, value: Any, want: int, odd: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which count it is, and what is wrong with it."""
    import sys

    sys.set_int_max_str_digits(10_000)  # for json.dumps
    text = json.dumps({"policies": [policy(value)], "date-range": PERIOD}).encode()
    sys.set_int_max_str_digits(4300)
    (found,) = read_reports(text)
    assert found.successful == want
    assert [line for line in found.odd if "successful" in line] == (
        [f"a count of successful sessions is {odd}"] if odd else []
    )


def test_a_number_beyond_doubles_is_read() -> None:
    """1e400 is infinity."""
    (found,) = read_reports(b'{"policies": [{"summary": {"total-successful-session-count": 1e400}}], "report-id": 1}')
    assert (found.successful, found.report_id) == (0, "1")


ATTRIBUTED = [
    ("details explain all", policy(9, 3, detail(2, "a"), detail(1, "b")), [("a", 2), ("b", 1)], 0, False),
    ("details explain too little", policy(9, 5, detail(2, "a")), [("a", 2)], 3, True),
    ("no details", policy(9, 5), [], 5, True),
    (
        "surplus details are cut in their order",
        policy(9, 3, detail(2, "a"), detail(9, "b")),
        [("a", 2), ("b", 1)],
        0,
        True,
    ),
    ("details of a policy that never failed", policy(9, 0, detail(2, "a")), [("a", 0)], 0, True),
    ("without a summary the details count", {"failure-details": [detail(4, "a")]}, [("a", 4)], 0, True),
    ("a result type that is not text", policy(0, 1, detail(1, ["a"])), [("a", 1)], 0, False),
    ("no result type", policy(0, 1, detail(1, None)), [("", 1)], 0, False),
]


@pytest.mark.parametrize(
    ("title", "item", "want", "unexplained", "odd"), ATTRIBUTED, ids=[row[0] for row in ATTRIBUTED]
)
def test_a_policy_s_own_total_wins_over_its_details(
    title: str, item: dict[str, Any], want: list[tuple[str, int]], unexplained: int, odd: bool
) -> None:
    """Each failure is attributed to one result, or to none."""
    found = report(item)
    (read,) = found.policies
    assert [(failure.result, failure.failed) for failure in read.failures] == want
    assert read.unexplained == unexplained
    assert bool(found.odd) == odd


BOTH = [
    ("more sessions under tlsa", policy(1, 1), policy(2, 1, detail(1), type="tlsa"), "tlsa"),
    ("more sessions under sts", policy(5, 1, detail(1)), policy(5, 0, type="tlsa"), "sts"),
    ("as many, and more failures under tlsa", policy(5, 0), policy(4, 1, type="tlsa"), "tlsa"),
    ("all the same", policy(5, 1), policy(5, 1, type="tlsa"), "sts"),
]


@pytest.mark.parametrize(("title", "sts", "tlsa", "want"), BOTH, ids=[row[0] for row in BOTH])
def test_of_sts_and_tlsa_the_type_with_more_sessions_counts(title: str, sts: Any, tlsa: Any, want: str) -> None:
    """Whole, and the other stays as it is told."""
    found = report(sts, tlsa)
    assert {read.type for read in found.policies if read.counted} == {want}
    assert any("sts and as tlsa" in line for line in found.odd)
    assert found.successful + found.failed == max(read.sessions for read in found.policies)


def test_several_policies_of_one_type_count_together_against_the_other() -> None:
    """Two sts policies of one domain are one side; another domain is not touched."""
    found = report(
        policy(3),
        policy(3),
        policy(5, type="tlsa"),
        policy(1, domain="other.example"),
        policy(2, type="no-policy-found"),
    )
    assert [read.counted for read in found.policies] == [True, True, False, True, True]


def test_names_have_one_form() -> None:
    """Lower-case A-labels without a final dot; what is not a name stays as it came."""
    found = report(
        policy(domain="Example.ORG."),
        policy(domain="bücher.example"),
        policy(domain="No Name"),
        policy(
            0, 1, detail(1, **{"receiving-mx-host-name": "mx: MX.Example.org.", "sending-mta-ip": "[IPv6:2001:db8::1]"})
        ),
    )
    assert [read.domain for read in found.policies[:3]] == ["example.org", "xn--bcher-kva.example", "No Name"]
    (failure,) = found.policies[3].failures
    assert (failure.mx, failure.sender) == ("mx.example.org", "2001:db8::1")


LINES = [
    ("a list", ["version: STSv1", "mode: enforce"], ("version: STSv1", "mode: enforce")),
    ("lines that end in CR", ["version: STSv1\r", "mode: enforce\r"], ("version: STSv1", "mode: enforce")),
    ("one text", "version: STSv1\r\nmode: enforce\r\n", ("version: STSv1", "mode: enforce")),
    ("one text that is a list in JSON", ['["3 1 1 AA","3 1 1 BB"]'], ("3 1 1 AA", "3 1 1 BB")),
    ("one text that begins like a list", ["[3 1 1 AA"], ("[3 1 1 AA",)),
    ("null", None, ()),
    ("a number", 5, ()),
]


@pytest.mark.parametrize(("title", "value", "want"), LINES, ids=[row[0] for row in LINES])
def test_policy_lines(title: str, value: Any, want: tuple[str, ...]) -> None:
    """As senders were seen to write them."""
    found = report({"policy": {"policy-string": value, "policy-domain": "example.org"}, "summary": {}})
    assert found.policies[0].policy == want


REFUSED = [
    ("nothing", b"", "empty"),
    ("blanks", b" \r\n", "empty"),
    ("a page", b"<html>", "not JSON"),
    ("text", b'"text"', "not a report"),
    ("another object", b'{"hello": 1}', "not a report"),
    ("100,000 brackets", b"[" * 100_000, "too deep"),
    ("101 levels in a member", b'{"report-id": 1, "policies": ' + b"[" * 100 + b"]" * 100 + b"}", "too deep"),
    ("a million lists", b"[" + b"[]," * 1_000_000 + b"1]", "too many values"),
    (
        "more policies than there may be",
        b'{"report-id":1,"policies":[' + b'{"policy":{}},' * 100_001 + b"1]}",
        "too many policies",
    ),
    ("more reports than there may be", b'{"report-id":1,"policies":0}' * 1_001, "too many reports"),
]


@pytest.mark.parametrize(("title", "document", "want"), REFUSED, ids=[row[0] for row in REFUSED])
def test_what_is_not_a_report_is_refused_with_the_reason(title: str, document: bytes, want: str) -> None:
    """And nothing else is raised."""
    with pytest.raises(ReportError, match=f"^{want}$"):
        read_reports(document)


def test_brackets_in_text_do_not_nest() -> None:
    """A reason may hold any."""
    found = report(policy(0, 1, detail(1, **{"failure-reason-code": '\\"[{' * 200})))
    assert found.policies[0].failures[0].reason == '\\"[{' * 200


def test_one_room_holds_for_all_documents_of_a_mail() -> None:
    """Many small documents may not hold more than one large one."""
    room = Room(policies=3)
    document = json.dumps({"report-id": 1, "policies": [policy(), policy()]}).encode()
    read_reports(document, room=room)
    with pytest.raises(ReportError, match="too many policies"):
        read_reports(document, room=room)


def test_text_can_be_stored() -> None:
    """No NUL, no half of a surrogate pair, and not a million characters."""
    found = report(**{"organization-name": "a\x00b", "report-id": "x" * 1_000_000, "contact-info": {"a": 1}})
    (other,) = read_reports(b'{"organization-name": "\\ud800!", "policies": []}')
    assert (found.organization, len(found.report_id), found.contact, other.organization) == (
        "a\ufffdb",
        1000,
        "",
        "\ufffd!",
    )


def test_hints_fill_what_the_report_leaves_open() -> None:
    """And never overrule it."""
    hints = Hints("sender.example", "hinted.example", "hinted", 1780272000.0, 1780358399.0)
    (silent,) = read_reports(b'{"policies": [{"policy": {}}], "organization-name": ""}', hints)
    assert (silent.source, silent.report_id, silent.begin) == ("sender.example", "hinted", 1780272000.0)
    assert silent.policies[0].domain == "hinted.example"
    (loud,) = read_reports(
        json.dumps({"report-id": 7, "organization-name": "S", "policies": [policy()], "date-range": PERIOD}).encode(),
        hints,
    )
    assert (loud.source, loud.report_id, loud.policies[0].domain) == ("S", "7", "example.org")


NAMES = [
    ("RFC 8460", "a.example!b.example!1780272000!1780358399!001.json.gz", ("a.example", "b.example", 1780272000.0)),
    (
        "a path in front",
        "../../etc/cron.d/a.example!b.example!1780272000!2.json",
        ("a.example", "b.example", 1780272000.0),
    ),
    ("no times", "a.example!b.example!x!y.json", ("a.example", "b.example", None)),
    ("another name", "report.json", ("", "", None)),
    ("a name that is not UTF-8", "\udcff.example!b.example!1!2.json", ("\ufffd.example", "b.example", 1.0)),
]


@pytest.mark.parametrize(("title", "name", "want"), NAMES, ids=[row[0] for row in NAMES])
def test_hints_of_name(title: str, name: str, want: tuple[str, str, float | None]) -> None:
    """A name is read, never followed."""
    hints = hints_of_name(name)
    assert (hints.submitter, hints.domain, hints.begin) == want


def test_id_of_subject() -> None:
    """With and without angle brackets."""
    assert id_of_subject("Report Domain: d Submitter: s Report-ID: <1+d@s>") == "1+d@s"
    assert id_of_subject("report-id: 7") == "7"
    assert id_of_subject("hello") == ""


def test_one_report_has_one_fingerprint() -> None:
    """However it is written; another period, id or content is another report."""
    same = report(policy(1)), report(policy("1")), report(policy(1), **{"contact-info": "x", "extra": [1]})
    assert len({found.fingerprint() for found in same}) == 1
    other = report(policy(2)), report(policy(1), **{"report-id": "2"}), report(policy(1), **{"date-range": {}})
    assert len({found.fingerprint() for found in (*same, *other)}) == 4


MEMBERS = [
    "policies",
    "policy",
    "summary",
    "failure-details",
    "policy-domain",
    "policy-type",
    "policy-string",
    "mx-host",
    "date-range",
    "start-datetime",
    "total-successful-session-count",
    "total-failure-session-count",
    "failed-session-count",
    "result-type",
    "end-datetime",
    "report-id",
    "organization-name",
    "sending-mta-ip",
]
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("sts"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(MEMBERS), inner, max_size=5),
    max_leaves=30,
)


@given(values)
def test_whatever_the_json_sums_add_up(value: Any) -> None:
    """Reports or ReportError, and every failure is attributed once."""
    try:
        reports = read_reports(json.dumps(value).encode())
    except ReportError:
        return
    for found in reports:
        assert len(found.fingerprint()) == 32
        for read in found.policies:
            assert read.failed == read.unexplained + sum(failure.failed for failure in read.failures)


@given(st.binary(max_size=100))
def test_whatever_the_bytes(document: bytes) -> None:
    """Nothing but ReportError is raised."""
    with contextlib.suppress(ReportError):
        read_reports(document)
