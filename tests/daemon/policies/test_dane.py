"""policies/dane.py: the DANE status over time, as lookups see it."""

from __future__ import annotations

import pytest

from postfix_mtasts.core.dane import DaneFacts, DaneStatus, HostFacts
from postfix_mtasts.core.outcome import OwnFault
from postfix_mtasts.daemon.policies.dane import port_number
from tests.support.fakes import faults
from tests.support.fakes.entries import DAY, entry
from tests.support.fakes.keeping import BUG, DIED, D, World, dane, in_loop


@pytest.fixture
def world() -> World:
    world = World()
    world.schedule.timing = world.schedule.timing.__class__(8 * DAY, 8 * DAY, 300.0)  # no recheck here
    world.hold(entry(max_age=100 * DAY))
    return world


@in_loop
async def test_fresh_stale_gone(world: World) -> None:
    """A status serves for its TTL, for up to a day while it is read again, and then the lookup waits."""
    world.ask(dane=True)
    world.resolver.answer(dane("usable", ttl=300))
    world.clock.advance(299)
    assert [(v.kind, v.lasts) for v in world.ask(dane=True)] == [("dane-only", 1.0)]
    assert world.resolver.count == 1
    world.clock.advance(1)
    assert [(v.kind, v.lasts) for v in world.ask(dane=True) + world.ask(dane=True)] == [("dane-only", 0.0)] * 2
    assert world.resolver.count == 2
    world.resolver.answer(dane("usable", ttl=300))
    world.clock.advance(DAY - 1)
    assert [v.kind for v in world.ask(dane=True)] == ["dane-only"]
    world.clock.advance(1)
    assert world.ask(dane=True) == []


