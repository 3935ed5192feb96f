"""daemon/reporting.py: which failed fetches a collector is told of, and what one that is away costs."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from postfix_mtasts.config.settings import LookupSettings, Settings, TlsrptSettings
from postfix_mtasts.core.entry import Entry
from postfix_mtasts.core.names import Domain
from postfix_mtasts.core.outcome import Failed, ResultType, Stage
from postfix_mtasts.daemon.counters import Counts
from postfix_mtasts.daemon.policies import reporting
from postfix_mtasts.daemon.policies.reporting import Reporter
from postfix_mtasts.faults import Fault, Seen
from tests.support.fakes.entries import entry
from tests.support.fakes.faults import failed
from tests.support.fakes.keeping import BUG, DIED, D, FakeResolver, ManualClock, Question

RECORD = "v=TLSRPTv1; rua=mailto:r@example.com"
PAUSE = 300.0  # seconds: failure_ttl
FETCH, INVALID, WEBPKI = ResultType.FETCH_ERROR, ResultType.INVALID, ResultType.WEBPKI_INVALID


class Mailbox:
    """A datagram socket where reports may arrive."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.setblocking(False)
        self.sock.bind(str(path))

    def read(self) -> list[dict[str, Any]]:
        found = []
        while True:
            try:
                found.append(json.loads(self.sock.recv(1 << 20)))
            except BlockingIOError:
                return found


@pytest.fixture
def mailbox(tmp_path: Path) -> Iterator[Mailbox]:
    mailbox = Mailbox(tmp_path / "collector")
    yield mailbox
    mailbox.sock.close()


class World:
    """A reporter whose questions to DNS the test answers."""

    def __init__(self, path: Path | None, clock: ManualClock) -> None:
        self.resolver, self.counts = FakeResolver(), Counts()
        self.reporter = Reporter(self.settings(path), self.resolver, self.counts, clock.monotonic)

    @staticmethod
    def settings(path: Path | None) -> Settings:
        tlsrpt = TlsrptSettings(socket=None if path is None else str(path))
        return Settings(tlsrpt=tlsrpt, lookup=LookupSettings(failure_ttl=PAUSE))

    def fail(self, domain: str = D, result: ResultType = INVALID, held: Entry | None = None) -> bool:
        """A fetch fails; whether DNS is asked who wants to know."""
        before = self.resolver.count
        self.reporter.report(failed("1", Stage.POLICY, "line 1: no", result), held, Domain(domain))
        return self.resolver.count > before

    def tell(self, record: str | None = RECORD) -> None:
        """Answer the oldest question."""
        self.resolver.answer(record)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def world(clock: ManualClock, mailbox: Mailbox) -> World:
    return World(mailbox.path, clock)


@pytest.mark.parametrize(("result", "code"), [(FETCH, 301), (INVALID, 302), (WEBPKI, 303)])
def test_a_failure_without_a_policy(world: World, mailbox: Mailbox, result: ResultType, code: int) -> None:
    """The domain is asked for its record, and its failure reported with it."""
    world.fail(result=result)
    assert [question for question, _ in world.resolver.open] == [Question("tlsrpt", D)]
    world.tell()
    (sent,) = mailbox.read()
    assert (sent["d"], sent["pr"]) == (D, RECORD)
    assert sent["policies"][0]["failure-details"] == [
        {"c": code, "f": failed("1", Stage.POLICY, "line 1: no", result).seen.to_strangers()}
    ]
    assert sent["policies"][0]["policy-string"] == []
    assert world.counts.reports == {"sent": 1}


def test_a_report_names_no_resolver_of_ours(world: World, mailbox: Mailbox) -> None:
    """It goes to strangers; the log has the address."""
    seen = Seen(Fault.DNS_TIMEOUT, "mta-sts.example.com", "no A answer: no answer within 5 s from 192.0.2.53:53")
    world.reporter.report(Failed("1", Stage.ADDRESS, seen), None, D)
    world.tell()
    (sent,) = mailbox.read()
    assert sent["policies"][0]["failure-details"] == [{"c": 301, "f": "no DNS answer for mta-sts.example.com in time"}]


def test_a_failed_refresh_shows_the_policy_that_stays(world: World, mailbox: Mailbox) -> None:
    """RFC 8461 section 6: the cached policy is in use, and its refresh failed."""
    held = entry()
    world.fail(held=held)
    world.tell()
    (sent,) = mailbox.read()
    assert sent["policies"][0]["policy-string"] == held.policy.text.split("\n")
    assert sent["policies"][0]["mx-host"] == list(held.policy.mx)
    assert sent["policies"][0]["policy-domain"] == D


