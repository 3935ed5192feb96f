"""A look at all policies, which keeps nobody waiting."""

from __future__ import annotations

import asyncio

import pytest

from postfix_mtasts.core.entry import Trouble
from postfix_mtasts.daemon.operating.survey import ALONE, CHUNK, gather
from tests.support.fakes.entries import DAY, NOW, entry
from tests.support.fakes.keeping import World, in_loop


@pytest.fixture
def world() -> World:
    return World()


@in_loop
async def test_numbers(world: World) -> None:
    """By mode; how many fail; the nearest end, which an expired policy does not count for."""
    none = await gather(world.keeper.known, world.counts, ALONE)
    assert (none.policies, none.refresh.failing, none.nearest_expiry) == (
        {"enforce": 0, "testing": 0, "none": 0},
        0,
        None,
    )
    world.hold(entry("a.example", max_age=2 * DAY))
    world.hold(entry("b.example", mode="testing", max_age=DAY))
    world.hold(entry("c.example", fetched_at=NOW - 9 * DAY))
    world.held[entry("a.example").domain].trouble = Trouble(1, "sts-policy-fetch-error", "refused")
    some = await gather(world.keeper.known, world.counts, ALONE)
    assert (some.policies, some.refresh.failing, some.nearest_expiry) == (
        {"enforce": 2, "testing": 1, "none": 0},
        1,
        DAY,
    )


@in_loop
async def test_others_have_their_turns_meanwhile(world: World) -> None:
    """Lookups go on between the pieces."""
    for number in range(5 * CHUNK):
        world.hold(entry(f"d{number}.example"))
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    assert (await gather(world.keeper.known, world.counts, ALONE)).policies["enforce"] == 5 * CHUNK
    task.cancel()
    assert turns >= 4