@in_loop
async def test_unknown_is_temp_for_thirty_seconds(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """A status that cannot be had is TEMP, said as a warning, kept for 30 s, and then read again."""
    world.ask(dane=True)
    world.resolver.answer(dane("unknown"))
    assert "temp domain=example.com" in caplog.text
    world.clock.advance(29)
    assert world.kinds(dane=True) == ["temp"]
    world.clock.advance(1)
    told = world.ask(dane=True)
    assert told == []
    world.resolver.answer(dane("usable"))
    assert [v.kind for v in told] == ["dane-only"]


@pytest.mark.parametrize("answer", [dane("unknown"), DIED, BUG])
@in_loop
async def test_what_an_earlier_answer_said(world: World, answer: DaneFacts | OwnFault) -> None:
    """Where DNS does not answer, an earlier answer counts for a day; then it is TEMP."""
    world.ask(dane=True)
    world.resolver.answer(dane("usable"))
    world.clock.advance(DAY - 1)
    told = world.ask(dane=True)
    world.resolver.answer(answer)
    assert [v.kind for v in told] == ["dane-only"]
    world.clock.advance(1)
    told = world.ask(dane=True)
    world.resolver.answer(answer)
    assert [v.kind for v in told] == ["temp"]


@in_loop
async def test_a_slow_reading(world: World) -> None:
    """After lookup.wait all who wait get TEMP, later ones at once, and the reading goes on."""
    told = world.ask(dane=True)
    await world.settle(15)
    assert [v.kind for v in told] == ["temp"]
    assert world.kinds(dane=True) == ["temp"]
    world.resolver.answer(dane("usable"))
    assert world.kinds(dane=True) == ["dane-only"]
    assert world.resolver.count == 1


USABLE_HOST = HostFacts("mx2.example.com", DaneStatus.USABLE, faults.seen("TLSA 3 1 1"))
NO_TLSA = HostFacts("mx1.example.com", DaneStatus.UNUSABLE, faults.seen("no TLSA record"))
EARLY = DaneFacts(DaneStatus.USABLE, faults.seen("secure"), (USABLE_HOST,), 300.0, complete=False)
WHOLE = DaneFacts(DaneStatus.USABLE, faults.seen("secure"), (NO_TLSA, USABLE_HOST), 120.0)


@in_loop
async def test_the_verdict_stands_at_the_first_usable_host(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Lookups are answered while the other hosts are still being read; then dane-partial is logged, once."""
    caplog.set_level("INFO")
    told = world.ask(dane=True)
    world.resolver.tell_early(EARLY)
    assert [v.kind for v in told] == ["dane-only"]
    assert world.kinds(dane=True) == ["dane-only"]
    assert (world.resolver.count, "dane-partial" in caplog.text) == (1, False)
    world.resolver.answer(WHOLE)
    assert "dane-partial domain=example.com without_tlsa=mx1.example.com" in caplog.text
    world.clock.advance(119)
    assert [v.lasts for v in world.ask(dane=True)] == [1.0]
    world.clock.advance(1)
    world.ask(dane=True)
    world.resolver.answer(WHOLE)
    assert caplog.text.count("dane-partial") == 1
    assert caplog.text.count("dane-status") == 1


@in_loop
async def test_a_worker_that_dies_between_the_verdict_and_the_whole(world: World) -> None:
    """What the first usable host said stays."""
    world.ask(dane=True)
    world.resolver.tell_early(EARLY)
    world.resolver.answer(DIED)
    assert world.kinds(dane=True) == ["dane-only"]
    assert world.keeper.dane._flights == {}


@in_loop
async def test_a_late_status_is_told_at_once_when_a_host_is_usable(world: World) -> None:
    """Who comes after lookup.wait and after the first usable host hears of it, though hosts are still silent."""
    told = world.ask(dane=True)
    await world.settle(15)
    assert [v.kind for v in told] == ["temp"]
    world.resolver.tell_early(EARLY)
    assert world.kinds(dane=True) == ["dane-only"]


@in_loop
async def test_policy_and_status_share_one_wait(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Who waited for the policy nearly as long as lookup.wait does not wait as long again for the status."""
    world.keeper.forget(D)
    told = world.ask(dane=True)
    await world.settle(14)
    world.resolver.answer(world.found())
    await world.settle()
    assert told == []
    assert [question.method for question, _ in world.resolver.open] == ["dane"]
    await world.settle(1)
    assert [v.kind for v in told] == ["temp"]
    assert "temp domain=example.com" in caplog.text


@in_loop
async def test_a_change_empties_the_frames(world: World) -> None:
    """A status read again with another result is told at once; the same result leaves the frames alone."""
    world.ask(dane=True)
    world.resolver.answer(dane("usable"))
    for status, left in (("usable", 1), ("unusable", 0)):
        world.clock.advance(300)
        world.ask(dane=True)
        world.reply_cache.ready[b"x"] = b"", [0]
        world.resolver.answer(dane(status))
        assert len(world.reply_cache.ready) == left
    assert world.kinds(dane=True) == ["secure"]


@in_loop
async def test_each_port_has_its_own_status(world: World) -> None:
    """TLSA is asked at the port of the key, by number or name."""
    for port in ("25", "587", "submission"):
        world.ask(dane=True, port=port)
    assert [question.port for question, _ in world.resolver.open] == [25, 587]


def test_an_unknown_service() -> None:
    """It counts as smtp."""
    assert [port_number(text) for text in ("25", "smtp", "no-such-service")] == [25, 25, 25]


@in_loop
async def test_another_resolver(world: World) -> None:
    """After a reload to other dns.servers no status of the old ones counts, a day-old answer neither."""
    world.ask(dane=True)
    world.resolver.answer(dane("usable"))
    world.keeper.dane.clear()
    told = world.ask(dane=True)
    assert told == []
    world.resolver.answer(dane("unknown"))
    assert [v.kind for v in told] == ["temp"]


@in_loop
async def test_another_resolver_while_the_old_one_is_asked(world: World) -> None:
    """What the old one says counts for nothing: who waits is told what the new one says."""
    told = world.ask(dane=True)
    world.keeper.dane.clear()
    world.resolver.answer(dane("usable"))
    assert told == []
    world.resolver.answer(dane("unusable"))
    assert [v.kind for v in told] == ["secure"]
    assert world.kinds(dane=True) == ["secure"]


@in_loop
async def test_forget(world: World) -> None:
    """A forgotten status is read again, and a reading under way counts for nothing."""
    world.ask(dane=True)
    world.resolver.answer(dane("usable"))
    world.clock.advance(300)
    world.ask(dane=True)
    world.keeper.forget(D)
    world.hold(entry(max_age=100 * DAY))
    world.resolver.answer(dane("usable"))
    assert world.ask(dane=True) == []
    assert world.keeper.dane.reading(D) is None


@in_loop
async def test_stopping(world: World) -> None:
    """Who still waits at the end gets TEMP."""
    told = world.ask(dane=True)
    world.keeper.abandon()
    assert [v.kind for v in told] == ["temp"]
