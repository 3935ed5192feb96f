"""Work under way: who is told that it is late, and that one timer serves all."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from postfix_mtasts.core.names import Domain
from postfix_mtasts.core.verdict import Kind, Verdict
from postfix_mtasts.daemon.policies.flights import LOOK_EVERY, Flight, Flights
from tests.support.fakes.keeping import ManualClock, ManualLoop

A, B = Domain("a.example"), Domain("b.example")
LATE = Verdict(Kind.TEMP, "late", 0.0)


class World:
    """Flights on a loop whose time the test moves."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.loop = ManualLoop(self.clock)
        self.late: list[str] = []
        self.flights: Flights[Domain] = Flights(self._late)

    def _late(self, flight: Flight) -> None:
        self.late.append(flight.domain)
        flight.tell_late(LATE)

    def take_off(self, domain: Domain, wait: float) -> Flight:
        async def begin() -> Flight:
            return self.flights.take_off(domain, domain, self.clock.monotonic(), wait)

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


def test_a_flight_is_late_once_and_not_before_its_time(world: World) -> None:
    """Those who wait are told when the wait is over, and the flight goes on."""
    world.take_off(A, 15.0)
    world.take_off(B, 30.0)
    assert world.after(14.0) == []
    assert world.after(1.0 + LOOK_EVERY) == [A]
    assert world.after(LOOK_EVERY) == [A]
    assert A in world.flights
    assert world.after(15.0) == [A, B]


def test_what_has_landed_is_never_late(world: World) -> None:
    """It is out of the way, and so is the timer once nothing is under way."""
    flight = world.take_off(A, 15.0)
    assert world.timers() == 1
    world.take_off(B, 15.0)
    assert world.timers() == 1
    world.flights.land(flight)
    world.flights.land(world.flights[B])
    assert flight.done
    assert world.after(20.0) == []
    assert world.timers() == 0


def test_a_flight_put_out_of_the_way_does_not_land_another(world: World) -> None:
    """A forgotten domain's old flight may end after the new one began."""
    old = world.take_off(A, 15.0)
    new = world.take_off(A, 15.0)
    world.flights.land(old)
    assert world.flights[A] is new
    assert not new.done
