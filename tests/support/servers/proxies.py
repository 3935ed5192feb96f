"""Proxies: one that does what a test says, and Debian's.

`asked(reply)` makes a Script for hostile_https.PolicyHost, which then is a
proxy: it reads a CONNECT and runs *reply* on the bare socket. `tunnels(port)`
is the reply of one that does its work, to that port of loopback.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
from collections.abc import Sequence
from pathlib import Path

from tests.support.servers.debian import Program
from tests.support.servers.hostile_https import Reply, Script, Seen, read_request
from tests.support.waiting import accepts

OK = b"HTTP/1.1 200 Connection established\r\n\r\n"
USER, PASSWORD = "relay", "sesame"
HERE = "127.0.0.1"
_ports = itertools.count(3128)  # free in a namespace of one's own


def asked(reply: Reply) -> Script:
    """Read one request into `requests`, then run *reply*."""

    def run(sock: socket.socket, seen: Seen) -> None:
        if read_request(sock, seen):
            reply(sock, seen)

    return run


def silent(sock: socket.socket, seen: Seen) -> None:
    """Say nothing until the test is over; a script, and a reply."""
    seen.reached.set()
    seen.over.wait()


def tunnels(port: int, first: bytes = OK, address: str = HERE) -> Reply:
    """Say *first*, then carry bytes both ways to *port* of *address*."""

    def run(sock: socket.socket, seen: Seen) -> None:
        with socket.create_connection((address, port)) as other:
            sock.sendall(first)
            back = threading.Thread(target=_carry, args=(other, sock))
            back.start()
            _carry(sock, other)
            back.join()

    return run


def _carry(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


class _Proxy(Program):
    """One on loopback, with *options* of its own."""

    scheme = "http"

    def __init__(self, directory: Path, *options: str) -> None:
        super().__init__(directory)
        self.port, self._options = next(_ports), options
        self.url = f"{self.scheme}://{HERE}:{self.port}"

    def is_ready(self) -> bool:
        return accepts(HERE, self.port)

    @property
    def log(self) -> str:
        """What it wrote of its work."""
        return (self.directory / "output").read_text(errors="replace")


class Tinyproxy(_Proxy):
    """*options* are further lines of its configuration."""

    def command(self) -> Sequence[str]:
        lines = (f"Port {self.port}", f"Listen {HERE}", "Timeout 600", "LogLevel Connect", *self._options)
        config = self._write("tinyproxy.conf", "".join(f"{line}\n" for line in lines))
        return ["tinyproxy", "-d", "-c", str(config)]


class Microsocks(_Proxy):
    """A SOCKS 5 server; *options* stand on its command line."""

    scheme = "socks5h"

    def command(self) -> Sequence[str]:
        return ["microsocks", "-i", HERE, "-p", str(self.port), *self._options]
