"""The refresher and rechecks share flights, and neither may starve the other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from postfix_mtasts.core.entry import Entry
from postfix_mtasts.core.outcome import Found, Unchanged
from postfix_mtasts.core.policy import parse_policy
from tests.support.fakes.entries import DAY, NOW
from tests.support.fakes.keeping import DIED, D, World

POLICY = parse_policy(b"version: STSv1\nmode: enforce\nmx: mx.example.com\nmax_age: 604800\n")
UNCHANGED = Unchanged("1")


def in_world(test: Callable[[World], Coroutine[Any, Any, None]]) -> None:
    """Run *test* with a keeper that holds one policy fetched two days ago, at a time that stands still."""

    async def run() -> None:
        world = World()
        world.hold(Entry(D, POLICY, "1", NOW - 2 * DAY, NOW // DAY * DAY))
        await test(world)

    asyncio.run(run())


def test_a_reading_of_the_record_does_not_put_off_the_fetch() -> None:
    """A domain that is looked up all the time is read all the time, and fetched when due all the same."""

    async def test(world: World) -> None:
        assert world.kinds() == ["secure"]
        assert world.resolver.answer(UNCHANGED).refetch_as is None
        assert world.keeper.due(D, lambda: None)
        assert world.resolver.open[0][0].refetch_as == "1"

    in_world(test)


def test_a_fetch_that_joined_a_recheck_follows_it() -> None:
    """The flight it joined fetched nothing, so the fetch that was due comes after it, and the next is planned."""

    async def test(world: World) -> None:
        assert world.kinds() == ["secure"]
        landed: list[bool] = []
        world.notes.clear()
        assert world.keeper.due(D, lambda: landed.append(True))
        assert world.notes == []
        world.resolver.answer(UNCHANGED)
        assert landed == []
        assert world.resolver.answer(DIED).refetch_as == "1"
        assert landed == [True]
        assert [(due, domain) for due, _, domain in world.notes] == [(500_060.0, D)]

    in_world(test)


def test_a_due_time_that_counts_no_more_does_nothing() -> None:
    """Each plan replaces the one before it, so that plans never multiply."""

    async def test(world: World) -> None:
        assert world.keeper.due(D, lambda: None)
        world.resolver.answer(Found("1", POLICY, NOW))
        await world.settle()
        planned = len(world.notes)
        assert not world.keeper.due(D, lambda: None)
        assert len(world.notes) == planned
        assert world.resolver.open == []

    in_world(test)
