"""A look at every policy held, in turns: a thread, or one long turn, would keep Postfix waiting meanwhile."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from ...core.policy import Mode
from ..policies.held import Held
from ..policies.keeper import Keeper

CHUNK = 200  # items between two turns of the loop

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Survey:
    """The policies held."""

    modes: dict[str, int]  # how many of each mode, all modes
    failing: int  # how many were not to be had when last fetched
    nearest: float | None  # seconds until the first ends; None: there is none


async def survey(keeper: Keeper, meet: Callable[[Held, float], None] = lambda held, left: None) -> Survey:
    """Count; *meet* is called with each policy and the seconds that it still is in force."""
    modes: Counter[str] = Counter({str(mode): 0 for mode in Mode})
    failing, nearest = 0, float("inf")
    async for held in in_turns(list(keeper.held.values())):
        modes[held.entry.policy.mode] += 1
        failing += held.trouble is not None
        left = keeper.upkeep.expires_in(held)
        if 0 < left < nearest:
            nearest = left
        meet(held, left)
    return Survey(dict(modes), failing, nearest if nearest < float("inf") else None)


async def in_turns(items: Sequence[T]) -> AsyncIterator[T]:
    """*items*, with time for others in between."""
    for number, item in enumerate(items):
        if number % CHUNK == 0:
            await asyncio.sleep(0)
        yield item
