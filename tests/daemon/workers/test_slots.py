"""daemon/workers/slots.py: hosts that hang shut out neither healthy ones nor refreshes."""

from __future__ import annotations

import pytest

from postfix_mtasts.core.ports import Urgency
from postfix_mtasts.daemon.workers.slots import (
    FEW,
    LEAST_PATIENCE,
    LOOKUP_WAIT,
    PATIENCE,
    SUSPECT,
    UPKEEP_WAIT,
    WAITING_MOST,
    Slots,
    Ticket,
)

LOOKUP, EXPIRING, UPKEEP = Urgency.LOOKUP, Urgency.EXPIRING, Urgency.UPKEEP
WAIT = 15.0  # seconds: lookup.wait


class World:
    """Places, and a time that the test moves."""

    def __init__(self, limit: int) -> None:
        self.slots, self.now, self._places = Slots(limit, WAIT), 1_000.0, 0

    def ask(self, number: int, urgency: Urgency = LOOKUP, place: str | None = None) -> list[Ticket]:
        """Have *number* fetches wait, each at a place of its own unless *place* is given."""
        tickets = []
        for _ in range(number):
            self._places += 1
            tickets.append(Ticket(urgency, place or f"host{self._places}", self.now))
            self.slots.add(tickets[-1])
        return tickets

    def begin(self) -> list[Ticket]:
        return self.slots.begin(self.now)

    def hang(self, number: int, urgency: Urgency = LOOKUP, place: str | None = None) -> list[Ticket]:
        """Begin as many of *number* fetches as may."""
        self.ask(number, urgency, place)
        return self.begin()

    def give_way(self) -> list[Ticket]:
        return self.slots.give_way(self.now)


def test_one_after_the_other() -> None:
    """A place that is left is free."""
    world = World(1)
    first, second = world.ask(2)
    assert world.begin() == [second]
    world.slots.leave(second)
    assert world.begin() == [first]
    world.slots.leave(first)
    assert (world.slots.running, world.slots.waiting) == (0, 0)


SHARES = [
    ("lookups leave a quarter", LOOKUP, 64, 48),
    ("refreshes in good time have a quarter", UPKEEP, 64, 16),
    ("refreshes of what expires have half", EXPIRING, 64, 32),
    ("one place is for any lookup", LOOKUP, 1, 1),
    ("one place is for any refresh", UPKEEP, 1, 1),
    ("three places are all for lookups", LOOKUP, 3, 3),
]


@pytest.mark.parametrize(("title", "urgency", "limit", "want"), SHARES, ids=[share[0] for share in SHARES])
def test_how_many_places_each_may_have(title: str, urgency: Urgency, limit: int, want: int) -> None:
    """Whatever asks for all of them."""
    assert len(World(limit).hang(200, urgency)) == want


def test_refreshes_have_places_of_their_own() -> None:
    """Lookups and refreshes that hang leave places for what expires soon, and lookups for refreshes."""
    world = World(64)
    world.hang(200, LOOKUP)
    assert len(world.hang(200, UPKEEP)) == 8
    assert len(world.hang(200, EXPIRING)) == 8
    assert world.slots.running == 64


def test_one_address_cannot_have_all_places() -> None:
    """5,000 domains at one address that hangs leave three quarters to others."""
    world = World(64)
    assert len(world.hang(5_000, place="192.0.2.1")) == 16
    (healthy,) = world.ask(1)
    assert world.begin() == [healthy]


def test_who_waits_for_its_address_comes_when_it_is_free() -> None:
    """The newest first, and never more at once."""
    world = World(64)
    running = world.hang(20, place="192.0.2.1")
    assert (len(running), world.slots.waiting) == (16, 4)
    for ticket in running:
        world.slots.leave(ticket)
    assert (len(world.begin()), world.slots.waiting) == (4, 0)


def test_few_places_have_no_limit_for_an_address() -> None:
    """Four are few enough."""
    assert len(World(FEW).hang(10, place="192.0.2.1")) == FEW - 1


def test_the_newest_lookup_and_the_oldest_refresh_begin_first() -> None:
    """Who asked last for a lookup still waits for it; a refresh is not waited for."""
    for urgency, chosen in ((LOOKUP, -1), (UPKEEP, 0)):
        world = World(1)
        tickets = world.ask(3, urgency)
        assert world.begin() == [tickets[chosen]]


def test_who_hangs_gives_way() -> None:
    """The fetch that has run longest, not before it has had its time, and only while others wait."""
    world = World(1)
    (first,) = world.hang(1)
    world.now += PATIENCE
    assert world.give_way() == []
    (second,) = world.ask(1)
    assert world.give_way() == [first]
    assert not first.early
    assert world.begin() == [second]
    world.now += PATIENCE - 0.1
    world.ask(1)
    assert world.give_way() == []
    world.now += 0.1
    assert world.give_way() == [second]


