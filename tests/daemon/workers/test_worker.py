"""daemon/workers/worker.py in this process: jobs in, answers out, one JSON object a line."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from postfix_mtasts.adapters.dns.client import DnsClient
from postfix_mtasts.adapters.https.fetch import Transfer
from postfix_mtasts.core.dane import DaneFacts, DaneStatus
from postfix_mtasts.core.dnsdata import Validation
from postfix_mtasts.core.names import Domain
from postfix_mtasts.core.outcome import Absent, Cause, OwnFault, Unchanged
from postfix_mtasts.core.ports import ResolverFacts
from postfix_mtasts.daemon.workers.wire import (
    Answer,
    Dane,
    Discover,
    Job,
    JudgeResolver,
    Tlsrpt,
    TlsrptRecord,
    answer_from_json,
    counts_from_json,
)
from postfix_mtasts.daemon.workers.worker import FetchSlots, Worker
from postfix_mtasts.errors import FetchError
from postfix_mtasts.faults import Fault, Seen
from tests.support.fakes.keeping import ManualClock
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
            {
                "servers": [server.address],
                "dns_timeout": 2.0,
                "trust_ad": "auto",
                "fetch_timeout": 5.0,
                "parallel": 4,
                "ca_file": None,
                "allow_private_addresses": True,
            },
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


def test_a_place_that_is_left_is_free() -> None:
    """One place, two fetches, one after the other."""
    slots = FetchSlots(1, patience=30.0)
    for _ in range(2):
        with slots.slot():
            pass


@pytest.fixture
def aborted(monkeypatch: pytest.MonkeyPatch) -> list[Transfer]:
    """The fetches that were given up."""
    given_up: list[Transfer] = []
    monkeypatch.setattr(Transfer, "abort", lambda transfer, reason: given_up.append(transfer))
    return given_up


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> ManualClock:
    """Goes on by what anybody waits."""
    clock = ManualClock()
    monkeypatch.setattr(time, "monotonic", clock.monotonic)
    monkeypatch.setattr(threading.Condition, "wait", lambda condition, timeout: clock.advance(timeout))
    return clock


def test_who_hangs_gives_way(aborted: list[Transfer], clock: ManualClock) -> None:
    """The fetch that has run longest is given up for one that waits, not before it has run for its time."""
    slots, began = FetchSlots(2, patience=10.0), clock.since_boot
    with slots.slot() as first:
        clock.advance(4)
        with slots.slot() as second:
            assert aborted == []
            with slots.slot():
                assert aborted == [first]
                assert clock.since_boot - began == 10
                with slots.slot():
                    assert aborted == [first, second]
                    assert clock.since_boot - began == 14


def test_nobody_waits_for_a_place_for_ever(aborted: list[Transfer], clock: ManualClock) -> None:
    """Others are always quicker: after six times the patience a fetch fails as any other."""
    slots, began = FetchSlots(1, patience=10.0), clock.since_boot
    with slots.slot() as quick:

        def wait(condition: threading.Condition, timeout: float) -> None:
            clock.advance(timeout)
            slots._running[quick] = clock.since_boot  # the place was free, and taken

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(threading.Condition, "wait", wait)
            with pytest.raises(FetchError, match="too many other fetches were under way"), slots.slot():
                raise AssertionError("there is no place")
    assert (aborted, clock.since_boot - began) == ([], 60)


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
