"""daemon/workers/proxy.py: one warning for an outage of the proxy, and one line for its end."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from postfix_mtasts.config.settings import FetchSettings
from postfix_mtasts.core.names import Domain
from postfix_mtasts.core.outcome import Absent, Cause, Failed, Found, OwnFault, Stage, Unchanged
from postfix_mtasts.daemon.workers.proxy import ProxyWatch
from postfix_mtasts.faults import Fault, Seen
from tests.support.fakes.entries import policy
from tests.support.fakes.faults import proxy_failed

D = Domain("example.com")
PROXY = FetchSettings(proxy="http://proxy.example:3128")
HOST = "mta-sts.example.com"
AWAY = 'proxy-away reason="cannot connect to the proxy proxy.example:3128: connection refused"'
DENIED = proxy_failed(Fault.PROXY_DENIED)

Said = Callable[[], list[str]]


class World:
    def __init__(self, settings: FetchSettings) -> None:
        self.now = 1000.0
        self.watch = ProxyWatch(settings, lambda: self.now)

    def note(self, outcome: object, seconds: float = 1.0) -> None:
        self.now += seconds
        self.watch.note(D, outcome)


@pytest.fixture
def world() -> World:
    return World(PROXY)


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Said:
    """The lines since the last time, without the logger's name."""
    caplog.set_level("INFO")

    def lines() -> list[str]:
        found = [record.getMessage() for record in caplog.records]
        caplog.clear()
        return found

    return lines


def test_an_outage_is_told_once(world: World, said: Said) -> None:
    """However many domains it keeps us from; what is no fetch says nothing."""
    for fault in (Fault.PROXY_AWAY, Fault.PROXY_SILENT, Fault.PROXY_LOGIN, Fault.PROXY_BROKEN):
        world.note(proxy_failed(fault))
    assert said() == [AWAY]
    for nothing in (Absent(Seen(Fault.RECORD_NONE), 60.0), Unchanged("1"), OwnFault(Cause.DIED, "x")):
        world.note(nothing)
    world.note(Failed("1", Stage.ADDRESS, Seen(Fault.DNS_TIMEOUT)))
    assert said() == []


BACK = [
    ("a policy", Found("1", policy(), 1.0)),
    ("a certificate that is not valid", Failed("1", Stage.TLS, Seen(Fault.CERTIFICATE_NAME, HOST))),
    ("a status", Failed("1", Stage.HTTP, Seen(Fault.HTTP_STATUS, HOST, "404"))),
    ("the proxy's word that it does not get there", Failed("1", Stage.ADDRESS, Seen(Fault.UNREACHED, HOST))),
]


@pytest.mark.parametrize(("title", "outcome"), BACK, ids=[row[0] for row in BACK])
def test_its_end_is_told_once(world: World, said: Said, title: str, outcome: object) -> None:
    """By the first fetch that gets through, however that ends behind the proxy."""
    world.note(proxy_failed())
    world.note(outcome, 9.0)
    world.note(outcome)
    assert said() == [AWAY, "proxy-back away_s=9"]


def test_a_refusal_is_told_by_itself_and_not_too_often(world: World, said: Said) -> None:
    """The proxy is there, and may let all other hosts through."""
    world.note(proxy_failed())
    world.note(DENIED)
    world.note(DENIED, 59.0)
    refusal = 'proxy-refuses domain=example.com reason="the proxy proxy.example:3128 refuses: connection refused"'
    assert said() == [AWAY, "proxy-back away_s=1", refusal]
    world.note(DENIED, 1.0)
    assert said() == [refusal]


def test_it_counts_as_away_once_that_has_lasted(world: World) -> None:
    """A minute between two failures without a success between them."""
    assert world.watch.up is True
    world.note(proxy_failed())
    world.now += 3600
    assert world.watch.up is True  # nobody asked since
    world.note(proxy_failed())
    assert world.watch.up is False
    world.note(DENIED)
    assert world.watch.up is True


def test_without_a_proxy_there_is_nothing_to_tell(said: Said) -> None:
    """A worker of before the reload may still fail by the old one."""
    world = World(FetchSettings())
    world.note(proxy_failed())
    assert (said(), world.watch.up) == ([], None)


def test_of_another_proxy_nothing_is_known(world: World, said: Said) -> None:
    """After a reload."""
    world.note(proxy_failed())
    world.watch.configure(FetchSettings(proxy="http://other.example:3128"))
    world.note(Found("1", policy(), 1.0))
    assert said() == [AWAY]
