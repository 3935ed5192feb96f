"""daemon/workers/worker.py in this process: jobs in, answers out, one JSON object a line."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import dns.message
import dns.rrset
import pytest

from postfix_mtasts.adapters.dns.client import DnsClient
from postfix_mtasts.adapters.https.fetch import Transfer
from postfix_mtasts.config.settings import DnsSettings, FetchSettings
from postfix_mtasts.core.dane import DaneFacts, DaneStatus
from postfix_mtasts.core.dnsdata import Validation
from postfix_mtasts.core.names import Domain
from postfix_mtasts.core.outcome import Absent, Cause, Failed, OwnFault, Stage, Unchanged
from postfix_mtasts.core.ports import ResolverFacts, Sources, Urgency
from postfix_mtasts.daemon.workers.wire import (
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
    orders_to_json,
)
from postfix_mtasts.daemon.workers.worker import Worker, _Fetch, serve
from postfix_mtasts.faults import Fault, Seen
from postfix_mtasts.resolving.discovery import Located
from tests.support.servers.dnsserver import DnsServer

D = Domain("example.com")
WANTED = '"v=TLSRPTv1; rua=mailto:r@example.com"'


class Peer:
    """A worker and the daemon's end of its socket."""

    def __init__(self, server: DnsServer) -> None:
        self.server = server
        self.ours, theirs = socket.socketpair()
        self.ours.settimeout(30)
        self._lines = self.ours.makefile("rb")
        self._theirs = theirs
        self.worker = Worker(
            theirs,
            Orders(
                DnsSettings(servers=(server.address,), timeout=2.0),
                FetchSettings(timeout=5.0, parallel=4, allow_private_addresses=True),
                wait=15.0,
            ),
        )
        self.counts: list[tuple[str, str, int]] = []

    def close(self) -> None:
        self._lines.close()
        self.ours.close()
        self._theirs.close()

    def ask(self, job: Job) -> Answer:
        """The answer to one job."""
        self.worker.take(7, job)
        return self.next(job)

    def next(self, job: Job) -> Answer:
        """The next answer to a job that was given before."""
        while True:
            line = json.loads(self._lines.readline())
            self.counts += counts_from_json(line)
            if "n" in line:
                assert line["n"] == 7
                return answer_from_json(job, line)


@pytest.fixture
def peer() -> Iterator[Peer]:
    with DnsServer(secure={"."}) as server:
        peer = Peer(server)
        yield peer
        peer.close()


def test_no_record(peer: Peer) -> None:
    """Absent, with the reason and the TTL of its absence."""
    assert peer.ask(Discover(D)) == Absent(Seen(Fault.RECORD_NO_NAME, "_mta-sts.example.com"), 60.0)


def test_a_record_that_is_known(peer: Peer) -> None:
    """Nothing is fetched."""
    peer.server.records["_mta-sts.example.com", "TXT"] = ['"v=STSv1; id=1;"']
    assert peer.ask(Discover(D, avoid=("1",))) == Unchanged("1")


def heard(name: str, rdtype: str, *data: str) -> bytes:
    """An answer of a resolver, as the daemon's probe hands it over."""
    reply = dns.message.make_response(dns.message.make_query(name, rdtype), recursion_available=True)
    if data:
        reply.answer.append(dns.rrset.from_text(f"{name}.", 300, "IN", rdtype, *data))
    return reply.to_wire()


def test_what_the_probe_heard_is_not_asked_for_again(peer: Peer) -> None:
    """Record and addresses are read from its answers, and judged as ever."""
    host = "mta-sts.example.com"
    answers = {
        "TXT": heard("_mta-sts.example.com", "TXT", '"v=STSv1; id=1;"'),
        "A": heard(host, "A", "255.255.255.255"),  # nothing can be connected to there
        "AAAA": heard(host, "AAAA"),
    }
    failed = peer.ask(Discover(D, heard=answers))
    assert isinstance(failed, Failed)
    assert failed.seen.fault is Fault.NOT_CONNECTED
    assert not peer.server.asked


