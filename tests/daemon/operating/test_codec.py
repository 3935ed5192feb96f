"""Messages on the wire: what is written is read back, and what is something else is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mtasts.core.names import Domain
from postfix_mtasts.daemon.operating import messages as m
from postfix_mtasts.daemon.operating.codec import answer_from_json, request_from_json, request_to_json, to_json
from postfix_mtasts.errors import InputError
from tests.support.fakes import told

D = Domain("a.example")
REQUESTS: list[m.Request[Any]] = [
    m.List(),
    m.Show(D, 587),
    m.Stats(),
    m.Status(),
    m.Fetch([D], again=True),
    m.Forget([D, D]),
    m.Export(),
    m.Import([{"any": ["thing"]}, None, 5]),
]
WORST = m.Worst("a.example", None, None, None, 5.0, "refused")
STATUS = m.StatusShown(1, 2.0, 3.0, True, ["f"], "/d", ["l"], None, [m.Failures("dns", 1, [WORST])], told.NUMBERS)
ROW = m.Row("a.example", "enforce", 1.0, 2.0, ["mx.a.example"], 0)
ANSWERS: list[tuple[m.Request[Any], Any]] = [
    (m.List(), ROW),
    (m.Show(D), told.POLICY),
    (m.Show(D), told.NEGATIVE),
    (m.Stats(), m.StatsShown(1.0, told.NUMBERS)),
    (m.Stats(), m.StatsShown(1.0, replace(told.NUMBERS, nearest_expiry=None))),
    (m.Status(), STATUS),
    (m.Fetch([]), m.Fetched("a.example", "failed", "refused")),
    (m.Forget([]), m.Forgotten("a.example", "unknown")),
    (m.Export(), m.Exported("a.example", "1", 1.0, 2.0, "version: STSv1")),
    (m.Import([]), m.Imported("taken", "")),
]


@pytest.mark.parametrize("request_", REQUESTS, ids=[each.do for each in REQUESTS])
def test_a_request_is_read_as_it_was_written(request_: m.Request[Any]) -> None:
    """Through JSON, with its name."""
    assert request_from_json(json.loads(json.dumps(request_to_json(request_)))) == request_


def test_every_request_is_tried_here() -> None:
    """And every kind of answer."""
    assert {type(each) for each in REQUESTS} == set(m.REQUESTS.values())
    kinds = {kind for each in m.REQUESTS.values() for kind in each.answers}
    assert {type(answer) for _, answer in ANSWERS} == kinds


@pytest.mark.parametrize(("request_", "answer"), ANSWERS)
def test_an_answer_is_read_as_it_was_written(request_: m.Request[Any], answer: Any) -> None:
    """What a newer daemon adds is passed over."""
    written = json.loads(json.dumps(to_json(answer)))
    assert answer_from_json(request_, written | {"newer": [1]}) == answer


def test_the_numbers_lie_beside_the_rest() -> None:
    """`status --json` is documented: keys are only added to it."""
    written = to_json(STATUS)
    assert "numbers" not in written
    assert (written["version"], written["refresh"], written["uptime"]) == (
        "1.2.3",
        {"due": 9, "lag": 10.5, "failing": 2},
        3.0,
    )


BAD: list[tuple[str, object, str]] = [
    ("no object", [], "not a JSON object"),
    ("no name", {}, "no such request; there are list, show"),
    ("another name", {"do": "drop"}, "no such request"),
    ("a name that is a list", {"do": []}, "no such request"),
    ("a field that is missing", {"do": "forget"}, "domains is missing"),
    ("a list that is none", {"do": "forget", "domains": "a.example"}, "domains is not a list"),
    ("a domain that is none", {"do": "forget", "domains": ["localhost"]}, "localhost"),
    ("a domain that is a number", {"do": "show", "domain": 5}, "domain is not text"),
    ("a port that is text", {"do": "show", "domain": "a.example", "port": "25"}, "port is not a whole number"),
    ("a port that is true", {"do": "show", "domain": "a.example", "port": True}, "port is not a whole number"),
    ("again that is a number", {"do": "fetch", "domains": [], "again": 1}, "again is not true or false"),
]


@pytest.mark.parametrize(("title", "found", "reason"), BAD, ids=[case[0] for case in BAD])
def test_a_bad_request_is_named(title: str, found: object, reason: str) -> None:
    """Its field, and what would be right."""
    with pytest.raises(InputError, match=reason):
        request_from_json(found)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["do", "domain", "domains", "port", "mx", "mode"]), inner, max_size=5)
        ),
        max_leaves=10,
    )
)
def test_nothing_else_is_raised(found: object) -> None:
    """Whatever stands on the line."""
    for read in (request_from_json, lambda each: answer_from_json(m.Show(D), each)):
        try:
            read(found)
        except InputError:
            continue
