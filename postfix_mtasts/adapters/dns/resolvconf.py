"""The resolvers that resolv.conf(5) names; it changes while the daemon runs.

Only its nameserver lines count: names are asked for in full, by our own rules of time.
"""

from __future__ import annotations

import os

from .probe import sockaddr


class ResolvConf:
    """The nameserver lines of a resolv.conf(5), read again when the file changes."""

    MOST = 3  # servers, as the C library uses
    DEFAULT = ("127.0.0.1:53",)  # as the C library takes it where the file names none

    def __init__(self, path: str) -> None:
        self.path = path
        self._read: tuple[object, tuple[str, ...]] = (None, self.DEFAULT)  # replaced as one: no lock

    def servers(self) -> tuple[str, ...]:
        try:
            stat = os.stat(self.path)
            version = (stat.st_mtime_ns, stat.st_ino, stat.st_size)
            if version != self._read[0]:
                with open(self.path, encoding="ascii", errors="replace") as file:
                    self._read = (version, self._parse(file.read(65536)))
        except OSError:
            pass  # being replaced just now, or not there: what was read last, or the default
        return self._read[1]

    def _parse(self, text: str) -> tuple[str, ...]:
        found = []
        for line in text.splitlines():
            keyword, *values = line.split() or [""]
            if keyword == "nameserver" and values:
                server = f"[{values[0]}]:53" if ":" in values[0] else f"{values[0]}:53"
                try:
                    sockaddr(server)
                except (OSError, ValueError):
                    continue  # as the C library does
                found.append(server)
        return tuple(found[: self.MOST]) or self.DEFAULT
