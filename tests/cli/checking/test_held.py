"""cli/checking/held.py: what the local daemon holds, by its socket or from its store."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

from postfix_mtasts.cli.checking.held import LocalDaemon
from postfix_mtasts.config.file import read
from postfix_mtasts.core.names import Domain
from postfix_mtasts.daemon.operating.messages import ShownNegative, ShownPolicy
from postfix_mtasts.resolving.audit.world import Held
from tests.support.fakes.control import FakeControl

D = Domain("example.com")
TEXT = "version: STSv1\nmode: enforce\nmx: mx.example.com\nmax_age: 86400"


def local(directory: Path) -> LocalDaemon:
    config = directory / "config.yml"
    config.write_text(f"cache: {{directory: {directory / 'store'}}}\n")
    return LocalDaemon(read(str(config)), str(config))


def test_where_no_daemon_ever_ran_nothing_is_held(tmp_path: Path) -> None:
    """And nothing is made."""
    assert local(tmp_path).held(D) is None
    assert not (tmp_path / "store").exists()


def test_a_store_without_a_daemon_is_read(tmp_path: Path) -> None:
    """By a process of its own, which lets go of it again."""
    daemon = local(tmp_path)
    now = time.time()
    row = {"domain": D, "record_id": "7", "fetched_at": now, "used_at": now // 86400 * 86400, "policy": TEXT}
    command = [sys.executable, "-m", "postfix_mtasts", "cache", "import", "--config", str(tmp_path / "config.yml")]
    subprocess.run(command, input=json.dumps(row) + "\n", text=True, check=True, capture_output=True)
    assert daemon.held(D) == Held("7", TEXT)
    assert daemon.held(Domain("other.example")) is None
    subprocess.run([*command[:4], "stats", *command[5:]], check=True, capture_output=True)


def test_a_running_daemon_is_asked(tmp_path: Path) -> None:
    """By its control socket; one that says nothing of a policy holds none."""
    daemon = local(tmp_path)
    (tmp_path / "store").mkdir()
    shown = ShownPolicy(
        D, "enforce", 1.0, 9.0, ["mx.example.com"], 0, "7", TEXT, 1.0, 1.0, 1.0, 10.0, None, None, None, {}, {}
    )
    known = {D: [asdict(shown)], "no.example": [asdict(ShownNegative("no.example", "no record", 1.0, 1.0, {}, {}))]}
    with FakeControl(tmp_path / "store", lambda request: known.get(request["domain"], [])) as control:
        assert daemon.held(D) == Held("7", TEXT)
        assert daemon.held(Domain("no.example")) is None
        assert daemon.held(Domain("new.example")) is None
    assert [request["do"] for request in control.requests] == ["show"] * 3


def test_a_daemon_that_cannot_be_asked_is_asked_once(tmp_path: Path) -> None:
    """check goes on without its word."""
    daemon = local(tmp_path)
    (tmp_path / "store").mkdir()
    with FakeControl(tmp_path / "store", lambda request: [{"error": "no"}]) as control:
        assert daemon.held(D) is None
        assert daemon.held(D) is None
    assert len(control.requests) == 1
