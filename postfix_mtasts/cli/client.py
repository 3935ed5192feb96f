"""The way of commands to the policies: a running daemon's control socket, else the store itself.

`cache` works without a daemon too: then this process does what the daemon
would (offline.py). `status` and `query` only ask a daemon.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, TypeAlias

from ..config.file import Loaded
from ..daemon.directory import CONTROL, store_directory
from ..daemon.serving.listeners import short
from ..errors import InputError, StoreError
from .text import shown

Answer: TypeAlias = dict[str, Any]
Ask: TypeAlias = Callable[[Answer], Iterator[Answer]]  # a request's answers, as they come. Raises: InputError


@contextmanager
def connected(loaded: Loaded) -> Iterator[Ask]:
    """Who answers. Raises: StoreBusyError, StoreError."""
    directory = store_directory(loaded)
    if not (directory / CONTROL).exists():
        import_module(".offline", __package__)  # while root, who can read it for certain
    _become_owner(directory)
    sock = _connect(directory)
    if sock is not None:
        with sock:
            yield lambda request: _remote(sock, request)
    else:
        from .offline import alone  # it takes most of a daemon

        with alone(loaded, directory) as ask:
            yield ask


def ask_daemon(loaded: Loaded, request: Answer, seconds: float) -> list[Answer] | None:
    """What a running daemon answers; None where none runs. Raises: StoreError, soon after *seconds* at the latest."""
    sock = _connect(store_directory(loaded, make=False), seconds)
    if sock is None:
        return None
    try:
        with sock:
            return list(_remote(sock, request))
    except InputError as error:
        raise StoreError(f"the daemon refuses: {shown(str(error))}") from None


def _become_owner(directory: Path) -> None:
    """What root writes into the store the daemon could not use."""
    if os.geteuid() != 0 or not directory.exists():
        return
    owner = directory.stat()
    if owner.st_uid != 0:
        os.setgroups([])
        os.setgid(owner.st_gid)
        os.setuid(owner.st_uid)


def _connect(directory: Path, seconds: float | None = None) -> socket.socket | None:
    """A connection to the daemon that holds *directory*; None where none runs. Raises: StoreError."""
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(seconds)  # of each piece of an answer; None: some take as long as fetches do
    try:
        with short(directory / CONTROL) as name:
            sock.connect(name)
        return sock
    except (FileNotFoundError, ConnectionRefusedError):
        sock.close()
        return None
    except PermissionError as error:
        sock.close()
        raise StoreError(f"{directory / CONTROL}: {error.strerror}; run this as the directory's owner") from None
    except OSError as error:
        sock.close()
        raise StoreError(f"{directory / CONTROL}: {error.strerror or error}") from None


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
    except TimeoutError:
        raise StoreError("the daemon does not answer on its control socket") from None
    except (OSError, ValueError) as error:
        raise StoreError(f"the daemon's control socket broke off: {error}") from None
    raise StoreError("the daemon ended, or has too many control connections")
