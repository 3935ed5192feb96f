"""Hand jobs to worker processes, and replace the processes that fail.

The Pool is a Resolver: it hands a job over and calls back on the loop with
what it ended in, always, once: an answer, or a fault of our own. (DANE facts
that are not complete are followed by others.)

Rule 1: a worker that ends, or stands still, is replaced, and its jobs are
        given to another, TRIES times in all: one of them may be what ended it.
Rule 2: workers that end before they were ready are started again with growing
        pauses. Meanwhile jobs end at once, in a fault, and `fault` says why.
Rule 3: other settings mean other workers. Those that have jobs end them under
        the settings they began with, but only the RETIRED youngest.

A fetch is two milliseconds of one interpreter, so where there are several
processors two workers share the fetches, once there is enough for two.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ...config.settings import Settings
from ...core.dane import DaneFacts
from ...core.names import Domain
from ...core.outcome import Cause, Outcome, OwnFault
from ...core.ports import ResolverFacts, Urgency
from ...core.quoting import KV
from .process import Heard, Lost, Task, WorkerProcess
from .wire import (
    Answer,
    Dane,
    Discover,
    Job,
    JudgeResolver,
    Orders,
    Tlsrpt,
    TlsrptRecord,
    answer_from_json,
    counts_from_json,
)

log = logging.getLogger(__name__)

Done = Callable[[Any], None]
Spawn = Callable[[Orders, Heard, Lost], WorkerProcess]

WORKERS = 2  # processes, where there are as many processors
SHARED_FROM = 64  # fetch.parallel; fewer are kept in one process, where the one that ran longest makes room
ENOUGH_FOR_TWO = 8  # jobs under way
IDLE = 120.0  # seconds without a job, then a worker ends: its memory is of more use to others
RETIRED = 2  # processes that still work under settings of before
TRIES = 3  # processes that one job may see end; two may have ended together
LOOK_EVERY = 1.0  # seconds between two looks at workers that have jobs
PAUSES = (1.0, 60.0)  # seconds between two starts that fail: the first, doubled up to the last
BESIDE_FETCHING = 90.0  # seconds that a job may take beside asking DNS and fetching; then something is wrong


class Pool:
    """The way to the worker processes, which *spawn* makes; lives on the event loop.

    *found* is told what each discovery ended in, before who asked for it.
    """

    def __init__(
        self,
        settings: Settings,
        count_dns: Callable[[str, str, int], None],
        spawn: Spawn = WorkerProcess,
        found: Callable[[Domain, Answer], None] = lambda domain, answer: None,
    ) -> None:
        self._count_dns, self._spawn, self._found = count_dns, spawn, found
        self._numbers = 0
        self._workers: list[WorkerProcess] = []
        self._retired: list[WorkerProcess] = []  # the youngest last
        self._stopped = self._looking = False
        self._failures = 0  # starts in a row that failed
        self._not_before = 0.0  # no start earlier, by the loop's clock
        self.fault = ""  # why no worker can be started, in a sentence; else empty
        self.deaths = 0  # workers that ended, or were ended because they stood still
        self.configure(settings)

    @property
    def running(self) -> int:
        """Count the worker processes."""
        return len(self._workers) + len(self._retired)

    def configure(self, settings: Settings) -> None:
        """Run later jobs under *settings*; those under way keep the worker they began with."""
        self._number = min(WORKERS, os.cpu_count() or 1) if settings.fetch.parallel >= SHARED_FROM else 1
        share = replace(settings.fetch, parallel=settings.fetch.parallel // self._number)
        self._orders = Orders(settings.dns, share, settings.lookup.wait)
        self._patience = 3 * settings.dns.timeout + 2 * settings.fetch.timeout + BESIDE_FETCHING
        self._failures, self._not_before = 0, 0.0
        workers, self._workers = self._workers, []
        for worker in workers:
            if worker.tasks:
                self._retired.append(worker)
            else:
                worker.kill("it is not needed any more")
        for worker in self._retired[:-RETIRED]:
            worker.kill("the settings have changed too often since it began")

    def stop(self) -> None:
        """End the workers; what they were doing ends in nothing."""
        self._stopped = True
        for worker in self._workers + self._retired:
            worker.kill("the daemon ends")

    # -- Resolver -----------------------------------------------------------

    def discover(
        self,
        domain: Domain,
        avoid: Sequence[str],
        refetch_as: str | None,
        done: Callable[[Outcome | OwnFault], None],
        urgency: Urgency = Urgency.LOOKUP,
        *,
        heard: Mapping[str, bytes] | None = None,
        spent: float = 0.0,
    ) -> None:
        """As Resolver has it; *heard* and *spent* are what the probe heard, or how long it waited in vain."""
        self._submit(Discover(domain, tuple(avoid), refetch_as, urgency, heard or {}, spent), done)

    def dane(self, domain: Domain, port: int, done: Callable[[DaneFacts | OwnFault], None]) -> None:
        self._submit(Dane(domain, port), done)

    def tlsrpt(self, domain: Domain, done: Callable[[str | OwnFault | None], None]) -> None:
        def told(answer: TlsrptRecord | OwnFault) -> None:
            done(answer.text if isinstance(answer, TlsrptRecord) else answer)

        self._submit(Tlsrpt(domain), told)

    def resolver(self, done: Callable[[ResolverFacts | OwnFault], None]) -> None:
        self._submit(JudgeResolver(), done)

    # -- jobs ---------------------------------------------------------------

    def _submit(self, job: Job, done: Done) -> None:
        """Run *job*; *done* is called on the loop, later, with an answer of its kind (wire.answer_from_json)."""
        self._numbers += 1
        self._give(Task(self._numbers, job, done, asyncio.get_running_loop().time() + self._patience))

    def _give(self, task: Task) -> None:
        """Give *task* to the worker that has least to do."""
        able = [worker for worker in self._workers if worker.ready] or self._workers
        worker = min(able, key=lambda each: len(each.tasks), default=None)
        if worker is None or len(worker.tasks) >= ENOUGH_FOR_TWO:
            added = self._add()
            worker = worker or added
        if worker is None:
            fault = OwnFault(Cause.NO_WORKER, f"no worker process can be started: {self.fault}")
            asyncio.get_running_loop().call_soon(task.done, fault)
            return
        worker.give(task)
        self._look_soon()

    def _heard(self, worker: WorkerProcess, line: dict[str, Any]) -> None:
        for rdtype, result, number in counts_from_json(line):
            self._count_dns(rdtype, result, number)
        numbered = line.get("n")
        task = worker.tasks.get(numbered) if isinstance(numbered, int) else None
        if task is None:
            return
        answer = answer_from_json(task.job, line)
        if isinstance(answer, DaneFacts) and not answer.complete:
            task.done(answer)
        else:
            self._finish(worker, task, answer)

    def _finish(self, worker: WorkerProcess, task: Task, answer: Answer) -> None:
        del worker.tasks[task.number]
        worker.idle_at = asyncio.get_running_loop().time()
        if worker in self._retired and not worker.tasks:
            worker.kill("it is not needed any more")
        if isinstance(task.job, Discover):
            self._found(task.job.domain, answer)
        task.done(answer)

    # -- workers ------------------------------------------------------------

    def _add(self) -> WorkerProcess | None:
        """Start another worker, if there may be one more and the pause after the last failure is over."""
        if self._stopped or len(self._workers) >= self._number or asyncio.get_running_loop().time() < self._not_before:
            return None
        try:
            worker = self._spawn(self._orders, self._heard, self._lost)
        except OSError as error:
            self._failed(str(error))
            return None
        self._workers.append(worker)
        self._look_soon()
        return worker

    def _lost(self, worker: WorkerProcess, why: str) -> None:
        """Give the jobs of a worker that is gone to others."""
        if self._stopped:
            return
        tasks = list(worker.tasks.values())
        current = worker in self._workers
        suspect = current and worker.ready  # one of its jobs may be what ended it
        if current:
            self._workers.remove(worker)
        elif worker in self._retired:
            self._retired.remove(worker)
        if suspect:
            self.deaths += 1
            log.error("worker-died %s", KV(pid=worker.pid, reason=why, jobs=len(tasks)))
        elif current:
            self._failed(why)
        for task in tasks:
            if suspect and task.tries >= TRIES:
                task.done(OwnFault(Cause.DIED, f"{TRIES} worker processes ended while they were at it"))
            else:
                if isinstance(task.job, Discover):  # the repeat asks anew: what was heard may be what ended it
                    task.job = replace(task.job, heard={})
                self._give(task)

    def _failed(self, why: str) -> None:
        """Try again after a pause, since no worker could be started; the pause grows each time."""
        first, last = PAUSES
        pause = min(last, first * 2**self._failures)
        if why != self.fault:
            log.error("worker-not-started %s", KV(reason=why, next_try_s=pause))
        self._failures = min(self._failures + 1, 16)
        self._not_before = asyncio.get_running_loop().time() + pause
        self.fault = why
        self._look_soon()

    def _look_soon(self) -> None:
        if not self._looking:
            self._looking = True
            asyncio.get_running_loop().call_later(LOOK_EVERY, self._look)

    def _look(self) -> None:
        """Replace workers that stand still, end idle ones, and try to start one where none could be."""
        self._looking = False
        if self._stopped:
            return
        now = asyncio.get_running_loop().time()
        if any(worker.ready for worker in self._workers):
            self._failures, self.fault = 0, ""
        elif self.fault:
            self._add()
        for worker in self._workers + self._retired:
            if worker.tasks or not worker.ready:
                if worker.stands_still():
                    worker.kill("it stood still")
            elif worker in self._workers and now - worker.idle_at >= IDLE:
                self._workers.remove(worker)
                worker.kill("it had nothing to do")
            for task in [task for task in worker.tasks.values() if task.deadline <= now]:
                log.error("job-overdue %s", KV(domain=getattr(task.job, "domain", ""), seconds=self._patience))
                self._finish(worker, task, OwnFault(Cause.OVERLOAD, "the worker process did not answer in time"))
        if self.fault or self._workers or self._retired:
            self._look_soon()
