"""Our daemon as a process of its own: started, asked, reloaded, ended."""

from __future__ import annotations

import copy
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from tests.support.servers.socketmap_client import SocketmapClient

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
PATIENCE = 30.0  # seconds
_ports = itertools.count(8462)  # free in a namespace of one's own; several daemons run at once


class Daemon:
    """`with Daemon(directory, config) as daemon:` runs the daemon on *config*, its store below *directory*.

    Entering it again starts it again, on what it left behind.
    *config* is what the YAML file will hold; `listen` and `cache.directory`
    are filled in. Leaving the block stops the daemon, which must exit 0 and
    must have shown no traceback.
    """

    ready_event = "ready"  # the line of its log that says so

    def __init__(self, directory: Path, config: Mapping[str, Any]) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.config_file = directory / "config.yml"
        given = copy.deepcopy(dict(config))
        cache = {"directory": str(directory / "store"), **given.get("cache", {})}  # never the machine's own
        self.configure({"listen": [f"inet:127.0.0.1:{next(_ports)}"], **given, "cache": cache})
        self.lines: list[str] = []  # of its log, since the start
        self._changed = threading.Condition()

    def configure(self, config: Mapping[str, Any]) -> None:
        """Write the configuration file anew; `reload` makes it count."""
        self.config = dict(config)
        self.config_file.write_text(yaml.safe_dump(self.config))

    def command(self) -> list[str]:
        return [sys.executable, "-m", "postfix_mtasts", "daemon", "--config", str(self.config_file)]

    @property
    def address(self) -> str:
        return str(self.config["listen"][0])

    def table(self, map_name: str = "postfix") -> str:
        """What main.cf and postmap call a map of this daemon."""
        return f"socketmap:{self.address}:{map_name}"

    @property
    def pid(self) -> int:
        return self._process.pid

    def __enter__(self) -> Self:
        self.lines.clear()
        self._process = subprocess.Popen(
            self.command(),
            env=ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            self.wait_for(self.ready_event)
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, place: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            if error is None:
                self.stop()
            else:
                self.kill()

    def client(self, timeout: float = 60) -> SocketmapClient:
        return SocketmapClient(self.address, timeout)

    def ask(self, map_name: str, key: str | bytes) -> str:
        """One question over a connection of its own."""
        with self.client() as client:
            return client.ask(map_name, key)

    def stop(self) -> float:
        """SIGTERM; returns the seconds until the daemon had ended, with exit code 0."""
        began = time.monotonic()
        self._process.terminate()
        code = self._process.wait(PATIENCE)
        took = time.monotonic() - began
        self._end()
        assert code == 0, f"exit code {code}: {self._tail()}"
        assert not [line for line in self.lines if "traceback" in line.lower()], self._tail()
        return took

    def kill(self) -> None:
        """SIGKILL: what a power failure or the kernel's out-of-memory killer does."""
        self._process.kill()
        self._process.wait()
        self._end()

    def reload(self) -> None:
        """SIGHUP; returns when the new configuration is in force."""
        seen = len(self.lines)
        self.hang_up()
        self.wait_for("reloaded", seen)

    def hang_up(self) -> None:
        """SIGHUP, and no waiting."""
        self._process.send_signal(signal.SIGHUP)

    def send_signal(self, name: str) -> None:
        self._process.send_signal(signal.Signals[name])

    def events(self, event: str, seen: int = 0, **fields: str) -> list[str]:
        """The lines of *event* with all of *fields* that have been read, after the first *seen* lines of the log."""
        want = [f" {name}={value} " for name, value in fields.items()]
        return [line for line in self.lines[seen:] if _event(line) == event and all(w in line + " " for w in want)]

    def wait_for(self, event: str, seen: int = 0, **fields: str) -> str:
        """The first of `events`, waited for: an answer may be here before the log line that came with it."""
        deadline = time.monotonic() + PATIENCE
        with self._changed:
            while not (lines := self.events(event, seen, **fields)):
                assert self._reader.is_alive(), f"the daemon ended: {self._tail()}"
                assert time.monotonic() < deadline, f"no line `{event} {fields}`: {self._tail()}"
                self._changed.wait(0.5)
        return lines[0]

    def memory(self) -> int:
        """Bytes of memory that the daemon's own process holds (not its worker's)."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return 1024 * int(status.partition("VmRSS:")[2].split()[0])

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            with self._changed:
                self.lines.append(line.decode(errors="replace").rstrip("\n"))
                self._changed.notify_all()

    def _end(self) -> None:
        self._reader.join(PATIENCE)
        assert self._process.stderr is not None
        self._process.stderr.close()

    def _tail(self) -> str:
        return "\n" + "\n".join(self.lines[-30:])


def _event(line: str) -> str:
    """The event of a log line, which a time and a level come before; of format text, or of JSON."""
    if line.startswith("{"):
        return str(json.loads(line)["event"])
    words = line.split(" ", 3)
    return words[2] if len(words) > 2 else ""


def refused(directory: Path, config: Mapping[str, Any]) -> tuple[int, str]:
    """Start a daemon that will not run: its exit code and what it said on standard error."""
    daemon = Daemon(directory, config)
    done = subprocess.run(
        daemon.command(), env=ENVIRONMENT, stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE
    )
    return done.returncode, done.stderr.decode()
