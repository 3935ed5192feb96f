"""The pause between tries of what fails."""

from __future__ import annotations

import asyncio

import pytest

from postfix_mtasts.daemon.policies.store_retry import LAST_RETRY, Retry
from tests.support.fakes.keeping import World, in_loop


@pytest.fixture
def world() -> World:
    return World()


@in_loop
async def test_it_doubles_and_begins_anew(world: World) -> None:
    """Up to a minute; a second call while it runs changes nothing."""
    rung: list[float] = []
    retry = Retry(lambda: rung.append(asyncio.get_running_loop().time()))
    for seconds in (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, LAST_RETRY, LAST_RETRY):
        retry.wait()
        retry.wait()
        await world.settle(seconds - 0.5)
        assert retry.pending
        await world.settle(0.5)
        assert not retry.pending
    assert len(rung) == 8
    retry.over()
    retry.wait()
    await world.settle(1.0)
    assert len(rung) == 9


@in_loop
async def test_what_is_over_does_not_ring(world: World) -> None:
    """It worked meanwhile."""
    rung: list[bool] = []
    retry = Retry(lambda: rung.append(True))
    retry.wait()
    retry.over()
    await world.settle(100.0)
    assert rung == []
