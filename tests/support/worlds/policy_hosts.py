"""One fetch from a policy host of the test's own, with a CA that is trusted for it.

`World` is what the fixture `world` of tests/adapters/https gives; the functions
fetch from a PolicyHost (tests/support/servers/hostile_https.py) and say how it ended.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import pytest

from postfix_mtasts.adapters.https.fetch import BODY_LIMIT, HttpsPolicyHosts
from postfix_mtasts.adapters.https.transfer import Transfer
from postfix_mtasts.core.outcome import Stage, no_note
from postfix_mtasts.errors import FetchError
from tests.support.servers.certificates import Authority
from tests.support.servers.hostile_https import PolicyHost, Reply, Script, tls

NAME = "mta-sts.example.test"
HERE = ("127.0.0.1",)
ENOUGH = 30.0  # seconds: a deadline that is never reached
SHORT = 0.6  # seconds: a deadline that is waited for

OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
FULL = b"x" * BODY_LIMIT


class World(NamedTuple):
    ca: Authority
    ca_file: str
    certificate: bytes


def fetch(
    world: World,
    port: int,
    addresses: Sequence[str] = HERE,
    timeout: float = ENOUGH,
    transfer: Transfer | None = None,
    note: Callable[[Stage, str], None] = no_note,
) -> bytes:
    return HttpsPolicyHosts(timeout, world.ca_file, port).get(NAME, addresses, note, transfer)


def failure(world: World, port: int, **how: Any) -> FetchError:
    """The error that a fetch ends in: one bounded sentence without Python's innards."""
    with pytest.raises(FetchError) as caught:
        fetch(world, port, **how)
    reason = caught.value.reason
    assert reason
    assert len(reason) < 300
    assert not any(mark in reason for mark in ("Pool", " at 0x", "Error(", "[Errno", "\n", "_ssl.c"))
    return caught.value


def answered(world: World, reply: Reply, **how: Any) -> bytes:
    with PolicyHost(tls(world.certificate, reply)) as host:
        return fetch(world, host.port, **how)


def refused(world: World, script: Script, **how: Any) -> FetchError:
    with PolicyHost(script) as host:
        return failure(world, host.port, **how)
