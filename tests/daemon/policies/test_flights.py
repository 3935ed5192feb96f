"""Work under way: who is told that it is late, and that one timer serves all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest

from postfix_mtasts.core.names import Domain
from postfix_mtasts.core.verdict import Kind, Verdict
from postfix_mtasts.daemon.policies.flights import LOOK_EVERY, Flight, Flights, State
from tests.support.fakes.keeping import ManualClock, ManualLoop

A, B = Domain("a.example"), Domain("b.example")
LATE = Verdict(Kind.TEMP, "late", 0.0)


class World:
    """Flights on a loop whose time the test moves."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.loop = ManualLoop(self.clock)
        self.late: list[str] = []
        self.flights: Flights[Domain, str] = Flights(self._late)

    def _late(self, flight: Flight[Domain, str]) -> None:
        self.late.append(flight.domain)
        flight.be_late(LATE)

    def take_off(self, domain: Domain, wait: float = 15.0, late_at: float | None = None) -> Flight[Domain, str]:
        async def begin() -> Flight[Domain, str]:
            return self.flights.take_off(domain, domain, self.clock.monotonic(), wait, late_at)

        return self.loop.run_until_complete(begin())

    def timers(self) -> int:
        return len(self.loop._scheduled)  # type: ignore[attr-defined]

    def after(self, seconds: float) -> list[str]:
        """Who has been told that it is late by then."""
        self.clock.advance(seconds)
        self.loop.run_until_complete(asyncio.sleep(0))
        self.loop.run_until_complete(asyncio.sleep(0))
        return self.late


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.loop.close()


def late(world: World, flight: Flight[Domain, str]) -> None:
    flight.be_late(LATE)


def land(world: World, flight: Flight[Domain, str]) -> None:
    world.flights.land(flight, "found")


def void(world: World, flight: Flight[Domain, str]) -> None:
    world.flights.void(flight.key)


TRANSITIONS = [
    # what happens, the state after it, how often those who wait were told, is it still joined
    ("it begins", [], State.UNDER_WAY, 0, True),
    ("it is late", [late], State.LATE, 1, True),
    ("it lands", [land], State.LANDED, 1, False),
    ("it is late and lands", [late, land], State.LANDED, 1, False),
    ("it is forgotten", [void], State.VOID, 1, False),
    ("it is late and is forgotten", [late, void], State.VOID, 1, False),
    ("it is forgotten and ends", [void, land], State.VOID, 1, False),
    ("it lands twice", [land, land], State.LANDED, 1, False),
]


@pytest.mark.parametrize(
    ("title", "steps", "state", "told", "joined"), TRANSITIONS, ids=[row[0] for row in TRANSITIONS]
)
def test_transitions(
    world: World,
    title: str,
    steps: list[Callable[[World, Flight[Domain, str]], None]],
    state: State,
    told: int,
    joined: bool,
) -> None:
    """The table of the module's header; who waits is told once, and what is to be told meanwhile ends with it."""
    flight, heard = world.take_off(A), list[State]()
    flight.lookups.append(lambda flight: heard.append(flight.state))
    for step in steps:
        step(world, flight)
    assert (flight.state, len(heard), A in world.flights) == (state, told, joined)
    assert (flight.meanwhile is LATE) is (state is State.LATE)
    assert flight.outcome == ("found" if land in steps else None)


@pytest.mark.parametrize("before", [True, False], ids=["asked before its end", "asked after it"])
@pytest.mark.parametrize("steps", [[land], [late, land], [void, land]], ids=["landed", "late", "forgotten"])
def test_the_end(world: World, steps: list[Callable[[World, Flight[Domain, str]], None]], before: bool) -> None:
    """Whoever waits for the end gets the outcome, also of a flight that was forgotten."""
    flight = world.take_off(A)
    ends = [world.loop.create_task(flight.end()) for _ in range(2 * before)]
    world.after(0)
    for step in steps:
        step(world, flight)
    ends += [world.loop.create_task(flight.end())]
    assert world.loop.run_until_complete(asyncio.gather(*ends)) == ["found"] * len(ends)


def test_one_who_gives_up_waiting_for_the_end(world: World) -> None:
    """The others still get it."""
    flight = world.take_off(A)
    one, other = (world.loop.create_task(flight.end()) for _ in range(2))
    world.after(0)
    one.cancel()
    land(world, flight)
    assert world.loop.run_until_complete(other) == "found"
    with pytest.raises(asyncio.CancelledError):
        world.loop.run_until_complete(one)


def test_a_flight_is_late_once_and_not_before_its_time(world: World) -> None:
    """Those who wait are told when the wait is over, and the flight goes on."""
    world.take_off(A, 15.0)
    world.take_off(B, 30.0)
    assert world.after(14.0) == []
    assert world.after(1.0 + LOOK_EVERY) == [A]
    assert world.after(LOOK_EVERY) == [A]
    assert A in world.flights
    assert world.after(15.0) == [A, B]


def test_a_flight_for_those_who_have_waited_before(world: World) -> None:
    """It is late when what they waited for before would have been."""
    world.take_off(A, 15.0, late_at=world.clock.monotonic() + 1.0)
    assert world.after(1.0 + LOOK_EVERY) == [A]


def test_what_has_landed_is_never_late(world: World) -> None:
    """It is out of the way, and so is the timer once nothing is under way."""
    flight = world.take_off(A)
    assert world.timers() == 1
    other = world.take_off(B)
    assert world.timers() == 1
    world.flights.land(flight, "found")
    world.flights.land(other, "found")
    assert world.after(20.0) == []
    assert world.timers() == 0


def test_a_forgotten_flight_does_not_end_the_one_after_it(world: World) -> None:
    """What was under way when a domain was forgotten may end after the new flight began."""
    old = world.take_off(A)
    world.flights.void(A)
    new = world.take_off(A)
    world.flights.land(old, "found")
    assert world.flights[A] is new
    assert new.state is State.UNDER_WAY


def test_nothing_to_forget(world: World) -> None:
    """A domain without a flight is no error."""
    world.flights.void(A)
