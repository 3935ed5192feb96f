"""process/signals.py: a signal in the first half second does what it does later."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.servers.daemon import ENVIRONMENT, PATIENCE, Daemon

# Imported after the store is open and before the loop runs: the daemon is sent a signal in the midst of its start.
EARLY = """
import os, signal
os.kill(os.getpid(), signal.{name})
raise ImportError
"""

# The same, at the very end of the process.
LATE = """
import atexit, os, signal
atexit.register(os.kill, os.getpid(), signal.{name})
raise ImportError
"""


class Disturbed(Daemon):
    """A daemon that is sent a signal while it starts. It answers nobody but a unix socket."""

    def __init__(self, directory: Path, name: str, config: Mapping[str, Any] | None = None, when: str = EARLY) -> None:
        super().__init__(directory, {"listen": [f"unix:{directory}/socketmap"], **(config or {})})
        (directory / "early").mkdir()
        (directory / "early" / "uvloop.py").write_text(when.format(name=name))
        self._path = f"{directory}/early:{ENVIRONMENT['PYTHONPATH']}"

    def command(self) -> list[str]:
        return ["env", f"PYTHONPATH={self._path}", *super().command()]


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_an_early_end_is_an_end(name: str, tmp_path: Path) -> None:
    """Exit 0, as later: the service manager asked for it."""
    daemon = Disturbed(tmp_path, name)
    done = subprocess.run(daemon.command(), env=ENVIRONMENT, capture_output=True, timeout=PATIENCE)
    assert (done.returncode, b"Traceback" in done.stderr) == (0, False)


def test_an_early_reload_is_done_once_there_is_something_to_reload(tmp_path: Path) -> None:
    """SIGHUP does not end the process."""
    with Disturbed(tmp_path, "SIGHUP") as daemon:
        daemon.wait_for("reloaded")
        events = [line.split(" ")[2] for line in daemon.lines]
        assert events.index("ready") < events.index("reloaded")


@pytest.mark.parametrize("name", ["SIGUSR1", "SIGUSR2"])
def test_a_signal_without_a_meaning_ends_nothing(name: str, tmp_path: Path) -> None:
    """Neither early nor later."""
    with Disturbed(tmp_path, name) as daemon:
        daemon.send_signal(name)
        assert daemon.ask("postfix", "localhost") == "NOTFOUND "


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP"])
def test_a_late_signal_changes_nothing(name: str, tmp_path: Path) -> None:
    """The daemon ends anyway, with exit code 0."""
    with Disturbed(tmp_path, name, when=LATE) as daemon:
        daemon.stop()
