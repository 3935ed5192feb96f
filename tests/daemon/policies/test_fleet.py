"""policies/fleet.py: what is believed of others, what they are told, and what a broken shared store costs."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import replace

import pytest

from postfix_mtasts.config.settings import Settings, SharedSettings
from postfix_mtasts.core.entry import Entry
from postfix_mtasts.core.names import Domain
from postfix_mtasts.core.ports import Lease, SharedRow, Withdrawn
from postfix_mtasts.daemon.counters import Counts
from postfix_mtasts.daemon.policies.fleet import Fleet, Member
from postfix_mtasts.daemon.policies.shared_link import SharedLink
from tests.support.fakes.entries import DAY, NOW, entry
from tests.support.fakes.keeping import D, ManualClock
from tests.support.fakes.shared import BAD, FakeShared

SETTINGS = Settings(shared=SharedSettings(url="redis://r", timeout=10.0))


class World:
    def __init__(self) -> None:
        self.shared, self.clock, self.counts = FakeShared(), ManualClock(), Counts()
        self.fleet = Fleet(lambda settings: self.shared, self.clock, self.counts)
        self.held: list[Entry] = []
        self.received: list[Entry] = []
        self.withdrawn: list[Withdrawn] = []

    async def receive(self, entry: Entry) -> bool:
        self.received.append(entry)
        return True

    def contents(self) -> Iterator[Entry]:
        return iter(self.held)

    async def start(self, settings: Settings = SETTINGS) -> None:
        self.fleet.start(settings, Member(self.receive, self.withdrawn.append, self.contents, lambda: True))
        await until(lambda: self.counts.shared["reconcile", "ok"] or self.fleet.reason not in ("", "not reached yet"))


async def until(is_so: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not is_so():
            await asyncio.sleep(0.01)


def running(test: Callable[[World], Awaitable[None]]) -> Callable[[], None]:
    def run() -> None:
        async def main() -> None:
            world = World()
            try:
                await test(world)
            finally:
                world.fleet.stop()

        asyncio.run(main())

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


@running
async def test_without_a_url_there_is_nothing(world: World) -> None:
    """No thread, no call, every lease granted."""
    threads = threading.active_count()
    world.fleet.start(Settings(), Member(world.receive, world.withdrawn.append, world.contents, lambda: True))
    assert (world.fleet.wanted, world.fleet.up) == (False, False)
    world.fleet.offer(entry())
    assert await world.fleet.lease(D, 5, NOW) is Lease.GRANTED
    assert (threading.active_count(), world.shared.calls) == (threads, [])


@running
async def test_both_sides_are_reconciled_at_the_start(world: World) -> None:
    """What is newer there is taken, and what is newer here is offered."""
    theirs, ours, newer = entry("a.example"), entry("b.example"), entry("d.example")
    older = entry("d.example", fetched_at=NOW - 1)  # as of a server that came back with an old snapshot
    world.shared.content = {theirs.domain: theirs, older.domain: older}
    world.held = [ours, newer, entry("a.example", fetched_at=NOW - 1), entry("c.example", fetched_at=NOW - 30 * DAY)]
    await world.start()
    assert world.received == [theirs, older]  # of which the daemon takes what is newer than its own
    assert world.shared.content == {each.domain: each for each in (theirs, ours, newer)}


GIVEN: list[tuple[str, SharedRow | None, Entry | None, str]] = [
    ("nothing", None, None, "ok"),
    ("a policy in force", entry(), entry(), "ok"),
    ("one of a clock ahead", entry(fetched_at=NOW + 60), entry(), "ok"),
    ("one that has ended", entry(fetched_at=NOW - 30 * DAY), None, "ok"),
    ("one that was withdrawn", Withdrawn(D, NOW), None, "ok"),
    ("a bad row", BAD, None, "bad"),
]


@pytest.mark.parametrize(("title", "row", "want", "result"), GIVEN, ids=[each[0] for each in GIVEN])
def test_what_a_first_lookup_takes(title: str, row: SharedRow | None, want: Entry | None, result: str) -> None:
    """A policy in force alone; a time later than now becomes now."""

    async def test(world: World) -> None:
        await world.start()
        if row is not None:
            world.shared.content[D] = row
        assert await world.fleet.get(D) == want
        assert world.counts.shared["get", result] == 1

    running(test)()


def test_a_server_that_hangs_is_waited_for_no_longer_than_the_timeout() -> None:
    """A first lookup goes on as if there were nothing, and a refresh as if the lease were granted."""
    answers = threading.Event()

    async def test(world: World) -> None:
        def get(domains: Sequence[Domain]) -> list[SharedRow]:
            answers.wait(60)
            return []

        await world.start(Settings(shared=SharedSettings(url="redis://r", timeout=0.05)))
        world.shared.get = get  # type: ignore[method-assign]
        assert await world.fleet.get(D) is None
        assert await world.fleet.lease(D, 5, NOW) is Lease.GRANTED  # queued behind what hangs
        assert not answers.is_set()
        assert world.counts.shared["get", "failed"] == world.counts.shared["lease", "failed"] == 1
        answers.set()

    running(test)()


def test_the_threads_outlive_a_server_that_answers_nonsense(caplog: pytest.LogCaptureFixture) -> None:
    """It is away until it is reached anew, and then it is asked again."""

    async def test(world: World) -> None:
        await world.start()
        get = world.shared.get
        world.shared.get = lambda domains: None  # type: ignore[assignment, return-value]
        assert await world.fleet.get(D) is None
        await until(lambda: not world.fleet.up)
        world.shared.get = get  # type: ignore[method-assign]
        world.shared.content[D] = entry()
        await until(lambda: world.fleet.up)
        assert await world.fleet.get(D) == entry()

    running(test)()
    assert "internal-error" in caplog.text
    assert caplog.text.count("shared-away") == 1


@running
async def test_a_row_is_kept_for_a_day_after_its_policy(world: World) -> None:
    """A withdrawal for a week."""
    await world.start()
    world.fleet.offer(entry(max_age=7 * DAY))
    await until(lambda: world.shared.until)
    assert world.shared.until == {D: NOW + 8 * DAY}
    await world.fleet.withdraw(D, NOW)
    assert world.shared.until == {D: NOW + 7 * DAY}


@running
async def test_a_change_is_passed_on(world: World) -> None:
    """A policy and a withdrawal."""
    await world.start()
    gone = Withdrawn(entry("b.example").domain, NOW)
    world.shared.content.update({D: entry(), gone.domain: gone})
    world.shared.named = [D, gone.domain]
    await until(lambda: world.received)
    assert (world.received, world.withdrawn) == ([entry()], [gone])


@running
async def test_a_bad_row_is_told_of_once_in_failure_ttl(world: World) -> None:
    """And counted each time."""
    await world.start()
    for _ in range(3):
        assert world.fleet.judged(BAD) is None
    assert world.counts.shared["get", "bad"] == 3
    first = world.fleet._refused_at
    world.clock.advance(SETTINGS.lookup.failure_ttl)
    world.fleet.judged(BAD)
    assert world.fleet._refused_at > first


def test_away_and_back(caplog: pytest.LogCaptureFixture) -> None:
    """One warning, one all-clear; what could not be told is told then."""

    async def test(world: World) -> None:
        await world.start()
        world.shared.fault = "redis://r: gone"
        assert await world.fleet.get(D) is None
        await until(lambda: not world.fleet.up)
        assert await world.fleet.lease(D, 5, NOW) is Lease.GRANTED
        assert await world.fleet.withdraw(D, NOW) == "redis://r: gone"
        world.fleet.offer(entry("b.example"))
        world.held = [entry("b.example")]
        world.shared.fault = ""
        await until(lambda: not world.fleet._warned)
        assert set(world.shared.content) == {D, "b.example"}
        assert world.shared.content[D] == Withdrawn(D, NOW)

    with caplog.at_level("INFO"):
        running(test)()
    assert (caplog.text.count("shared-away"), caplog.text.count("shared-back")) == (1, 1)


@running
async def test_a_lease_is_kept_or_given_back(world: World) -> None:
    """In the order in which it was told, after what was offered."""
    await world.start()
    assert await world.fleet.lease(D, 65, NOW) is Lease.GRANTED
    world.fleet.offer(entry())
    world.fleet.release(D)
    await until(lambda: not world.shared.leases)
    told = [call for call in world.shared.calls if call in ("lease", "offer", "release")]
    assert told == ["lease", "offer", "release"]
    world.fleet.keep_lease(D, 300, NOW)
    await until(lambda: world.shared.leases == {D: 300})


@running
async def test_a_reload_with_another_store_begins_anew(world: World) -> None:
    """And one without ends it."""
    await world.start()
    other = world.shared = FakeShared()
    world.fleet.configure(replace(SETTINGS, shared=SharedSettings(url="redis://other")))
    await until(lambda: "rows" in other.calls)
    world.fleet.configure(Settings())
    assert (world.fleet.wanted, world.fleet.up) == (False, False)


def test_what_comes_after_the_end_of_the_loop_is_dropped_in_silence() -> None:
    """No warning of a coroutine that nobody awaited reaches standard error while the daemon ends."""
    world, loop = World(), asyncio.new_event_loop()
    loop.close()
    link = SharedLink(world.shared, world.fleet, loop, world.clock.monotonic)
    with pytest.raises(RuntimeError, match="closed"):
        link._on_loop(world.fleet.take([entry()]))
    gc.collect()
