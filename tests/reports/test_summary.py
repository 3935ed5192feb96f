"""What reports add up to: every table equals the totals."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postfix_mtasts.adapters.reportdb import ReportDb
from postfix_mtasts.adapters.reportsums import Window
from postfix_mtasts.core.tlsreport import Hints, read_reports
from postfix_mtasts.core.trust import UNCHECKED
from postfix_mtasts.reports.summary import KEYS, Facts, explained, rows, summarize
from tests.support.fakes.reports import DAY, JUNE, detail, document, policy

ALL = Window(0, JUNE + 9999 * DAY)


def store_of(directory: Path, *documents: bytes) -> ReportDb:
    store = ReportDb(directory, durable=False)
    for data in documents:
        store.take(data, Hints(), read_reports(data), UNCHECKED, float(JUNE))
    return store


MONTH = (
    document(policy(90, 10, detail(6), detail(3, "starttls-not-supported", "mx2.example.org")), id="1"),
    document(policy(50, 20, detail(20, sender="192.0.2.9")), id="2", organization="Other", day=JUNE + DAY),
    document(policy(7, 0), policy(7, 1, detail(1, "tlsa-invalid"), type="tlsa"), id="3", day=JUNE + 2 * DAY),
    document(policy(5, 2, detail(2, "", ""), domain="other.example"), id="4"),
)


def test_a_summary_says_what_failed_where_and_who_says_so(tmp_path: Path) -> None:
    """The worst first; what no detail explains is a result of its own."""
    with store_of(tmp_path, *MONTH) as store:
        summary = summarize(Facts(store, ALL))
    assert (summary.reports, summary.successful, summary.failed) == (4, 152, 33)
    assert (summary.first, summary.last) == (JUNE, JUNE + 2 * DAY)
    assert (summary.odd, summary.conflicts) == (2, 0)
    assert [(result.result, result.sessions) for result in summary.results] == [
        ("certificate-expired", 26),
        ("starttls-not-supported", 3),
        ("", 2),
        ("tlsa-invalid", 1),
        ("unspecified", 1),
    ]
    worst = summary.results[0]
    assert (worst.sources, worst.mx, worst.domains) == (
        ("Other", "Sender Inc."),
        ("mx1.example.org",),
        ("example.org",),
    )
    assert (worst.first, worst.last) == (JUNE, JUNE + DAY)
    assert "expired" in worst.meaning
    assert "Renew" in worst.advice
    assert [(source.source, source.sessions, source.failed, source.addresses) for source in summary.sources] == [
        ("Other", 70, 20, ("192.0.2.9",)),
        ("Sender Inc.", 115, 13, ("192.0.2.1",)),
    ]


EXPIRED, TLSA = "certificate-expired", "tlsa-invalid"
TABLES = [
    ("source", [("Other", 50, 20), ("Sender Inc.", 102, 13)]),
    ("domain", [("example.org", 147, 31), ("other.example", 5, 2)]),
    ("day", [("2026-06-01", 95, 12), ("2026-06-02", 50, 20), ("2026-06-03", 7, 1)]),
    ("result", [(EXPIRED, 0, 26), ("starttls-not-supported", 0, 3), ("", 152, 2), (TLSA, 0, 1), ("unspecified", 0, 1)]),
    ("mx", [("mx1.example.org", 0, 27), ("", 152, 3), ("mx2.example.org", 0, 3)]),
]


@pytest.mark.parametrize(("by", "want"), TABLES, ids=[row[0] for row in TABLES])
def test_a_table(by: str, want: list[tuple[str, int, int]], tmp_path: Path) -> None:
    """Key, successful and failed."""
    with store_of(tmp_path, *MONTH) as store:
        assert [(row.key[by], row.successful, row.failed) for row in rows(Facts(store, ALL), by)] == want


def test_the_table_by_policy_shows_both_types(tmp_path: Path) -> None:
    """It alone may exceed the totals."""
    with store_of(tmp_path, MONTH[2]) as store:
        assert [(row.key["type"], row.sessions) for row in rows(Facts(store, ALL), "policy")] == [
            ("tlsa", 8),
            ("sts", 7),
        ]
        assert summarize(Facts(store, ALL)).sessions == 8


def test_a_domain_counts_by_itself(tmp_path: Path) -> None:
    """Of a report about two domains only the part about one."""
    both = document(policy(1, 1, detail(1)), policy(5, 0, domain="other.example"))
    with store_of(tmp_path, both) as store:
        summary = summarize(Facts(store, Window(0, JUNE + DAY, domain="other.example")))
    assert (summary.reports, summary.successful, summary.failed, summary.results) == (1, 5, 0, ())


counts = st.integers(0, 50)
details = st.builds(
    detail,
    counts,
    st.sampled_from(["certificate-expired", "unspecified", "", "odd"]),
    st.sampled_from(["mx1.example.org", "MX1.example.org.", ""]),
)
policies = st.builds(
    lambda good, bad, told, domain, type: policy(good, bad, *told, domain=domain, type=type),
    counts,
    counts,
    st.lists(details, max_size=3),
    st.sampled_from(["example.org", "other.example", ""]),
    st.sampled_from(["sts", "tlsa", "no-policy-found"]),
)
reports = st.builds(
    lambda items, day, source, id: document(*items, day=JUNE + day * DAY, organization=source, id=id),
    st.lists(policies, max_size=4),
    st.integers(0, 3),
    st.sampled_from(["A", "B", ""]),
    st.integers(0, 9).map(str),
)


@settings(max_examples=40)
@given(st.lists(reports, max_size=6))
def test_every_table_adds_up_to_the_totals(tmp_path_factory: pytest.TempPathFactory, documents: list[bytes]) -> None:
    """Whatever was reported."""
    with store_of(tmp_path_factory.mktemp("store"), *documents) as store:
        summary = summarize(Facts(store, ALL))
        for by in KEYS:
            table = rows(Facts(store, ALL), by)
            if by != "policy":
                assert sum(row.successful for row in table) == summary.successful, by
                assert sum(row.failed for row in table) == summary.failed, by
        assert sum(result.sessions for result in summary.results) == summary.failed
        assert sum(source.failed for source in summary.sources) == summary.failed


EXPLAINED = [
    ("one domain", ["example.org"], "example.org", True),
    ("two domains", ["example.org", "other.example"], "DOMAIN", False),
    ("a domain that is none", ["$(reboot)"], "DOMAIN", False),
    ("an option", ["--help"], "DOMAIN", False),
    ("no domain", [""], "DOMAIN", False),
]


@pytest.mark.parametrize(("title", "domains", "want", "named"), EXPLAINED, ids=[row[0] for row in EXPLAINED])
def test_the_advice_names_the_domain(title: str, domains: list[str], want: str, named: bool) -> None:
    """So that the command can be copied; hostile text is not put into one."""
    advice = explained("sts-policy-fetch-error", domains).advice
    assert f"postfix-mtasts check {want}`" in advice
    assert ("DOMAIN" in advice) != named
