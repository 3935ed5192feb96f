"""policies/finder.py: what is not known is found out once, and who waits for it is told in time."""

from __future__ import annotations

from dataclasses import replace

import pytest

from postfix_mtasts.config.settings import CacheSettings, LookupSettings, Settings
from postfix_mtasts.core.entry import Entry
from postfix_mtasts.core.outcome import Cause, Found, Outcome, OwnFault
from postfix_mtasts.core.ports import Urgency
from postfix_mtasts.daemon.policies.finder import COMMIT_WAIT
from postfix_mtasts.daemon.policies.flights import LOOK_EVERY
from postfix_mtasts.errors import StoreError
from tests.support.fakes.entries import DAY, NOW, entry, policy
from tests.support.fakes.keeping import DIED, DNS_FAILED, UNCHANGED, D, World, absent, failed, in_loop

TESTING, NONE, SHORT = policy("testing", max_age=60), policy("none", max_age=60), policy(max_age=60)
FOUND = Found("2", policy(), NOW)
WAIT, FAILURE_TTL, RECHECK = 15.0, 300.0, 300.0  # seconds: the defaults


@pytest.fixture
def world() -> World:
    return World()


def lookup_settings(**changes: object) -> Settings:
    return Settings(lookup=replace(LookupSettings(), **changes))  # type: ignore[arg-type]


# -- the store ----------------------------------------------------------------


@in_loop
async def test_a_key_asked_before_the_store_is_loaded(world: World) -> None:
    """It is read at once, and no network is needed for what the store has."""
    world.not_loaded()
    world.store.entries[D] = entry()
    told = world.ask()
    await world.settle()
    assert [v.kind for v in told] == ["secure"]
    assert world.resolver.count == 0


@in_loop
async def test_an_unreadable_store(world: World) -> None:
    """Where the store cannot tell whether a policy is there, Postfix is told TEMP, and nothing is remembered."""
    world.not_loaded()
    world.store.instant = False
    told = world.ask()
    await world.settle()
    world.store.waiting.pop().set_exception(StoreError("bad sector"))
    await world.settle()
    assert [v.kind for v in told] == ["temp"]
    assert world.ask() == []  # asks the store again
    await world.settle()
    assert world.store.log == [("get", D), ("get", D)]


@in_loop
async def test_a_refresh_before_the_store_is_loaded(world: World) -> None:
    """It reads the store first: a failure must not hide the policy that is there, nor make lookups wait."""
    world.not_loaded()
    world.store.entries[D] = entry()
    world.refresh(lambda: None)
    told = world.ask()
    await world.settle()
    assert [v.kind for v in told] == ["secure"]
    assert world.resolver.answer(failed()).refetch_as == "20231114"
    assert world.kinds() == ["secure"]


@in_loop
async def test_entries_loaded_while_a_flight_is_under_way(world: World) -> None:
    """What a flight finds is newer than what is loaded, and what memory holds is never replaced by it."""
    world.not_loaded()
    told = world.ask()
    await world.settle()
    world.keeper.load([entry(fetched_at=NOW - 30 * DAY)])
    world.resolver.answer(world.found(mx="new.example.com"))
    await world.settle()
    world.keeper.load([entry()])
    assert told[0].policy is not None
    assert told[0].policy.mx == ("new.example.com",)
    assert world.held[D].entry.policy.mx == ("new.example.com",)


@in_loop
async def test_stored_before_it_is_used(world: World) -> None:
    """Nobody is told of a policy before it is on the disk."""
    world.store.instant = False
    told = world.ask()
    world.resolver.answer(world.found())
    await world.settle(1)
    assert (told, world.held) == ([], {})
    world.store.waiting.pop().set_result(None)
    await world.settle()
    assert [v.kind for v in told] == ["secure"]


