"""Which jobs the probe answers on the loop, and what the worker is told of the others."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from postfix_mtasts.config.settings import DnsSettings
from postfix_mtasts.core.outcome import Absent
from postfix_mtasts.daemon.workers.fast_path import Prober
from tests.support.fakes.keeping import FakeJobs
from tests.support.servers.dnsserver import DnsServer

NAME = "_mta-sts.example.com"
PATIENCE = 30.0  # seconds
DISCOVER = {"job": "discover", "domain": "example.com", "avoid": [], "refetch_as": None}
RECORD = {(NAME, "TXT"): ['"v=STSv1; id=1"']}
NXDOMAIN: Mapping[tuple[str, str], list[str]] = {}


def submit(server: DnsServer, job: dict[str, Any]) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """The answer of the probe, if it has one, and the job that the worker gets, if it does; and no more than one."""
    jobs, counted = FakeJobs(), list[tuple[str, str, int]]()

    async def main() -> dict[str, Any] | None:
        prober = Prober(jobs, DnsSettings(servers=(server.address,), timeout=1.0), lambda *count: counted.append(count))
        answers: list[dict[str, Any]] = []
        prober.submit(job, answers.append)
        async with asyncio.timeout(PATIENCE):
            while not answers and not jobs.open:
                await asyncio.sleep(0.01)
        prober.close()
        assert len(answers) + len(jobs.open) == 1
        assert len(counted) == len(answers)
        return answers[0] if answers else None

    answer = asyncio.run(main())
    return answer, jobs.open[0][0] if jobs.open else None


def test_absence_is_answered_by_the_probe() -> None:
    """For most domains no worker is needed."""
    with DnsServer(NXDOMAIN) as server:
        answer, job = submit(server, DISCOVER)
    assert job is None
    assert answer is not None
    assert isinstance(answer["probed"], Absent)


def test_a_record_goes_along_and_is_asked_for_once() -> None:
    """The worker reads what the probe heard."""
    with DnsServer(RECORD) as server:
        _, job = submit(server, DISCOVER)
        assert server.asked[NAME, "TXT"] == 1
    assert job is not None
    assert b"v=STSv1; id=1" in bytes.fromhex(job["record"])


def test_silence_is_told_with_the_time_it_took() -> None:
    """dns.timeout is for the name, probe included."""
    with DnsServer(NXDOMAIN, {("*", "*"): "silence"}) as server:
        _, job = submit(server, DISCOVER)
    assert job is not None
    assert 0.2 <= job["spent"] < PATIENCE


OTHERS = [
    ("a fetch that is due, record or not", DISCOVER | {"refetch_as": "1"}),
    ("a DANE reading", {"job": "dane", "domain": "example.com", "port": 25}),
    ("a name that DNS cannot hold", DISCOVER | {"domain": f"{'a.' * 124}example"}),
]


@pytest.mark.parametrize(("title", "asked"), OTHERS, ids=[other[0] for other in OTHERS])
def test_other_jobs_go_to_the_worker_as_they_are(title: str, asked: dict[str, Any]) -> None:
    """The probe asks nothing for them."""
    with DnsServer(NXDOMAIN) as server:
        assert submit(server, asked) == (None, asked)
        assert not server.asked
