"""daemon/workers/fast_path.py: what the probe answers on the loop, and what the pool is told of the rest."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from postfix_mtasts.config.settings import DnsSettings, Settings
from postfix_mtasts.core.names import Domain
from postfix_mtasts.core.outcome import Absent
from postfix_mtasts.core.ports import Resolver, Urgency
from postfix_mtasts.daemon.workers.fast_path import FastPath
from postfix_mtasts.daemon.workers.pool import Pool
from postfix_mtasts.daemon.workers.wire import Dane, Discover, Job, JudgeResolver, Tlsrpt
from postfix_mtasts.faults import Fault, Seen
from tests.support.servers.dnsserver import DnsServer

D = Domain("example.com")
LONG = Domain(f"{'a.' * 124}example")
NAME = "_mta-sts.example.com"
PATIENCE = 30.0  # seconds
RECORD = {(NAME, "TXT"): ['"v=STSv1; id=1"']}
NXDOMAIN: Mapping[tuple[str, str], list[str]] = {}
Ask = Callable[[Resolver, Callable[[Any], None]], None]


def lookup(resolver: Resolver, done: Callable[[Any], None]) -> None:
    resolver.discover(D, ["0"], None, done, Urgency.UPKEEP)


def answer_to(server: DnsServer, ask: Ask, by_name: bool = False) -> tuple[object, Job | None]:
    """The answer of the probe, if it has one, and the job that the pool gets, if it does; and no more than one."""
    jobs, answers, counted = list[Job](), list[object](), list[tuple[str, str, int]]()

    async def main() -> None:
        pool = Pool(Settings(), lambda *_: None)
        pool._submit = lambda job, done: jobs.append(job)  # type: ignore[method-assign]
        settings = DnsSettings(servers=(server.address,), timeout=1.0)
        fast_path = FastPath(pool, settings, lambda *count: counted.append(count), time.monotonic, by_name)
        ask(fast_path, answers.append)
        async with asyncio.timeout(PATIENCE):
            while not answers and not jobs:
                await asyncio.sleep(0.01)
        fast_path.close()

    asyncio.run(main())
    assert len(answers) + len(jobs) == 1
    assert len(counted) == len(answers)
    return answers[0] if answers else None, jobs[0] if jobs else None


def test_absence_is_answered_by_the_probe() -> None:
    """For most domains no worker is needed."""
    with DnsServer(NXDOMAIN) as server:
        assert answer_to(server, lookup) == (Absent(Seen(Fault.RECORD_NO_NAME, NAME), 60.0), None)


def test_a_record_goes_along_and_is_asked_for_once() -> None:
    """The worker reads what the probe heard."""
    with DnsServer(RECORD) as server:
        _, job = answer_to(server, lookup)
        assert server.asked[NAME, "TXT"] == 1
    assert isinstance(job, Discover)
    assert list(job.heard) == ["TXT"]
    assert b"v=STSv1; id=1" in job.heard["TXT"]
    assert (job.domain, job.avoid, job.refetch_as, job.urgency) == (D, ("0",), None, Urgency.UPKEEP)


def first(resolver: Resolver, done: Callable[[Any], None]) -> None:
    """A first lookup: no record id is known, so a record means a fetch."""
    resolver.discover(D, [], None, done)


HOST = "mta-sts.example.com"
ADDRESSES = {**RECORD, (HOST, "A"): ["192.0.2.1"]}


def test_the_addresses_for_the_fetch_go_along() -> None:
    """Asked at once, on the loop; that there is none of a family is an answer too."""
    with DnsServer(ADDRESSES) as server:
        _, job = answer_to(server, first)
        assert server.asked == {(NAME, "TXT"): 1, (HOST, "A"): 1, (HOST, "AAAA"): 1}
    assert isinstance(job, Discover)
    assert set(job.heard) == {"TXT", "A", "AAAA"}


def test_through_a_proxy_that_goes_by_name_no_address_is_asked_for() -> None:
    """The record alone goes along."""
    with DnsServer(ADDRESSES) as server:
        _, job = answer_to(server, first, by_name=True)
        assert server.asked == {(NAME, "TXT"): 1}
    assert isinstance(job, Discover)
    assert set(job.heard) == {"TXT"}


def test_an_address_that_is_not_heard_is_left_to_the_worker() -> None:
    """It asks in full."""
    with DnsServer(ADDRESSES, {(HOST, "AAAA"): "SERVFAIL"}) as server:
        _, job = answer_to(server, first)
    assert isinstance(job, Discover)
    assert set(job.heard) == {"TXT", "A"}


def test_a_record_of_something_else_asks_for_no_address() -> None:
    """A wildcard TXT record, for instance: nothing will be fetched."""
    with DnsServer({(NAME, "TXT"): ['"v=spf1 -all"']}) as server:
        _, job = answer_to(server, first)
        assert server.asked == {(NAME, "TXT"): 1}
    assert isinstance(job, Discover)
    assert list(job.heard) == ["TXT"]


def test_silence_is_told_with_the_time_it_took() -> None:
    """dns.timeout is for the name, probe included."""
    with DnsServer(NXDOMAIN, {("*", "*"): "silence"}) as server:
        _, job = answer_to(server, lookup)
    assert isinstance(job, Discover)
    assert job.heard == {}
    assert 0.2 <= job.spent < PATIENCE


OTHERS: list[tuple[str, Ask, Job]] = [
    (
        "a fetch that is due, record or not",
        lambda resolver, done: resolver.discover(D, [], "1", done, Urgency.EXPIRING),
        Discover(D, (), "1", Urgency.EXPIRING),
    ),
    ("a name that DNS cannot hold", lambda resolver, done: resolver.discover(LONG, [], None, done), Discover(LONG)),
    ("a DANE reading", lambda resolver, done: resolver.dane(D, 587, done), Dane(D, 587)),
    ("who wants reports", lambda resolver, done: resolver.tlsrpt(D, done), Tlsrpt(D)),
    ("the resolver itself", lambda resolver, done: resolver.resolver(done), JudgeResolver()),
]


@pytest.mark.parametrize(("title", "ask", "job"), OTHERS, ids=[other[0] for other in OTHERS])
def test_other_questions_go_to_the_pool_as_they_are(title: str, ask: Ask, job: Job) -> None:
    """The probe asks nothing for them."""
    with DnsServer(NXDOMAIN) as server:
        assert answer_to(server, ask) == (None, job)
        assert not server.asked
