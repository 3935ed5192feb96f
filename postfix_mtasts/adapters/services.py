"""Port numbers by name, from this machine's services database."""

from __future__ import annotations

import functools
import socket


@functools.lru_cache(maxsize=256)
def port_number(text: str) -> int:
    """Return the port that a next-hop names; an unknown service counts as smtp, which Postfix refuses itself."""
    if text.isdigit():
        return int(text)
    try:
        return socket.getservbyname(text, "tcp")
    except OSError:
        return 25
