"""daemon/workers/pool.py: whatever becomes of the processes, each job ends once, and not against the domain."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from postfix_mtasts.config.settings import DnsSettings, FetchSettings, Settings
from postfix_mtasts.core.dane import DaneFacts, DaneStatus
from postfix_mtasts.core.names import Domain
from postfix_mtasts.core.outcome import Cause, OwnFault, Unchanged
from postfix_mtasts.daemon.workers import pool as module
from postfix_mtasts.daemon.workers.pool import ENOUGH_FOR_TWO, IDLE, LOOK_EVERY, RETIRED, TRIES, Pool
from postfix_mtasts.daemon.workers.process import Heard, Lost, Task
from postfix_mtasts.daemon.workers.wire import Answer, Orders, answer_to_json
from postfix_mtasts.faults import Fault, Seen
from tests.support.fakes.keeping import ManualClock, in_loop

D = Domain("example.com")
DIED = "it ended with status -9"


class FakeProcess:
    """A process that does what the test says."""

    def __init__(self, orders: Orders, heard: Heard, lost: Lost) -> None:
        self.orders, self._heard, self._lost = orders, heard, lost
        self.tasks: dict[int, Task] = {}
        self.ready = self.still = False
        self.killed = ""
        self.pid, self.idle_at = 4711, asyncio.get_running_loop().time()

    def give(self, task: Task) -> None:
        task.tries += 1
        self.tasks[task.number] = task

    def kill(self, why: str) -> None:
        self.killed = self.killed or why

    def stands_still(self) -> bool:
        return self.still

    # -- what the test has it do

    def say(self, line: dict[str, Any]) -> None:
        self._heard(self, line)  # type: ignore[arg-type]

    def answer(self, answer: Answer, number: int | None = None) -> None:
        """Answer a job, the oldest unless told otherwise."""
        self.say({"n": number or next(iter(self.tasks)), **answer_to_json(answer)})

    def end(self, why: str = DIED) -> None:
        self._lost(self, self.killed or why)  # type: ignore[arg-type]


class World:
    """A pool whose processes and time the test moves."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.made: list[FakeProcess] = []
        self.refuse: OSError | None = None
        self.counted: list[tuple[str, str, int]] = []
        self.answers: list[object] = []

    def spawn(self, orders: Orders, heard: Heard, lost: Lost) -> Any:
        if self.refuse is not None:
            raise self.refuse
        self.made.append(FakeProcess(orders, heard, lost))
        self.made[-1].ready = self.ready and len(self.made) == 1
        return self.made[-1]

    def start(self, parallel: int = 256, ready: bool = True) -> None:
        self.settings = Settings(fetch=FetchSettings(parallel=parallel))
        self.found: list[tuple[str, object]] = []
        self.pool = Pool(
            self.settings,
            lambda *count: self.counted.append(count),
            self.spawn,
            lambda *ended: self.found.append(ended),
        )
        self.ready = ready

    def ask(self, number: int = 1) -> None:
        for _ in range(number):
            self.pool.discover(D, [], None, self.answers.append)

    async def settle(self, seconds: float = 0.0) -> None:
        self.clock.advance(seconds)
        for _ in range(4):
            await asyncio.sleep(0)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(module.os, "cpu_count", lambda: 2)
    return World()


@in_loop
async def test_an_answer(world: World) -> None:
    """It is told once, whatever the worker says of it again."""
    world.start()
    world.ask()
    (process,) = world.made
    process.answer(Unchanged("1"))
    process.answer(Unchanged("2"), number=1)
    assert world.answers == [Unchanged("1")]
    assert world.found == [(D, Unchanged("1"))]


@in_loop
async def test_what_is_counted(world: World) -> None:
    """DNS queries, whatever else a line says."""
    world.start()
    world.ask()
    world.made[0].say({"counts": [["TXT", "noerror", 2]]})
    world.made[0].say({"n": [], "counts": 1})
    assert world.counted == [("TXT", "noerror", 2)]


@in_loop
async def test_facts_that_are_not_complete_are_followed_by_others(world: World) -> None:
    """Both are told."""
    world.start()
    facts = [
        DaneFacts(DaneStatus.USABLE, Seen(Fault.DANE_MX_SECURE, D), (), 60.0, complete) for complete in (False, True)
    ]
    world.pool.dane(D, 25, world.answers.append)
    for each in facts:
        world.made[0].answer(each)
    assert world.answers == facts
    assert world.made[0].tasks == {}


@in_loop
async def test_a_second_process_when_there_is_enough_for_two(world: World) -> None:
    """New jobs go to the one that has least to do; while that is starting, to the other."""
    world.start()
    world.ask(ENOUGH_FOR_TWO)
    assert len(world.made) == 1
    world.ask()
    first, second = world.made
    assert (len(first.tasks), len(second.tasks)) == (ENOUGH_FOR_TWO + 1, 0)
    second.ready = True
    world.ask(3)
    assert (len(first.tasks), len(second.tasks)) == (ENOUGH_FOR_TWO + 1, 3)
    assert [process.orders.fetch.parallel for process in world.made] == [128, 128]


@in_loop
async def test_one_process_for_few_fetches(world: World) -> None:
    """The fetch that ran longest makes room: that needs them in one place."""
    world.start(parallel=63)
    world.ask(100)
    assert [process.orders.fetch.parallel for process in world.made] == [63]


