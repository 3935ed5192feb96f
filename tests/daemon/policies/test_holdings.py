"""policies/holdings.py: what is held, as the clock goes on and is set, and what the refresher is told of it."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from postfix_mtasts.config.settings import CacheSettings, LookupSettings, Settings
from postfix_mtasts.core.entry import Entry
from postfix_mtasts.core.names import Domain
from postfix_mtasts.daemon.policies.keeper import AT_A_TURN
from tests.support.fakes.entries import DAY, NOW, entry, policy
from tests.support.fakes.keeping import DIED, UNCHANGED, D, World, absent, failed, in_loop

TESTING, NONE, SHORT = policy("testing", max_age=60), policy("none", max_age=60), policy(max_age=60)
WAIT, FAILURE_TTL, RECHECK = 15.0, 300.0, 300.0  # seconds: the defaults


@pytest.fixture
def world() -> World:
    return World()


def lookup_settings(**changes: object) -> Settings:
    return Settings(lookup=replace(LookupSettings(), **changes))  # type: ignore[arg-type]


# -- the clock ----------------------------------------------------------------------


@in_loop
async def test_a_clock_an_hour_back(world: World) -> None:
    """A time of fetch later than now becomes now, in memory at once and then in the store: nothing is prolonged."""
    world.hold(entry(max_age=DAY))
    world.clock.utc -= 3600
    await world.keeper.plan_anew()
    assert world.held[D].entry.fetched_at == NOW - 3600
    assert world.store.entries[D].fetched_at == NOW
    assert [kept.fetched_at for kept in world.keeper.known.contents()] == [NOW]
    world.clock.advance(DAY - 1)
    assert world.kinds() == ["secure"]
    assert world.store.entries[D].fetched_at == NOW - 3600
    world.clock.advance(1)
    assert world.ask() == []


@in_loop
async def test_a_clock_a_year_ahead_and_right_again(world: World) -> None:
    """A clock set wrong for less than a day empties nothing."""
    world.hold(entry())
    world.clock.utc += 365 * DAY
    await world.keeper.plan_anew()
    assert world.ask() == []
    world.resolver.answer(failed())
    world.clock.advance(3600)
    assert not world.keeper.due(D, lambda: None)
    world.clock.utc -= 365 * DAY
    await world.keeper.plan_anew()
    assert world.kinds() == ["secure"]
    world.clock.advance(DAY)
    world.keeper.due(D, lambda: None)
    assert world.kinds() == ["secure"]
    assert D in world.store.entries


@in_loop
async def test_an_expired_policy_is_kept_for_a_day(world: World) -> None:
    """It goes once this process has seen it expired for a day by a clock that nobody can set."""
    world.hold(entry(max_age=DAY))
    world.clock.advance(DAY)
    assert world.ask() == []
    world.resolver.answer(absent())
    await world.keeper.plan_anew()
    world.clock.advance(DAY - 1)
    world.keeper.due(D, lambda: None)
    assert D in world.held
    world.clock.advance(1)
    assert not world.keeper.due(D, lambda: None)
    assert (world.held, world.store.entries) == ({}, {})


@in_loop
async def test_planning_anew_lets_others_have_their_turn(world: World) -> None:
    """With many policies lookups go on in between, and each policy is noted once; one that goes meanwhile is not."""
    for number in range(3 * AT_A_TURN):
        world.hold(entry(domain=f"d{number}.example"))
    world.notes.clear()
    planning = asyncio.ensure_future(world.keeper.plan_anew())
    await asyncio.sleep(0)
    assert len(world.notes) == AT_A_TURN
    world.keeper.forget(Domain(f"d{3 * AT_A_TURN - 1}.example"))
    await planning
    assert len({domain for _, _, domain in world.notes}) == len(world.notes) == 3 * AT_A_TURN - 1


# -- negative answers ------------------------------------------------------------------


@pytest.mark.parametrize("limit", [0, 1, 10])
@in_loop
async def test_negative_limit(world: World, limit: int) -> None:
    """Negative answers are bounded, each is told all the same, and none pushes out a policy."""
    world.keeper.configure(Settings(cache=CacheSettings(negative_limit=limit)))
    world.hold(entry())
    for number in range(20):
        told = world.ask(f"d{number}.example")
        world.resolver.answer(absent())
        assert [v.kind for v in told] == ["notfound"]
    assert world.keeper.known.negatives == limit
    assert world.kinds() == ["secure"]


@in_loop
async def test_a_frame_of_a_negative_answer_that_was_pushed_out(world: World) -> None:
    """A policy found later empties the frames, since one may still tell of its absence."""
    world.keeper.configure(Settings(cache=CacheSettings(negative_limit=0)))
    world.ask()
    world.resolver.answer(absent())
    world.reply_cache.ready[b"x"] = b"", [0]
    world.refresh(lambda: None)
    world.resolver.answer(world.found())
    await world.settle()
    assert world.reply_cache.ready == {}


# -- the refresher's part ----------------------------------------------------------------


@in_loop
async def test_refreshed_within_its_interval(world: World) -> None:
    """Every stored policy is fetched again, looked up or not, lost record or not."""
    world.hold(entry())
    assert NOW < NOW + world.notes[-1][0] - world.clock.since_boot <= NOW + DAY
    assert world.pass_to_refresher()
    assert world.resolver.answer(world.found("20231114")).refetch_as == "20231114"
    await world.settle()
    assert world.held[D].entry.fetched_at == world.clock.utc
    assert world.pass_to_refresher()


@in_loop
async def test_an_older_note_does_nothing(world: World) -> None:
    """Each note stands in place of the ones before, so that they never multiply."""
    world.hold(entry())
    early = world.notes[-1][0]
    world.refresh(lambda: None)
    world.clock.advance(3600)
    world.resolver.answer(world.found())
    await world.settle()
    count = len(world.notes)
    world.clock.advance(early - world.clock.since_boot)
    if world.clock.since_boot < world.held[D].due_at:
        assert not world.keeper.due(D, lambda: None)
    assert len(world.notes) == count


@in_loop
async def test_unused_policies(world: World) -> None:
    """A policy nobody asks for is refreshed no more; a lookup has it refreshed again."""
    world.hold(entry(max_age=20 * DAY, used_at=NOW // DAY * DAY - 60 * DAY))
    assert world.notes[-1][0] == world.clock.since_boot + 20 * DAY
    assert world.kinds() == ["secure"]
    assert world.notes[-1][0] <= world.clock.since_boot + DAY


@in_loop
async def test_an_error_in_force_runs_one_retry_clock(world: World) -> None:
    """After a failure the refresher comes back after failure_ttl, doubled up to an hour."""
    world.hold(entry())
    world.pass_to_refresher()
    delays = []
    for _ in range(6):
        world.resolver.answer(failed())
        delays.append(round(world.notes[-1][0] - world.clock.since_boot))
        world.clock.advance(delays[-1] - 1)
        assert not world.keeper.due(D, lambda: None)
        world.clock.advance(1)
        assert world.keeper.due(D, lambda: None)
    assert delays == [300, 600, 1200, 2400, 3600, 3600]


@in_loop
async def test_a_reading_of_the_record_does_not_put_off_the_fetch(world: World) -> None:
    """A domain that is looked up all the time is read all the time, and fetched when due all the same."""
    world.hold(entry(fetched_at=NOW - 2 * DAY))
    assert world.kinds() == ["secure"]
    assert world.resolver.answer(UNCHANGED).refetch_as is None
    assert world.keeper.due(D, lambda: None)
    assert world.resolver.open[0][0].refetch_as == "20231114"


@in_loop
async def test_a_fetch_that_joined_a_recheck_follows_it(world: World) -> None:
    """The flight it joined fetched nothing, so the fetch that was due comes after it, and the next is planned."""
    world.hold(entry(fetched_at=NOW - 2 * DAY))
    assert world.kinds() == ["secure"]
    landed: list[bool] = []
    world.notes.clear()
    assert world.keeper.due(D, lambda: landed.append(True))
    assert world.notes == []
    world.resolver.answer(UNCHANGED)
    await world.settle()
    assert landed == []
    assert world.resolver.answer(DIED).refetch_as == "20231114"
    await world.settle()
    assert landed == [True]
    assert [(due, domain) for due, _, domain in world.notes] == [(500_060.0, D)]


# -- which of two policies counts ----------------------------------------------------------

ORDER = [
    # the second entry, whether it is held then
    ("fetched later", entry(record_id="2", fetched_at=NOW - 5), True),
    ("fetched at the same time", entry(record_id="2", fetched_at=NOW - 10), True),
    ("fetched earlier", entry(record_id="2", fetched_at=NOW - 15), False),
]


@pytest.mark.parametrize(("title", "second", "counts"), ORDER, ids=[case[0] for case in ORDER])
@in_loop
async def test_the_policy_fetched_later_is_held(world: World, title: str, second: Entry, counts: bool) -> None:
    """Of two outcomes for a domain the one begun later wins."""
    holdings = world.keeper._holdings
    for each in (entry(record_id="1", fetched_at=NOW - 10), second):
        holdings.hold(each, world.clock.since_boot)
    assert world.held[D].entry.record_id == ("2" if counts else "1")


@in_loop
async def test_what_is_loaded_never_replaces_what_was_fetched(world: World) -> None:
    """Neither an older entry, nor the same one read again, nor one of a clock that was ahead."""
    world.hold(entry(record_id="1", fetched_at=NOW - 10))
    held = world.held[D]
    for fetched_at in (NOW - 20, NOW - 10, NOW + DAY):
        world.hold(entry(record_id="2", fetched_at=fetched_at))
        assert world.held[D] is held
    assert len(world.notes) == 1


@in_loop
async def test_imports_go_by_the_same_rule(world: World) -> None:
    """An entry from elsewhere is taken if its fetch is later than the one held, and waits for what is under way."""
    world.hold(entry(record_id="1", fetched_at=NOW - 10))
    assert not await world.keeper.import_entry(entry(record_id="2", fetched_at=NOW - 10))
    assert await world.keeper.import_entry(entry(record_id="3", fetched_at=NOW - 5))
    assert (world.held[D].entry.record_id, world.store.entries[D].record_id) == ("3", "3")


@in_loop
async def test_a_policy_counts_as_used_by_the_lookup_that_waits_for_it(world: World) -> None:
    """A refresh alone is no use: what nobody asks for comes to its end."""
    long_ago = NOW // DAY * DAY - 20 * DAY
    world.hold(entry(used_at=long_ago))
    world.refresh()
    world.resolver.answer(world.found())
    await world.settle()
    assert world.held[D].entry.used_at == long_ago
    told = world.ask("other.example")
    world.resolver.answer(world.found())
    await world.settle()
    assert told[0].kind == "secure"
    assert world.held[Domain("other.example")].entry.used_at == NOW // DAY * DAY
