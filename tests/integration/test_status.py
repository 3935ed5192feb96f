"""`status` of a running daemon, and of one that is gone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.support.servers.daemon import ENVIRONMENT, Daemon
from tests.support.servers.internet import Internet, Site, policy


def status(daemon: Daemon, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "postfix_mtasts", "status", *arguments, "--config", str(daemon.config_file)]
    return subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=60)


def test_status(internet: Internet, tmp_path: Path) -> None:
    """What was asked and answered is on the screen, failures with their reason; without a daemon exit code 69."""
    internet.publish_all(
        {
            "good.status.test": Site(policy("mx.example.net")),
            "broken.status.test": Site(b"nonsense"),
            "stranger.status.test": Site(policy("mx.example.net"), trusted=False),
        }
    )
    daemon = Daemon(tmp_path, internet.config(metrics={"listen": "inet:127.0.0.1:9462"}))
    with daemon, daemon.client() as client:
        for name in ("good", "broken", "stranger"):
            client.ask("postfix", f"{name}.status.test")
        done = status(daemon)
        assert (done.returncode, done.stderr) == (0, "")
        words = [line.split() for line in done.stdout.splitlines()]
        assert ["listening", daemon.address] in words
        assert ["metrics", "inet:127.0.0.1:9462"] in words
        assert ["health", "well"] in words
        assert ["connections", "1"] in words
        assert ["postfix", "1", "0", "2", "0", "0"] in words
        shown = json.loads(status(daemon, "--json").stdout)
        assert shown["pid"] == daemon.pid
        assert shown["policies"] == {"enforce": 1, "testing": 0, "none": 0}
        assert shown["cold"]["number"] == 3
        assert {failure["kind"]: [each["domain"] for each in failure["worst"]] for failure in shown["failures"]} == {
            "sts-policy-invalid": ["broken.status.test"],
            "sts-webpki-invalid": ["stranger.status.test"],
        }
    done = status(daemon)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (69, "", 1)
    assert "no daemon runs on" in done.stderr
