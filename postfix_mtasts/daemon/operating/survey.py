"""A look at every policy held, in turns: a thread, or one long turn, would keep Postfix waiting meanwhile."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from ...core.policy import Mode
from ..policies.known import Holding, Known

CHUNK = 200  # items between two turns of the loop

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Survey:
    """The policies held."""

    modes: dict[str, int]  # how many of each mode, all modes
    failing: int  # how many could not be fetched when last tried
    nearest: float | None  # seconds until the first ends; None: there is none


async def survey(known: Known, meet: Callable[[Holding], None] = lambda holding: None) -> Survey:
    """Count; *meet* is called with each policy."""
    modes: Counter[str] = Counter({str(mode): 0 for mode in Mode})
    failing, nearest = 0, float("inf")
    async for holding in in_turns(known.holdings()):
        modes[holding.entry.policy.mode] += 1
        failing += holding.trouble is not None
        if 0 < holding.left < nearest:
            nearest = holding.left
        meet(holding)
    return Survey(dict(modes), failing, nearest if nearest < float("inf") else None)


async def in_turns(items: Iterable[T]) -> AsyncIterator[T]:
    """*items*, with time for others in between."""
    for number, item in enumerate(items):
        if number % CHUNK == 0:
            await asyncio.sleep(0)
        yield item
