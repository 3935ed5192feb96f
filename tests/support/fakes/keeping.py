"""A keeper without a network, a disk or a clock: the test answers its questions, ends its writes, moves the time."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from postfix_mtasts.config.settings import Settings
from postfix_mtasts.core.dane import DaneFacts, DaneStatus, HostFacts
from postfix_mtasts.core.entry import Entry
from postfix_mtasts.core.names import Domain, NextHop
from postfix_mtasts.core.outcome import (
    Absent,
    Cause,
    Failed,
    Found,
    Outcome,
    OwnFault,
    Stage,
    Unchanged,
)
from postfix_mtasts.core.policy import parse_policy
from postfix_mtasts.core.ports import ResolverFacts, Urgency
from postfix_mtasts.core.verdict import Verdict
from postfix_mtasts.daemon.counters import Counts
from postfix_mtasts.daemon.policies.held import Held, Note
from postfix_mtasts.daemon.policies.keeper import Keeper
from postfix_mtasts.daemon.policies.schedule import Schedule
from postfix_mtasts.daemon.serving.reply_cache import ReplyCache
from postfix_mtasts.faults import Fault, Seen

from . import faults
from .entries import DAY, NOW

D = Domain("example.com")


class ManualClock:
    """Both clocks stand still until a test moves them."""

    def __init__(self) -> None:
        self.utc, self.since_boot = NOW, 500_000.0

    def wall(self) -> float:
        return self.utc

    def monotonic(self) -> float:
        return self.since_boot

    def advance(self, seconds: float) -> None:
        self.utc += seconds
        self.since_boot += seconds


class ManualLoop(asyncio.SelectorEventLoop):
    """An event loop whose timers go by a ManualClock."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__()
        self._manual = clock

    def time(self) -> float:
        return self._manual.monotonic()


@dataclass(frozen=True, slots=True)
class Question:
    """One call of a Resolver's method, and what it was called with."""

    method: str
    domain: str = ""
    avoid: tuple[str, ...] = ()
    refetch_as: str | None = None
    urgency: Urgency | None = None
    port: int = 0


class FakeResolver:
    """Keeps questions, the oldest first, for the test to answer."""

    def __init__(self) -> None:
        self.open: list[tuple[Question, Callable[[Any], None]]] = []
        self.count = 0

    def discover(
        self,
        domain: Domain,
        avoid: Sequence[str],
        refetch_as: str | None,
        done: Callable[[Outcome | OwnFault], None],
        urgency: Urgency = Urgency.LOOKUP,
    ) -> None:
        self._keep(Question("discover", domain, tuple(avoid), refetch_as, urgency), done)

    def dane(self, domain: Domain, port: int, done: Callable[[DaneFacts | OwnFault], None]) -> None:
        self._keep(Question("dane", domain, port=port), done)

    def tlsrpt(self, domain: Domain, done: Callable[[str | OwnFault | None], None]) -> None:
        self._keep(Question("tlsrpt", domain), done)

    def resolver(self, done: Callable[[ResolverFacts | OwnFault], None]) -> None:
        self._keep(Question("resolver"), done)

    def _keep(self, question: Question, done: Callable[[Any], None]) -> None:
        self.count += 1
        self.open.append((question, done))

    def answer(self, answer: Outcome | DaneFacts | OwnFault | str | None) -> Question:
        """Answer the oldest question and return it."""
        question, done = self.open.pop(0)
        done(answer)
        return question

    def tell_early(self, facts: DaneFacts) -> None:
        """Say what is known so far to the oldest question, which stays open."""
        self.open[0][1](facts)


class FakeStore:
    """Keeps what it is given; with *instant* off the test ends each future of `waiting` itself."""

    def __init__(self) -> None:
        self.entries: dict[Domain, Entry] = {}
        self.instant = True
        self.waiting: list[asyncio.Future[Any]] = []
        self.log: list[tuple[str, Domain]] = []

    def _future(self, result: Entry | None) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if self.instant:
            future.set_result(result)
        else:
            self.waiting.append(future)
        return future

    def get(self, domain: Domain) -> asyncio.Future[Entry | None]:
        self.log.append(("get", domain))
        return self._future(self.entries.get(domain))

    def put(self, entry: Entry) -> asyncio.Future[None]:
        self.log.append(("put", entry.domain))
        self.entries[entry.domain] = entry
        return self._future(None)

    def delete(self, domain: Domain) -> asyncio.Future[None]:
        self.log.append(("delete", domain))
        self.entries.pop(domain, None)
        return self._future(None)


