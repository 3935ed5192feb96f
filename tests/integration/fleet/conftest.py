"""Both servers that a fleet may share, and names that one test alone publishes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.support.servers.redis import REDIS, RedisServer
from tests.support.worlds import trixie


@pytest.fixture(params=["redis", "valkey"])
def program(request: pytest.FixtureRequest) -> Sequence[str]:
    """Debian 12's Redis and Debian 13's Valkey."""
    return REDIS if request.param == "redis" else trixie.command("valkey-server")


@pytest.fixture
def server(tmp_path: Path, program: Sequence[str]) -> Iterator[RedisServer]:
    with RedisServer(tmp_path / "redis", program=program, address="" if program is REDIS else "127.0.0.1") as server:
        yield server


@pytest.fixture
def zone(request: pytest.FixtureRequest) -> str:
    """A domain above this test's own: the outside world counts fetches over the whole run."""
    return f"{request.node.callspec.id}.fleet.test"
