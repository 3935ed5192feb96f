"""The control socket: operations over a unix socket in the store's directory, for its owner alone.

A request is one JSON object on a line; its answers are one object a line,
and the last is {"done": true} or {"error": TEXT}. Postfix never comes here.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core.quoting import KV
from ...errors import InputError
from ...process.listeners import short
from ..directory import CONTROL
from .codec import request_from_json, to_json
from .messages import Request
from .operations import Operations

log = logging.getLogger(__name__)

LINE_LIMIT = 1 << 22  # bytes of a request
CLIENTS = 32  # connections at once; one more closes the one that was idle longest
READ_WAIT = 60.0  # seconds for a client to read its answers


@dataclass(slots=True)
class _Client:
    task: asyncio.Task[None]
    idle_since: float | None = None  # by the loop's clock; None: it waits for an answer


class ControlServer:
    """Serves *operations* at *directory*/control until closed."""

    def __init__(self, directory: Path, operations: Operations) -> None:
        self._path, self._operations = directory / CONTROL, operations
        self._server: asyncio.Server | None = None
        self._inode = 0  # of the socket at the path
        self._unavailable = False  # which was said
        self._closed = False
        self._clients: list[_Client] = []
        self._starting: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Replace a socket left behind: the store's lock says that nobody else runs.

        Where none can be made, on a full disk, mail goes on and commands have to wait.
        """
        sock = socket.socket(socket.AF_UNIX)
        try:
            with contextlib.suppress(FileNotFoundError):
                self._path.unlink()
            before = os.umask(0o177)
            try:
                with short(self._path) as name:
                    sock.bind(name)
            finally:
                os.umask(before)
            sock.setblocking(False)
            self._inode = self._found()
            self._server = await asyncio.start_unix_server(self._serve, sock=sock, limit=LINE_LIMIT)
        except OSError as error:
            sock.close()
            self._inode = 0
            if not self._unavailable:
                log.error("control-unavailable %s", KV(path=self._path, reason=error.strerror or error))
            self._unavailable = True
        else:
            self._unavailable = False

    def look(self) -> None:
        """Come back if the socket was removed; called while the store's lock on the directory is held."""
        if self._closed or self._starting is not None:
            return
        if not self._inode or self._found() != self._inode:
            self._starting = asyncio.get_running_loop().create_task(self._restart())

    async def _restart(self) -> None:
        try:
            if self._server is not None:
                self._server.close()
            await self.start()
            if not self._unavailable:
                log.info("control-restarted %s", KV(path=self._path))
        finally:
            self._starting = None

    def _found(self) -> int:
        try:
            return os.lstat(self._path).st_ino
        except OSError:
            return 0

    def close(self) -> None:
        self._closed = True
        if self._starting is not None:
            self._starting.cancel()
        if self._server is None:
            return
        self._server.close()
        for client in self._clients:
            client.task.cancel()
        if self._inode and self._found() == self._inode:  # not that of a daemon that took the place
            with contextlib.suppress(OSError):
                self._path.unlink()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or not self._make_room():
            writer.close()
            return
        client = _Client(task)
        self._clients.append(client)
        try:
            with contextlib.suppress(OSError, TimeoutError, asyncio.CancelledError):
                while line := await self._line(client, reader):
                    await self._answer(line, writer)
        except ValueError:  # longer than LINE_LIMIT
            writer.write(b'{"error": "the request is too long"}\n')
        finally:
            with contextlib.suppress(ValueError):  # made room already
                self._clients.remove(client)
            writer.close()

    async def _line(self, client: _Client, reader: asyncio.StreamReader) -> bytes:
        client.idle_since = asyncio.get_running_loop().time()
        try:
            return await reader.readline()
        finally:
            client.idle_since = None

    def _make_room(self) -> bool:
        """Let one more in, in place of the one idle longest if there are too many; False: all are busy."""
        if len(self._clients) < CLIENTS:
            return True
        idle = [client for client in self._clients if client.idle_since is not None]
        if not idle:
            return False
        oldest = min(idle, key=lambda client: client.idle_since or 0.0)
        oldest.task.cancel()
        self._clients.remove(oldest)
        return True

    async def _answer(self, line: bytes, writer: asyncio.StreamWriter) -> None:
        end: dict[str, object] = {"done": True}
        try:
            request = _request(line)
            async with contextlib.aclosing(self._operations.answers(request)) as answers:  # type: ignore[type-var]
                async for answer in answers:
                    await _send(writer, to_json(answer))
        except InputError as error:
            end = {"error": str(error)}
        except OSError:
            raise
        except RuntimeError:
            if not writer.is_closing():
                raise
            return  # uvloop's word for a client that went away
        except Exception as error:  # noqa: BLE001 -- a bug of ours must cost one command, not the daemon
            reason = f"{type(error).__name__}: {error}"
            log.error("internal-error %s", KV(place="control", reason=reason))
            end = {"error": f"internal error: {reason}"}
        if not writer.is_closing():
            await _send(writer, end)


async def _send(writer: asyncio.StreamWriter, answer: dict[str, object]) -> None:
    """Raises: OSError, also where the client reads nothing for READ_WAIT."""
    writer.write(json.dumps(answer).encode() + b"\n")
    async with asyncio.timeout(READ_WAIT):
        await writer.drain()


def _request(line: bytes) -> Request[Any]:
    """Raises: InputError."""
    try:
        return request_from_json(json.loads(line))
    except (ValueError, RecursionError):
        raise InputError("the request is not JSON") from None
