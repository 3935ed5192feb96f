"""Waiting for something to become true, with a deadline far beyond what a busy machine needs."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable

PATIENCE = 30.0  # seconds


def wait_until(condition: Callable[[], bool], what: str, seconds: float = PATIENCE) -> None:
    """Return as soon as *condition* holds. Raises: AssertionError naming *what*."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.01)


def accepts(address: str, port: int) -> bool:
    """Whether something listens at *address*."""
    try:
        socket.create_connection((address, port), timeout=1).close()
    except OSError:
        return False
    return True
