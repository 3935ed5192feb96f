"""Failed policy fetches, as the collector that administrators run stores them (tlsrpt-collectd)."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.daemon import Daemon
from tests.support.internet import Internet, policy
from tests.support.waiting import wait_until

GOOD = policy("mx.example.net")
WANTED = "v=TLSRPTv1; rua=mailto:reports@example.net"
SHORT = {"lookup": {"failure_ttl": "1h"}, "refresh": {"recheck": "1s"}}


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[Path]:
    """A tlsrpt-collectd whose socket and database are in the directory returned."""
    command = [
        str(Path(sys.executable).parent / "tlsrpt-collectd"),
        *("--storage", f"sqlite://{tmp_path}/collected.sqlite", "--socketname", str(tmp_path / "socket")),
        *("--max_uncommited_datagrams", "1", "--sockettimeout", "1", "--log_level", "info"),
        *("--pidfilename", str(tmp_path / "pid"), "--logfilename", str(tmp_path / "log")),
        *("--dump_path_for_invalid_datagram", str(tmp_path / "invalid")),
    ]
    with subprocess.Popen(command) as process:
        wait_until((tmp_path / "socket").exists, "the collector listens")
        yield tmp_path
        process.terminate()


def stored(directory: Path) -> dict[str, tuple[dict[str, object], dict[str, object]]]:
    """By domain: the policy and the reason of its one failure."""
    with closing(sqlite3.connect(directory / "collected.sqlite")) as database:
        rows = database.execute("SELECT domain, policy, reason FROM failures").fetchall()
    return {domain: (json.loads(policy), json.loads(reason)) for domain, policy, reason in rows}


def test_each_kind_of_failure_is_collected(internet: Internet, collector: Path) -> None:
    """With and without a cached policy, once each, and only for domains that ask for reports."""
    for name in ("fetch", "invalid", "webpki", "held", "silent"):
        if name != "silent":
            internet.add(f'_smtp._tls.{name}.reports.test. 60 IN TXT "{WANTED}"')
    internet.publish("fetch.reports.test", None)
    internet.publish("invalid.reports.test", b"no policy")
    internet.publish("silent.reports.test", b"no policy")
    internet.publish("webpki.reports.test", GOOD, trusted=False)
    internet.publish("held.reports.test", GOOD)
    config = internet.config(tlsrpt={"socket": str(collector / "socket")}, **SHORT)
    with Daemon(collector / "daemon", config) as daemon:
        for name in ("fetch", "invalid", "webpki", "silent"):
            assert daemon.ask("postfix", f"{name}.reports.test") == "NOTFOUND "
        assert daemon.ask("postfix", "held.reports.test").startswith("OK ")
        internet.publish("held.reports.test", b"no policy", records=("v=STSv1; id=2;",))
        wait_until(
            lambda: daemon.ask("postfix", "held.reports.test") and len(stored(collector)) == 4,
            "four failures are stored",
        )
    found = stored(collector)
    assert {domain: reason["c"] for domain, (_, reason) in found.items()} == {
        "fetch.reports.test": 301,
        "invalid.reports.test": 302,
        "webpki.reports.test": 303,
        "held.reports.test": 302,
    }
    lines = ["version: STSv1", "mode: enforce", "mx: mx.example.net", "max_age: 604800"]
    assert found["held.reports.test"][0]["policy-string"] == lines
    assert not (collector / "invalid").exists()


def test_a_collector_that_is_away_costs_nothing(internet: Internet, tmp_path: Path) -> None:
    """The answer is the same, and the log says nothing."""
    internet.add(f'_smtp._tls.away.reports.test. 60 IN TXT "{WANTED}"')
    internet.publish("away.reports.test", b"no policy")
    with Daemon(tmp_path, internet.config(tlsrpt={"socket": str(tmp_path / "nobody")})) as daemon:
        assert daemon.ask("postfix", "away.reports.test") == "NOTFOUND "
        assert daemon.ask("postfix", "away.reports.test") == "NOTFOUND "
