"""serving/reply_cache.py: what is taken in, and when all of it goes."""

from __future__ import annotations

import pytest

from postfix_mtasts.daemon.serving import reply_cache as module
from postfix_mtasts.daemon.serving.reply_cache import REQUEST_LIMIT, ReplyCache
from tests.support.fakes.keeping import ManualClock

PERIOD = 60.0  # seconds


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


CASES = [
    # size of the request, seconds since the last emptying, how long the answer holds, taken in
    ("an answer that outlives the emptying", 20, 0, PERIOD, True),
    ("one that ends before it", 20, 0, PERIOD - 1, False),
    ("one that ends before it, though not by much", 20, 50, 9, False),
    ("a short one, late in the period", 20, 50, 10, True),
    ("one that holds no longer", 20, 0, 0, False),
    ("one that holds no longer, while the emptying is late", 20, PERIOD + 1, 0, False),
    ("any while the emptying is late", 20, PERIOD, 1000, False),
    ("the longest request", REQUEST_LIMIT, 0, PERIOD, True),
    ("a longer request", REQUEST_LIMIT + 1, 0, PERIOD, False),
]


@pytest.mark.parametrize(("title", "size", "later", "lasts", "taken"), CASES, ids=[case[0] for case in CASES])
def test_taken_in(clock: ManualClock, title: str, size: int, later: float, lasts: float, taken: bool) -> None:
    """A frame is kept only if it is true until the next regular emptying."""
    reply_cache = ReplyCache(PERIOD, clock.monotonic)
    assert reply_cache.turn() == PERIOD
    clock.advance(later)
    reply_cache.add(b"r" * size, b"reply", [0], lasts)
    assert bool(reply_cache.ready) is taken


def test_an_emptying_between_does_not_move_the_regular_one(clock: ManualClock) -> None:
    """The timer stays where it was, and so does the time that answers must outlive."""
    reply_cache = ReplyCache(PERIOD, clock.monotonic)
    reply_cache.turn()
    clock.advance(50)
    reply_cache.empty()
    reply_cache.add(b"request", b"reply", [0], 10)
    assert reply_cache.ready


def test_a_new_period_counts_from_the_next_turn(clock: ManualClock) -> None:
    """A reload that shortens the period does not move the timer, so short answers get no frame yet."""
    reply_cache = ReplyCache(PERIOD, clock.monotonic)
    reply_cache.turn()
    reply_cache.period = 2.0
    reply_cache.add(b"request", b"reply", [0], 10)
    assert not reply_cache.ready
    assert reply_cache.turn() == 2.0
    reply_cache.add(b"request", b"reply", [0], 10)
    assert reply_cache.ready


def test_the_size_is_bounded(clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the limit all goes and the newest stays; the table itself stays the same object."""
    monkeypatch.setattr(module, "BYTE_LIMIT", 3 * (module.OVERHEAD + 20))
    reply_cache = ReplyCache(PERIOD, clock.monotonic)
    reply_cache.turn()
    table = reply_cache.ready
    for number in range(4):
        reply_cache.add(b"%010d" % number, b"r" * 10, [0], PERIOD)
    assert list(table) == [b"0000000003"]
    assert reply_cache.ready is table
