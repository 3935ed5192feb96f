"""`cache`: the options, what is printed, the exit codes, and who answers.

What the commands do with a daemon beside them is tests/integration/test_cache.py's.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.control import FakeControl
from tests.support.daemon import ENVIRONMENT

HEAVY = ("asyncio", "cryptography", "diskcache", "dns", "prometheus_client", "requests", "sqlite3", "ssl", "urllib3")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where the store is, and config.yml that says so."""
    (tmp_path / "config.yml").write_text(f"cache: {{directory: {tmp_path}/store}}\n")
    (tmp_path / "store").mkdir(mode=0o700)
    return tmp_path / "store"


@pytest.mark.parametrize("command", ["list", "stats", "export"])
def test_who_only_asks_the_daemon_imports_little(command: str, directory: Path) -> None:
    """Half of the time that a command takes would be imports it has no use for."""
    code = (
        "import sys; from postfix_mtasts.cli.main import main; main(sys.argv[1:]);"
        f"print(*(set(sys.modules) & {set(HEAVY)!r}))"
    )
    with FakeControl(directory, lambda request: []) as control:
        done = subprocess.run(
            [sys.executable, "-c", code, "cache", command, "--config", str(directory.parent / "config.yml")],
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert (done.stdout, done.stderr) == ("\n", "")
    assert control.requests == [{"do": command}]
