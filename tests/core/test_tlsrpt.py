"""TLSRPT records and datagrams (RFC 8460)."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mtasts.core.names import Domain
from postfix_mtasts.core.outcome import ResultType
from postfix_mtasts.core.policy import parse_policy
from postfix_mtasts.core.tlsrpt import DATAGRAM_LIMIT, datagram, select_record

RUA = b"rua=mailto:r@example.test"
GOOD = b"v=TLSRPTv1; " + RUA

RECORDS: list[tuple[str, list[bytes], str | None]] = [
    ("one address", [GOOD], GOOD.decode()),
    (
        "two addresses and a final semicolon",
        [GOOD + b",https://example.test/r;"],
        GOOD.decode() + ",https://example.test/r;",
    ),
    ("an extension", [GOOD + b"; x=y"], GOOD.decode() + "; x=y"),
    ("an extension before the address", [b"v=TLSRPTv1; x=y; " + RUA], f"v=TLSRPTv1; x=y; {RUA.decode()}"),
    ("a scheme in another case", [b"v=TLSRPTv1; rua=HTTPS://example.test/r"], "v=TLSRPTv1; rua=HTTPS://example.test/r"),
    ("a second rua, which does not count", [GOOD + b"; rua=https:x"], GOOD.decode() + "; rua=https:x"),
    ("another scheme", [b"v=TLSRPTv1; rua=ftp://example.test/"], None),
    ("no scheme", [b"v=TLSRPTv1; rua=r@example.test"], None),
    ("an exclamation mark", [b"v=TLSRPTv1; rua=mailto:r!x@example.test"], None),
    ("half an escape", [b"v=TLSRPTv1; rua=https://example.test/%2"], None),
    ("an equals sign in an extension", [GOOD + b"; x=="], None),
    ("other records beside it", [b"v=spf1 -all", GOOD], GOOD.decode()),
    ("none", [], None),
    ("only others", [b"v=spf1 -all"], None),
    ("two", [GOOD, GOOD], None),
    ("no address", [b"v=TLSRPTv1;"], None),
    ("an empty address", [b"v=TLSRPTv1; rua="], None),
    ("another version", [b"v=TLSRPTv2; rua=mailto:r@example.test"], None),
    ("no semicolon", [b"v=TLSRPTv1 rua=mailto:r@example.test"], None),
    ("a control character", [GOOD + b"\x1b[2J"], None),
    ("no ASCII", [GOOD + "é".encode()], None),
    ("without end", [GOOD + b"," + b"x" * 5000], None),
]


@pytest.mark.parametrize(("title", "texts", "record"), RECORDS, ids=[record[0] for record in RECORDS])
def test_records(title: str, texts: list[bytes], record: str | None) -> None:
    """Exactly one valid record, or the domain wants no reports (section 3)."""
    assert select_record(texts) == record


@given(st.lists(st.binary(max_size=80) | st.binary(max_size=40).map(lambda tail: GOOD + tail), max_size=3))
def test_no_record_makes_it_raise(texts: list[bytes]) -> None:
    """Whatever it takes is printable ASCII."""
    record = select_record(texts)
    assert record is None or (record.isascii() and record.replace("\t", " ").isprintable())


@pytest.mark.parametrize(
    ("result_type", "code"),
    [(ResultType.FETCH_ERROR, 301), (ResultType.INVALID, 302), (ResultType.WEBPKI_INVALID, 303)],
)
def test_a_failure_without_a_cached_policy(result_type: ResultType, code: int) -> None:
    """The numbers are libtlsrpt's."""
    sent = json.loads(datagram(Domain("example.test"), GOOD.decode(), None, result_type, "why"))
    assert sent == {
        "dpv": "1",
        "d": "example.test",
        "pr": GOOD.decode(),
        "policies": [
            {
                "policy-type": 2,
                "policy-domain": "example.test",
                "policy-string": [],
                "mx-host": [],
                "t": 1,
                "failure-details": [{"c": code, "f": "why"}],
                "f": 1,
            }
        ],
    }


def test_a_failure_with_a_cached_policy_shows_it() -> None:
    """RFC 8461 section 6: the policy that stays in force is part of the report."""
    policy = parse_policy(b"version: STSv1\nmode: enforce\nmx: *.example.test\nmax_age: 86400\n")
    sent = json.loads(datagram(Domain("example.test"), GOOD.decode(), policy, ResultType.INVALID, "why"))
    assert sent["policies"][0]["policy-string"] == [
        "version: STSv1",
        "mode: enforce",
        "mx: *.example.test",
        "max_age: 86400",
    ]
    assert sent["policies"][0]["mx-host"] == ["*.example.test"]


def test_the_largest_policy_fits_into_a_datagram() -> None:
    """Lines are left out rather than the report."""
    lines = "".join(f"mx: mx{number}.example.test\n" for number in range(2500))
    policy = parse_policy(f"version: STSv1\nmode: enforce\nmax_age: 86400\n{lines}".encode())
    sent = datagram(Domain("example.test"), GOOD.decode(), policy, ResultType.INVALID, "x" * 10_000)
    assert len(sent) <= DATAGRAM_LIMIT
    assert json.loads(sent)["policies"][0]["policy-string"][0] == "version: STSv1"
