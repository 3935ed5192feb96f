"""daemon/workers/turns.py: a fetch begins, is given up or dropped in its turn, and holds no thread before."""

from __future__ import annotations

import threading
import time
from queue import SimpleQueue

from postfix_mtasts.core.ports import Urgency
from postfix_mtasts.daemon.workers.slots import PATIENCE, Slots, Ticket
from postfix_mtasts.daemon.workers.turns import Turns

WAIT = 15.0  # seconds: lookup.wait
SECONDS = 30.0  # seconds that a test waits


class World:
    def __init__(self, limit: int = 1, wait: float = WAIT) -> None:
        self.began, self.dropped = SimpleQueue[Ticket](), SimpleQueue[Ticket]()
        self.given: list[tuple[Ticket, float]] = []
        self.turns: Turns[Ticket] = Turns(
            Slots(limit, wait),
            self.began.put,
            lambda ticket, seconds: self.given.append((ticket, seconds)),
            self.dropped.put,
        )

    def ask(self, place: str = "192.0.2.1", asked_at: float | None = None) -> Ticket:
        ticket = Ticket(Urgency.LOOKUP, place, time.monotonic() if asked_at is None else asked_at)
        if self.turns.wait(ticket):
            self.began.put(ticket)
        return ticket


def test_at_once_where_there_is_room() -> None:
    """In the thread that asks."""
    world = World()
    assert world.ask() is world.began.get_nowait()


def test_when_another_is_over() -> None:
    """In the thread of the other; nobody waits in one."""
    world, threads = World(), threading.active_count()
    first, second = world.ask(), world.ask()
    assert (world.began.get_nowait(), world.began.empty()) == (first, True)
    assert threading.active_count() <= threads  # one of another test may have ended
    world.turns.leave(first)
    assert world.began.get_nowait() is second


def test_the_clerk_drops_what_waited_too_long() -> None:
    """Nobody has to leave or ask for that."""
    world = World()
    world.ask()
    late = world.ask(asked_at=time.monotonic() - WAIT)
    assert world.dropped.get(timeout=SECONDS) is late


def test_who_gives_way_is_told_how_long_it_ran() -> None:
    """And the place is another's at once."""
    world = World()
    first, second = world.ask(), world.ask()
    world.began.get_nowait()
    world.turns.look(first.began_at + PATIENCE)
    assert world.given == [(first, PATIENCE)]
    assert world.began.get_nowait() is second
    world.turns.leave(first)  # it ends later, and frees nothing twice
    third = world.ask()
    assert world.began.empty()
    world.turns.leave(second)
    assert world.began.get_nowait() is third
