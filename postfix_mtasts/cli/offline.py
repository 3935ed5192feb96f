"""Answer `cache` where no daemon runs: the daemon's operations on a keeper of this process.

The store's lock tells whether a daemon runs after all. Importing this takes as
long as a whole answer from a daemon, so asking.py imports it only when no
daemon answers.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from ..config.file import Loaded
from ..daemon import build
from ..daemon.operating.messages import Request
from ..errors import StoreError
from .client import Ask

A = TypeVar("A")

FLUSH = 10.0  # seconds for the store to write what is queued


@contextmanager
def alone(loaded: Loaded, directory: Path) -> Iterator[Ask]:
    """Answer from the store in *directory*. Raises: StoreBusyError, StoreError."""
    logging.basicConfig(level=logging.ERROR)
    store = build.open_store(directory)
    with asyncio.Runner() as runner:
        parts = build.offline(loaded.settings, store)

        async def load() -> None:
            await store.load(parts.keeper.load)
            parts.keeper.all_loaded()

        async def close() -> None:
            parts.pool.stop()
            if not await store.close(FLUSH):
                raise StoreError(f"{directory}: not all could be written: {store.failure or 'the disk is stuck'}")

        try:
            runner.run(load())

            def ask(request: Request[A], /) -> Iterator[A]:
                return _stepwise(runner, parts.operations.answers(request))

            yield ask
        finally:
            runner.run(close())


def _stepwise(runner: asyncio.Runner, answers: AsyncIterator[A]) -> Iterator[A]:
    """Yield each of *answers*; the loop runs only while the caller waits for the next."""

    async def step() -> A | None:
        return await anext(answers, None)

    while (answer := runner.run(step())) is not None:
        yield answer