def test_only_for_those_who_ask_for_reports(world: World, mailbox: Mailbox) -> None:
    """No record, two, or no answer: nothing is sent, and nothing counted as lost."""
    world.fail()
    world.tell(None)
    world.fail("dies.example")
    world.resolver.answer(DIED)
    world.fail("bug.example")
    world.resolver.answer(BUG)
    assert mailbox.read() == []
    assert world.counts.reports == {}


def test_once_for_each_domain_kind_and_failure_ttl(world: World, clock: ManualClock) -> None:
    """In that time DNS is not even asked again."""
    assert [world.fail(), world.fail()] == [True, False]
    assert [world.fail(result=FETCH), world.fail("other.example")] == [True, True]
    clock.advance(PAUSE - 1)
    assert world.fail() is False
    clock.advance(1)
    assert [world.fail(), world.fail()] == [True, False]


def test_a_failure_that_was_not_told_prolongs_nothing(world: World, clock: ManualClock) -> None:
    """The time runs from the report, whatever fails within it."""
    for later in (0, PAUSE / 2, PAUSE / 2):
        clock.advance(later)
        asked = world.fail()
    assert asked


@pytest.mark.parametrize("answer", [None, RECORD])
def test_a_domain_without_reports_is_not_asked_more_often(world: World, answer: str | None) -> None:
    """Who wants no reports costs one question in each failure_ttl too."""
    world.fail()
    world.resolver.answer(answer)
    assert world.fail() is False


def test_no_collector_no_question(clock: ManualClock) -> None:
    """Without tlsrpt.socket nothing at all happens."""
    world = World(None, clock)
    assert world.fail() is False


def test_a_collector_that_is_away(world: World, mailbox: Mailbox, clock: ManualClock) -> None:
    """A lost report is a count; later ones arrive again."""
    mailbox.path.rename(mailbox.path.with_name("elsewhere"))
    world.fail()
    world.tell()
    assert world.counts.reports == {"unsent": 1}
    mailbox.path.with_name("elsewhere").rename(mailbox.path)
    clock.advance(PAUSE)
    world.fail()
    world.tell()
    assert len(mailbox.read()) == 1
    assert world.counts.reports == {"unsent": 1, "sent": 1}


def test_a_collector_that_reads_nothing(world: World, mailbox: Mailbox) -> None:
    """Its queue fills up; from there on reports are lost, and nobody waits."""
    while world.counts.reports["unsent"] == 0:
        assert world.counts.reports["sent"] < 100_000
        world.fail(f"d{world.counts.reports['sent']}.example")
        world.tell()
    assert len(mailbox.read()) == world.counts.reports["sent"] > 0


def test_memory_is_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound the longest reported is forgotten, and may be reported again."""
    monkeypatch.setattr(reporting, "REMEMBERED", 3)
    for name in ("a", "b", "c", "d"):
        assert world.fail(f"{name}.example")
    assert len(world.reporter._reported) == 3
    assert [world.fail(f"{name}.example") for name in ("b", "c", "d", "a")] == [False, False, False, True]
    assert world.fail("b.example")


def test_a_failure_told_again_is_the_youngest(
    world: World, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is forgotten first goes by the last report, not by the first."""
    monkeypatch.setattr(reporting, "REMEMBERED", 2)
    world.fail("a.example")
    world.fail("b.example")
    clock.advance(PAUSE)
    world.fail("a.example")
    world.fail("c.example")
    assert world.fail("a.example") is False


def test_a_reload_moves_the_collector(world: World, mailbox: Mailbox, tmp_path: Path) -> None:
    """What is under way goes to the new place, and nowhere if there is none any more."""
    new = Mailbox(tmp_path / "new")
    world.fail("moves.example")
    world.reporter.configure(world.settings(new.path))
    world.tell()
    assert [report["d"] for report in new.read()] == ["moves.example"]
    world.fail("ends.example")
    world.reporter.configure(world.settings(None))
    world.tell()
    assert world.fail("later.example") is False
    assert new.read() == mailbox.read() == []
    assert world.counts.reports == {"sent": 1}
    new.sock.close()


def test_a_reload_changes_the_pause(world: World, mailbox: Mailbox, clock: ManualClock) -> None:
    """A failure_ttl of 10 s counts for what was reported before, too."""
    world.fail()
    settings = world.settings(mailbox.path)
    world.reporter.configure(replace(settings, lookup=replace(settings.lookup, failure_ttl=10.0)))
    clock.advance(10)
    assert world.fail()
