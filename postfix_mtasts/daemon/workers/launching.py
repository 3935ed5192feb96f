"""Start worker processes: fork them from one that waits for that, or start them afresh.

The forkserver is forked from the daemon before it has threads, with all that a
worker imports, and then shares nearly all of its memory with it. A worker
forked from it has its trust store already and begins within milliseconds, so
workers need not be kept while there is nothing to do.

Where the forkserver is gone, workers are started afresh: a fork of the daemon
itself, which has threads by then, could find a lock held for ever.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from ...core.quoting import KV

log = logging.getLogger(__name__)

PATIENCE = 1.0  # seconds for the forkserver to fork
_STDERR = 2
_PACKAGE = str(Path(__file__).parents[2])
_START = """
import importlib.util, sys
path, fd, parent = sys.argv[1:]
spec = importlib.util.spec_from_file_location("postfix_mtasts", path + "/__init__.py")
sys.modules["postfix_mtasts"] = package = importlib.util.module_from_spec(spec)
spec.loader.exec_module(package)
from postfix_mtasts.daemon.workers.worker import main
main(int(fd), int(parent))
"""  # this very package, and nothing else from the directory it is in


class Child(Protocol):
    """A worker process."""

    @property
    def pid(self) -> int: ...

    def end(self) -> str:
        """End it at once, if it has not ended; return how it ended, as a sentence."""


class Launcher(Protocol):
    async def __call__(self, theirs: socket.socket, ca_file: str | None) -> Child:
        """Have a worker run that speaks over *theirs*. Raises: OSError."""


class _Started:
    """A child of our own."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        return self._process.pid

    def end(self) -> str:
        self._process.kill()
        return f"it ended with status {self._process.wait()}"  # a killed process ends in microseconds


async def start_afresh(theirs: socket.socket, ca_file: str | None = None) -> Child:
    """Start a new interpreter, which takes a tenth of a second; a Launcher.

    From the main thread: a worker ends with the thread that it came from (see worker.become).
    """
    # -P: a requests.py in the working directory is not ours to run
    command = [sys.executable, "-P", "-c", _START, _PACKAGE, str(theirs.fileno()), str(os.getpid())]
    return _Started(subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()]))


class _Forked:
    """A child of the forkserver, which cannot be mistaken for another by its descriptor."""

    def __init__(self, pid: int, descriptor: int) -> None:
        self._pid, self._descriptor = pid, descriptor

    @property
    def pid(self) -> int:
        return self._pid

    def end(self) -> str:
        if self._descriptor >= 0:
            with suppress(OSError):  # it has ended
                signal.pidfd_send_signal(self._descriptor, signal.SIGKILL)
            os.close(self._descriptor)
            self._descriptor = -1
        return "it ended"


class Forkserver:
    """The process that workers are forked from; made before the daemon has threads.

    Args:
        ca_file: fetch.ca_file, which workers will probably have.
    """

    def __init__(self, ca_file: str | None) -> None:
        from . import worker  # noqa: F401 -- requests and all: what workers import is shared with them

        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        gc.collect()
        gc.freeze()  # no collection writes to the pages that are shared
        parent = os.getpid()
        self._pid = os.fork()
        if not self._pid:
            try:
                _run(theirs, parent, ca_file)
            finally:
                os._exit(1)
        theirs.close()
        ours.setblocking(False)
        self._socket: socket.socket | None = ours
        self._turn = asyncio.Lock()  # one question, one answer

    async def __call__(self, theirs: socket.socket, ca_file: str | None) -> Child:
        """Fork a worker; a Launcher. Other work of the loop goes on while the forkserver is waited for."""
        async with self._turn:
            if self._socket is not None:
                try:
                    return await _ask(self._socket, theirs, ca_file)
                except OSError as error:
                    log.error("forkserver-lost %s", KV(reason=str(error) or "it did not answer in time"))
                    self.close()
        return await start_afresh(theirs, ca_file)

    def close(self) -> None:
        """End it, and all workers that were forked from it with it."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
            with suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
            with suppress(ChildProcessError):
                os.waitpid(self._pid, 0)


async def _ask(forkserver: socket.socket, theirs: socket.socket, ca_file: str | None) -> Child:
    """Raises: OSError."""
    loop, answered = asyncio.get_running_loop(), asyncio.Event()
    socket.send_fds(forkserver, [json.dumps(ca_file).encode()], [theirs.fileno()])
    loop.add_reader(forkserver, answered.set)
    try:
        async with asyncio.timeout(PATIENCE):
            await answered.wait()
    finally:
        loop.remove_reader(forkserver)
    answer, descriptors, _, _ = socket.recv_fds(forkserver, 1024, 1)
    if not descriptors:
        raise OSError(answer.decode() or "it ended")
    return _Forked(int(answer), descriptors[0])


def _run(commands: socket.socket, parent: int, ca_file: str | None) -> None:
    """Fork a worker for each command; in the forkserver."""
    from . import worker

    worker.become("mtasts-forks", parent)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks how a worker ended
    _let_go_of_all_but(commands.fileno())
    trust = worker.Trust()
    trust.context(ca_file)
    gc.freeze()
    pid = os.getpid()
    while True:
        command, descriptors, _, _ = socket.recv_fds(commands, 1 << 16, 1)
        if not command:
            os._exit(0)  # the daemon has ended
        context = trust.context(json.loads(command))
        try:
            child = os.fork()
        except OSError as error:
            commands.sendall(str(error).encode())
            continue
        if not child:
            commands.close()
            worker.main(descriptors[0], pid, context)
        os.close(descriptors[0])
        try:
            handle = os.pidfd_open(child)
        except OSError as error:
            commands.sendall(str(error).encode())
            continue
        socket.send_fds(commands, [str(child).encode()], [handle])
        os.close(handle)


def _let_go_of_all_but(kept: int) -> None:
    """Close what the daemon had open, above all the sockets that systemd passed."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) > _STDERR and int(name) != kept:
            with suppress(OSError):
                os.close(int(name))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
