"""Blocking work done in worker processes: starting them, talking to them, outliving them.

The Pool is a Resolver: it hands a job over and calls back on the loop with
what it ended in, always, once: an answer, or a fault of our own when the
worker dies or says nothing. A worker that dies is started again.

A fetch is two milliseconds of one interpreter, so where there are several
processors two workers share the fetches.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any, cast

from ...config.settings import Settings
from ...core.dane import DaneFacts
from ...core.names import Domain
from ...core.outcome import Cause, Outcome, OwnFault
from ...core.ports import ResolverFacts, Urgency
from ...core.quoting import KV
from .wire import (
    Answer,
    Dane,
    Discover,
    Job,
    JudgeResolver,
    Tlsrpt,
    TlsrptRecord,
    answer_from_json,
    counts_from_json,
    job_to_json,
)

log = logging.getLogger(__name__)

Done = Callable[[Any], None]

WORKERS = 2  # processes, where there are as many processors
SHARED_FROM = 64  # fetch.parallel; fewer are kept in one process, where the one that ran longest makes room
RESTART_DELAY = 1.0  # seconds between two starts
LINE_LIMIT = 4 << 20  # bytes of one answer: a policy of 64 KiB, escaped, many times over


class Pool:
    """The way to the worker processes; lives on the event loop."""

    def __init__(self, settings: Settings, count_dns: Callable[[str, str, int], None]) -> None:
        self._count_dns = count_dns
        self._numbers = 0
        self._workers: list[_Worker] = []
        self._stopped = False
        self.configure(settings)

    def configure(self, settings: Settings) -> None:
        """Let later jobs run under *settings*; those under way keep the worker they began with."""
        self._number = min(WORKERS, os.cpu_count() or 1) if settings.fetch.parallel >= SHARED_FROM else 1
        self._first_line = {
            "servers": settings.dns.servers,
            "dns_timeout": settings.dns.timeout,
            "trust_ad": settings.dns.trust_ad,
            "fetch_timeout": settings.fetch.timeout,
            "parallel": settings.fetch.parallel // self._number,
            "ca_file": settings.fetch.ca_file,
            "allow_private_addresses": settings.fetch.allow_private_addresses,
        }
        # TXT, two addresses; a place among the fetches, the fetch; and then something is wrong
        self._deadline = 3 * settings.dns.timeout + 2 * settings.fetch.timeout + 90
        workers, self._workers = self._workers, []
        for worker in workers:
            worker.retire()
        if workers:
            self.start()

    def start(self) -> None:
        """Have all workers run that are to run."""
        while not self._stopped and len(self._workers) < self._number:
            try:
                self._workers.append(_Worker(self._first_line, self._count_dns, self._gone))
            except OSError as error:
                log.error("worker-not-started %s", KV(reason=error))
                return

    def stop(self) -> None:
        """End the workers; what they were doing ends in nothing."""
        self._stopped = True
        for worker in self._workers:
            worker.kill()

    def discover(
        self,
        domain: Domain,
        avoid: Sequence[str],
        refetch_as: str | None,
        done: Callable[[Outcome | OwnFault], None],
        urgency: Urgency = Urgency.LOOKUP,
        *,
        record: bytes | None = None,
        spent: float = 0.0,
    ) -> None:
        """As Resolver has it; *record* and *spent* are what the probe heard, or how long it waited in vain."""
        self._submit(Discover(domain, tuple(avoid), refetch_as, urgency, record, spent), done)

    def dane(self, domain: Domain, port: int, done: Callable[[DaneFacts | OwnFault], None]) -> None:
        self._submit(Dane(domain, port), done)

    def tlsrpt(self, domain: Domain, done: Callable[[str | OwnFault | None], None]) -> None:
        def told(answer: TlsrptRecord | OwnFault) -> None:
            done(answer.text if isinstance(answer, TlsrptRecord) else answer)

        self._submit(Tlsrpt(domain), told)

    def resolver(self, done: Callable[[ResolverFacts | OwnFault], None]) -> None:
        self._submit(JudgeResolver(), done)

    def _submit(self, job: Job, done: Done) -> None:
        """Run *job*; *done* is called on the loop, later, with an answer of its kind (wire.answer_from_json)."""
        self._numbers += 1
        if not self._workers:
            self.start()
        if not self._workers:
            fault = OwnFault(Cause.NO_WORKER, "no worker process could be started")
            asyncio.get_running_loop().call_soon(done, fault)
            return
        min(self._workers, key=_Worker.load).send(self._numbers, job, done, self._deadline)

    def _gone(self, worker: _Worker) -> None:
        if worker in self._workers and not self._stopped:
            self._workers.remove(worker)
            log.error("worker-died %s", KV(status=worker.status()))
            asyncio.get_running_loop().call_later(RESTART_DELAY, self.start)


class _Worker(asyncio.Protocol):
    """One worker process and the socket to it."""

    def __init__(
        self, first_line: dict[str, Any], count_dns: Callable[[str, str, int], None], gone: Callable[[_Worker], None]
    ) -> None:
        self._count_dns, self._gone = count_dns, gone
        self._jobs: dict[int, tuple[Job, Done, asyncio.TimerHandle]] = {}
        self._buffer = bytearray()
        self._retired = False
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __package__ + ".worker", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )
        self._transport: asyncio.WriteTransport | None = None
        self._unsent = [json.dumps(first_line).encode() + b"\n"]
        loop = asyncio.get_running_loop()
        self._connecting = loop.create_task(self._connect(loop, ours))

    async def _connect(self, loop: asyncio.AbstractEventLoop, ours: socket.socket) -> None:
        ours.setblocking(False)
        await loop.create_unix_connection(lambda: self, sock=ours)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)
        self._transport.write(b"".join(self._unsent))
        self._unsent.clear()

    def load(self) -> int:
        """How many jobs it has."""
        return len(self._jobs)

    def send(self, number: int, job: Job, done: Done, deadline: float) -> None:
        timer = asyncio.get_running_loop().call_later(deadline, self._overdue, number)
        self._jobs[number] = job, done, timer
        line = json.dumps(job_to_json(number, job)).encode() + b"\n"
        if self._transport is None:
            self._unsent.append(line)
        else:
            self._transport.write(line)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if b"\n" not in data:
            if len(self._buffer) > LINE_LIMIT:
                log.error("worker-babbles %s", KV(bytes=len(self._buffer)))
                self.kill()
            return
        *lines, rest = self._buffer.split(b"\n")
        self._buffer = bytearray(rest)
        for line in lines:
            self._take(json.loads(line))

    def _take(self, line: dict[str, Any]) -> None:
        for rdtype, result, number in counts_from_json(line):
            self._count_dns(rdtype, result, number)
        numbered = line.get("n")
        if isinstance(numbered, int) and numbered in self._jobs:
            job, done, _ = self._jobs[numbered]
            answer = answer_from_json(job, line)
            if isinstance(answer, DaneFacts) and not answer.complete:
                done(answer)  # the whole follows
            else:
                self._finish(numbered, answer)

    def _finish(self, number: int, answer: Answer) -> None:
        _, done, timer = self._jobs.pop(number)
        timer.cancel()
        done(answer)
        if self._retired and not self._jobs:
            self.kill()

    def _overdue(self, number: int) -> None:
        log.error("job-overdue %s", KV(number=number))
        self._finish(number, OwnFault(Cause.NO_WORKER, "the worker process did not answer in time"))

    def connection_lost(self, exc: Exception | None) -> None:
        self.kill()
        for number in list(self._jobs):
            self._finish(number, OwnFault(Cause.DIED, "the worker process ended"))
        self._gone(self)

    def retire(self) -> None:
        """Take no more jobs; end after the last answer."""
        self._retired = True
        if not self._jobs:
            self.kill()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()  # a killed process ends in microseconds
        if self._transport is not None:
            self._transport.close()

    def status(self) -> int | None:
        return self._process.returncode
