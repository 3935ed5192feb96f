"""The keeper under any order of events: what must hold whatever comes when."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from postfix_mtasts.core.names import Domain, NextHop
from postfix_mtasts.core.outcome import Unchanged
from postfix_mtasts.core.verdict import Kind, Verdict
from postfix_mtasts.daemon.policies.flights import LOOK_EVERY
from postfix_mtasts.errors import StoreError
from tests.support.fakes.entries import DAY, entry
from tests.support.fakes.keeping import BUG, DIED, DNS_FAILED, ManualLoop, World, absent, dane, failed

DOMAINS = ["a.example", "b.example"]
WAIT = 15.0  # seconds: lookup.wait
LATEST = WAIT + 2 * LOOK_EVERY


class Lookup:
    """One lookup and what it was told."""

    def __init__(self, world: World, domain: str, on_dane_map: bool) -> None:
        self.world, self.domain = world, domain
        self.asked_at = world.clock.since_boot
        self.told: list[Verdict] = []
        self.enforced: list[bool] = []  # whether an enforced policy was in force when it was told
        known = world.keeper.lookup(NextHop(Domain(domain), "25"), on_dane_map, self._hear)
        if known is not None:
            self._hear(known)

    def _hear(self, verdict: Verdict) -> None:
        self.told.append(verdict)
        self.enforced.append(self.world.keeper.known.enforces(Domain(self.domain)))


class Run:
    """A world, and all that goes on in it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.lookups: list[Lookup] = []
        self.tasks: list[asyncio.Task[Any]] = []
        self.landed: list[str] = []
        self.begun = 0
        self.bugs = 0  # answers that were errors of our own: no others may be counted

    def ask(self, domain: str, on_dane_map: bool) -> None:
        enforced = self.world.keeper.known.enforces(Domain(domain))
        lookup = Lookup(self.world, domain, on_dane_map)
        self.lookups.append(lookup)
        if enforced and not on_dane_map:
            assert [verdict.kind for verdict in lookup.told] == [Kind.SECURE]

    def answer(self, which: int) -> None:
        """Answer an open question with something that fits it."""
        if not self.world.resolver.open:
            return
        question, done = self.world.resolver.open.pop(which % len(self.world.resolver.open))
        if question.method == "dane":
            done([dane("usable"), dane("unusable"), dane("unknown"), DIED][which % 4])
            return
        fitting: list[Any] = [
            self.world.found(str(which)),
            self.world.found(str(which), mode="testing", max_age=60),
            failed(str(which)),
            DIED,
            BUG,
        ]
        if question.refetch_as is None:
            fitting += [absent(), DNS_FAILED]
        if question.avoid:
            fitting.append(Unchanged(question.avoid[0]))
        outcome = fitting[which % len(fitting)]
        self.bugs += outcome is BUG
        done(outcome)

    def refresh(self, domain: str) -> None:
        self.tasks.append(self.world.keeper.refresh(Domain(domain)))

    def due(self, domain: str) -> None:
        self.begun += self.world.keeper.due(Domain(domain), lambda: self.landed.append(domain))

    def forget(self, domain: str) -> None:
        self.world.keeper.forget(Domain(domain))

    def import_(self, domain: str, age: float) -> None:
        imported = entry(domain, fetched_at=self.world.clock.utc - age)
        self.tasks.append(asyncio.ensure_future(self.world.keeper.import_entry(imported)))

    def slow_store(self, slow: bool) -> None:
        self.world.store.instant = not slow

    def end_write(self, fails: bool) -> None:
        if self.world.store.waiting:
            future = self.world.store.waiting.pop(0)
            if fails:
                future.set_exception(StoreError("disk full"))
                future.exception()
            else:
                future.set_result(None)

    def check(self) -> None:
        """What holds at any time."""
        now = self.world.clock.since_boot
        for lookup in self.lookups:
            assert len(lookup.told) <= 1
            assert lookup.told or now < lookup.asked_at + LATEST
            if lookup.told and lookup.enforced[0]:
                assert lookup.told[0].kind is not Kind.NOTFOUND
        assert self.world.flights() <= len(DOMAINS)
        assert len(self.landed) <= self.begun

    async def end(self) -> None:
        """Answer everything; then nobody waits, and nothing is under way."""
        self.world.store.instant = True
        for number in range(1000):
            while self.world.store.waiting:
                self.end_write(False)
            await self.world.settle()
            if not self.world.resolver.open:
                break
            self.answer(number)
        await self.world.settle(LATEST)
        assert all(len(lookup.told) == 1 for lookup in self.lookups)
        assert all(task.done() for task in self.tasks)
        assert len(self.landed) == self.begun
        assert self.world.flights() == 0
        assert self.world.counts.errors <= self.bugs


domains = st.sampled_from(DOMAINS)
numbers = st.integers(0, 1000)
STEPS: st.SearchStrategy[Callable[[Run], Any]] = st.one_of(
    st.builds(lambda d, on: lambda run: run.ask(d, on), domains, st.booleans()),
    st.builds(lambda n: lambda run: run.answer(n), numbers),
    st.builds(lambda d: lambda run: run.refresh(d), domains),
    st.builds(lambda d: lambda run: run.due(d), domains),
    st.builds(lambda d: lambda run: run.forget(d), domains),
    st.builds(lambda d, age: lambda run: run.import_(d, age), domains, st.sampled_from([0.0, 100.0, DAY])),
    st.builds(lambda slow: lambda run: run.slow_store(slow), st.booleans()),
    st.builds(lambda fails: lambda run: run.end_write(fails), st.booleans()),
)
PAUSES = st.sampled_from([0.0, 0.0, 0.0, 1.0, WAIT, 60.0, 300.0, 3600.0, DAY])


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(STEPS, PAUSES), max_size=60), st.booleans())
def test_whatever_comes_when(steps: list[tuple[Callable[[Run], Any], float]], loaded: bool) -> None:
    """Each lookup is told once, in time; an enforced policy in force is never NOTFOUND; what began ends."""
    world = World()
    if not loaded:
        world.not_loaded()

    async def test() -> None:
        run = Run(world)
        for step, pause in steps:
            step(run)
            await world.settle()
            run.check()
            await world.settle(pause)
            await world.settle(LOOK_EVERY if pause else 0.0)
            run.check()
        await run.end()

    with asyncio.Runner(loop_factory=lambda: ManualLoop(world.clock)) as runner:
        runner.run(test())
