"""A worker process: DNS, TLS, HTTP and policy files, outside the process that answers Postfix.

Started by workers.pool as `python -m postfix_mtasts.daemon.workers.worker FD`; FD is a
socket that carries the lines of workers.wire. The first line is the settings,
each further one a job; a job runs in a thread of its own and blocks as it
likes, because its answer is all that anybody waits for. When the daemon
closes the socket, or dies, the process ends at once.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

from ...adapters.dns.client import DnsClient
from ...adapters.https.fetch import HttpsPolicyHosts, Transfer
from ...core import tlsrpt
from ...core.dnsdata import DnsAnswer
from ...core.names import Domain
from ...core.outcome import Cause, Failed, Outcome, OwnFault, Stage
from ...core.ports import Sources
from ...errors import DnsError, FetchError
from ...faults import Fault
from ...resolving import dane
from ...resolving.discovery import Located, fetch, locate, record_name
from .threads import Crew
from .wire import Answer, Dane, Discover, Job, JudgeResolver, Tlsrpt, TlsrptRecord, answer_to_json, job_from_json

PATIENCE = 10.0  # seconds that any fetch may run before one that waits may take its place
WAITING_THREADS = 256  # beyond fetch.parallel: jobs that ask DNS, or wait for a place
NICENESS = 15  # the process that answers Postfix comes first
DESCRIPTORS_EACH = 4  # a fetch holds two, and asks DNS before


def _descriptors() -> int:
    """How many files may be open, beside the few that the process itself needs."""
    return max(DESCRIPTORS_EACH, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 64)


class FetchSlots:
    """The fetches under way: fetch.parallel at most.

    When all are taken, the one that has run longest is given up as soon as it
    has run for PATIENCE: hosts that hang never shut out others.
    """

    def __init__(self, limit: int, patience: float = PATIENCE) -> None:
        self._limit, self._patience = limit, patience
        self._running: dict[Transfer, float] = {}  # in the order of their start
        self._changed = threading.Condition()

    @contextmanager
    def slot(self) -> Iterator[Transfer]:
        transfer = Transfer()
        self._enter(transfer)
        try:
            yield transfer
        finally:
            with self._changed:
                if self._running.pop(transfer, None) is not None:
                    self._changed.notify()

    def _enter(self, transfer: Transfer) -> None:
        gives_up = time.monotonic() + 6 * self._patience
        with self._changed:
            while len(self._running) >= self._limit:
                longest, since = next(iter(self._running.items()))
                now = time.monotonic()
                if now - since >= self._patience:
                    del self._running[longest]
                    longest.abort(
                        f"given up after {now - since:.0f} s: {self._limit} fetches were under way, others waited"
                    )
                    break
                if now >= gives_up:
                    raise FetchError(Stage.ADDRESS, Fault.CROWDED)
                self._changed.wait(since + self._patience - now)
            self._running[transfer] = time.monotonic()


class _Begun:
    """DNS, of which the daemon's probe has asked for the record: what it brought, or how long it took, counts."""

    def __init__(self, dns: DnsClient, txt: Callable[[str], DnsAnswer[bytes]]) -> None:
        self.a, self.aaaa = dns.a, dns.aaaa
        self.mx, self.tlsa, self.cname, self.for_dane = dns.mx, dns.tlsa, dns.cname, dns.for_dane
        self.txt = txt


class Worker:
    """Reads jobs, runs them in threads, writes answers."""

    def __init__(self, sock: socket.socket, settings: dict[str, Any]) -> None:
        self._sock = sock
        self._writing = threading.Lock()
        self._counts: Counter[tuple[str, str]] = Counter()
        self._counting = threading.Lock()
        self._slots = FetchSlots(min(settings["parallel"], _descriptors() // DESCRIPTORS_EACH))
        self._dns = DnsClient(
            settings["servers"], settings["dns_timeout"], trust_ad=settings["trust_ad"], count=self._count
        )
        self._sources = Sources(
            dns=self._dns,
            hosts=HttpsPolicyHosts(settings["fetch_timeout"], settings["ca_file"]),
            clock=time.time,
            allow_private_addresses=settings["allow_private_addresses"],
        )
        self._crew = Crew("job", settings["parallel"] + WAITING_THREADS)

    def take(self, number: int, job: Job) -> None:
        self._crew.submit(lambda: self._run(number, job))

    def _run(self, number: int, job: Job) -> None:
        try:
            answer = self._answer(job, lambda early: self._send(number, early))
        except Exception as error:  # noqa: BLE001 -- a bug of ours must cost one lookup, not the process
            place = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{os.path.basename(place.filename)}:{place.lineno}"
            answer = OwnFault(Cause.BUG, f"{type(error).__name__} at {where}: {error}")
        self._send(number, answer)

    def _send(self, number: int, answer: Answer) -> None:
        with self._counting:
            counts, self._counts = self._counts, Counter()
        lines = json.dumps({"n": number, **answer_to_json(answer)}) + "\n"
        if counts:
            lines += json.dumps({"counts": [[*key, n] for key, n in counts.items()]}) + "\n"
        with self._writing:
            self._sock.sendall(lines.encode())

    def _count(self, rdtype: str, result: str) -> None:
        with self._counting:
            self._counts[rdtype, result] += 1

    def _answer(self, job: Job, early: Callable[[Answer], None]) -> Answer:
        match job:
            case Discover():
                return self._discover(job)
            case Dane():
                return dane.facts(job.domain, job.port, self._sources.dns, beside=self._crew.submit, early=early)
            case Tlsrpt():
                return self._tlsrpt(job.domain)
            case JudgeResolver():
                return self._dns.judge_resolvers()

    def _discover(self, job: Discover) -> Outcome:
        answer = None
        if job.record is not None:
            answer = self._dns.txt_from_wire(record_name(job.domain), job.record)

        def txt(name: str) -> DnsAnswer[bytes]:
            return answer if answer is not None else self._dns.txt(name, job.spent)

        sources = replace(self._sources, dns=_Begun(self._dns, txt))
        located = locate(job.domain, sources, avoid=job.avoid, refetch_as=job.refetch_as)
        if not isinstance(located, Located):
            return located
        try:
            with self._slots.slot() as transfer:
                return fetch(located, self._sources, transfer=transfer)
        except FetchError as error:
            return Failed(located.record_id, Stage(error.stage), error.seen)

    def _tlsrpt(self, domain: Domain) -> TlsrptRecord:
        try:
            return TlsrptRecord(tlsrpt.select_record(self._dns.txt(f"_smtp._tls.{domain}").records))
        except DnsError:
            return TlsrptRecord(None)


def main(fd: int) -> None:
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # the daemon's to handle: it closes the socket
        signal.signal(ignored, signal.SIG_IGN)
    with suppress(OSError):  # a sandbox may forbid it
        os.nice(NICENESS)
    threading.stack_size(512 * 1024)
    sock = socket.socket(fileno=fd)
    with sock.makefile("rb") as lines:
        worker = Worker(sock, json.loads(lines.readline()))
        for line in lines:
            order = json.loads(line)
            worker.take(order["n"], job_from_json(order))
    os._exit(0)  # threads that still wait for a network have nobody to answer


if __name__ == "__main__":
    main(int(sys.argv[1]))
