"""Give memory that is free back to the system.

After a crowd of large buffers glibc keeps what they took: it takes larger
and larger blocks from its heap, and the heap shrinks at its end alone.

Source: malloc_trim(3).
"""

from __future__ import annotations

from contextlib import suppress


def give_back() -> None:
    """Return free memory to the system; without glibc do nothing."""
    with suppress(OSError, ImportError, AttributeError, MemoryError):  # no libc to ask, or another one
        import ctypes

        ctypes.CDLL(None).malloc_trim(0)
