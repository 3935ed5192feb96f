"""A TLSRPT collector's datagram socket: reports go there, or nowhere, at once."""

from __future__ import annotations

import socket


def send(path: str, datagram: bytes) -> bool:
    """Whether the collector at *path* has taken *datagram*. Never waits, never raises."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.sendto(datagram, path)
    except OSError:  # nobody there, full, too long, no descriptor left: a report is worth no mail
        return False
    return True
