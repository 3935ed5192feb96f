"""daemon/keeper.py: what Postfix is told, and when the network is asked."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from postfix_mtasts.config.settings import CacheSettings, LookupSettings, RefreshSettings, Settings
from postfix_mtasts.core.answering import OWN_FAULT_LASTS
from postfix_mtasts.core.names import Domain
from postfix_mtasts.core.outcome import Cause, Found, Outcome, OwnFault, Unchanged
from postfix_mtasts.daemon.policies.finder import COMMIT_WAIT
from postfix_mtasts.daemon.policies.keeper import AT_A_TURN
from postfix_mtasts.daemon.policies.schedule import OWN_FAULT_PAUSE
from postfix_mtasts.errors import StoreError
from tests.support.fakes.entries import DAY, NOW, entry, policy
from tests.support.fakes.keeping import BUG, DIED, DNS_FAILED, UNCHANGED, D, World, absent, dane, failed, in_loop

TESTING, NONE, SHORT = policy("testing", max_age=60), policy("none", max_age=60), policy(max_age=60)
WAIT, FAILURE_TTL, RECHECK = 15.0, 300.0, 300.0  # seconds: the defaults


@pytest.fixture
def world() -> World:
    return World()


def lookup_settings(**changes: object) -> Settings:
    return Settings(lookup=replace(LookupSettings(), **changes))  # type: ignore[arg-type]


# -- the answer table ---------------------------------------------------------

ANSWERS: list[tuple[str, Outcome | OwnFault, str]] = [
    ("no record", absent(), "notfound"),
    ("a failed fetch with nothing cached", failed(), "notfound"),
    ("a DNS failure, skipped", DNS_FAILED, "notfound"),
    ("an error of our own in the worker", BUG, "notfound"),
    ("a worker that died", DIED, "temp"),
    ("too much to do", OwnFault(Cause.OVERLOAD, "others were before it"), "temp"),
]


@pytest.mark.parametrize(("title", "answer", "kind"), ANSWERS, ids=[case[0] for case in ANSWERS])
@in_loop
async def test_no_policy(world: World, title: str, answer: Outcome | OwnFault, kind: str) -> None:
    """Whatever comes of a first lookup is told to all who wait, and repeated without another query."""
    waiting = [world.ask(), world.ask()]
    world.resolver.answer(answer)
    assert [[v.kind for v in told] for told in waiting] == [[kind], [kind]]
    assert world.kinds() == [kind]
    assert world.resolver.count == 1


@pytest.mark.parametrize(("mode", "kind"), [("enforce", "secure"), ("testing", "notfound"), ("none", "notfound")])
@in_loop
async def test_a_policy(world: World, mode: str, kind: str) -> None:
    """Only an enforced policy is told to Postfix."""
    told = world.ask()
    world.resolver.answer(world.found(mode=mode))
    await world.settle()
    assert [v.kind for v in told] == [kind]
    assert world.kinds() == [kind]


OWN = [("a bug", BUG, 1), ("a dead worker is none", DIED, 0)]


@pytest.mark.parametrize(("title", "answer", "errors"), OWN, ids=[case[0] for case in OWN])
@in_loop
async def test_errors_of_our_own(
    world: World, title: str, answer: Outcome | OwnFault, errors: int, caplog: pytest.LogCaptureFixture
) -> None:
    """An error of our own is counted and logged as an error, and a cached policy goes on."""
    world.hold(entry())
    world.clock.advance(RECHECK)
    world.ask()
    world.resolver.answer(answer)
    assert world.kinds() == ["secure"]
    assert world.counts.errors == errors
    assert caplog.text.count("internal-error") == errors


@in_loop
async def test_a_failure_of_our_own_is_not_the_domains(world: World) -> None:
    """TEMP for a moment, then the work begins anew; nothing is remembered, counted or reported against the domain."""
    reported: list[object] = []
    world.report = lambda *failure: reported.append(failure)
    world.ask()
    world.resolver.answer(DIED)
    assert world.kinds() == ["temp"]
    world.clock.advance(OWN_FAULT_LASTS)
    told = world.ask()
    await world.settle(WAIT)
    assert [v.kind for v in told] == ["temp"]
    assert (reported, world.counts.fetches) == ([], {})


@in_loop
async def test_a_refresh_that_we_failed_at_is_tried_again_soon(world: World) -> None:
    """The domain is not in trouble, and its retry clock does not run."""
    world.hold(entry())
    world.keeper.due(D, lambda: None)
    world.clock.advance(2 * DAY)
    assert world.keeper.due(D, lambda: None)
    world.resolver.answer(DIED)
    assert world.held[D].trouble is None
    assert world.notes[-1][0] == world.clock.since_boot + OWN_FAULT_PAUSE
    assert world.pass_to_refresher()


@pytest.mark.parametrize(("cached", "kind"), [(False, "notfound"), (True, "secure")])
@in_loop
async def test_an_error_while_an_outcome_is_taken_in(world: World, cached: bool, kind: str) -> None:
    """It is counted, the domain is not stuck, and who waits gets the cached policy or NOTFOUND."""

    def broken(*_: object) -> None:
        raise RuntimeError("of our own")

    world.report = broken
    if cached:
        world.hold(entry())
        world.clock.advance(RECHECK)
    told = world.ask()
    world.resolver.answer(failed("new"))
    assert [v.kind for v in told] == [kind]
    assert (world.counts.errors, world.flights()) == (1, 0)


REMEMBERED: list[tuple[str, Outcome | OwnFault, Settings, float]] = [
    ("absence for the SOA minimum", absent(120), Settings(), 120),
    ("absence for a minute at least", absent(1), Settings(), 60),
    ("absence for negative_ttl at most", absent(DAY), Settings(), 600),
    ("a failed fetch for failure_ttl", failed(), Settings(), FAILURE_TTL),
    ("a DNS failure for 30 s", DNS_FAILED, Settings(), 30),
    ("a deferred DNS failure for 30 s", DNS_FAILED, lookup_settings(on_dns_failure="defer"), 30),
]


@pytest.mark.parametrize(("title", "answer", "settings", "lasts"), REMEMBERED, ids=[case[0] for case in REMEMBERED])
@in_loop
async def test_how_long_it_is_remembered(
    world: World, title: str, answer: Outcome | OwnFault, settings: Settings, lasts: float
) -> None:
    """A negative answer is repeated for its time, and then the network is asked again."""
    world.keeper.configure(settings)
    world.ask()
    world.resolver.answer(answer)
    world.clock.advance(lasts - 1)
    assert world.ask()[0].lasts == pytest.approx(1)
    world.clock.advance(1)
    assert world.ask() == []
    assert world.resolver.count == 2


@in_loop
async def test_defer(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """on_dns_failure: defer makes a DNS failure TEMP; the first of a domain is a warning."""
    world.keeper.configure(lookup_settings(on_dns_failure="defer"))
    for _ in range(3):
        told = world.ask()
        world.resolver.answer(DNS_FAILED)
        assert [v.kind for v in told] == ["temp"]
        assert world.kinds() == ["temp"]
        world.clock.advance(30)
    assert caplog.text.count("temp domain=example.com") == 1


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
    world.frames.ready[b"x"] = b"", [0]
    assert world.keeper.forget(D)[0]
    assert not world.keeper.forget(D)[0]
    assert (world.held, world.store.entries, world.frames.ready) == ({}, {}, {})
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


# -- a policy in force ------------------------------------------------------------

TROUBLES: list[tuple[str, Outcome | OwnFault | None]] = [
    ("a lost record", absent()),
    ("a DNS failure", DNS_FAILED),
    ("a failed fetch", failed("new")),
    ("an unchanged id", UNCHANGED),
    ("a worker that died", DIED),
    ("silence", None),
]


@pytest.mark.parametrize(("title", "answer"), TROUBLES, ids=[case[0] for case in TROUBLES])
@in_loop
async def test_a_cached_policy_stays_until_its_end(world: World, title: str, answer: Outcome | OwnFault | None) -> None:
    """It is answered at once whatever DNS and the policy host do, and nothing prolongs it but a fetch."""
    world.hold(entry(max_age=DAY))
    for _ in range(23):
        world.clock.advance(3600)
        assert world.kinds() == ["secure"]
        if answer:
            world.resolver.answer(answer)
    world.clock.advance(3599)
    assert world.kinds() == ["secure"]
    if answer:
        world.resolver.answer(answer)
    world.clock.advance(1)
    assert world.ask() == []
    assert world.held[D].entry.fetched_at == NOW


@in_loop
async def test_one_reading_each_recheck(world: World) -> None:
    """However many ask, the record is read once each refresh.recheck; a reading counts from its start."""
    world.hold(entry())
    world.clock.advance(RECHECK - 1)
    world.ask()
    assert world.resolver.count == 0
    world.clock.advance(1)
    for _ in range(10):
        assert world.kinds() == ["secure"]
    world.clock.advance(100)
    assert world.resolver.answer(DNS_FAILED).avoid == ("20231114",)
    world.clock.advance(RECHECK - 101)
    world.ask()
    assert world.resolver.count == 1
    world.clock.advance(1)
    world.ask()
    assert world.resolver.count == 2


@in_loop
async def test_a_new_id_during_back_off(world: World) -> None:
    """An id that failed is not tried before the retry clock allows; one not tried before is."""
    world.hold(entry(record_id="1"))
    world.clock.advance(RECHECK)
    world.ask()
    world.resolver.answer(failed("2"))
    world.held[D].retry_at = world.clock.since_boot + 2 * RECHECK
    world.clock.advance(RECHECK)
    world.ask()
    assert world.resolver.answer(Unchanged("2")).avoid == ("1", "2")
    world.clock.advance(RECHECK)
    world.ask()
    assert world.resolver.answer(failed("2")).avoid == ("1",)


@in_loop
async def test_mode_none_takes_effect_at_once(world: World) -> None:
    """A fetched policy replaces the old one, and no ready frame tells of that."""
    world.hold(entry())
    world.clock.advance(RECHECK)
    world.ask()
    world.frames.ready[b"x"] = b"", [0]
    world.resolver.answer(world.found(mode="none"))
    await world.settle()
    assert world.kinds() == ["notfound"]
    assert world.frames.ready == {}


@in_loop
async def test_a_policy_that_ends_while_it_is_fetched(world: World) -> None:
    """It is told to those who waited for it, once, instead of being fetched for ever."""
    world.keeper.configure(Settings(refresh=RefreshSettings(recheck=1.0)))
    told = world.ask()
    answer = world.found(max_age=0)
    world.clock.advance(5)
    world.resolver.answer(answer)
    await world.settle()
    assert [(v.kind, v.lasts) for v in told] == [("secure", 0.0)]


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
    assert world.keeper.known.lacks == limit
    assert world.kinds() == ["secure"]


@in_loop
async def test_a_frame_of_a_negative_answer_that_was_pushed_out(world: World) -> None:
    """A policy found later empties the frames, since one may still tell of its absence."""
    world.keeper.configure(Settings(cache=CacheSettings(negative_limit=0)))
    world.ask()
    world.resolver.answer(absent())
    world.frames.ready[b"x"] = b"", [0]
    world.refresh(lambda: None)
    world.resolver.answer(world.found())
    await world.settle()
    assert world.frames.ready == {}


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


# -- DANE -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("status", "kind"), [("usable", "dane-only"), ("unusable", "secure"), ("unknown", "temp")])
@in_loop
async def test_dane(world: World, status: str, kind: str) -> None:
    """On a dane map an enforced policy waits for the DANE status, elsewhere never."""
    world.hold(entry())
    told = world.ask(dane=True)
    assert told == []
    assert world.kinds() == ["secure"]
    assert world.resolver.answer(dane(status)).method == "dane"
    assert [v.kind for v in told] == [kind]


@pytest.mark.parametrize("mode", ["testing", "none"])
@in_loop
async def test_no_dane_query_without_an_enforced_policy(world: World, mode: str) -> None:
    """Postfix applies its own dane to such a domain."""
    world.hold(entry(mode=mode))
    assert world.kinds(dane=True) == ["notfound"]
    assert world.resolver.count == 0
