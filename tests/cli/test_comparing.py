"""cli/comparing.py: what a daemon holds beside what was found afresh, and a daemon that cannot be asked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from postfix_mtasts.cli.comparing import Holding, Neighbour, compared
from postfix_mtasts.config.file import load
from postfix_mtasts.core.names import Domain, NextHop, NoDomain
from postfix_mtasts.core.outcome import Absent, Found
from postfix_mtasts.core.verdict import Kind, Verdict
from postfix_mtasts.daemon.operating.messages import ShownPolicy
from postfix_mtasts.faults import Fault, Seen
from postfix_mtasts.resolving.tracing import Inquiry
from tests.support.fakes import told
from tests.support.fakes.control import FakeControl
from tests.support.fakes.entries import policy

ANSWER = "OK secure match=mx.example.com servername=hostname"
FOUND = Found("1", policy(), 0.0)
HELD = replace(told.POLICY, record_id="1", policy=policy().text, replies={"postfix": ANSWER})


def inquiry(outcome: Found | Absent | None = FOUND, hop: NextHop | NoDomain | None = None) -> Inquiry:
    """A lookup of example.com on the map postfix."""
    hop = hop or NextHop(Domain("example.com"), "25")
    answer = ANSWER if isinstance(outcome, Found) else "NOTFOUND"
    verdict = Verdict(Kind.NOTFOUND, "a reason", 0.0)
    return Inquiry("example.com", hop, "postfix", outcome, None, verdict, answer, ())


CASES: list[tuple[str, Found | Absent, dict[str, Any] | None, tuple[str, ...]]] = [
    ("alike", FOUND, HELD, ()),
    ("nothing is held", FOUND, None, ()),
    ("another id", FOUND, replace(HELD, record_id="0"), ("record id",)),
    ("another policy", FOUND, replace(HELD, policy="mode: none"), ("policy",)),
    ("another answer", FOUND, replace(HELD, replies={"postfix": "NOTFOUND"}), ("answer",)),
    ("no answer is ready", FOUND, replace(HELD, replies={"postfix": None}), ()),
    ("a map that the daemon does not have", FOUND, replace(HELD, replies={}), ()),
    ("there is no policy now", Absent(Seen(Fault.RECORD_NO_NAME), 60.0), HELD, ("answer", "policy")),
]


@pytest.mark.parametrize(("title", "outcome", "shown", "differs"), CASES, ids=[case[0] for case in CASES])
def test_in_what_they_differ(
    title: str, outcome: Found | Absent, shown: ShownPolicy | None, differs: tuple[str, ...]
) -> None:
    """Answer, record id and policy, each by itself."""
    holding = compared(inquiry(outcome), shown)
    assert (holding.shown, holding.differs, holding.problem) == (shown, differs, "")
    assert holding.has_policy is (shown is not None)


def neighbour(directory: Path) -> Neighbour:
    return Neighbour(load("c.yml", f"cache: {{directory: {directory}}}"))


def test_no_daemon_and_no_domain_are_nothing_to_compare(tmp_path: Path) -> None:
    """`query` then prints its own answer alone."""
    assert neighbour(tmp_path).holding(inquiry()) is None
    assert neighbour(tmp_path).holding(inquiry(None, NoDomain("the name is a single label"))) is None


def test_a_daemon_that_fails_is_asked_once(tmp_path: Path) -> None:
    """Forty domains do not wait for it forty times."""
    with FakeControl(tmp_path, lambda request: [{"error": "no"}]) as control:
        asked = neighbour(tmp_path)
        for _ in range(3):
            assert asked.holding(inquiry()) == Holding(None, None, (), "the daemon refuses: no")
    assert len(control.requests) == 1


def test_a_daemon_of_another_version_is_named(tmp_path: Path) -> None:
    """Its answer has another shape."""
    with FakeControl(tmp_path, lambda request: [{"record_id": "1"}]):
        holding = neighbour(tmp_path).holding(inquiry())
    assert holding is not None
    assert holding.problem == "the daemon runs another version (domain is missing); restart it"
