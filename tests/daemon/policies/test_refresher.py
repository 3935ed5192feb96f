"""daemon/refresher.py: order, bounds, pace and what it survives."""

from __future__ import annotations

import asyncio
import queue
import time
from collections.abc import Callable, Iterator

import pytest

from postfix_mtasts.core.names import Domain
from postfix_mtasts.daemon.policies import refresher as module
from postfix_mtasts.daemon.policies.refresher import AFTER_ERROR, AT_ONCE, BY_END, SLOW_AT_ONCE, Refresher

LONG = 10.0  # seconds: a test that waits so long has failed


class Keeper:
    """Stands for keeper.due: notes what is asked, and begins a fetch for all but *idle* domains."""

    def __init__(self) -> None:
        self.asked: queue.SimpleQueue[Domain] = queue.SimpleQueue()
        self.landed: list[Callable[[], None]] = []
        self.idle: set[str] = set()
        self.broken: set[str] = set()

    def due(self, domain: Domain, landed: Callable[[], None]) -> bool:
        self.asked.put(domain)
        if domain in self.broken:
            raise RuntimeError("of our own")
        if domain in self.idle:
            return False
        self.landed.append(landed)
        return True

    def next(self) -> str:
        return self.asked.get(timeout=LONG)


@pytest.fixture
def keeper() -> Keeper:
    return Keeper()


@pytest.fixture
def refresher(loop: asyncio.AbstractEventLoop, keeper: Keeper, monkeypatch: pytest.MonkeyPatch) -> Iterator[Refresher]:
    monkeypatch.setattr(module, "PER_SECOND", 1e6)
    refresher = Refresher(loop, keeper.due)
    yield refresher
    refresher.stop()
    if refresher.ident is not None:
        refresher.join(LONG)
    assert not refresher.is_alive()


def note(name: str, due: float = -1.0, ends: float = 1000.0) -> tuple[float, float, Domain]:
    now = time.monotonic()
    return now + due, now + ends, Domain(name)


def test_what_is_overdue_goes_by_time_left(refresher: Refresher, keeper: Keeper) -> None:
    """Not by when it was due."""
    refresher.push([note("c", -9, 30), note("a", -1, 10), note("b", -5, 20)])
    refresher.start()
    assert [keeper.next() for _ in range(3)] == ["a", "b", "c"]


def test_what_is_not_due_waits(refresher: Refresher, keeper: Keeper) -> None:
    """A note comes at its time, however soon its policy ends."""
    refresher.push([note("later", 500, 600), note("now", -1, 9000)])
    assert refresher.overdue(time.monotonic())[0] == 1
    refresher.start()
    assert keeper.next() == "now"
    refresher.clear()
    refresher.push([note("instead", 0)])
    assert keeper.next() == "instead"
    assert keeper.asked.empty()


def test_a_bounded_number_at_once(refresher: Refresher, keeper: Keeper, loop: asyncio.AbstractEventLoop) -> None:
    """With AT_ONCE under way the next begins when one has landed."""
    refresher.push([note(f"d{number:03}", -1, 100 + number) for number in range(AT_ONCE + 1)])
    refresher.start()
    for _ in range(AT_ONCE):
        keeper.next()
    with pytest.raises(queue.Empty):
        keeper.asked.get(timeout=0.05)
    loop.call_soon_threadsafe(keeper.landed[0])
    assert keeper.next() == f"d{AT_ONCE:03}"


def test_places_for_what_is_overdue_longest(refresher: Refresher, keeper: Keeper) -> None:
    """Domains that end soon and never land leave a quarter of the places to those that have waited longest."""
    refresher.push([note(f"soon{number:02}", -1, 10 + number) for number in range(AT_ONCE)])
    refresher.push([note(f"late{number:02}", -500 + number, 9000) for number in range(AT_ONCE)])
    refresher.start()
    begun = [keeper.next() for _ in range(AT_ONCE)]
    assert begun[:BY_END] == [f"soon{number:02}" for number in range(BY_END)]
    assert begun[BY_END:] == [f"late{number:02}" for number in range(AT_ONCE - BY_END)]


