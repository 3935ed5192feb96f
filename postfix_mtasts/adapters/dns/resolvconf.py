"""The resolvers that resolv.conf(5) names; it changes while the daemon runs.

Its nameserver lines count, and `options trust-ad`: names are asked for in full, by our own rules of time.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass

MOST = 3  # servers, as the C library uses
DEFAULT = ("127.0.0.1:53",)  # as the C library takes it where the file names none


@dataclass(frozen=True, slots=True)
class Conf:
    """What one resolv.conf says."""

    servers: tuple[str, ...] = DEFAULT
    trust_ad: bool = False


class ResolvConf:
    """A resolv.conf(5), read again when the file changes."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._read: tuple[object, Conf] = (None, Conf())  # replaced as one: no lock

    def read(self) -> Conf:
        """Return what the file says now, or said last while it is gone or being replaced."""
        try:
            stat = os.stat(self._path)
            version = (stat.st_mtime_ns, stat.st_ino, stat.st_size)
            if version != self._read[0]:
                with open(self._path, encoding="ascii", errors="replace") as file:
                    self._read = (version, parse(file.read(65536)))
        except OSError:
            pass
        return self._read[1]


def parse(text: str) -> Conf:
    """Read the text of a resolv.conf as the C library does, passing over what it does not understand."""
    servers, trust_ad = list[str](), False
    for line in text.splitlines():
        keyword, *values = line.split() or [""]
        if keyword == "nameserver" and values and _is_address(values[0]):
            servers.append(f"[{values[0]}]:53" if ":" in values[0] else f"{values[0]}:53")
        elif keyword == "options":
            trust_ad = trust_ad or "trust-ad" in values
    return Conf(tuple(servers[:MOST]) or DEFAULT, trust_ad)


def _is_address(text: str) -> bool:
    try:
        socket.getaddrinfo(text, None, flags=socket.AI_NUMERICHOST)
    except (OSError, ValueError):
        return False
    return True