@in_loop
async def test_a_full_disk(world: World) -> None:
    """A policy that cannot be written serves from memory."""
    world.store.instant = False
    told = world.ask()
    world.resolver.answer(world.found())
    world.store.waiting.pop().set_exception(StoreError("no space left"))
    await world.settle()
    assert [v.kind for v in told] == ["secure"]
    assert world.kinds() == ["secure"]


@in_loop
async def test_a_stuck_disk(world: World) -> None:
    """A write that hangs holds an answer up for COMMIT_WAIT, and changes nothing when it ends at last."""
    world.store.instant = False
    told = world.ask()
    world.resolver.answer(world.found())
    await world.settle()
    await world.settle(COMMIT_WAIT - 1)
    assert told == []
    await world.settle(1)
    assert [v.kind for v in told] == ["secure"]
    held = world.held[D]
    world.store.waiting[0].set_result(None)
    await world.settle()
    assert world.held[D] is held
    assert len(told) == 1


# -- single flight, forget, refresh ---------------------------------------------


@in_loop
async def test_single_flight(world: World) -> None:
    """Lookups, rechecks, the refresher and operators share one piece of work."""
    landed: list[str] = []
    lookups = [world.ask() for _ in range(40)]
    world.refresh(lambda: landed.append("operator"))
    world.resolver.answer(world.found())
    await world.settle()
    assert (world.resolver.count, landed) == (1, ["operator"])
    assert all(v[0].kind == "secure" for v in lookups)
    world.clock.advance(DAY)
    world.ask()
    assert world.keeper.due(D, lambda: landed.append("refresher"))
    world.refresh(lambda: landed.append("operator"))
    assert world.resolver.count == 2
    world.resolver.answer(world.found("3"))
    await world.settle()
    assert (world.resolver.count, landed) == (2, ["operator", "refresher", "operator"])


@in_loop
async def test_a_refresh_that_meets_a_recheck(world: World) -> None:
    """A recheck that reads an unchanged id fetches nothing, so the fetch that was asked for follows, once."""
    landed: list[str] = []
    world.hold(entry())
    world.clock.advance(RECHECK)
    world.ask()
    world.refresh(lambda: landed.append("one"))
    world.refresh(lambda: landed.append("two"))
    assert world.resolver.answer(UNCHANGED).refetch_as is None
    await world.settle()
    assert landed == []
    assert world.resolver.answer(failed()).refetch_as == "20231114"
    await world.settle()
    assert landed == ["one", "two"]
    assert world.resolver.open == []


@in_loop
async def test_forget(world: World) -> None:
    """What is forgotten is gone from memory and the store, and the frames with it."""
    world.hold(entry())
    world.reply_cache.ready[b"x"] = b"", [0]
    assert world.keeper.forget(D)[0]
    assert not world.keeper.forget(D)[0]
    assert (world.held, world.store.entries, world.reply_cache.ready) == ({}, {}, {})
    assert world.ask() == []


@in_loop
async def test_who_waits_while_a_domain_is_forgotten(world: World) -> None:
    """The lookup begins anew, and what was under way counts for nothing."""
    told = world.ask()
    world.keeper.forget(D)
    assert world.resolver.count == 2
    world.resolver.answer(world.found(mx="old.example.com"))
    await world.settle()
    assert (told, world.held, world.store.entries) == ([], {}, {})
    world.resolver.answer(world.found(mx="new.example.com"))
    await world.settle()
    assert [v.policy and v.policy.mx for v in told] == [("new.example.com",)]


@in_loop
async def test_forgotten_while_it_is_written(world: World) -> None:
    """A policy whose write ends after it was forgotten is not held."""
    world.store.instant = False
    world.ask()
    world.resolver.answer(world.found())
    world.keeper.forget(D)
    for future in world.store.waiting:
        future.set_result(None)
    await world.settle()
    assert world.held == {}
    assert [what for what, _ in world.store.log] == ["put", "delete"]


# -- lookup.wait --------------------------------------------------------------


