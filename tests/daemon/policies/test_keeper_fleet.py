"""policies/keeper.py and finder.py where other daemons share policies: when they are asked, and who fetches."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from postfix_mtasts.core.entry import Entry
from postfix_mtasts.core.names import Domain
from postfix_mtasts.core.ports import Lease, Withdrawn
from tests.support.fakes.entries import DAY, NOW, entry
from tests.support.fakes.keeping import D, World, failed, in_loop


class StubFleet:
    """What others have and grant is what the test says."""

    def __init__(self) -> None:
        self.up = self.wanted = True
        self.has: Entry | None = None
        self.grants = Lease.GRANTED
        self.told: list[Any] = []

    async def get(self, domain: Domain) -> Entry | None:
        return self.has

    async def lease(self, domain: Domain, seconds: float, fetched_at: float) -> Lease:
        return self.grants

    def keep_lease(self, domain: Domain, seconds: float, fetched_at: float) -> None:
        self.told.append(("keep", seconds))

    def release(self, domain: Domain) -> None:
        self.told.append("release")

    def offer(self, entry: Entry) -> None:
        self.told.append(entry)


@pytest.fixture
def world() -> World:
    return World()


def share(world: World) -> StubFleet:
    fleet = StubFleet()
    world.keeper._fleet = world.keeper._finder._fleet = fleet  # type: ignore[assignment]
    return fleet


@in_loop
async def test_a_first_lookup_takes_what_others_have(world: World) -> None:
    """It is stored before it is told, nothing is fetched, and its record is due for a reading."""
    fleet = share(world)
    fleet.has = entry(fetched_at=NOW - 100)
    told = world.ask()
    await world.settle()
    assert [v.kind for v in told] == ["secure"]
    assert world.store.entries[D] == fleet.has
    assert world.held[D].entry.fetched_at == NOW - 100
    assert world.held[D].shared
    assert [question.avoid for question, _ in world.resolver.open] == [("20231114",)]


@in_loop
async def test_what_is_held_is_answered_without_the_others(world: World) -> None:
    """They are not asked, and told nothing."""
    fleet = share(world)
    world.hold(entry())

    async def asked(domain: Domain) -> Entry | None:
        raise AssertionError("the others were asked")

    fleet.get = asked  # type: ignore[method-assign]
    assert world.kinds() == ["secure"]
    await world.settle()
    assert fleet.told == []


@in_loop
async def test_what_others_have_not_is_looked_up_and_offered(world: World) -> None:
    """Once it is held."""
    fleet = share(world)
    told = world.ask()
    await world.settle()
    world.resolver.answer(world.found())
    await world.settle()
    assert [v.kind for v in told] == ["secure"]
    assert fleet.told == [world.held[D].entry]


@in_loop
async def test_a_local_refresh_is_not_offered(world: World) -> None:
    """Only the one that was asked for."""
    fleet = share(world)
    world.hold(entry())
    for local, offers in ((True, 0), (False, 1)):
        world.clock.advance(10)
        task = world.keeper.refresh(D, local)
        await world.settle()
        world.resolver.answer(world.found())
        await world.settle()
        assert task.done()
        assert len(fleet.told) == offers


@in_loop
async def test_a_change_reaches_those_who_wait_and_the_ready_replies(world: World) -> None:
    """A lookup does not wait for a hanging fetch; an older policy changes nothing."""
    share(world)
    told = world.ask()
    await world.settle()
    assert told == []
    assert await world.keeper._finder.receive(entry())
    await world.settle()
    assert [v.kind for v in told] == ["secure"]
    emptied: list[bool] = []
    world.keeper._holdings._changed = lambda: emptied.append(True)
    assert not await world.keeper._finder.receive(entry(fetched_at=NOW - 1, mode="none"))
    assert not emptied
    world.clock.advance(1)
    assert await world.keeper._finder.receive(entry(fetched_at=NOW + 1, mode="none"))
    assert world.kinds() == ["notfound"]
    assert emptied


@in_loop
async def test_a_fetch_of_our_own_that_is_newer_stays_on_the_disk(world: World) -> None:
    """Whatever the order in which both were written."""
    share(world)
    world.store.instant = False
    receiving = asyncio.ensure_future(world.keeper._finder.receive(entry(fetched_at=NOW - 5)))
    await world.settle()
    world.hold(newer := entry(fetched_at=NOW))
    for future in world.store.waiting:
        future.set_result(None)
    assert not await receiving
    assert world.store.entries[D] == newer


def test_a_withdrawal_counts_for_what_was_fetched_before(world: World) -> None:
    """A later fetch stays."""

    @in_loop
    async def test(world: World) -> None:
        world.hold(entry())
        world.keeper._withdraw(Withdrawn(D, NOW - 1))
        assert D in world.held
        world.keeper._withdraw(Withdrawn(D, NOW))
        assert D not in world.held
        assert D not in world.store.entries

    test(world)


async def due(world: World, grants: Lease, after: float = DAY, max_age: int = 7 * DAY) -> StubFleet:
    fleet = share(world)
    world.hold(entry(max_age=max_age))
    world.clock.advance(after)
    fleet.grants = grants
    assert world.keeper.due(D, lambda: fleet.told.append("landed"))
    await world.settle()
    return fleet


@in_loop
async def test_with_the_lease_a_policy_is_fetched(world: World) -> None:
    """It is offered before the lease is given back."""
    fleet = await due(world, Lease.GRANTED)
    world.resolver.answer(world.found())
    await world.settle()
    assert fleet.told == [world.held[D].entry, "release", "landed"]


@in_loop
async def test_after_a_failure_the_lease_lasts_until_the_next_try(world: World) -> None:
    """So that the others do not try at once, one after another."""
    fleet = await due(world, Lease.GRANTED)
    world.resolver.answer(failed())
    await world.settle()
    assert fleet.told == [("keep", 300.0), "landed"]


@in_loop
async def test_without_the_lease_it_is_planned_again(world: World) -> None:
    """Nothing is fetched now."""
    fleet = await due(world, Lease.TAKEN)
    assert (world.resolver.count, fleet.told) == (0, ["landed"])
    assert world.notes[-1][0] == world.clock.since_boot + 60


@in_loop
async def test_a_policy_that_ends_soon_needs_no_lease(world: World) -> None:
    """It must not end because another daemon died with it: in its last tenth each daemon tries for itself."""
    await due(world, Lease.TAKEN, after=6.3 * DAY)
    assert world.resolver.count == 1


@in_loop
async def test_a_newer_fetch_is_taken_in_place_of_one_of_our_own(world: World) -> None:
    """Where that cannot be believed, the policy is fetched."""
    fleet = await due(world, Lease.NEWER)
    assert world.resolver.count == 1  # others have a row, but not one that is believed
    world.resolver.answer(world.found())
    await world.settle()
    world.clock.advance(DAY)
    fleet.has = entry(fetched_at=world.clock.utc - 1)
    world.keeper.due(D, lambda: None)
    await world.settle()
    assert (world.resolver.count, world.held[D].entry.fetched_at) == (1, fleet.has.fetched_at)
