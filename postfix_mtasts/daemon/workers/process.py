"""Speak to one worker process: its lines, its jobs, and whether it moves.

What is to be done with its jobs when it dies or stands still is pool.py's.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, cast

from .launching import Child, Launcher, start_afresh
from .wire import Job, Orders, job_to_json, orders_to_json

LINE_LIMIT = 4 << 20  # bytes of one answer: a policy of 64 KiB, escaped, many times over
STILL = 4.0  # seconds without an answer to a ping, and without using the processor
SLOW = 30.0  # seconds without an answer to a ping, though it uses the processor


@dataclass(slots=True)
class Task:
    """A job, who is told of its answer, and how often it was begun."""

    number: int
    job: Job
    done: Callable[[Any], None]
    deadline: float  # by the loop's clock: then something is wrong
    tries: int = 0


Heard: TypeAlias = "Callable[[WorkerProcess, dict[str, Any]], None]"
Lost: TypeAlias = "Callable[[WorkerProcess, str], None]"


class WorkerProcess(asyncio.Protocol):
    """A process and the socket to it. Raises: OSError where there can be no socket.

    Args:
        heard: told each line that it says, an object.
        lost: told once that it is gone, or cannot be started, and why.
        launch: makes the process.
    """

    def __init__(
        self,
        orders: Orders,
        heard: Heard,
        lost: Lost,
        launch: Launcher = start_afresh,
    ) -> None:
        self._heard, self._lost = heard, lost
        self.tasks: dict[int, Task] = {}
        self.idle_at = 0.0  # since when it has no job, by the loop's clock
        self.ready = False  # it has taken its orders
        self.why = ""  # why it is killed
        self._buffer = bytearray()
        self._loop = asyncio.get_running_loop()
        self._asked_at: float | None = self._loop.time()  # since when it owes us a sign of life
        self._pings = 0
        self._used = 0.0  # seconds of the processor, when it was last looked at
        ours, theirs = socket.socketpair()
        self._child: Child | None = None
        self._transport: asyncio.WriteTransport | None = None
        self._unsent = [orders_to_json(orders)]
        self._starting = self._loop.create_task(self._start(launch, orders.fetch.ca_file, ours, theirs))

    @property
    def pid(self) -> int | None:
        """None while it is being started."""
        return self._child.pid if self._child is not None else None

    async def _start(self, launch: Launcher, ca_file: str | None, ours: socket.socket, theirs: socket.socket) -> None:
        try:
            with theirs:
                self._child = await launch(theirs, ca_file)
        except OSError as error:
            ours.close()
            self._lost(self, self.why or str(error))
            return
        if self.why:  # it was killed meanwhile; the connection ends at once
            self._child.end()
        ours.setblocking(False)
        await self._loop.create_unix_connection(lambda: self, sock=ours)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)
        unsent, self._unsent = self._unsent, []
        for line in unsent:
            self._say(line)

    def give(self, task: Task) -> None:
        """Hand it *task*."""
        task.tries += 1
        self.tasks[task.number] = task
        self._say(job_to_json(task.number, task.job))

    def _say(self, line: dict[str, Any]) -> None:
        if self._transport is None:
            self._unsent.append(line)
        else:
            self._transport.write(json.dumps(line).encode() + b"\n")

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if b"\n" not in data:
            if len(self._buffer) > LINE_LIMIT:
                self.kill("it said more than a line may hold")
            return
        *lines, rest = self._buffer.split(b"\n")
        self._buffer = bytearray(rest)
        for line in lines:
            try:
                said = json.loads(line)
            except (ValueError, RecursionError):
                said = None
            if not isinstance(said, dict):
                self.kill("it said what is not a line of ours")
                return
            self._hear(said)

    def _hear(self, said: dict[str, Any]) -> None:
        if "unable" in said:
            self.why = str(said["unable"])
        elif "ready" in said:
            self.ready, self._asked_at, self.idle_at = True, None, self._loop.time()
        elif "pong" in said:
            if said["pong"] == self._pings:
                self._asked_at = None
        else:
            self._heard(self, said)

    def connection_lost(self, exc: Exception | None) -> None:
        how = self.kill("")
        self._lost(self, self.why or how)

    def stands_still(self) -> bool:
        """Return whether it has owed a sign of life for too long; if it owes none, ask for one."""
        now = self._loop.time()
        if self._asked_at is None:
            self._pings += 1
            self._asked_at = now
            self._say({"ping": self._pings})
            return False
        used = self._processor_time()
        moves, self._used = used > self._used, used
        if moves:
            return now - self._asked_at > SLOW
        return now - self._asked_at > STILL

    def _processor_time(self) -> float:
        """Return the seconds it has used: a process that waits for a busy processor is slow, not stuck."""
        try:
            fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return self._used
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # utime and stime, proc(5)

    def kill(self, why: str) -> str:
        """End it, and say how it ended; the pool gives its jobs to others once `lost` is called."""
        self.why = self.why or why
        how = self._child.end() if self._child is not None else ""
        if self._transport is not None:
            self._transport.abort()
        return how
