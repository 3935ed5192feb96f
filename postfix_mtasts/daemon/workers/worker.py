"""Ask DNS and fetch policies, in a process that is not the daemon's own.

TLS and HTTP beside the event loop starve it (each of its callbacks would have
to win the GIL back), and hostile certificates, HTTP answers and policies are
better parsed outside the process that answers Postfix.

Made by workers.launching, with a socket that carries the lines of
workers.wire. The first line is the orders, each further one a job. There are
DNS_THREADS more threads than there can be fetches, so that neither TXT nor
DANE waits for HTTPS. When the daemon closes the socket, or dies, the process
ends at once, stopped or not.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import ssl
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

from ...adapters.dns.client import DnsClient
from ...adapters.https.fetch import Transfer
from ...adapters.https.tls import make_context
from ...core import tlsrpt
from ...core.addresses import network
from ...core.dane import DaneFacts
from ...core.dnsdata import DnsAnswer
from ...core.names import Domain
from ...core.outcome import Cause, OwnFault
from ...errors import DnsError, MtaStsError
from ...resolving import dane
from ...resolving.discovery import Located, fetch, locate
from ...resolving.world import dns_client, make_sources
from .slots import Slots, Ticket
from .threads import Crew
from .turns import Turns
from .wire import (
    Answer,
    Dane,
    Discover,
    Job,
    JudgeResolver,
    Orders,
    Tlsrpt,
    TlsrptRecord,
    answer_to_json,
    job_from_json,
    orders_from_json,
)

DNS_THREADS = 256  # beside those that fetch
WINDING_DOWN = 32  # threads beyond fetch.parallel: fetches given up whose end takes a moment
DNS_WAIT = 5.0  # seconds that a job may wait for a thread at least, however short lookup.wait is
NICENESS = 15  # the process that answers Postfix comes first
DESCRIPTORS_EACH = 4  # a fetch holds two, and asks DNS before
_PR_SET_PDEATHSIG, _PR_SET_NAME = 1, 15  # prctl(2)


def _descriptors() -> int:
    """Return how many files may be open, beside the few that the process itself needs."""
    return max(DESCRIPTORS_EACH, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 64)


@dataclass(eq=False, slots=True)
class _Fetch(Ticket):
    """A policy to be fetched, once it is its turn."""

    number: int = 0
    located: Located = field(kw_only=True)
    transfer: Transfer = field(default_factory=Transfer)


class _Begun:
    """DNS, of which the daemon's probe has asked a part: what it heard is not asked for again, what it spent counts."""

    def __init__(self, dns: DnsClient, job: Discover) -> None:
        self._dns, self._heard, self._spent = dns, job.heard, job.spent
        self.mx, self.tlsa, self.cname, self.for_dane = dns.mx, dns.tlsa, dns.cname, dns.for_dane

    def txt(self, name: str) -> DnsAnswer[bytes]:
        return self._dns.txt_from_wire(name, self._heard.get("TXT", b"")) or self._dns.txt(name, self._spent)

    def a(self, name: str) -> DnsAnswer[str]:
        return self._dns.a_from_wire(name, self._heard.get("A", b"")) or self._dns.a(name)

    def aaaa(self, name: str) -> DnsAnswer[str]:
        return self._dns.aaaa_from_wire(name, self._heard.get("AAAA", b"")) or self._dns.aaaa(name)


