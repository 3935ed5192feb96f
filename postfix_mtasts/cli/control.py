"""The way of `cache` to the policies: a running daemon's control socket, else the store itself.

Without a daemon this process does what the daemon would, by the same
operations on a keeper of its own; the store's lock decides which it is.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

from ..configfile import Loaded
from ..daemon.control import NAME
from ..daemon.counts import Counts
from ..daemon.directory import store_directory
from ..daemon.frames import Frames
from ..daemon.jobs import Jobs
from ..daemon.keeper import Keeper
from ..daemon.listeners import short
from ..daemon.operations import Operations
from ..daemon.storekeeper import StoreKeeper
from ..errors import InputError, StoreError

Answer: TypeAlias = dict[str, Any]
Ask: TypeAlias = Callable[[Answer], Iterator[Answer]]  # a request's answers, as they come. Raises: InputError

FLUSH = 10.0  # seconds for the store to write what is queued


@contextmanager
def connected(loaded: Loaded) -> Iterator[Ask]:
    """Who answers. Raises: StoreBusyError, StoreError."""
    directory = store_directory(loaded)
    _become_owner(directory)
    sock = connect(directory)
    if sock is not None:
        with sock:
            yield lambda request: _remote(sock, request)
    else:
        with _local(loaded, directory) as ask:
            yield ask


def _become_owner(directory: Path) -> None:
    """What root writes into the store the daemon could not use."""
    if os.geteuid() != 0 or not directory.exists():
        return
    owner = directory.stat()
    if owner.st_uid != 0:
        os.setgroups([])
        os.setgid(owner.st_gid)
        os.setuid(owner.st_uid)


def connect(directory: Path) -> socket.socket | None:
    """A connection to the daemon that holds *directory*; None where none runs. Raises: StoreError."""
    sock = socket.socket(socket.AF_UNIX)
    try:
        with short(directory / NAME) as name:
            sock.connect(name)
        return sock
    except (FileNotFoundError, ConnectionRefusedError):
        sock.close()
        return None
    except OSError as error:
        sock.close()
        raise StoreError(f"{directory / NAME}: {error.strerror}; run this as the directory's owner") from None


def _remote(sock: socket.socket, request: Answer) -> Iterator[Answer]:
    try:
        sock.sendall(json.dumps(request).encode() + b"\n")
        with sock.makefile("rb") as lines:  # one request at a time: nothing is read ahead of the last answer
            for line in lines:
                answer = json.loads(line)
                if "error" in answer:
                    raise InputError(str(answer["error"]))
                if "done" in answer:
                    return
                yield answer
    except (OSError, ValueError) as error:
        raise StoreError(f"the daemon's control socket broke off: {error}") from None
    raise StoreError("the daemon ended, or has too many control connections")


@contextmanager
def _local(loaded: Loaded, directory: Path) -> Iterator[Ask]:
    logging.basicConfig(level=logging.ERROR)
    store = StoreKeeper.open(directory)
    with asyncio.Runner() as runner:
        counts, settings = Counts(), loaded.settings
        jobs = Jobs(settings, counts.dns)
        keeper = Keeper(settings, jobs, store, Frames(settings.refresh.recheck), counts)
        store.contents = keeper.contents
        operations = Operations(keeper, counts)
        operations.maps = settings.maps

        async def load() -> None:
            await store.load(keeper.take_stored)
            keeper.loaded = True

        async def close() -> None:
            jobs.stop()
            if not await store.close(FLUSH):
                raise StoreError(f"{directory}: not all could be written: {store.failure or 'the disk is stuck'}")

        try:
            runner.run(load())
            yield lambda request: _stepwise(runner, operations.answers(request))
        finally:
            runner.run(close())


def _stepwise(runner: asyncio.Runner, answers: AsyncIterator[Answer]) -> Iterator[Answer]:
    """The loop runs while the next answer is waited for."""

    async def step() -> Answer | None:
        return await anext(answers, None)

    while (answer := runner.run(step())) is not None:
        yield answer
