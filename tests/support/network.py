"""A network of a test's own: every port free, all of 127.0.0.0/8, whatever servers other tests keep running."""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

_NEW_NETWORK = 0x40000000  # CLONE_NEWNET
_LIBC = ctypes.CDLL(None, use_errno=True)


@contextmanager
def fresh_network() -> Iterator[None]:
    """This thread, and the threads and processes that it starts meanwhile, are in a network namespace of their own."""
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        _checked(_LIBC.unshare(_NEW_NETWORK))
        try:
            _raise_loopback()
            yield
        finally:
            _checked(_LIBC.setns(before, _NEW_NETWORK))
    finally:
        os.close(before)


def _checked(result: int) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _raise_loopback() -> None:
    """What `ip link set lo up` does."""
    up, set_flags = 0x41, 0x8914  # IFF_UP and IFF_RUNNING; SIOCSIFFLAGS
    with socket.socket() as sock:
        fcntl.ioctl(sock, set_flags, struct.pack("16sh14x", b"lo", up))
