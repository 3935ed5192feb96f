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
from pathlib import Path

from ...core.quoting import KV
from ...errors import InputError
from ..directory import CONTROL
from ..serving.listeners import short
from .operations import Operations

log = logging.getLogger(__name__)

LINE_LIMIT = 1 << 22  # bytes of a request
CLIENTS = 32  # connections at once


class ControlServer:
    """Serves *operations* at *directory*/control until closed."""

    def __init__(self, directory: Path, operations: Operations) -> None:
        self._path, self._operations = directory / CONTROL, operations
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """A socket left behind is replaced: the store's lock says that nobody else runs.

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
            self._server = await asyncio.start_unix_server(self._serve, sock=sock, limit=LINE_LIMIT)
        except OSError as error:
            sock.close()
            log.error("control-unavailable %s", KV(path=self._path, reason=error.strerror or error))

    def close(self) -> None:
        if self._server is None:
            return
        self._server.close()
        for client in self._clients:
            client.cancel()
        with contextlib.suppress(OSError):
            self._path.unlink()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or len(self._clients) >= CLIENTS:
            writer.close()
            return
        self._clients.add(task)
        try:
            with contextlib.suppress(OSError, asyncio.CancelledError):
                while line := await reader.readline():
                    await self._answer(line, writer)
        except ValueError:  # longer than LINE_LIMIT
            writer.write(b'{"error": "the request is too long"}\n')
        finally:
            self._clients.discard(task)
            writer.close()

    async def _answer(self, line: bytes, writer: asyncio.StreamWriter) -> None:
        end: dict[str, object] = {"done": True}
        try:
            request = _request(line)
            async with contextlib.aclosing(self._operations.answers(request)) as answers:  # type: ignore[type-var]
                async for answer in answers:
                    writer.write(json.dumps(answer).encode() + b"\n")
                    await writer.drain()
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
        if writer.is_closing():
            return
        writer.write(json.dumps(end).encode() + b"\n")
        await writer.drain()


def _request(line: bytes) -> dict[str, object]:
    try:
        request = json.loads(line)
    except (ValueError, RecursionError):
        raise InputError("the request is not JSON") from None
    if not isinstance(request, dict):
        raise InputError("the request is not a JSON object")
    return request
