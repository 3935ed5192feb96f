"""Whether this machine has a way to an address at all, without sending anything."""

from __future__ import annotations

import socket


def has_route(address: str) -> bool:
    """Ask the kernel's routing table, by a datagram socket that is connected and never used."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.connect((address, 443))
    except OSError:
        return False
    return True
