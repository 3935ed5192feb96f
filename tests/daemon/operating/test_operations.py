"""What the keeper is steered to do for operators, and when they are told that it is done."""

from __future__ import annotations

import asyncio

import pytest

from postfix_mtasts.core.names import Domain
from postfix_mtasts.daemon.operating.messages import Forget, Forgotten
from postfix_mtasts.daemon.operating.operations import Operations
from postfix_mtasts.errors import StoreError
from tests.support.fakes.entries import entry
from tests.support.fakes.keeping import D, World, in_loop

UNKNOWN = Domain("unknown.example")


@pytest.fixture
def world() -> World:
    world = World()
    world.store.instant = False
    return world


async def forget(world: World, *domains: Domain) -> list[Forgotten]:
    operations = Operations(world.keeper, world.counts, world.clock)
    return [answer async for answer in operations.answers(Forget([*domains]))]


@in_loop
async def test_a_domain_is_forgotten_once_it_is_gone_from_the_disk(world: World) -> None:
    """Else the next start would remember it."""
    world.hold(entry())
    forgetting = asyncio.create_task(forget(world, D, UNKNOWN))
    await world.settle()
    assert (world.kinds(UNKNOWN), forgetting.done()) == ([], False)
    assert D not in world.held, "memory has forgotten it already"
    for deleted in world.store.waiting:
        deleted.set_result(None)
    assert await forgetting == [Forgotten(D, "forgotten"), Forgotten(UNKNOWN, "unknown")]


@in_loop
async def test_a_disk_that_is_full_is_told(world: World) -> None:
    """The removal is tried again by itself, but nobody may rely on it yet."""
    world.hold(entry())
    forgetting = asyncio.create_task(forget(world, D))
    await world.settle()
    world.store.waiting.pop().set_exception(StoreError("cache.db: disk is full"))
    [answer] = await forgetting
    assert (answer.result, answer.reason) == (
        "failed",
        "forgotten in memory, but not on the disk yet: cache.db: disk is full",
    )


@in_loop
async def test_a_stuck_disk_is_not_waited_for_without_end(world: World) -> None:
    """The command comes back, and says so."""
    world.hold(entry())
    forgetting = asyncio.create_task(forget(world, D))
    await world.settle()
    await world.settle(31.0)
    [answer] = await forgetting
    assert (answer.result, answer.reason) == ("failed", "forgotten in memory, but the disk does not answer")
