"""Ask the running daemon over its control socket.

`status` and `query` ask a daemon or nobody; asking.py adds what `cache` does
where none runs.
"""

from __future__ import annotations

import json
import pwd
import select
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol, TypeVar

from ..config.file import Loaded
from ..daemon.directory import CONTROL, store_directory
from ..daemon.operating.codec import answer_from_json, request_to_json
from ..daemon.operating.messages import Request
from ..errors import ForbiddenError, InputError, StoreError
from ..process.listeners import short
from .text import shown

A = TypeVar("A")


class Ask(Protocol):
    def __call__(self, request: Request[A], /) -> Iterator[A]:
        """Yield a request's answers as they come. Raises: InputError, StoreError."""


WAKE = 0.5  # seconds between two looks for a ^C


def ask_daemon(loaded: Loaded, request: Request[A], seconds: float) -> list[A] | None:
    """Return what a running daemon answers, or None if none runs.

    Waits *seconds* for each piece of the answer. Raises: StoreError.
    """
    sock = connect(store_directory(loaded, make=False), seconds)
    if sock is None:
        return None
    try:
        with sock:
            return list(answers(sock, request))
    except InputError as error:
        raise StoreError(f"the daemon refuses: {shown(str(error))}") from None


def connect(directory: Path, seconds: float | None = None) -> socket.socket | None:
    """Connect to the daemon that holds *directory*; None if none runs. Raises: StoreError."""
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
        raise ForbiddenError(f"{directory / CONTROL}: {error.strerror}; {_who_may(directory)}") from None
    except OSError as error:
        sock.close()
        raise StoreError(f"{directory / CONTROL}: {error.strerror or error}") from None


def _who_may(directory: Path) -> str:
    """Say which users may ask the daemon that holds *directory*."""
    try:
        uid = directory.stat().st_uid
    except OSError:
        return "run this as root"
    if uid == 0:
        return "only root may; run this with sudo"
    try:
        owner = pwd.getpwuid(uid).pw_name
    except KeyError:
        owner = f"user {uid}"
    return f"only root and {owner} may; run this with sudo"


def answers(sock: socket.socket, request: Request[A]) -> Iterator[A]:
    """Send *request* and yield the daemon's answers. Raises: InputError if it refuses, StoreError."""
    try:
        sock.sendall(json.dumps(request_to_json(request)).encode() + b"\n")
        for line in _lines(sock):
            answer = json.loads(line)
            if "error" in answer:
                raise InputError(str(answer["error"]))
            if "done" in answer:
                return
            yield _answer(request, answer)
    except TimeoutError:
        raise StoreError("the daemon does not answer on its control socket") from None
    except (OSError, ValueError) as error:
        raise StoreError(f"the daemon's control socket broke off: {error}") from None
    raise StoreError("the daemon ended, or has too many control connections")


def _answer(request: Request[A], found: object) -> A:
    """Raises: StoreError."""
    try:
        return answer_from_json(request, found)
    except InputError as error:
        raise StoreError(f"the daemon runs another version ({error}); restart it") from None


def _lines(sock: socket.socket) -> Iterator[bytes]:
    """Yield the lines that arrive, until the other end closes. Raises: OSError."""
    rest = b""
    while data := _receive(sock):
        *lines, rest = (rest + data).split(b"\n")
        yield from lines


def _receive(sock: socket.socket) -> bytes:
    """Receive what is there, waking up now and then.

    A ^C that comes just before the system call does not interrupt it: the
    interpreter would see it only at the next answer, which may take an hour.
    """
    patience = sock.gettimeout()
    deadline = time.monotonic() + patience if patience is not None else float("inf")
    while not select.select([sock], [], [], min(max(deadline - time.monotonic(), 0.0), WAKE))[0]:
        if time.monotonic() >= deadline:
            raise TimeoutError
    return sock.recv(65_536)
