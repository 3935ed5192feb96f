"""The refresher and rechecks share flights, and neither may starve the other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from postfix_mtasts.core.entry import Entry
from postfix_mtasts.core.names import Domain, NextHop
from postfix_mtasts.core.policy import parse_policy
from postfix_mtasts.daemon.counts import Counts
from postfix_mtasts.daemon.frames import Frames
from postfix_mtasts.daemon.keeper import Keeper
from postfix_mtasts.daemon.state import Note
from postfix_mtasts.settings import Settings

DAY, NOW = 86_400.0, 1_700_000_000.0
DOMAIN = Domain("example.net")
POLICY = parse_policy(b"version: STSv1\nmode: enforce\nmx: mx.example.net\nmax_age: 604800\n")


class Jobs:
    """Keeps jobs for the test to answer."""

    def __init__(self) -> None:
        self.open: list[tuple[dict[str, Any], Callable[[dict[str, Any]], None]]] = []

    def submit(self, job: dict[str, Any], done: Callable[[dict[str, Any]], None]) -> None:
        self.open.append((job, done))


class Store:
    """Writes at once."""

    def _done(self, *what: object) -> asyncio.Future[Any]:
        future = asyncio.get_running_loop().create_future()
        future.set_result(None)
        return future

    get = put = delete = _done


class World:
    """A keeper that holds one policy fetched two days ago, at a time that stands still."""

    def __init__(self) -> None:
        self.jobs, self.dues = Jobs(), list[Note]()
        self.keeper = Keeper(Settings(), self.jobs, Store(), Frames(60.0), Counts())
        self.keeper.upkeep.wall = lambda: NOW
        self.keeper.upkeep.monotonic = lambda: 500_000.0
        self.keeper.schedule = self.dues.extend
        self.keeper.take_stored([Entry(DOMAIN, POLICY, "1", NOW - 2 * DAY, NOW // DAY * DAY)])

    def look_up(self) -> None:
        assert self.keeper.lookup(NextHop(DOMAIN, "25"), False, lambda verdict: None) is not None


def in_loop(test: Callable[[World], None]) -> None:
    async def run() -> None:
        test(World())

    asyncio.run(run())


def test_a_reading_of_the_record_does_not_put_off_the_fetch() -> None:
    """A domain that is looked up all the time is read all the time, and fetched when due all the same."""

    def test(world: World) -> None:
        world.look_up()
        job, done = world.jobs.open.pop()
        assert job["refetch_as"] is None
        done({"unchanged": {"record_id": "1"}})
        assert world.keeper.due(DOMAIN, lambda: None)
        assert world.jobs.open[0][0]["refetch_as"] == "1"

    in_loop(test)


def test_a_fetch_that_joined_a_recheck_follows_it() -> None:
    """The flight it joined fetched nothing, so the fetch that was due comes after it, and the next is planned."""

    def test(world: World) -> None:
        world.look_up()
        landed: list[bool] = []
        world.dues.clear()
        assert world.keeper.due(DOMAIN, lambda: landed.append(True))
        assert world.dues == []
        world.jobs.open.pop()[1]({"unchanged": {"record_id": "1"}})
        assert landed == []
        job, done = world.jobs.open.pop()
        assert job["refetch_as"] == "1"
        done({"died": "the worker process ended"})
        assert landed == [True]
        assert [(due, domain) for due, _, domain in world.dues] == [(500_300.0, DOMAIN)]

    in_loop(test)


def test_a_due_time_that_counts_no_more_does_nothing() -> None:
    """Each plan replaces the one before it, so that plans never multiply."""

    def test(world: World) -> None:
        assert world.keeper.due(DOMAIN, lambda: None)
        world.jobs.open.pop()[1]({"found": {"record_id": "1", "text": POLICY.text, "fetched_at": NOW}})

    async def run() -> None:
        world = World()
        test(world)
        await asyncio.sleep(0)
        planned = len(world.dues)
        assert not world.keeper.due(DOMAIN, lambda: None)
        assert len(world.dues) == planned
        assert world.jobs.open == []

    asyncio.run(run())
