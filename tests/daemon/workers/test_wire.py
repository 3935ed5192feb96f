"""daemon/workers/wire.py: what is said arrives as it was, and nothing that the worker says is believed unread."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mtasts.config.settings import DnsSettings, FetchSettings
from postfix_mtasts.core.dane import DaneFacts, DaneStatus, HostFacts
from postfix_mtasts.core.dnsdata import Validation
from postfix_mtasts.core.names import Domain
from postfix_mtasts.core.outcome import Absent, Cause, DnsFailed, Failed, Found, OwnFault, Stage, Unchanged
from postfix_mtasts.core.ports import ResolverFacts, Urgency
from postfix_mtasts.daemon.workers.wire import (
    Answer,
    Dane,
    Discover,
    Job,
    JudgeResolver,
    Orders,
    Tlsrpt,
    TlsrptRecord,
    answer_from_json,
    answer_to_json,
    counts_from_json,
    job_from_json,
    job_to_json,
    orders_from_json,
    orders_to_json,
)
from postfix_mtasts.faults import Fault, Seen
from tests.support.fakes.entries import policy

D = Domain("example.com")


def arrived(value: dict[str, Any]) -> dict[str, Any]:
    """What comes out on the other side of the socket."""
    line = json.dumps(value)
    assert "\n" not in line
    read = json.loads(line)
    assert isinstance(read, dict)
    return read


JOBS: list[Job] = [
    Discover(D),
    Discover(D, ("1", "2"), None, Urgency.UPKEEP, {"TXT": b"\x00\xff", "A": b""}, 0.0),
    Discover(D, (), "20231114", Urgency.EXPIRING, {}, 1.25),
    Dane(D, 587),
    Tlsrpt(D),
    JudgeResolver(),
]


@pytest.mark.parametrize("job", JOBS, ids=[str(job) for job in JOBS])
def test_a_job_arrives_as_it_was(job: Job) -> None:
    """With its number, on one line."""
    line = arrived(job_to_json(7, job))
    assert (line["n"], job_from_json(line)) == (7, job)


def test_orders_arrive_as_they_were() -> None:
    """The very settings, as dataclasses."""
    orders = Orders(DnsSettings(servers=("127.0.0.1:53",), timeout=2.0), FetchSettings(ca_file="/ca.pem"), 15.0)
    assert orders_from_json(arrived(orders_to_json(orders))) == orders


DISCOVER, DANE = Discover(D), Dane(D, 25)
FACTS = DaneFacts(
    DaneStatus.USABLE,
    Seen(Fault.DANE_MX_SECURE, "example.com"),
    (
        HostFacts("mx.example.com", DaneStatus.UNKNOWN, Seen(Fault.DNS_SERVFAIL, value="SERVFAIL")),
        HostFacts("b.example", DaneStatus.USABLE, Seen(Fault.DANE_TLSA_USABLE, "_25._tcp.b.example", "3 1 1")),
    ),
    float("inf"),
)
ANSWERS: list[tuple[Job, Answer]] = [
    (DISCOVER, Found("20231114", policy(mx=("mx.example.com", "*.example.net")), 1_700_000_000.25)),
    (DISCOVER, Unchanged("20231114")),
    (DISCOVER, Absent(Seen(Fault.RECORD_NO_NAME, "_mta-sts.example.com"), 300.0)),
    (DISCOVER, Absent(Seen(Fault.RECORD_NAME_TOO_LONG, "_mta-sts.a..."), float("inf"))),
    (DISCOVER, Failed("1", Stage.TLS, Seen(Fault.CERTIFICATE_EXPIRED, "mta-sts.example.com"))),
    (DISCOVER, Failed("", Stage.POLICY, Seen(Fault.POLICY_MODE, "", '"\n\x1b[2J\ud7ff', 1))),
    (DISCOVER, DnsFailed(Seen(Fault.DNS_SERVFAIL, "_mta-sts.example.com", "SERVFAIL"))),
    (DISCOVER, OwnFault(Cause.OVERLOAD, "others were before it")),
    (DANE, FACTS),
    (DANE, replace(FACTS, complete=False)),
    (DANE, OwnFault(Cause.BUG, "TypeError at dane.py:1: x")),
    (Tlsrpt(D), TlsrptRecord("v=TLSRPTv1; rua=mailto:r@example.com")),
    (Tlsrpt(D), TlsrptRecord(None)),
    (JudgeResolver(), ResolverFacts(("127.0.0.1:53", "192.0.2.1:53"), Validation.NO_AD, ("192.0.2.1:53",), "a reason")),
]


@pytest.mark.parametrize(("job", "answer"), ANSWERS, ids=[str(answer)[:40] for _, answer in ANSWERS])
def test_an_answer_arrives_as_it_was(job: Job, answer: Answer) -> None:
    """On one line, whatever is in it."""
    assert answer_from_json(job, arrived(answer_to_json(answer))) == answer


SEEN = {"fault": "record-none", "subject": "", "value": "", "line": 0}
POLICY = "version: STSv1\nmode: enforce\nmx: mx.example.com\nmax_age: 86400"

UNREADABLE: list[tuple[str, Job, dict[str, Any]]] = [
    ("nothing", DISCOVER, {}),
    ("text that is not a policy", DISCOVER, {"found": {"record_id": "1", "text": "no policy", "fetched_at": 1.0}}),
    ("half a policy", DISCOVER, {"found": {"record_id": "1", "text": "version: STSv1", "fetched_at": 1.0}}),
    ("no policy at all", DISCOVER, {"found": {"record_id": "1", "fetched_at": 1.0}}),
    ("a policy that is a number", DISCOVER, {"found": {"record_id": "1", "text": 1, "fetched_at": 1.0}}),
    ("half a character", DISCOVER, {"found": {"record_id": "1", "text": "\ud800", "fetched_at": 1.0}}),
    ("no time", DISCOVER, {"found": {"record_id": "1", "text": POLICY, "fetched_at": "soon"}}),
    ("no TTL", DISCOVER, {"absent": {"seen": SEEN, "ttl": None}}),
    ("a failure of no kind", DISCOVER, {"failed": {"record_id": "", "stage": "tls"}}),
    ("a failure of an unknown kind", DISCOVER, {"dnsfailed": {"seen": {**SEEN, "fault": "mood"}}}),
    ("a stage nobody knows", DISCOVER, {"failed": {"record_id": "", "stage": "x", "seen": SEEN}}),
    ("a list", DISCOVER, {"failed": []}),
    ("an unknown fault", DISCOVER, {"fault": {"cause": "mood", "reason": ""}}),
    ("the answer to another question", DISCOVER, {"tlsrpt": None}),
    ("nothing of DANE", DANE, {}),
    ("no facts", DANE, {"dane": None}),
    ("an unknown status", DANE, {"dane": {"mx": "perhaps", "seen": SEEN, "hosts": [], "ttl": 1, "complete": True}}),
    (
        "a host without a name",
        DANE,
        {"dane": {"mx": "usable", "seen": SEEN, "hosts": [{}], "ttl": 1, "complete": True}},
    ),
    ("facts without a TTL", DANE, {"dane": {"mx": "usable", "seen": SEEN, "hosts": [], "ttl": "x", "complete": True}}),
    ("an outcome", DANE, {"unchanged": {"record_id": "1"}}),
]


@pytest.mark.parametrize(("title", "job", "line"), UNREADABLE, ids=[row[0] for row in UNREADABLE])
def test_an_answer_that_cannot_be_read(title: str, job: Job, line: dict[str, Any]) -> None:
    """It is a bug of ours, and says nothing of the domain."""
    answer = answer_from_json(job, arrived(line))
    assert isinstance(answer, OwnFault)
    assert answer.cause is Cause.BUG
    assert answer.reason.startswith("unreadable answer of the worker process: ")


def test_counts() -> None:
    """What cannot be read counts nothing."""
    assert counts_from_json({"counts": [["TXT", "noerror", 3]]}) == [("TXT", "noerror", 3)]
    for nonsense in (None, 1, [1], [["TXT"]], [["TXT", "noerror", "x"]], [["TXT", "odd", 1]]):
        assert counts_from_json({"counts": nonsense}) == []


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["record_id", "text", "ttl"]), inner),
    max_leaves=4,
)
KEYS = ["found", "absent", "failed", "unchanged", "dnsfailed", "dane", "tlsrpt", "resolver", "fault", "counts"]


@given(st.dictionaries(st.sampled_from(KEYS), json_values))
def test_no_answer_whatever_raises(line: dict[str, Any]) -> None:
    """The process that parses hostile bytes may say anything."""
    for job in (DISCOVER, DANE, Tlsrpt(D), JudgeResolver()):
        answer_from_json(job, line)
    counts_from_json(line)