def test_what_the_probe_heard_wrongly_is_asked_for(peer: Peer) -> None:
    """An answer to another question is of no use."""
    answers = {"TXT": heard("_mta-sts.example.org", "TXT", '"v=STSv1; id=1;"'), "A": b"", "AAAA": b"\0"}
    assert isinstance(peer.ask(Discover(D, heard=answers)), Absent)
    assert peer.server.asked["_mta-sts.example.com", "TXT"] == 1


def test_a_bug_costs_one_job(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told with its place; the worker goes on."""
    with monkeypatch.context() as broken:
        broken.setattr(DnsClient, "txt", lambda *_: 1 / 0)
        fault = peer.ask(Discover(D))
    assert isinstance(fault, OwnFault)
    assert (fault.cause, "ZeroDivisionError at test_worker.py:" in fault.reason) == (Cause.BUG, True)
    assert isinstance(peer.ask(Discover(D)), Absent)


@pytest.mark.parametrize(
    ("records", "want"),
    [
        ([WANTED], "v=TLSRPTv1; rua=mailto:r@example.com"),
        ([WANTED, '"v=spf1 -all"'], "v=TLSRPTv1; rua=mailto:r@example.com"),
        (['"v=TLSRPTv1; rua=mai" "lto:r@example.com"'], "v=TLSRPTv1; rua=mailto:r@example.com"),
        ([], None),
        ([WANTED, '"v=TLSRPTv1; rua=mailto:other@example.com"'], None),
        (['"v=TLSRPTv1; rua="'], None),
    ],
    ids=["one", "one among others", "one in two strings", "none", "two", "an invalid one"],
)
def test_who_wants_reports(peer: Peer, records: list[str], want: str | None) -> None:
    """RFC 8460 section 3: exactly one valid record at _smtp._tls."""
    if records:
        peer.server.records["_smtp._tls.example.com", "TXT"] = records
    assert peer.ask(Tlsrpt(D)) == TlsrptRecord(want)


def test_nobody_knows_who_wants_reports(peer: Peer) -> None:
    """Where DNS fails nobody is told."""
    peer.server.behaviours["_smtp._tls.example.com", "TXT"] = "SERVFAIL"
    assert peer.ask(Tlsrpt(D)) == TlsrptRecord(None)


@pytest.mark.parametrize(
    ("secure", "behaviour", "want"),
    [(True, None, Validation.VALIDATES), (False, None, Validation.NO_AD), (True, "SERVFAIL", Validation.NO_ANSWER)],
    ids=["AD", "no AD", "SERVFAIL"],
)
def test_the_resolver(peer: Peer, secure: bool, behaviour: str | None, want: Validation) -> None:
    """Whether AD comes back for the root's key, and who was asked."""
    peer.server.records[".", "DNSKEY"] = ["257 3 13 " + "A" * 86 + "=="]
    peer.server.secure = secure
    if behaviour is not None:
        peer.server.behaviours[".", "DNSKEY"] = behaviour
    facts = peer.ask(JudgeResolver())
    assert isinstance(facts, ResolverFacts)
    assert (facts.servers, facts.validation) == ((peer.server.address,), want)


def test_dane(peer: Peer) -> None:
    """The facts; what they mean is the daemon's to say."""
    peer.server.records["example.com", "MX"] = ["10 mx.example.com."]
    facts = peer.ask(Dane(D, 25))
    assert isinstance(facts, DaneFacts)
    assert (facts.mx, facts.hosts) == (DaneStatus.UNUSABLE, ())


def test_queries_are_counted_once(peer: Peer) -> None:
    """By type and result, beside the next answer."""
    for _ in range(2):
        peer.ask(Tlsrpt(D))
    peer.ask(Discover(Domain(f"{'a.' * 124}example")))
    assert sum(number for _, _, number in peer.counts) == peer.server.asked["_smtp._tls.example.com", "TXT"] == 2
    assert {(rdtype, result) for rdtype, result, _ in peer.counts} == {("TXT", "nxdomain")}


def test_a_usable_mail_host_is_told_before_one_that_is_silent(peer: Peer) -> None:
    """Two lines come of one job: the first usable host, and, when the last has answered, the whole."""
    silent = threading.Event()
    peer.server.secure = True
    peer.server.records.update(
        {
            ("example.com", "MX"): ["1 silent.example.com.", "2 mx.example.com."],
            ("mx.example.com", "A"): ["192.0.2.1"],
            ("_25._tcp.mx.example.com", "TLSA"): ["3 1 1 " + "ab" * 32],
        }
    )
    peer.server.behaviours["silent.example.com", "A"] = silent
    early = peer.ask(Dane(D, 25))
    assert isinstance(early, DaneFacts)
    assert (early.complete, [host.name for host in early.hosts]) == (False, ["mx.example.com"])
    silent.set()
    whole = peer.next(Dane(D, 25))
    assert isinstance(whole, DaneFacts)
    assert (whole.complete, [host.name for host in whole.hosts]) == (True, ["silent.example.com", "mx.example.com"])


@pytest.mark.parametrize(
    ("early", "want"),
    [(True, OwnFault), (False, Failed)],
    ids=["before it had its time: our fault", "after that: the host's"],
)
def test_a_fetch_that_gives_way(peer: Peer, monkeypatch: pytest.MonkeyPatch, early: bool, want: type[Answer]) -> None:
    """Others waited for its place: that says something of the host only if it had its time."""
    peer.server.records[f"_mta-sts.{D}", "TXT"] = ['"v=STSv1; id=1;"']
    peer.server.records[f"mta-sts.{D}", "A"] = ["127.0.0.1"]

    def gives_way(located: Located, sources: Sources, *, transfer: Transfer) -> Failed:
        (ticket,) = peer.worker._turns._slots._running
        ticket.early = early
        peer.worker._give_up(ticket, 3.0)  # type: ignore[arg-type]
        return Failed("1", Stage.HTTP, Seen(Fault.GIVEN_UP))

    monkeypatch.setattr("postfix_mtasts.daemon.workers.worker.fetch", gives_way)
    answer = peer.ask(Discover(D))
    assert isinstance(answer, want)
    if isinstance(answer, OwnFault):
        assert (answer.cause, "given up after 3 s" in answer.reason) == (Cause.OVERLOAD, True)
    assert peer.worker._turns._slots.running == 0


def test_a_fetch_that_never_got_a_place(peer: Peer) -> None:
    """It is our overload, and says nothing of the domain."""
    located = Located("1", "mta-sts.example.com", ("127.0.0.1",))
    peer.worker._drop(_Fetch(Urgency.LOOKUP, "127.0.0.1", 0.0, number=7, located=located))
    answer = peer.next(Discover(D))
    assert isinstance(answer, OwnFault)
    assert answer.cause is Cause.OVERLOAD


def served(*lines: dict[str, Any]) -> list[dict[str, Any]]:
    """What a worker says to *lines*, until it ends."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall("".join(json.dumps(line) + "\n" for line in lines).encode())
        ours.shutdown(socket.SHUT_WR)
        serve(theirs)
        theirs.shutdown(socket.SHUT_WR)
        with ours.makefile("rb") as said:
            return [json.loads(line) for line in said]


ORDERS = Orders(DnsSettings(), FetchSettings(), 15.0)


def test_it_says_that_it_is_ready_and_moves() -> None:
    """A ping is answered by the thread that takes the jobs."""
    assert served(orders_to_json(ORDERS), {"ping": 3}) == [{"ready": os.getpid()}, {"pong": 3}]


def test_a_worker_that_cannot_start_says_why(tmp_path: Path) -> None:
    """In one line, and without a traceback: the daemon tells of it."""
    torn = tmp_path / "ca.pem"
    torn.write_text("-----BEGIN CERTIFICATE-----\nMII")
    (said,) = served(orders_to_json(replace(ORDERS, fetch=FetchSettings(ca_file=str(torn)))))
    assert said["unable"].startswith(f"fetch.ca_file: {torn}: it holds no CA certificates")
    (said,) = served({"orders": "none"})
    assert said["unable"].startswith("KeyError at wire.py:")


def test_a_system_without_prctl_has_workers_too() -> None:
    """FreeBSD, say: they end when the daemon's socket does."""
    program = """
import ctypes, os
ctypes.CDLL = lambda name: object()
from postfix_mtasts.daemon.workers.worker import become
become("mtasts-worker", os.getppid())
print("goes on")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "goes on\n", done.stderr
