"""policies/held.py: what is remembered, and its bounds."""

from __future__ import annotations

import pytest

from postfix_mtasts.core.names import Domain
from postfix_mtasts.core.verdict import Kind, Verdict
from postfix_mtasts.daemon.policies import held as module
from postfix_mtasts.daemon.policies.held import DAY, Lately, Negative, Negatives
from tests.support.fakes.keeping import D, absent


def negative(until: float = 60.0) -> Negative:
    return Negative(Verdict(Kind.NOTFOUND, "no record", 60.0), until, 0.0, absent())


def names(count: int) -> list[Domain]:
    return [Domain(f"d{number}.example") for number in range(count)]


@pytest.mark.parametrize("limit", [0, 1, 3])
def test_negatives_are_bounded(limit: int) -> None:
    """The longest unchanged go first, and it is known that one went."""
    negatives = Negatives(limit)
    for name in names(limit):
        negatives.set(name, negative())
    assert not negatives.overflowed
    negatives.set(D, negative())
    assert negatives.overflowed
    assert [name for name, _ in negatives.items()] == [*names(limit)[1:], D][:limit]


def test_a_negative_that_changed_goes_last() -> None:
    """What was found out anew is the youngest."""
    negatives = Negatives(2)
    a, b, c = names(3)
    for name in (a, b, a, c):
        negatives.set(name, negative())
    assert [name for name, _ in negatives.items()] == [a, c]


def test_a_smaller_limit_counts_at_once() -> None:
    """A reload may bring one."""
    negatives = Negatives(5)
    for name in names(5):
        negatives.set(name, negative())
    negatives.configure(2)
    assert (len(negatives), negatives.overflowed) == (2, True)


MEMORIES = [
    ("just now", [("note", 0.0)], 0.0, True),
    ("nearly a day ago", [("note", 0.0)], DAY - 1, True),
    ("a day ago", [("note", 0.0)], DAY, False),
    ("again since", [("note", 0.0), ("note", 100.0)], DAY, True),
    ("forgotten since", [("note", 0.0), ("forget", 0.0)], 1.0, False),
    ("never", [], 0.0, False),
]


@pytest.mark.parametrize(("title", "history", "now", "has"), MEMORIES, ids=[case[0] for case in MEMORIES])
def test_lately(title: str, history: list[tuple[str, float]], now: float, has: bool) -> None:
    """A domain is remembered for a day since it was last noted."""
    lately = Lately()
    for what, at in history:
        if what == "note":
            lately.note(D, at)
        else:
            lately.forget(D)
    assert lately.has(D, now) is has


def test_lately_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of domains that fail is anybody's to raise: the longest past go first."""
    monkeypatch.setattr(module, "REMEMBERED", 3)
    lately = Lately()
    for at, name in enumerate(names(3)):
        lately.note(name, at)
    lately.note(names(1)[0], 3)
    lately.note(D, 4)
    assert [lately.has(name, 5) for name in [*names(3), D]] == [True, False, True, True]