@in_loop
async def test_the_jobs_of_a_process_that_ends_go_to_another(world: World) -> None:
    """A first lookup costs a repeat, and nobody hears of it."""
    world.start()
    world.ask(2)
    world.made[0].end()
    assert (world.answers, len(world.made), world.pool.deaths) == ([], 2, 1)
    for _ in range(2):
        world.made[1].answer(Unchanged("1"))
    assert world.answers == [Unchanged("1")] * 2


@in_loop
async def test_a_job_that_ends_each_process(world: World) -> None:
    """It is given up in the end, as a fault of our own."""
    world.start()
    world.ask()
    for _ in range(TRIES):
        world.made[-1].ready = True
        world.made[-1].end()
    (fault,) = world.answers
    assert isinstance(fault, OwnFault)
    assert (fault.cause, fault.passing) == (Cause.DIED, True)


@in_loop
async def test_a_process_that_stands_still_is_replaced(world: World) -> None:
    """Its jobs go to another as soon as it is gone."""
    world.start()
    world.ask()
    await world.settle(LOOK_EVERY)
    assert not world.made[0].killed
    world.made[0].still = True
    await world.settle(LOOK_EVERY)
    assert world.made[0].killed == "it stood still"
    world.made[0].end()
    world.made[1].answer(Unchanged("1"))
    assert world.answers == [Unchanged("1")]


@in_loop
async def test_processes_that_cannot_start(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Jobs end at once, as a fault of our own; starts come with growing pauses, one line tells of it."""
    world.start(ready=False)
    world.ask()
    world.made[0].end("fetch.ca_file: no")
    await world.settle()
    world.ask()
    await world.settle()
    assert [answer.cause for answer in world.answers if isinstance(answer, OwnFault)] == [Cause.NO_WORKER] * 2
    assert world.pool.fault == "fetch.ca_file: no"
    starts = []
    for second in range(1, 12):
        await world.settle(1.0)
        if len(world.made) > len(starts) + 1:
            starts.append(second)
            world.made[-1].end("fetch.ca_file: no")
    assert starts == [1, 3, 7]
    assert caplog.text.count("worker-not-started") == 1
    assert world.pool.deaths == 0


@in_loop
async def test_no_process_at_all(world: World) -> None:
    """The system has none to give: the same, and it passes."""
    world.refuse = OSError(11, "Resource temporarily unavailable")
    world.start()
    world.ask()
    await world.settle()
    assert world.pool.fault == "[Errno 11] Resource temporarily unavailable"
    world.refuse = None
    await world.settle(1.0)
    world.made[0].ready = True
    await world.settle(1.0)
    world.ask()
    world.made[0].answer(Unchanged("1"))
    assert (world.pool.fault, world.answers[1:]) == ("", [Unchanged("1")])


@in_loop
async def test_an_answer_that_never_comes(world: World) -> None:
    """After all that a job may take, it is our overload."""
    world.start()
    world.ask()
    await world.settle(world.pool._patience)
    (fault,) = world.answers
    assert isinstance(fault, OwnFault)
    assert fault.cause is Cause.OVERLOAD
    assert world.made[0].tasks == {}


@in_loop
async def test_other_settings(world: World) -> None:
    """Jobs under way keep the process they began with, which then ends; later ones get another."""
    world.start()
    world.ask()
    world.pool.configure(Settings(dns=DnsSettings(timeout=1.0)))
    world.ask()
    first, second = world.made
    assert (len(first.tasks), len(second.tasks), first.killed) == (1, 1, "")
    assert second.orders.dns.timeout == 1.0
    first.answer(Unchanged("1"))
    assert (first.killed, world.answers) == ("it is not needed any more", [Unchanged("1")])


@in_loop
async def test_thirty_reloads_while_fetches_hang(world: World) -> None:
    """Few old processes stay; the jobs of those that must go are begun anew."""
    world.start()
    for number in range(30):
        world.ask()
        world.made[-1].ready = True
        world.pool.configure(Settings(dns=DnsSettings(timeout=1.0 + number)))
        for process in world.made:
            if process.killed and process in world.pool._retired:
                process.end()
    assert world.pool.running <= RETIRED + 2
    assert world.answers == []
    assert sum(len(process.tasks) for process in world.pool._workers + world.pool._retired) == 30
    assert world.pool.deaths == 0


@in_loop
async def test_no_process_without_work(world: World) -> None:
    """The first is made for the first job, and each ends some minutes after its last."""
    world.start()
    assert world.pool.running == 0
    world.ask()
    world.made[0].answer(Unchanged("1"))
    for _ in range(2):
        assert world.pool.running == 1
        await world.settle(IDLE / 2)
    assert (world.made[0].killed, world.pool.running) == ("it had nothing to do", 0)
    world.made[0].end()
    assert (world.pool.deaths, len(world.made)) == (0, 1)
    world.ask()
    assert len(world.made) == 2


@in_loop
async def test_the_end(world: World) -> None:
    """All processes end, and nothing is begun any more."""
    world.start()
    world.ask()
    world.pool.stop()
    world.made[0].end()
    assert (world.made[0].killed, len(world.made), world.answers) == ("the daemon ends", 1, [])
