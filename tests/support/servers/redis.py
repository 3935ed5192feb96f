"""A real redis-server or valkey-server of the test's own: by TCP, by TLS with an access list, or by a unix socket."""

from __future__ import annotations

import itertools
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import redis

PATIENCE = 20.0  # seconds
REDIS = ("redis-server",)  # this machine's
_ports = itertools.count(6390)  # free in a namespace of one's own


class RedisServer:
    """`with RedisServer(directory, *options) as server:` runs one by a unix socket, and on what *options* add.

    Args:
        address: an address of this machine to listen on too, by plain TCP; `url` is that then.
        program: the command that runs the server.
    """

    def __init__(self, directory: Path, *options: str, address: str = "", program: Sequence[str] = REDIS) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.socket, self.address, self.port = directory / "redis.sock", address, 0
        self.url = f"unix://{self.socket}"
        self._directory, self._options, self._program = directory, options, program
        if address:
            self.port = next(_ports)
            self.url = f"redis://{address}:{self.port}/0"
            self._options = ("--bind", address, "--port", str(self.port), *options)

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [*self._program, "--unixsocket", str(self.socket), "--save", "", "--dir", str(self._directory)]
            + (["--port", "0"] if "--port" not in self._options else [])
            + list(self._options),
            stdout=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                with self.client() as client:
                    client.execute_command("PING")
                return self
            except redis.AuthenticationError:
                return self
            except redis.ConnectionError:
                assert time.monotonic() < deadline, "the server does not answer"
                assert self._process.poll() is None, "the server ended"
                time.sleep(0.01)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, place: TracebackType | None
    ) -> None:
        self.end()

    def client(self) -> Any:
        """A client of redis-py, with all rights."""
        return redis.Redis(unix_socket_path=str(self.socket))

    def follow(self, address: str, port: int) -> None:
        """Become a replica of the server there, and return when all of it is here."""
        with self.client() as client:
            client.replicaof(address, port)
            deadline = time.monotonic() + PATIENCE
            while client.info("replication")["master_link_status"] != "up":
                assert time.monotonic() < deadline, "the replica hears nothing of its primary"
                time.sleep(0.01)

    def take_over(self, address: str, port: int) -> None:
        """Listen there, as where an address comes to another machine."""
        self.set("bind", address)
        self.set("port", str(port))

    def promote(self) -> None:
        """Be a primary."""
        with self.client() as client:
            client.replicaof("NO", "ONE")

    def set(self, name: str, value: str) -> None:
        """CONFIG SET."""
        with self.client() as client:
            client.config_set(name, value)

    def hang(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def end(self) -> None:
        """SIGKILL."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
