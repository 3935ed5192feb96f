"""How much memory this process takes, and give back what is free of it.

After a crowd of large buffers glibc keeps what they took: it takes larger
and larger blocks from its heap, and the heap shrinks at its end alone.

Source: malloc_trim(3), proc_pid_statm(5).
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def give_back() -> None:
    """Return free memory to the system; without glibc do nothing."""
    with suppress(OSError, ImportError, AttributeError, MemoryError):  # no libc to ask, or another one
        import ctypes

        ctypes.CDLL(None).malloc_trim(0)


def resident() -> int | None:
    """Return how many bytes of RAM this process takes; None where no /proc tells."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return None
