"""policies/known.py: what operators read, as it is at one moment, and that reading changes nothing."""

from __future__ import annotations

import dataclasses

import pytest

from postfix_mtasts.core.names import Domain
from tests.support.fakes.entries import DAY, NOW, entry
from tests.support.fakes.keeping import DIED, DNS_FAILED, D, World, absent, dane, failed, in_loop


@pytest.fixture
def world() -> World:
    return World()


@in_loop
async def test_a_policy(world: World) -> None:
    """Its times in UTC, whatever clock they were kept by."""
    world.hold(entry(max_age=7 * DAY))
    world.clock.advance(100)
    world.refresh()
    world.resolver.answer(failed(reason="connection refused"))
    holding = world.keeper.known.holding(D)
    assert holding is not None
    assert (holding.entry.domain, holding.age, holding.left) == (D, 100.0, 7 * DAY - 100.0)
    assert (holding.checked_at, holding.expires_at) == (NOW + 100, NOW + 7 * DAY)
    assert holding.next_due_at == NOW + 100 + 300
    assert holding.trouble is not None
    assert holding.trouble.failures == 1
    world.clock.advance(300)
    assert world.keeper.due(D, lambda: None)
    fetching = world.keeper.known.holding(D)
    assert fetching is not None
    assert fetching.next_due_at is None


NEGATIVES = [
    ("no record", absent(), False),
    ("a failed fetch", failed(), True),
    ("a DNS failure", DNS_FAILED, True),
    ("a failure of our own", DIED, True),
]


@pytest.mark.parametrize(("title", "outcome", "is_failure"), NEGATIVES, ids=[case[0] for case in NEGATIVES])
@in_loop
async def test_no_policy(world: World, title: str, outcome: object, is_failure: bool) -> None:
    """Why, for how long that is remembered, and since when."""
    world.ask()
    world.resolver.answer(outcome)  # type: ignore[arg-type]
    world.clock.advance(1)
    negative = world.keeper.known.negative(D)
    assert negative is not None
    assert (negative.why, negative.failed, negative.age) == (outcome, is_failure, 1.0)
    assert negative.left == negative.verdict.lasts - 1
    assert negative.until == world.clock.utc + negative.left
    assert [domain for domain, _ in world.keeper.known.all_negatives()] == [D]


@in_loop
async def test_numbers(world: World) -> None:
    """Policies, and domains without."""
    world.hold(entry("a.example"))
    world.hold(entry("b.example"))
    world.ask("c.example")
    world.resolver.answer(absent())
    known = world.keeper.known
    assert (known.policies, known.negatives, known.loaded) == (2, 1, True)
    world.not_loaded()
    assert not known.loaded


@in_loop
async def test_a_walk_that_is_interrupted(world: World) -> None:
    """What goes meanwhile is left out, what comes meanwhile may be."""
    for name in ("a.example", "b.example", "c.example"):
        world.hold(entry(name))
    walk = world.keeper.known.holdings()
    assert next(walk).entry.domain == "a.example"
    world.keeper.forget(Domain("b.example"))
    world.hold(entry("d.example"))
    assert [holding.entry.domain for holding in walk] == ["c.example"]


@in_loop
async def test_the_dane_status(world: World) -> None:
    """The one last read, and whether lookups still go by it."""
    world.hold(entry(max_age=100 * DAY))
    known = world.keeper.known
    assert (known.dane(D, 25), known.serving_dane(D, 25)) == (None, None)
    world.ask(dane=True)
    world.resolver.answer(dane("usable", ttl=300))
    world.clock.advance(DAY - 1)
    assert known.serving_dane(D, 25) is known.dane(D, 25) is not None
    world.clock.advance(1)
    assert (known.dane(D, 25) is not None, known.serving_dane(D, 25)) == (True, None)
    assert known.dane(D, 587) is None


ENFORCED = [("enforce", 0, True), ("enforce", 7 * DAY, False), ("testing", 0, False), ("none", 0, False)]


@pytest.mark.parametrize(("mode", "later", "enforces"), ENFORCED)
@in_loop
async def test_what_is_enforced(world: World, mode: str, later: float, enforces: bool) -> None:
    """A policy of mode enforce, while it is in force."""
    assert not world.keeper.known.enforces(D)
    world.hold(entry(mode=mode))
    world.clock.advance(later)
    assert world.keeper.known.enforces(D) is enforces


JUDGED = [
    ("in force", NOW - DAY, NOW - DAY),
    ("ended", NOW - 7 * DAY, None),
    ("fetched later than now", NOW + DAY, NOW),
]


@pytest.mark.parametrize(("title", "fetched_at", "judged"), JUDGED, ids=[case[0] for case in JUDGED])
@in_loop
async def test_an_entry_from_elsewhere(world: World, title: str, fetched_at: float, judged: float | None) -> None:
    """What has ended is none, and a time later than now becomes now."""
    got = world.keeper.known.judged(entry(fetched_at=fetched_at, max_age=7 * DAY))
    assert (got.fetched_at if got is not None else None) == judged


@in_loop
async def test_looking_changes_nothing(world: World) -> None:
    """Neither a time is clamped nor an end noted, nothing is asked, written or planned, and values are frozen."""
    world.hold(entry())
    world.clock.utc -= DAY
    held, notes = world.held[D], list(world.notes)
    known = world.keeper.known
    for _ in known.holdings():
        known.negative(D), known.dane(D, 25), known.enforces(D), list(known.contents())
    assert (held.entry.fetched_at, held.clamped, world.notes) == (NOW, None, notes)
    assert (world.resolver.count, world.store.log) == (0, [])
    holding = known.holding(D)
    assert holding is not None
    with pytest.raises(dataclasses.FrozenInstanceError):
        holding.left = 0.0  # type: ignore[misc]
