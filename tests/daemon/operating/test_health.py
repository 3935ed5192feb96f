"""What counts as moving, and what the watchdog does not look at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import pytest

from postfix_mtasts.config.settings import FetchSettings
from postfix_mtasts.core.names import Domain
from postfix_mtasts.core.silence import Silence
from postfix_mtasts.daemon.operating.health import PATIENCE, Health
from postfix_mtasts.daemon.policies.refresher import Refresher
from postfix_mtasts.daemon.policies.store_thread import StoreKeeper
from postfix_mtasts.daemon.workers.pool import Pool
from postfix_mtasts.daemon.workers.proxy import ProxyWatch
from tests.support.fakes.faults import proxy_failed


@dataclass
class FakeRefresher:
    moved_at: float


@dataclass
class FakeStore:
    healthy: bool = True
    failure: str = ""
    busy_since: float | None = None


@dataclass
class FakePool:
    fault: str = ""


WORKERS = cast(Pool, FakePool())
NO_PROXY = ProxyWatch(FetchSettings(), lambda: 1000.0)
NOW: Callable[[], float] = lambda: 1000.0  # noqa: E731
LONG_AGO = PATIENCE + 5  # seconds

CASES = [
    ("all is well", 0.0, FakeStore(), []),
    ("the refresher stands still", LONG_AGO, FakeStore(), ["the refresher has not moved for 15 s"]),
    ("the store fails", 0.0, FakeStore(False, "no space left"), ["the store cannot be used: no space left"]),
    ("the store is busy", 0.0, FakeStore(busy_since=0.0), []),
    ("the store hangs", 0.0, FakeStore(busy_since=LONG_AGO), ["the store has not moved for 15 s"]),
]


@pytest.mark.parametrize(("title", "still", "store", "faults"), CASES, ids=[case[0] for case in CASES])
def test_faults(title: str, still: float, store: FakeStore, faults: list[str]) -> None:
    """Each part that does not move is named; the watchdog looks at the refresher alone."""
    if store.busy_since is not None:
        store.busy_since = 1000.0 - store.busy_since
    health = Health(
        cast(Refresher, FakeRefresher(1000.0 - still)),
        cast(StoreKeeper, store),
        Silence(),
        NO_PROXY,
        WORKERS,
        lambda: 1000.0,
    )
    assert health.faults() == faults
    assert bool(health.refresher_fault()) is (title == "the refresher stands still")
    assert bool(health.store_fault()) is ("the store" in " ".join(faults))


def test_resolvers_that_do_not_answer_are_a_fault_and_no_reason_to_end() -> None:
    """Policies that are held still serve; the watchdog looks elsewhere."""
    silence = Silence()
    health = Health(
        cast(Refresher, FakeRefresher(1000.0)),
        cast(StoreKeeper, FakeStore()),
        silence,
        NO_PROXY,
        WORKERS,
        lambda: 1000.0,
    )
    for now in (0.0, 59.0):
        silence.note("timeout", now)
    assert health.faults() == []
    silence.note("unreachable", 75.0)
    assert health.faults() == ["no DNS server has answered for 75 s"]
    assert health.refresher_fault() == ""
    silence.note("servfail", 76.0)
    assert health.faults() == []


def test_workers_that_cannot_start() -> None:
    """Domains that are not known yet are deferred meanwhile: somebody has to look."""
    pool = cast(Pool, FakePool("fetch.ca_file: no"))
    health = Health(
        cast(Refresher, FakeRefresher(1000.0)),
        cast(StoreKeeper, FakeStore()),
        Silence(),
        NO_PROXY,
        pool,
        lambda: 1000.0,
    )
    assert health.faults() == ["no worker process can be started: fetch.ca_file: no"]


def test_a_proxy_that_lets_nothing_through_for_a_minute_is_a_fault() -> None:
    """One fetch that it failed is none: nobody may have asked it since."""
    now = [1000.0]
    watch = ProxyWatch(FetchSettings(proxy="http://proxy.example:3128"), lambda: now[0])
    health = Health(
        cast(Refresher, FakeRefresher(1000.0)),
        cast(StoreKeeper, FakeStore()),
        Silence(),
        watch,
        WORKERS,
        lambda: now[0],
    )
    watch.note(Domain("example.com"), proxy_failed())
    assert health.faults() == []
    now[0] += 75
    watch.note(Domain("example.com"), proxy_failed())
    reason = "cannot connect to the proxy proxy.example:3128: connection refused"
    assert health.silent() == [f"no policy could be fetched for 75 s: {reason}"]
