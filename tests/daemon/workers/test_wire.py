"""workers/wire.py: what the worker says comes back as it was, and nothing in it is believed unread."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mtasts.core.dane import DaneFacts, DaneStatus, HostFacts
from postfix_mtasts.core.outcome import Absent, DnsFailed, Failed, Found, Outcome, ResultType, Stage, Unchanged
from postfix_mtasts.daemon.counters import Counts
from postfix_mtasts.daemon.workers.wire import (
    dane_from_json,
    dane_to_json,
    outcome_from_json,
    outcome_to_json,
    read_outcome,
)
from tests.support.fakes.entries import policy

OUTCOMES: list[Outcome] = [
    Found("20231114", policy(mx=("mx.example.com", "*.example.net")), 1_700_000_000.25),
    Unchanged("20231114"),
    Absent("_mta-sts.example.com does not exist", 300.0),
    Absent("a name longer than a domain name", float("inf")),
    Failed("1", Stage.TLS, ResultType.WEBPKI_INVALID, "certificate has expired"),
    Failed("", Stage.POLICY, ResultType.INVALID, 'line 1: "\n\x1b[2J\ud7ff'),
    DnsFailed("SERVFAIL"),
]


def as_lines(value: dict[str, Any]) -> dict[str, Any]:
    """What arrives on the other side of the socket."""
    line = json.dumps(value)
    assert "\n" not in line
    arrived = json.loads(line)
    assert isinstance(arrived, dict)
    return arrived


@pytest.mark.parametrize("outcome", OUTCOMES, ids=[type(outcome).__name__ for outcome in OUTCOMES])
def test_an_outcome_comes_back_as_it_was(outcome: Outcome) -> None:
    """On one line, whatever is in it."""
    assert outcome_from_json(as_lines(outcome_to_json(outcome))) == outcome


FACTS = DaneFacts(
    DaneStatus.USABLE,
    "the MX set of example.com is secure",
    (HostFacts("mx.example.com", DaneStatus.UNKNOWN, "SERVFAIL"), HostFacts("b.example", DaneStatus.USABLE, "TLSA")),
    float("inf"),
)


def test_dane_facts_come_back_as_they_were() -> None:
    """TTLs without end, and hosts in their order, too."""
    assert dane_from_json(as_lines(dane_to_json(FACTS))) == FACTS


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"died": "the worker process ended"}, "the worker process ended"),
        ({"bug": "TypeError at dane.py:1: x"}, "TypeError at dane.py:1: x"),
        ({}, "unreadable answer of the worker process"),
        ({"dane": None}, "unreadable answer of the worker process"),
        ({"dane": {"mx": "perhaps", "detail": "", "hosts": [], "ttl": 1}}, "unreadable answer of the worker process"),
        ({"dane": {"mx": "usable", "detail": "", "hosts": [{}], "ttl": 1}}, "unreadable answer of the worker process"),
        ({"dane": {"mx": "usable", "detail": "", "hosts": [], "ttl": "x"}}, "unreadable answer of the worker process"),
    ],
)
def test_without_facts_nothing_is_known_of_dane(answer: dict[str, Any], reason: str) -> None:
    """Neither that there is DANE, nor that there is none."""
    assert dane_from_json(answer) == DaneFacts(DaneStatus.UNKNOWN, reason, (), 0.0)


POLICY = "version: STSv1\nmode: enforce\nmx: mx.example.com\nmax_age: 86400"

UNREADABLE = [
    ("nothing", {}),
    ("a policy that is none", {"found": {"record_id": "1", "text": "no policy", "fetched_at": 1.0}}),
    ("a policy without a host", {"found": {"record_id": "1", "text": "version: STSv1", "fetched_at": 1.0}}),
    ("no policy at all", {"found": {"record_id": "1", "fetched_at": 1.0}}),
    ("a policy that is a number", {"found": {"record_id": "1", "text": 1, "fetched_at": 1.0}}),
    ("no time", {"found": {"record_id": "1", "text": POLICY, "fetched_at": "soon"}}),
    ("no TTL", {"absent": {"reason": "x", "ttl": None}}),
    ("a result type nobody knows", {"failed": {"record_id": "", "stage": "tls", "result_type": "x", "reason": ""}}),
    ("a list", {"failed": []}),
]


@pytest.mark.parametrize(("title", "answer"), UNREADABLE, ids=[row[0] for row in UNREADABLE])
def test_an_answer_that_cannot_be_read(caplog: pytest.LogCaptureFixture, title: str, answer: dict[str, Any]) -> None:
    """A failed fetch of the known id, an error in the log, and a count: the cached policy stays."""
    counts = Counts()
    outcome = read_outcome(answer, "example.com", "20231114", counts)
    assert isinstance(outcome, Failed)
    assert (outcome.record_id, outcome.result_type) == ("20231114", ResultType.FETCH_ERROR)
    assert outcome.reason.startswith("internal error: unreadable answer of the worker process: ")
    assert counts.errors == 1
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert caplog.records[0].getMessage().startswith("internal-error domain=example.com ")


def test_a_bug_of_ours_counts_as_a_failed_fetch(caplog: pytest.LogCaptureFixture) -> None:
    """Its place is in the log."""
    counts = Counts()
    outcome = read_outcome({"bug": "TypeError at discovery.py:40: x"}, "example.com", "1", counts)
    assert isinstance(outcome, Failed)
    assert (outcome.record_id, counts.errors) == ("1", 1)
    assert "TypeError at discovery.py:40" in caplog.records[0].getMessage()


def test_the_death_of_the_worker_is_no_error_of_ours(caplog: pytest.LogCaptureFixture) -> None:
    """A failed fetch; that it died is said elsewhere."""
    counts = Counts()
    outcome = read_outcome({"died": "the worker process ended"}, "example.com", "1", counts)
    assert outcome == Failed("1", Stage.HTTP, ResultType.FETCH_ERROR, "the worker process ended")
    assert (counts.errors, caplog.records) == (0, [])


def test_what_the_daemon_found_itself_is_taken_as_it_is() -> None:
    """The probe's answer passes no socket."""
    absent = Absent("does not exist", 60.0)
    assert read_outcome({"probed": absent}, "example.com", "", Counts()) is absent


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["record_id", "text", "ttl"]), inner),
    max_leaves=4,
)


@given(st.dictionaries(st.sampled_from(["found", "absent", "failed", "unchanged", "dnsfailed", "dane"]), json_values))
def test_no_answer_whatever_raises(answer: dict[str, Any]) -> None:
    """The process that parses hostile bytes may say anything."""
    read_outcome(answer, "example.com", "1", Counts())
    dane_from_json(answer)
