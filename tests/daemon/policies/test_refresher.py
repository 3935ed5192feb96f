"""policies/refresher.py: bounds, pace and what the thread survives."""

from __future__ import annotations

import asyncio
import queue
import time
from collections.abc import Callable, Iterator

import pytest

from postfix_mtasts.core.names import Domain
from postfix_mtasts.daemon.policies import refresher as module
from postfix_mtasts.daemon.policies.agenda import AT_ONCE, Agenda
from postfix_mtasts.daemon.policies.refresher import AFTER_ERROR, Refresher

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
def agenda() -> Agenda:
    return Agenda(time.monotonic)


@pytest.fixture
def refresher(
    loop: asyncio.AbstractEventLoop, agenda: Agenda, keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Refresher]:
    monkeypatch.setattr(module, "PER_SECOND", 1e6)
    refresher = Refresher(loop, agenda, keeper.due, time.monotonic)
    yield refresher
    refresher.stop()
    if refresher.ident is not None:
        refresher.join(LONG)
    assert not refresher.is_alive()


def note(name: str, due: float = -1.0, ends: float = 1000.0) -> tuple[float, float, Domain]:
    now = time.monotonic()
    return now + due, now + ends, Domain(name)


def test_what_is_not_due_waits(refresher: Refresher, agenda: Agenda, keeper: Keeper) -> None:
    """A note comes at its time, however soon its policy ends."""
    agenda.push([note("later", 500, 600), note("now", -1, 9000)])
    refresher.start()
    assert keeper.next() == "now"
    agenda.clear()
    agenda.push([note("instead", 0)])
    assert keeper.next() == "instead"
    assert keeper.asked.empty()


def test_a_bounded_number_at_once(
    refresher: Refresher, agenda: Agenda, keeper: Keeper, loop: asyncio.AbstractEventLoop
) -> None:
    """With AT_ONCE under way the next begins when one has landed."""
    agenda.push([note(f"d{number:03}", -1, 100 + number) for number in range(AT_ONCE + 1)])
    refresher.start()
    for _ in range(AT_ONCE):
        keeper.next()
    with pytest.raises(queue.Empty):
        keeper.asked.get(timeout=0.05)
    loop.call_soon_threadsafe(keeper.landed[0])
    assert keeper.next() == f"d{AT_ONCE:03}"


def test_an_error_after_a_fetch_began(
    refresher: Refresher, agenda: Agenda, keeper: Keeper, loop: asyncio.AbstractEventLoop
) -> None:
    """The place is given back once, though the fetch lands as well."""

    class Half(Keeper):
        def due(self, domain: Domain, landed: Callable[[], None]) -> bool:
            self.landed.append(landed)
            self.asked.put(domain)
            raise RuntimeError("of our own")

    half = Half()
    refresher._due = half.due
    agenda.push([note("a")])
    refresher.start()
    assert half.next() == "a"
    loop.call_soon_threadsafe(half.landed[0])
    refresher._due = keeper.due
    agenda.push([note(f"d{number:03}", -1, 100 + number) for number in range(AT_ONCE + 1)])
    assert [keeper.next() for _ in range(AT_ONCE)][-1]
    with pytest.raises(queue.Empty):
        keeper.asked.get(timeout=0.05)


def test_paced(
    loop: asyncio.AbstractEventLoop,
    agenda: Agenda,
    keeper: Keeper,
    refresher: Refresher,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After a fetch begun it pauses, after a look that began none it does not."""
    monkeypatch.setattr(module, "PER_SECOND", 1 / 3600)
    keeper.idle = {"idle1", "idle2"}
    agenda.push([note("idle1", -1, 1), note("idle2", -1, 2), note("fetched", -1, 3), note("waits", -1, 4)])
    refresher.start()
    assert [keeper.next() for _ in range(3)] == ["idle1", "idle2", "fetched"]
    with pytest.raises(queue.Empty):
        keeper.asked.get(timeout=0.05)


def test_an_error_of_one_domain(
    refresher: Refresher, agenda: Agenda, keeper: Keeper, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged, the others go on, and the domain is looked at again later."""
    keeper.broken = {"broken"}
    agenda.push([note("broken", -1, 1), note("sound", -1, 2)])
    refresher.start()
    assert [keeper.next() for _ in range(2)] == ["broken", "sound"]
    assert "internal-error" in caplog.text
    assert agenda.overdue(time.monotonic() + AFTER_ERROR)[0] == 1


def test_a_closed_loop(keeper: Keeper) -> None:
    """Nobody is left to ask: the thread still stops."""
    loop = asyncio.new_event_loop()
    loop.close()
    agenda = Agenda(time.monotonic)
    refresher = Refresher(loop, agenda, keeper.due, time.monotonic)
    agenda.push([note("a")])
    refresher.start()
    refresher.stop()
    refresher.join(LONG)
    assert not refresher.is_alive()