class Worker:
    """Takes jobs, runs them in threads, writes answers. Raises: ConfigError, RuntimeError."""

    def __init__(self, sock: socket.socket, orders: Orders, context: ssl.SSLContext | None = None) -> None:
        self._sock = sock
        self._writing = threading.Lock()
        self._counts: Counter[tuple[str, str]] = Counter()
        self._counting = threading.Lock()
        self._dns = dns_client(orders.dns, self._count)
        self._sources = make_sources(self._dns, orders.fetch, context)
        places = max(1, min(orders.fetch.parallel, _descriptors() // DESCRIPTORS_EACH))
        self._crew = Crew("job", places + WINDING_DOWN + DNS_THREADS, max(DNS_WAIT, orders.wait))
        self._turns: Turns[_Fetch] = Turns(Slots(places, orders.wait), self._begin, self._give_up, self._drop)

    def take(self, number: int, job: Job) -> None:
        """Have *job* done; its answer is written when it is."""
        self._crew.submit(
            lambda: self._run(number, lambda: self._answer(number, job)),
            lambda: self.say({"n": number, **answer_to_json(_overload("no thread was free for it"))}),
        )

    def say(self, *lines: dict[str, Any]) -> None:
        """Write *lines*, and what was counted since the last ones."""
        with self._counting:
            counts, self._counts = self._counts, Counter()
        if counts:
            lines += ({"counts": [[*key, n] for key, n in counts.items()]},)
        text = "".join(json.dumps(line) + "\n" for line in lines).encode()
        with self._writing:
            self._sock.sendall(text)

    def _run(self, number: int, work: Callable[[], Answer | None]) -> None:
        """Write what *work* ends in, unless that is None: it goes on elsewhere."""
        try:
            answer = work()
        except Exception as error:  # noqa: BLE001 -- a bug of ours must cost one lookup, not the process
            answer = OwnFault(Cause.BUG, describe(error))
        if answer is not None:
            self.say({"n": number, **answer_to_json(answer)})

    def _count(self, rdtype: str, result: str) -> None:
        with self._counting:
            self._counts[rdtype, result] += 1

    def _answer(self, number: int, job: Job) -> Answer | None:
        match job:
            case Discover():
                return self._discover(number, job)
            case Dane():
                return self._dane(number, job)
            case Tlsrpt():
                return self._tlsrpt(job.domain)
            case JudgeResolver():
                return self._dns.judge_resolvers()

    def _dane(self, number: int, job: Dane) -> DaneFacts:
        def early(found: DaneFacts) -> None:
            self.say({"n": number, **answer_to_json(found)})

        return dane.facts(job.domain, job.port, self._dns, beside=self._crew.submit, early=early)

    def _tlsrpt(self, domain: Domain) -> TlsrptRecord:
        try:
            return TlsrptRecord(tlsrpt.select_record(self._dns.txt(f"_smtp._tls.{domain}").records))
        except DnsError:
            return TlsrptRecord(None)

    # -- discovery: DNS, then the policy host, each in its turn -----------------

    def _discover(self, number: int, job: Discover) -> Answer | None:
        sources = replace(self._sources, dns=_Begun(self._dns, job))
        located = locate(job.domain, sources, avoid=job.avoid, refetch_as=job.refetch_as)
        if not isinstance(located, Located):
            return located
        ticket = _Fetch(job.urgency, _place(located), time.monotonic(), number=number, located=located)
        if self._turns.wait(ticket):
            return self._fetch(ticket)  # in this thread: another would have to wake first
        return None

    def _begin(self, ticket: _Fetch) -> None:
        self._crew.submit(lambda: self._run(ticket.number, lambda: self._fetch(ticket)))

    def _fetch(self, ticket: _Fetch) -> Answer:
        try:
            outcome = fetch(ticket.located, self._sources, transfer=ticket.transfer)
        finally:
            self._turns.leave(ticket)
        if ticket.early and ticket.transfer.reason is not None:  # not the host's fault
            return _overload(ticket.transfer.reason)
        return outcome

    def _give_up(self, ticket: _Fetch, seconds: float) -> None:
        ticket.transfer.abort(f"given up after {seconds:.0f} s: others waited for its place")

    def _drop(self, ticket: _Fetch) -> None:
        fault = _overload("too many other fetches were under way")
        self.say({"n": ticket.number, **answer_to_json(fault)})


def _place(located: Located) -> str:
    """Return what is to have no more than its share of the places: a network, or the host that a proxy looks for."""
    return network(located.addresses[0]) if located.addresses else located.host


def _overload(reason: str) -> OwnFault:
    return OwnFault(Cause.OVERLOAD, f"too much is being looked up: {reason}")


def describe(error: BaseException) -> str:
    """An exception of our own, with its place."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} at {os.path.basename(place.filename)}:{place.lineno}: {error}"


def serve(sock: socket.socket, context: ssl.SSLContext | None = None) -> None:
    """Do the jobs that come over *sock*, until it is closed."""
    with sock.makefile("rb") as lines:
        try:
            worker = Worker(sock, orders_from_json(json.loads(lines.readline())), context)
        except Exception as error:  # noqa: BLE001 -- the daemon tells of it, in one line
            why = str(error) if isinstance(error, MtaStsError) else describe(error)
            sock.sendall(json.dumps({"unable": why}).encode() + b"\n")
            return
        worker.say({"ready": os.getpid()})
        for line in lines:
            order = json.loads(line)
            if "ping" in order:
                worker.say({"pong": order["ping"]})
            else:
                worker.take(order["n"], job_from_json(order))


class Trust:
    """The trust store, loaded once, and again when its file has changed."""

    def __init__(self) -> None:
        self._loaded: tuple[object, ssl.SSLContext] | None = None

    def context(self, ca_file: str | None) -> ssl.SSLContext | None:
        """The context for *ca_file*; None where it cannot be made, which the worker will meet too and tell."""
        try:
            seen = os.stat(ca_file or ssl.get_default_verify_paths().openssl_cafile)
            file = ca_file, seen.st_ino, seen.st_size, seen.st_mtime_ns
            if self._loaded is None or self._loaded[0] != file:
                self._loaded = file, make_context(ca_file)
        except (OSError, MtaStsError):
            return None
        return self._loaded[1]


def become(name: str, parent: int) -> None:
    """Be a process that ends with *parent*, even if this one is stopped then, and leaves signals to it."""
    with suppress(OSError, ImportError, MemoryError, AttributeError):  # no libc to ask: then the socket's end has to do
        import ctypes

        prctl = ctypes.CDLL(None).prctl
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        prctl(_PR_SET_NAME, name.encode())
    if os.getppid() != parent:  # it ended before
        os._exit(0)
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):  # the daemon closes the socket
        signal.signal(ignored, signal.SIG_IGN)


def main(fd: int, parent: int, context: ssl.SSLContext | None = None) -> NoReturn:
    become("mtasts-worker", parent)
    with suppress(OSError):  # a sandbox may forbid it
        os.nice(NICENESS)
    threading.stack_size(512 * 1024)
    with suppress(OSError):  # the daemon has ended
        serve(socket.socket(fileno=fd), context)
    os._exit(0)  # threads that still wait for a network have nobody to answer