def test_slow_hosts_hold_up_themselves_only(
    refresher: Refresher, keeper: Keeper, loop: asyncio.AbstractEventLoop
) -> None:
    """250 hosts known to answer late, all ending soon, leave half of the places to the others."""
    names = [f"slow{number:03}" for number in range(250)]
    for name in names:
        refresher.note_pace(Domain(name), 25.0)
    refresher.push([note(name, -9, 10) for name in names])
    refresher.push([note(f"sound{number:03}", -1, 9000) for number in range(100)])
    refresher.start()
    begun = [keeper.next() for _ in range(AT_ONCE)]
    assert [name for name in begun if name.startswith("slow")] == []
    for number in range(100 - AT_ONCE + SLOW_AT_ONCE):
        loop.call_soon_threadsafe(keeper.landed[number])
        begun.append(keeper.next())
    assert begun[:100] == [f"sound{number:03}" for number in range(100)]
    assert len([name for name in begun if name.startswith("slow")]) == SLOW_AT_ONCE
    loop.call_soon_threadsafe(keeper.landed[99])
    with pytest.raises(queue.Empty):
        keeper.asked.get(timeout=0.05)


def test_a_slow_host_that_is_quick_again(refresher: Refresher, keeper: Keeper) -> None:
    """One refresh in time, and it goes with the others."""
    refresher.note_pace(Domain("a"), 25.0)
    refresher.note_pace(Domain("a"), 0.1)
    refresher.push([note("a", -1, 10), note("b", -1, 20)])
    refresher.start()
    assert [keeper.next(), keeper.next()] == ["a", "b"]


def test_an_error_after_a_fetch_began(refresher: Refresher, keeper: Keeper, loop: asyncio.AbstractEventLoop) -> None:
    """The place is given back once, though the fetch lands as well."""

    class Half(Keeper):
        def due(self, domain: Domain, landed: Callable[[], None]) -> bool:
            self.landed.append(landed)
            self.asked.put(domain)
            raise RuntimeError("of our own")

    half = Half()
    refresher._due = half.due
    refresher.push([note("a")])
    refresher.start()
    assert half.next() == "a"
    loop.call_soon_threadsafe(half.landed[0])
    refresher._due = keeper.due
    refresher.push([note(f"d{number:03}", -1, 100 + number) for number in range(AT_ONCE + 1)])
    assert [keeper.next() for _ in range(AT_ONCE)][-1]
    with pytest.raises(queue.Empty):
        keeper.asked.get(timeout=0.05)


def test_what_has_gone_is_swept_out() -> None:
    """A domain that waits for long does not make the queues grow with those that pass it."""
    overdue = module._Overdue()
    overdue.push((0.0, float("inf"), Domain("waits")))
    for number in range(10_000):
        overdue.push((float(number), float(number), Domain("passes")))
        assert overdue.pop_by_end() == "passes"
    assert (len(overdue), overdue.first_due()) == (1, 0.0)
    assert len(overdue._by_due) + len(overdue._by_end) < 1_000


def test_paced(
    loop: asyncio.AbstractEventLoop, keeper: Keeper, refresher: Refresher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a fetch begun it pauses, after a look that began none it does not."""
    monkeypatch.setattr(module, "PER_SECOND", 1 / 3600)
    keeper.idle = {"idle1", "idle2"}
    refresher.push([note("idle1", -1, 1), note("idle2", -1, 2), note("fetched", -1, 3), note("waits", -1, 4)])
    refresher.start()
    assert [keeper.next() for _ in range(3)] == ["idle1", "idle2", "fetched"]
    with pytest.raises(queue.Empty):
        keeper.asked.get(timeout=0.05)


def test_an_error_of_one_domain(refresher: Refresher, keeper: Keeper, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, the others go on, and the domain is looked at again later."""
    keeper.broken = {"broken"}
    refresher.push([note("broken", -1, 1), note("sound", -1, 2)])
    refresher.start()
    assert [keeper.next() for _ in range(2)] == ["broken", "sound"]
    assert "internal-error" in caplog.text
    assert refresher.overdue(time.monotonic() + AFTER_ERROR)[0] == 1


def test_overdue(refresher: Refresher) -> None:
    """How many, and for how long the first of them."""
    now = time.monotonic()
    assert refresher.overdue(now) == (0, 0.0)
    refresher.push([(now - 5, now + 1, Domain("a")), (now - 9, now + 2, Domain("b")), (now + 1, now, Domain("c"))])
    assert refresher.overdue(now) == (2, 9.0)
    refresher.clear()
    refresher.push([(now + 1, now, Domain("c"))])
    assert refresher.overdue(now) == (0, 0.0)


def test_a_closed_loop(keeper: Keeper) -> None:
    """Nobody is left to ask: the thread still stops."""
    loop = asyncio.new_event_loop()
    loop.close()
    refresher = Refresher(loop, keeper.due)
    refresher.push([note("a")])
    refresher.start()
    refresher.stop()
    refresher.join(LONG)
    assert not refresher.is_alive()
