"""Futures of the loop that a thread's result ends."""

from __future__ import annotations

import asyncio
from typing import Any


def settle(future: asyncio.Future[Any], result: Any, error: Exception | None) -> None:
    """End *future* by a result, or by an error; called on the loop."""
    if future.done():
        return  # given up by whoever waited
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
        future.exception()  # seen: who waits for nothing need not ask either
