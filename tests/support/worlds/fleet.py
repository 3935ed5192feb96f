"""Daemons that share policies, and the server between them."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from postfix_mtasts.adapters.store.valkey import ValkeyShared
from postfix_mtasts.config.settings import SharedSettings
from tests.support.servers.daemon import ENVIRONMENT, Daemon
from tests.support.servers.internet import Internet
from tests.support.servers.redis import RedisServer

NOW = time.time()
LATER = NOW + 86_400


def member(server: RedisServer, **settings: Any) -> ValkeyShared:
    """Return what a daemon of the fleet speaks to *server* with."""
    return ValkeyShared(SharedSettings(**{"url": server.url, "timeout": 5.0, **settings}))


def fleet_config(internet: Internet, server: RedisServer, **shared: object) -> dict[str, Any]:
    return internet.config(shared={"url": server.url, "timeout": "5s", **shared})


@contextmanager
def fleet(directory: Path, number: int, config: dict[str, Any]) -> Iterator[list[Daemon]]:
    """So many daemons, which have the same policies."""
    with ExitStack() as stack:
        daemons = [stack.enter_context(Daemon(directory / f"daemon{each}", config)) for each in range(number)]
        for daemon in daemons:
            daemon.wait_for("shared-reconciled")
        yield daemons


def command(daemon: Daemon, *arguments: str) -> str:
    """Standard output of a command of *daemon*'s."""
    words = [sys.executable, "-m", "postfix_mtasts", *arguments, "--config", str(daemon.config_file)]
    done = subprocess.run(words, env=ENVIRONMENT, capture_output=True, text=True, timeout=60)
    assert not done.stderr
    return done.stdout


def status(daemon: Daemon) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(command(daemon, "status", "--json"))
    return found


def secure(mx: str) -> str:
    return f"OK secure match={mx} servername=hostname"
