"""Do blocking work beside the event loop, in a thread that nobody waits for at the end.

asyncio.to_thread() would have the loop's end wait: a file on a disk that hangs
would hold up SIGTERM.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def aside(work: Callable[[], T]) -> T:
    """Return what *work* returns, or raise what it raises."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(settled: Callable[[], None]) -> None:
        if not done.done():  # else whoever waited was cancelled
            settled()

    def run() -> None:
        try:
            result = work()
        except Exception as raised:  # noqa: BLE001 -- raised again where it is waited for
            error = raised
            settled: Callable[[], None] = lambda: done.set_exception(error)  # noqa: E731
        else:
            settled = lambda: done.set_result(result)  # noqa: E731
        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
            loop.call_soon_threadsafe(settle, settled)

    threading.Thread(target=run, name="aside", daemon=True).start()
    return await done
