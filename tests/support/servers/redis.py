"""A real redis-server of the test's own: by TCP, by TLS with an access list, or by a unix socket."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import redis

PATIENCE = 20.0  # seconds


class RedisServer:
    """`with RedisServer(directory, *options) as server:` runs one by a unix socket, and on what *options* add."""

    def __init__(self, directory: Path, *options: str) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.socket = directory / "redis.sock"
        self.url = f"unix://{self.socket}"
        self._directory, self._options = directory, options

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            ["redis-server", "--unixsocket", str(self.socket), "--save", "", "--dir", str(self._directory)]
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
                assert time.monotonic() < deadline, "redis-server does not answer"
                assert self._process.poll() is None, "redis-server ended"
                time.sleep(0.01)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, place: TracebackType | None
    ) -> None:
        self.end()

    def client(self) -> Any:
        """A client of redis-py, with all rights."""
        return redis.Redis(unix_socket_path=str(self.socket))

    def hang(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def end(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
