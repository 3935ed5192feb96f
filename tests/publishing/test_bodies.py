"""publishing/bodies.py: slow clients, however many, take the memory of nobody else."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from postfix_mtasts.publishing.bodies import Bodies, Body

A, B, C = "192.0.2.1", "192.0.2.2", "192.0.2.3"
NEAR, NEARER = "2001:db8::1", "2001:db8::2"


class World:
    """Memory for 100 bytes, 40 a body."""

    def __init__(self) -> None:
        self.bodies = Bodies(100, 40)
        self.told: list[str] = []

    def body(self, name: str, address: str | None, size: int = 0) -> Body:
        made = self.bodies.begin(address, self._telling(name))
        if size:
            self.bodies.add(made, bytes(size))
        return made

    def _telling(self, name: str) -> Callable[[], None]:
        return lambda: self.told.append(name)


@pytest.fixture
def world() -> World:
    return World()


def test_who_holds_most_makes_room(world: World) -> None:
    """The one that has gone without a piece for longest, though another address waits longer."""
    small = world.body("small", B, 30)
    first, second = world.body("first", A, 35), world.body("second", A, 35)
    world.bodies.add(first, b"")  # a sign of life
    newest = world.body("newest", C, 20)
    assert world.told == ["second"]
    assert [each.gave_way for each in (small, first, second, newest)] == [False, False, True, False]
    assert world.bodies.held == 85


def test_a_crowd_of_addresses_gives_way_to_who_comes(world: World) -> None:
    """Those that stand still longest, as many as it takes."""
    for number in range(10):
        world.body(str(number), f"198.51.100.{number}", 10)
    comer = world.body("comer", A, 5)
    assert world.told == ["0"]
    for _ in range(3):
        world.bodies.add(comer, bytes(5))
    assert world.told == ["0", "1"]
    assert not comer.gave_way


def test_neighbours_in_one_ipv6_network_share(world: World) -> None:
    """An IPv6 /64 belongs to one customer."""
    world.body("a", A, 40)
    world.body("near", NEAR, 30)
    world.body("nearer", NEARER, 30)
    world.body("b", B, 10)
    assert world.told == ["near"]


def test_who_would_hold_most_gives_way_itself(world: World) -> None:
    """Without being told by a call: it is the one that adds."""
    others = [world.body("a", A, 40), world.body("b", B, 30)]
    large = world.body("large", C, 30)
    world.bodies.add(large, bytes(20))
    assert large.gave_way
    assert not any(each.gave_way for each in others)
    world.bodies.add(large, bytes(1))
    assert (world.bodies.held, world.told) == (70, [])


def test_what_is_whole_stays(world: World) -> None:
    """It is being worked on; whoever comes then is asked to try again."""
    whole = world.body("whole", A, 100)
    world.bodies.arrived(whole)
    late = world.body("late", B, 1)
    assert late.gave_way
    world.bodies.end(late)
    world.bodies.end(whole)
    assert world.bodies.held == 0
    assert not world.body("next", B, 100).gave_way


def test_clients_of_a_unix_socket_are_one(world: World) -> None:
    """They come through one proxy, which has no address."""
    world.body("a", None, 50)
    world.body("b", "", 50)
    world.body("c", A, 40)
    assert world.told == ["a"]
