"""Time, number of bytes, and giving up: what bounds a fetch in whatever phase."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from postfix_mtasts.adapters.https.transfer import Transfer
from postfix_mtasts.core.outcome import ResultType, Stage
from postfix_mtasts.errors import FetchError
from tests.support.servers.certificates import self_signed
from tests.support.servers.hostile_https import (
    POLICY,
    PolicyHost,
    Reply,
    Script,
    after,
    answer,
    closes,
    drips,
    hangs,
    is_connecting,
    repeats,
    says,
    tls,
    unanswered,
)
from tests.support.waiting import wait_until
from tests.support.worlds.policy_hosts import (
    CHUNKED,
    ENOUGH,
    HERE,
    NAME,
    OK,
    SHORT,
    World,
    answered,
    failure,
    fetch,
)

LATE: list[tuple[str, Reply]] = [
    ("no answer at all", hangs),
    ("a dripping status line", drips(b"x")),
    ("a dripping header", after(OK + b"A: ", drips(b"x"))),
    ("a dripping body", after(OK + b"Content-Length: 99999\r\n\r\n", drips(b"x"))),
    ("dripping chunks", after(CHUNKED, drips(b"1\r\nx\r\n"))),
    ("a dripping chunk size", after(CHUNKED, drips(b"0"))),
    ("a dripping trailer", after(CHUNKED + b"0\r\n", drips(b"A: b\r\n"))),
    ("dripping 103", drips(b"HTTP/1.1 103 Early Hints\r\nA: b\r\n\r\n")),
    ("dripping 1xx", drips(b"HTTP/1.1 100 Continue\r\n\r\n")),
    ("a body that stops", after(OK + b"Content-Length: 9\r\n\r\nx", hangs)),
]


@pytest.mark.parametrize(("title", "reply"), LATE, ids=[row[0] for row in LATE])
def test_the_deadline_ends_every_answer(world: World, title: str, reply: Reply) -> None:
    """However slowly and evenly bytes come, the fetch ends when its time is over."""
    with PolicyHost(tls(world.certificate, reply)) as host:
        error = failure(world, host.port, timeout=SHORT)
        assert host.reached.is_set()
    assert error.reason == f"the answer was not complete within {SHORT:g} s"
    assert (error.stage, error.result_type) == (Stage.HTTP, ResultType.FETCH_ERROR)


ABORTED: list[tuple[str, Callable[[World], Script], Stage]] = [
    ("in the handshake", lambda world: hangs, Stage.TLS),
    ("waiting for the header", lambda world: tls(world.certificate, hangs), Stage.HTTP),
    ("in a dripping header", lambda world: tls(world.certificate, after(OK + b"A: ", drips(b"x"))), Stage.HTTP),
    ("in a body", lambda world: tls(world.certificate, after(OK + b"Content-Length: 9\r\n\r\nx", hangs)), Stage.HTTP),
    ("in a body without length", lambda world: tls(world.certificate, after(OK + b"\r\nx", hangs)), Stage.HTTP),
]


@pytest.mark.parametrize(("title", "script", "stage"), ABORTED, ids=[row[0] for row in ABORTED])
def test_another_thread_may_end_a_fetch(
    world: World, title: str, script: Callable[[World], Script], stage: Stage
) -> None:
    """abort() ends it at once, with its reason, in whatever phase."""
    transfer = Transfer()
    with PolicyHost(script(world)) as host, ThreadPoolExecutor(1) as pool:
        running = pool.submit(failure, world, host.port, transfer=transfer, timeout=1000.0)
        assert host.reached.wait(ENOUGH)
        transfer.abort("others waited")
        transfer.abort("a second reason does not count")
        error = running.result(ENOUGH)
    assert error.reason == "others waited"
    assert (error.stage, error.result_type) == (stage, ResultType.FETCH_ERROR)


def test_another_thread_may_end_a_connection_that_does_not_come_about(world: World) -> None:
    """Connecting is a phase like any other, and the next address is not tried."""
    transfer = Transfer()
    with unanswered() as port, ThreadPoolExecutor(1) as pool:
        running = pool.submit(failure, world, port, addresses=HERE * 9, transfer=transfer, timeout=1000.0)
        wait_until(lambda: is_connecting(port), "a connection is under way")
        transfer.abort("others waited")
        error = running.result(4.0)  # less than one address would get
    assert (error.reason, error.stage) == ("others waited", Stage.ADDRESS)


def test_a_fetch_given_up_before_it_began_does_not_begin(world: World) -> None:
    """abort() may come first."""
    transfer = Transfer()
    transfer.abort("others waited")
    with PolicyHost(hangs) as host:
        assert failure(world, host.port, transfer=transfer).reason == "others waited"


def test_a_fetch_that_is_over_can_still_be_given_up(world: World) -> None:
    """abort() may come too late; it does nothing then."""
    transfer = Transfer()
    assert answered(world, says(answer(POLICY)), transfer=transfer) == POLICY
    transfer.abort("too late")


def test_nothing_stays_open(world: World) -> None:
    """Neither after an answer nor after any failure does a descriptor remain."""
    scripts = [
        tls(world.certificate, says(answer(POLICY))),
        tls(world.certificate, says(OK + b"Content-Length: 9\r\n\r\n")),
        tls(world.certificate, says(answer(b"", "404 Not Found"))),
        tls(self_signed(NAME), says(answer(POLICY))),
        tls(world.certificate, after(OK + b"\r\n", repeats(b"x"))),
        closes,
    ]
    before = set(os.listdir("/proc/self/fd"))
    for script in scripts:
        with PolicyHost(script) as host, suppress(FetchError):
            fetch(world, host.port)
    assert set(os.listdir("/proc/self/fd")) == before
