"""A look at every policy held, in turns: a thread, or one long turn, would keep Postfix waiting meanwhile."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from ... import __version__
from ...core.policy import Mode
from ..counters import Counts
from ..policies.known import Holding, Known
from .numbers import Cold, Numbers, ProcessNumbers, RefreshNumbers, SharedNumbers, WorkerNumbers

CHUNK = 200  # items between two turns of the loop

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Running:
    """What the daemon around the keeper knows of itself."""

    directory: str  # of the store
    listen: list[str]
    metrics: str | None  # where monitoring asks
    connections: int
    refresh_due: int
    refresh_lag: float  # seconds
    dns_up: bool
    store_up: bool
    workers_up: bool
    workers: int
    worker_deaths: int
    faults: list[str]  # a sentence each
    proxy_up: bool | None = None  # None: there is none
    shared_up: bool | None = None  # None: there is to be no shared store
    shared_reason: str = ""  # why it is away
    memory: int | None = None  # bytes in RAM
    cpu: float | None = None  # seconds


ALONE = Running("", [], None, 0, 0, 0.0, True, True, True, 0, 0, [])  # no daemon is around


async def gather(
    known: Known, counts: Counts, running: Running, meet: Callable[[Holding], None] = lambda holding: None
) -> Numbers:
    """Count; *meet* is called with each policy."""
    modes: Counter[str] = Counter({str(mode): 0 for mode in Mode})
    failing, shared, nearest = 0, 0, float("inf")
    async for holding in in_turns(known.holdings()):
        modes[holding.entry.policy.mode] += 1
        failing += holding.trouble is not None
        shared += holding.shared
        if 0 < holding.left < nearest:
            nearest = holding.left
        meet(holding)
    buckets = counts.cold_buckets()
    return Numbers(
        version=__version__,
        lookups=_nested(counts.all_lookups()),
        cold=Cold(buckets[-1][1], counts.cold_seconds, dict(buckets)),
        policies=dict(modes),
        negatives=known.negatives,
        nearest_expiry=nearest if nearest < float("inf") else None,
        fetches=dict(counts.fetches),
        dns_queries=_nested(counts.dns_queries),
        dns_up=running.dns_up,
        store_up=running.store_up,
        proxy_up=running.proxy_up,
        reports=dict(counts.reports),
        refresh=RefreshNumbers(running.refresh_due, running.refresh_lag, failing),
        connections=running.connections,
        errors=counts.errors,
        workers=WorkerNumbers(running.workers_up, running.workers, running.worker_deaths),
        shared=SharedNumbers(running.shared_up, shared, _nested(counts.shared))
        if running.shared_up is not None
        else SharedNumbers(),
        process=ProcessNumbers(running.memory, running.cpu),
    )


def _nested(counted: Mapping[tuple[str, str], int]) -> dict[str, dict[str, int]]:
    nested: dict[str, dict[str, int]] = {}
    for (outer, inner), number in counted.items():
        nested.setdefault(outer, {})[inner] = number
    return nested


async def in_turns(items: Iterable[T]) -> AsyncIterator[T]:
    """*items*, with time for others in between."""
    for number, item in enumerate(items):
        if number % CHUNK == 0:
            await asyncio.sleep(0)
        yield item
