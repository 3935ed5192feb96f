"""policies/keeper.py: what Postfix is told, and when the network is asked."""

from __future__ import annotations

from dataclasses import replace

import pytest

from postfix_mtasts.config.settings import LookupSettings, RefreshSettings, Settings
from postfix_mtasts.core.answering import OWN_FAULT_LASTS
from postfix_mtasts.core.outcome import Cause, Outcome, OwnFault, Unchanged
from postfix_mtasts.daemon.policies.schedule import OWN_FAULT_PAUSE
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
    world.reply_cache.ready[b"x"] = b"", [0]
    world.resolver.answer(world.found(mode="none"))
    await world.settle()
    assert world.kinds() == ["notfound"]
    assert world.reply_cache.ready == {}


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
