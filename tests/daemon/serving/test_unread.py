"""serving/unread.py: what clients that do not read may cost all together, and how long."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import pytest

from postfix_mtasts.daemon.serving import unread as module
from postfix_mtasts.daemon.serving.connection import BUFFER_LIMIT, Connection
from postfix_mtasts.daemon.serving.unread import BYTES, CROWD, LOOKS, Unread


class Client:
    """A connection, as far as it is looked at here."""

    def __init__(self, unread: int = 0) -> None:
        self.unread, self.ended = unread, False

    def abort(self) -> None:
        self.ended = True


class World:
    def __init__(self) -> None:
        self.unread = Unread()
        self.clients: list[Client] = []

    def add(self, unread: int) -> Client:
        self.clients.append(Client(unread))
        return self.clients[-1]

    def look(self) -> None:
        self.unread.look(cast("list[Connection]", [client for client in self.clients if not client.ended]))

    def stall(self, client: Client) -> None:
        client.unread = BUFFER_LIMIT
        self.unread.stalled(cast("Connection", client))


@pytest.fixture
def world() -> World:
    return World()


def stays(client: Client) -> None:
    pass


def grows(client: Client) -> None:
    client.unread += 1


def shrinks(client: Client) -> None:
    client.unread -= 1


def is_empty_now_and_then(client: Client) -> None:
    client.unread = (client.unread + 1) % 5


COURSES: list[tuple[str, int, Callable[[Client], None], bool]] = [
    ("one that reads nothing", 10, stays, True),
    ("one that reads nothing and asks on", 10, grows, True),
    ("one that reads a byte a second", 10_000, shrinks, False),
    ("one that reads all of it now and then", 1, is_empty_now_and_then, False),
    ("one that has nothing to read", 0, stays, False),
]


@pytest.mark.parametrize(("title", "unread", "change", "ended"), COURSES, ids=[row[0] for row in COURSES])
def test_a_minute_without_reading_is_the_end(
    title: str, unread: int, change: Callable[[Client], None], ended: bool, world: World
) -> None:
    """However little there is to read; any byte read begins the minute anew."""
    client = world.add(unread)
    for _ in range(LOOKS):
        world.look()
        change(client)
    assert not client.ended
    for _ in range(2 * LOOKS):
        world.look()
        change(client)
    assert client.ended is ended


def test_one_bound_for_all(world: World) -> None:
    """Beyond it those go that have read nothing for longest, and no more of them than have to."""
    old = [world.add(BYTES // 4) for _ in range(2)]
    for _ in range(3):
        world.look()
    new = [world.add(BYTES // 4) for _ in range(3)]
    world.look()
    assert [client.ended for client in old + new].count(True) == 1
    assert any(client.ended for client in old)


def test_those_who_are_read_no_further_are_a_bounded_number(world: World) -> None:
    """At once, not at the next look: in a second many could come."""
    clients = [Client() for _ in range(BYTES // BUFFER_LIMIT + 2)]
    for client in clients[:-1]:
        world.stall(client)
    assert [client.ended for client in clients] == [True] + [False] * (len(clients) - 1)
    world.unread.resumed(cast("Connection", clients[1]))
    world.stall(clients[-1])
    assert [client.ended for client in clients].count(True) == 1


def test_after_a_crowd_memory_is_given_back_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not while the crowd is there, and never for a few replies."""
    given: list[str] = []
    monkeypatch.setattr(module, "give_back", lambda: given.append("back"))
    few, many = world.add(CROWD), world.add(0)
    world.look()
    many.unread = 1
    world.look()
    assert not given
    few.unread = 0
    world.look()
    world.look()
    assert given == ["back"]
