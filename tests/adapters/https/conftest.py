"""A CA that is trusted, and a certificate of it, for all tests of one module."""

from __future__ import annotations

import pytest

from tests.support.servers.certificates import Authority
from tests.support.worlds.policy_hosts import NAME, World


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    ca = Authority()
    return World(ca, str(ca.write(tmp_path_factory.mktemp("ca") / "ca.pem")), ca.issue(NAME))