def test_an_address_where_fetches_gave_way_comes_last() -> None:
    """Hosts that hang, at however many addresses, are passed by who comes from elsewhere, for a while."""
    world = World(1)
    world.hang(1, place="192.0.2.1")
    world.now += PATIENCE
    (healthy,) = world.ask(1)
    hanging = world.ask(2, place="192.0.2.1")
    world.give_way()
    assert world.begin() == [healthy]
    world.slots.leave(healthy)
    assert world.begin() == [hanging[-1]]
    world.slots.leave(hanging[-1])
    world.now += SUSPECT + 0.1
    world.give_way()
    world.hang(1)
    (again,) = world.ask(1, place="192.0.2.1")
    world.slots.leave(next(iter(world.slots._running)))
    assert world.begin() == [again]


def test_no_more_give_way_than_wait() -> None:
    """Two that wait need two places."""
    world = World(8)
    running = world.hang(6)
    world.now += PATIENCE
    world.ask(2)
    world.begin()
    assert world.give_way() == running[:2]


def test_the_more_wait_the_shorter_the_patience() -> None:
    """Who then gives way early was given up for our own sake."""
    world = World(8)
    running = world.hang(6)
    world.ask(16)
    world.now += PATIENCE / 2 - 0.1
    assert world.give_way() == []
    world.now += 0.1
    assert world.give_way() == running
    assert all(ticket.early for ticket in running)


def test_nobody_has_less_than_a_moment() -> None:
    """However many wait."""
    world = World(8)
    running = world.hang(6)
    world.ask(5_000)
    world.now += LEAST_PATIENCE - 0.1
    assert world.give_way() == []
    world.now += 0.1
    assert world.give_way() == running


def test_lookups_that_wait_take_no_place_of_a_refresh() -> None:
    """Only lookups give way to them while they have all of their own."""
    world = World(8)
    refreshes = world.hang(1, UPKEEP)
    world.now += 1
    running = world.hang(7)
    world.now += PATIENCE
    world.ask(10)
    assert world.give_way() == running
    assert refreshes[0] not in running


def test_at_a_full_address_only_its_own_give_way() -> None:
    """Those that wait for it would gain nothing from another place."""
    world = World(64)
    others = world.hang(4)
    hanging = world.hang(20, place="192.0.2.1")
    world.now += PATIENCE
    assert world.give_way() == hanging[:4]
    assert others[0] not in hanging


WAITS = [("a lookup", LOOKUP, WAIT), ("a refresh", UPKEEP, UPKEEP_WAIT), ("one that is urgent", EXPIRING, UPKEEP_WAIT)]


@pytest.mark.parametrize(("title", "urgency", "wait"), WAITS, ids=[row[0] for row in WAITS])
def test_who_waited_too_long_is_dropped(title: str, urgency: Urgency, wait: float) -> None:
    """Nobody waits for it any more; those that run go on."""
    world = World(1)
    running = world.hang(1, urgency)
    late = world.ask(1, urgency)
    world.begin()
    world.now += wait - 0.1
    new = world.ask(1, urgency)
    assert world.slots.drop(world.now) == []
    world.now += 0.1
    assert world.slots.drop(world.now) == late
    assert (world.slots.running, world.slots.waiting) == (1, 1)
    world.slots.leave(running[0])
    assert world.begin() == new


def test_a_short_wait_leaves_a_moment() -> None:
    """With lookup.wait 0 nobody waits for anything, and the work goes on all the same."""
    slots, ticket = Slots(1, 0.0), Ticket(LOOKUP, "192.0.2.1", 0.0)
    slots.add(ticket)
    assert slots.drop(LOOKUP_WAIT - 0.1) == []
    assert slots.drop(LOOKUP_WAIT) == [ticket]


def test_who_is_dropped_at_a_full_address_makes_room_for_the_next() -> None:
    """Nobody waits for a place that nobody has."""
    world = World(64)
    running = world.hang(18, place="192.0.2.1")
    world.slots.leave(running[0])
    world.now += WAIT
    (new,) = world.ask(1, place="192.0.2.1")
    assert len(world.slots.drop(world.now)) == 2
    for ticket in running[1:]:
        world.slots.leave(ticket)
    assert world.begin() == [new]


def test_no_more_wait_than_can_be_served() -> None:
    """Beyond that the oldest lookups go first, and refreshes stay."""
    world = World(1)
    world.hang(1)
    refresh = world.ask(1, UPKEEP)
    oldest = world.ask(3)
    world.ask(WAITING_MOST - 2)
    assert world.slots.drop(world.now) == oldest[:2]
    assert refresh[0] not in world.slots.drop(world.now)