@in_loop
async def test_late(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """After lookup.wait, counted from the start of the work, all who wait get TEMP, later ones at once."""
    first = world.ask()
    await world.settle(WAIT - 1)
    second = world.ask()
    assert first == second == []
    await world.settle(1)
    assert [v.kind for v in first + second] == ["temp", "temp"]
    assert world.kinds() == ["temp"]
    assert "temp domain=example.com" in caplog.text
    world.resolver.answer(world.found())
    await world.settle()
    assert world.kinds() == ["secure"]
    assert (len(first), world.resolver.count) == (1, 1)


BEFORE: list[tuple[str, Outcome | OwnFault, str, float, str]] = [
    ("a failed fetch", failed(), "skip", FAILURE_TTL, "notfound"),
    ("a failed fetch nearly a day ago", failed(), "skip", DAY - WAIT - 1, "notfound"),
    ("a failed fetch over a day ago", failed(), "skip", DAY, "temp"),
    ("a DNS failure that is skipped", DNS_FAILED, "skip", 30, "notfound"),
    ("a DNS failure that defers", DNS_FAILED, "defer", 30, "temp"),
    ("absence", absent(), "skip", 600, "temp"),
]


@pytest.mark.parametrize(("title", "answer", "rule", "later", "kind"), BEFORE, ids=[case[0] for case in BEFORE])
@in_loop
async def test_late_again(
    world: World, title: str, answer: Outcome | OwnFault, rule: str, later: float, kind: str
) -> None:
    """A host that failed before must not hold mail up by hanging now (RFC 8461 section 3.3)."""
    world.keeper.configure(lookup_settings(on_dns_failure=rule))
    world.ask()
    world.resolver.answer(answer)
    world.clock.advance(later)
    told = world.ask()
    await world.settle(WAIT)
    assert [v.kind for v in told] == [kind]
    assert world.kinds() == [kind]


@in_loop
async def test_late_after_a_failure_that_ended_in_absence(world: World) -> None:
    """A domain that has no record any more has failed nothing."""
    for answer in (failed(), absent()):
        world.ask()
        world.resolver.answer(answer)
        world.clock.advance(600)
    told = world.ask()
    await world.settle(WAIT)
    assert [v.kind for v in told] == ["temp"]


async def told_late(world: World) -> str:
    """What a lookup is told that nobody answers within lookup.wait; the work stays under way."""
    told = world.ask()
    assert told == []
    await world.settle(WAIT)
    return str(told[0].kind)


RETRY = 1000.0  # seconds until Postfix tries again
HOLES: list[tuple[str, int, Outcome | OwnFault | None]] = [
    ("no negative answer is kept", 0, failed()),
    ("other names push them out", 10, failed()),
    ("the host answers after each wait, with a testing policy for a minute", 100, Found("1", TESTING, NOW)),
    ("the same with mode none", 100, Found("1", NONE, NOW)),
    ("the same with an enforced policy for a minute", 100, Found("1", SHORT, NOW)),
    ("it fails after each wait", 100, failed()),
    ("its record is gone after each wait", 100, absent()),
]


@pytest.mark.parametrize(("title", "limit", "outcome"), HOLES, ids=[case[0] for case in HOLES])
@in_loop
async def test_a_host_that_hangs_holds_mail_up_once(world: World, title: str, limit: int, outcome: Outcome) -> None:
    """Who was told TEMP within a day is told NOTFOUND at the next lateness, whatever was found meanwhile (3.3)."""
    world.keeper.configure(Settings(cache=CacheSettings(negative_limit=limit)))
    told = []
    for _ in range(5):
        told.append(await told_late(world))
        found = replace(outcome, fetched_at=world.clock.utc) if isinstance(outcome, Found) else outcome
        world.resolver.answer(found)
        await world.settle()
        for number in range(20):
            world.ask(f"d{number}.example")
            world.resolver.answer(absent())
        world.clock.advance(RETRY)
    assert told == ["temp", "notfound", "notfound", "notfound", "notfound"]


@in_loop
async def test_a_lateness_is_remembered_for_a_day(world: World) -> None:
    """Then a lookup may wait, and be told TEMP, once more."""
    assert await told_late(world) == "temp"
    world.resolver.answer(absent())
    world.clock.advance(DAY - 2 * WAIT)
    assert await told_late(world) == "notfound"
    world.resolver.answer(absent())
    world.clock.advance(DAY)
    assert await told_late(world) == "temp"


@in_loop
async def test_a_lateness_counts_though_answers_came_in_time_since(world: World) -> None:
    """TEMP once within a day: a host that is slow now and then holds up no more than one that always is."""
    assert await told_late(world) == "temp"
    world.resolver.answer(absent())
    world.clock.advance(RETRY)
    assert world.ask() == []
    world.resolver.answer(absent())
    world.clock.advance(RETRY)
    assert await told_late(world) == "notfound"


@in_loop
async def test_a_lateness_that_nobody_was_told_of(world: World) -> None:
    """It counts from the first who hears TEMP: a refresh that is late holds up no mail by itself."""
    world.refresh()
    await world.settle(WAIT)
    world.resolver.answer(absent())
    await world.settle()
    world.clock.advance(RETRY)
    assert await told_late(world) == "temp"


@in_loop
async def test_who_comes_when_it_is_late_already_is_told_temp_at_once(world: World) -> None:
    """And that counts for the next time."""
    world.refresh()
    await world.settle(WAIT)
    assert world.kinds() == ["temp"]
    world.resolver.answer(absent())
    await world.settle()
    world.clock.advance(RETRY)
    assert await told_late(world) == "notfound"


NOT_THE_HOSTS: list[tuple[str, Outcome | OwnFault]] = [
    ("DNS failed, which defers", DNS_FAILED),
    ("our worker died", DIED),
    ("we were overloaded", OwnFault(Cause.OVERLOAD, "too much at once")),
]


@pytest.mark.parametrize(("title", "outcome"), NOT_THE_HOSTS, ids=[case[0] for case in NOT_THE_HOSTS])
@in_loop
async def test_a_lateness_that_was_not_the_hosts(world: World, title: str, outcome: Outcome) -> None:
    """DNS failures follow on_dns_failure, and our own overload is never the domain's failure: TEMP each time."""
    world.keeper.configure(lookup_settings(on_dns_failure="defer"))
    for _ in range(3):
        assert await told_late(world) == "temp"
        world.resolver.answer(outcome)
        await world.settle()
        world.clock.advance(RETRY)


@in_loop
async def test_no_lateness_where_an_enforced_policy_is_in_force(world: World) -> None:
    """However often the host hung before: the policy is answered at once."""
    assert await told_late(world) == "temp"
    world.resolver.answer(world.found())
    await world.settle()
    world.clock.advance(DAY / 2)
    assert world.kinds() == ["secure"]
    await world.settle(WAIT)
    assert world.kinds() == ["secure"]


@in_loop
async def test_late_after_a_policy_that_ended_failing(world: World) -> None:
    """Refreshes failed until the policy ended, so a lookup that hangs goes on without one."""
    world.hold(entry(max_age=400))
    world.clock.advance(RECHECK)
    world.ask()
    world.resolver.answer(failed("new"))
    world.clock.advance(200)
    told = world.ask()
    assert told == []
    await world.settle(WAIT)
    assert [v.kind for v in told] == ["notfound"]


@in_loop
async def test_stopping(world: World) -> None:
    """While it shuts down, an unknown domain gets TEMP, a known one its answer, and who waits TEMP at the end."""
    world.hold(entry("known.example"))
    waiting = world.ask()
    world.keeper.stop()
    assert world.kinds("other.example") == ["temp"]
    assert world.kinds("known.example") == ["secure"]
    world.keeper.abandon()
    assert [(v.kind, v.reason) for v in waiting] == [("temp", "postfix-mtasts is shutting down")]


# -- what is asked of the resolver -----------------------------------------------------

URGENCIES = [
    ("somebody waits", None, Urgency.LOOKUP),
    ("a refresh in good time", entry(max_age=7 * DAY), Urgency.UPKEEP),
    ("a refresh of what ends in ten minutes", entry(max_age=600), Urgency.EXPIRING),
    ("a refresh of what has a tenth of its time left", entry(fetched_at=NOW - 6.5 * DAY), Urgency.EXPIRING),
]


@pytest.mark.parametrize(("title", "held", "urgency"), URGENCIES, ids=[case[0] for case in URGENCIES])
@in_loop
async def test_who_is_served_first(world: World, title: str, held: Entry | None, urgency: Urgency) -> None:
    """Lookups that wait, and policies that end soon, go before what has time."""
    if held is None:
        world.ask()
    else:
        world.hold(held)
        world.refresh()
    assert world.resolver.open[0][0].urgency is urgency


@in_loop
async def test_a_recheck_has_time(world: World) -> None:
    """Nobody waits for it."""
    world.hold(entry())
    world.clock.advance(RECHECK)
    world.ask()
    assert world.resolver.open[0][0].urgency is Urgency.UPKEEP


@pytest.mark.parametrize("outcome", [failed(), DIED, FOUND], ids=["failed", "our own fault", "found"])
@in_loop
async def test_a_refresh_tells_how_it_ended(world: World, outcome: Outcome | OwnFault) -> None:
    """Who asked for the fetch is told of it, and not of what memory holds afterwards."""
    world.hold(entry())
    task = world.refresh()
    world.resolver.answer(outcome)
    await world.settle()
    assert task.result() is outcome


@pytest.mark.parametrize("outcome", [absent(), DNS_FAILED], ids=["no record", "DNS failed"])
@in_loop
async def test_a_refresh_of_an_unknown_domain_without_a_record(world: World, outcome: Outcome) -> None:
    """There is nothing to fetch again."""
    task = world.refresh()
    world.resolver.answer(outcome)
    await world.settle()
    assert task.result() is outcome
    assert world.resolver.open == []


@in_loop
async def test_a_refresh_of_a_domain_that_is_forgotten_meanwhile(world: World) -> None:
    """It ends all the same, and nothing is held."""
    world.hold(entry())
    task = world.refresh()
    world.keeper.forget(D)
    world.resolver.answer(world.found())
    await world.settle()
    assert isinstance(task.result(), Found)
    assert (world.held, world.store.entries) == ({}, {})


@in_loop
async def test_who_asks_while_a_domain_is_refetched_after_its_store_was_read(world: World) -> None:
    """A lookup that came before the store was read is answered by the policy found there, at once."""
    world.not_loaded()
    world.store.entries[D] = entry()
    world.refresh()
    told = world.ask()
    await world.settle()
    assert [v.kind for v in told] == ["secure"]


@in_loop
async def test_one_wait_however_many_flights(world: World) -> None:
    """A policy ends while its record is read again: who waits for that, and then for a fetch, waits no longer."""
    world.hold(entry(max_age=400))
    world.clock.advance(395)
    world.ask()
    await world.settle(6)
    told = world.ask()
    assert told == []
    await world.settle(8)
    world.resolver.answer(UNCHANGED)
    assert [question.refetch_as for question, _ in world.resolver.open] == [None]
    assert told == []
    await world.settle(1)
    await world.settle(LOOK_EVERY)
    assert [v.kind for v in told] == ["temp"]


@in_loop
async def test_who_waits_while_it_is_forgotten_waits_no_longer(world: World) -> None:
    """The lookup begins anew, and its time does not."""
    told = world.ask()
    await world.settle(WAIT - 1)
    world.keeper.forget(D)
    await world.settle(1)
    await world.settle(LOOK_EVERY)
    assert [v.kind for v in told] == ["temp"]