class World:
    """A keeper and all that a test does to it."""

    def __init__(self, settings: Settings | None = None) -> None:
        self.clock, self.resolver, self.store = ManualClock(), FakeResolver(), FakeStore()
        self.reply_cache, self.counts = ReplyCache(60.0, self.clock.monotonic), Counts()
        self.notes: list[Note] = []
        self.report: Callable[[Failed, Entry | None, Domain], None] = lambda failed, held, domain: None
        self.keeper = Keeper(
            settings or Settings(),
            self.resolver,
            self.store,
            self.clock,
            self.counts,
            changed=self.reply_cache.empty,
            plan=self.notes.extend,
            report=lambda failed, held, domain: self.report(failed, held, domain),
        )
        self.keeper._check._matters = True  # the resolver was asked about the root's keys before
        self.keeper.all_loaded()

    @property
    def held(self) -> dict[Domain, Held]:
        """What is held, to be looked at and tampered with."""
        return self.keeper._holdings.policies

    @property
    def schedule(self) -> Schedule:
        return self.keeper._schedule

    def refresh(self, landed: Callable[[], None] = lambda: None) -> asyncio.Task[Outcome | OwnFault]:
        """Have the policy of D fetched again; *landed* is called at the end."""
        task = self.keeper.refresh(D)
        task.add_done_callback(lambda _: landed())
        return task

    def flights(self) -> int:
        """How many flights for policies are under way."""
        return len(self.keeper._finder.flights)

    def not_loaded(self) -> None:
        """Let the store not be loaded yet."""
        self.keeper._finder.loaded = False

    def ask(self, domain: str = D, dane: bool = False, port: str = "25") -> list[Verdict]:
        """Look *domain* up; the answer is in the list once it is there."""
        answers: list[Verdict] = []
        known = self.keeper.lookup(NextHop(Domain(domain), port), dane, answers.append)
        if known is not None:
            answers.append(known)
        return answers

    def kinds(self, domain: str = D, dane: bool = False) -> list[str]:
        return [str(verdict.kind) for verdict in self.ask(domain, dane)]

    def hold(self, entry: Entry) -> None:
        """Have *entry* in memory, as read from the store."""
        self.store.entries[entry.domain] = entry
        self.keeper.load([entry])

    async def settle(self, seconds: float = 0.0) -> None:
        """Move the time, and let all run that is to run then."""
        self.clock.advance(seconds)
        for _ in range(6):
            await asyncio.sleep(0)

    def pass_to_refresher(self, domain: Domain = D) -> bool:
        """Go on to the time of the last note and do what is due."""
        due = self.notes[-1][0]
        if due > self.clock.since_boot:
            self.clock.advance(due - self.clock.since_boot)
        return self.keeper.due(domain, lambda: None)

    def found(
        self, record_id: str = "2", mode: str = "enforce", mx: str = "mx.example.com", max_age: int = 7 * DAY
    ) -> Found:
        text = f"version: STSv1\nmode: {mode}\nmx: {mx}\nmax_age: {max_age}"
        return Found(record_id, parse_policy(text.encode()), self.clock.utc)


def failed(record_id: str = "20231114", reason: str = "connection refused") -> Failed:
    return faults.failed(record_id, Stage.HTTP, reason)


def absent(ttl: float = 300.0) -> Absent:
    return Absent(Seen(Fault.RECORD_NO_NAME, "_mta-sts.example.com"), ttl)


DNS_FAILED = faults.dns_failed()
UNCHANGED = Unchanged("20231114")
BUG = OwnFault(Cause.BUG, "TypeError at x.py:1: x")
DIED = OwnFault(Cause.DIED, "the worker process ended")


def dane(status: str, ttl: float = 300.0) -> DaneFacts:
    """What DNS says; *status* is that of the MX set, and of its one host where that is secure."""
    state = DaneStatus(status)
    hosts = (HostFacts("mx.example.com", state, faults.seen("said so")),) if state is DaneStatus.USABLE else ()
    return DaneFacts(state, faults.seen("said so"), hosts, ttl)


def in_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run an asynchronous test on a loop that goes by the clock of its *world*."""

    @functools.wraps(test)
    def run(world: World, **others: Any) -> None:
        with asyncio.Runner(loop_factory=lambda: ManualLoop(world.clock)) as runner:
            runner.run(test(world, **others))

    return run
