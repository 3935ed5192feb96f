"""A clock set wrong: nothing is lost, nothing is prolonged, and all is well once it is right again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.fakes.clocks import HurriedDaemon
from tests.support.servers import daemon as running
from tests.support.servers.daemon import Daemon
from tests.support.servers.internet import Internet, policy

ENFORCED = "OK secure match=mx.example.net servername=hostname"
MAX_AGE = 7200  # seconds


@pytest.fixture
def set_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Sets the wall clock of daemons started from now on; their monotonic clock goes on."""
    offset = tmp_path / "offset"
    offset.write_text("+0")
    library = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    fake = {"LD_PRELOAD": str(library), "FAKETIME_TIMESTAMP_FILE": str(offset), "FAKETIME_NO_CACHE": "1"}
    monkeypatch.setattr(running, "ENVIRONMENT", {**running.ENVIRONMENT, **fake, "FAKETIME_DONT_FAKE_MONOTONIC": "1"})

    def set_to(text: str) -> None:
        offset.write_text(text)

    return set_to


def test_an_hour_back_a_year_forward_and_right_again(
    internet: Internet, tmp_path: Path, set_clock: Callable[[str], None]
) -> None:
    """A year ahead the policy has ended and serves nothing; it is kept, and serves again."""
    internet.publish("clock.test", policy("mx.example.net", max_age=MAX_AGE))
    daemon = Daemon(tmp_path / "daemon", internet.config(lookup={"failure_ttl": "1s"}))

    def set_to(offset: str) -> None:
        seen = len(daemon.lines)
        set_clock(offset)
        daemon.wait_for("clock-set", seen)

    with daemon:
        assert daemon.ask("postfix", "clock.test") == ENFORCED
        internet.serve("clock.test", b"no policy any more")
        set_to("-3600")
        assert daemon.ask("postfix", "clock.test") == ENFORCED
        set_to("+365d")
        assert daemon.ask("postfix", "clock.test") == "NOTFOUND "
        set_to("+0")
        assert daemon.ask("postfix", "clock.test") == ENFORCED
    with daemon:
        assert daemon.ask("postfix", "clock.test") == ENFORCED


def test_a_clock_two_years_back_for_two_seconds_at_the_start(
    internet: Internet, tmp_path: Path, set_clock: Callable[[str], None]
) -> None:
    """A machine without a battery for its clock loses no policy, in memory or on the disk."""
    internet.publish("battery.test", policy("mx.example.net", max_age=MAX_AGE))
    daemon = Daemon(tmp_path / "daemon", internet.config(lookup={"failure_ttl": "1s"}))
    with daemon:
        assert daemon.ask("postfix", "battery.test") == ENFORCED
        internet.serve("battery.test", b"no policy any more")
    set_clock("-730d")
    with daemon:
        assert daemon.ask("postfix", "battery.test") == ENFORCED
    with daemon:
        assert daemon.ask("postfix", "battery.test") == ENFORCED
        seen = len(daemon.lines)
        set_clock("+0")
        daemon.wait_for("clock-set", seen)
        assert daemon.ask("postfix", "battery.test") == ENFORCED
    with daemon:
        assert daemon.ask("postfix", "battery.test") == ENFORCED


def test_a_clock_set_back_prolongs_nothing(internet: Internet, tmp_path: Path) -> None:
    """Fetched "in an hour", it counts as fetched now, and ends max_age from now, also after a restart.

    What the clock says is stored once it has run on for an hour.
    """
    internet.publish("ahead.clock.test", policy("mx.example.net", max_age=MAX_AGE))
    config = internet.config(lookup={"failure_ttl": "1s"})

    def started(later: int) -> HurriedDaemon:
        daemon = HurriedDaemon(tmp_path / "daemon", config)
        daemon.begin_at(later)
        return daemon

    with started(3600) as daemon:
        assert daemon.ask("postfix", "ahead.clock.test") == ENFORCED
        internet.serve("ahead.clock.test", b"no policy any more")
    with started(0) as daemon:
        assert daemon.ask("postfix", "ahead.clock.test") == ENFORCED
        daemon.pass_time(3601)
        assert daemon.ask("postfix", "ahead.clock.test") == ENFORCED
    with started(MAX_AGE + 60) as daemon:
        assert daemon.ask("postfix", "ahead.clock.test") == "NOTFOUND "
