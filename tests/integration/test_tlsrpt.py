"""Failed policy fetches, as the collector that administrators run stores and reports them (tlsrpt-reporter)."""

from __future__ import annotations

import contextlib
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.support.servers.collector import Collector, Reportd
from tests.support.servers.daemon import Daemon
from tests.support.servers.internet import Internet, policy
from tests.support.waiting import wait_until

GOOD = policy("mx.example.net")
WANTED = "v=TLSRPTv1; rua=mailto:reports@example.net"
SHORT = {"lookup": {"failure_ttl": "1h"}, "refresh": {"recheck": "1s"}}


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[Collector]:
    with Collector(tmp_path / "collector") as collector:
        yield collector
        assert collector.complaints() == []
        assert not (collector.directory / "invalid").exists()


def want_reports(internet: Internet, *domains: str) -> None:
    internet.add(*(f'_smtp._tls.{domain}. 60 IN TXT "{WANTED}"' for domain in domains))


def reports(address: str) -> dict[str, int]:
    """What /metrics says of reports, by result."""
    with urlopen(f"http://{address}/metrics", timeout=10) as page:
        found = re.findall(r'^mtasts_reports_total\{result="(\w+)"\} ([0-9.]+)$', page.read().decode(), re.MULTILINE)
    return {result: int(float(number)) for result, number in found}


def test_each_kind_of_failure_is_collected_and_reported(
    internet: Internet, collector: Collector, tmp_path: Path
) -> None:
    """With and without a cached policy, only for domains that ask for reports, up to what their owners receive."""
    names = ("fetch", "invalid", "webpki", "held", "silent")
    want_reports(internet, *(f"{name}.reports.test" for name in names if name != "silent"))
    internet.publish("fetch.reports.test", None)
    internet.publish("invalid.reports.test", b"no policy")
    internet.publish("silent.reports.test", b"no policy")
    internet.publish("webpki.reports.test", GOOD, trusted=False)
    internet.publish("held.reports.test", GOOD)
    config = internet.config(tlsrpt={"socket": str(collector.socket)}, **SHORT)
    with Daemon(tmp_path / "daemon", config) as daemon:
        for name in ("fetch", "invalid", "webpki", "silent"):
            assert daemon.ask("postfix", f"{name}.reports.test") == "NOTFOUND "
        assert daemon.ask("postfix", "held.reports.test").startswith("OK ")
        internet.publish("held.reports.test", b"no policy", records=("v=STSv1; id=2;",))
        wait_until(
            lambda: daemon.ask("postfix", "held.reports.test") != "" and len(collector.failures()) == 4,
            "four failures are stored",
        )
    stored = {failure.domain: failure for failure in collector.failures()}
    assert {domain: (failure.reason["c"], failure.times) for domain, failure in stored.items()} == {
        "fetch.reports.test": (301, 1),
        "invalid.reports.test": (302, 1),
        "webpki.reports.test": (303, 1),
        "held.reports.test": (302, 1),
    }
    lines = ["version: STSv1", "mode: enforce", "mx: mx.example.net", "max_age: 604800"]
    assert stored["held.reports.test"].policy["policy-string"] == lines

    collector.end_day()
    with Reportd(tmp_path / "reportd", collector) as reportd:
        made = reportd.reports(4)
    details = {domain: report["policies"][0]["failure-details"] for domain, report in made.items()}
    assert {domain: [each["result-type"] for each in found] for domain, found in details.items()} == {
        "fetch.reports.test": ["sts-policy-fetch-error"],
        "invalid.reports.test": ["sts-policy-invalid"],
        "webpki.reports.test": ["sts-webpki-invalid"],
        "held.reports.test": ["sts-policy-invalid"],
    }
    assert "404" in details["fetch.reports.test"][0]["failure-reason-code"]
    assert made["held.reports.test"]["policies"][0]["policy"] == {
        "policy-type": "sts",
        "policy-domain": "held.reports.test",
        "policy-string": lines,
        "mx-host": ["mx.example.net"],
    }
    for report in made.values():
        assert len(report["policies"]) == 1
        assert report["policies"][0]["summary"] == {
            "total-failure-session-count": 1,
            "total-successful-session-count": 0,
        }


def test_a_failure_that_comes_back_is_told_once(internet: Internet, collector: Collector, tmp_path: Path) -> None:
    """In one failure_ttl: each new record id is tried, and fails; another kind of failure is another matter."""
    domain = "often.reports.test"
    want_reports(internet, domain)
    internet.publish(domain, GOOD)
    with Daemon(tmp_path / "daemon", internet.config(tlsrpt={"socket": str(collector.socket)}, **SHORT)) as daemon:
        assert daemon.ask("postfix", domain).startswith("OK ")
        for number in (2, 3, 4):
            internet.publish(domain, b"no policy", records=(f"v=STSv1; id={number};",))
            wait_until(
                lambda number=number: daemon.ask("postfix", domain) != "" and internet.gets(domain) == number,  # type: ignore[misc]
                f"id {number} is tried",
            )
        internet.publish(domain, None, records=("v=STSv1; id=5;",))
        wait_until(
            lambda: daemon.ask("postfix", domain) != "" and len(collector.failures()) == 2, "another kind is stored"
        )
    assert [(failure.reason["c"], failure.times) for failure in collector.failures()] == [(302, 1), (301, 1)]


def test_a_collector_that_is_away_costs_a_count(internet: Internet, tmp_path: Path) -> None:
    """The answer is the same, the log says nothing, and once the collector is there the next report arrives."""
    domains = ["away.reports.test", "back.reports.test"]
    want_reports(internet, *domains)
    for domain in domains:
        internet.publish(domain, b"no policy")
    path = tmp_path / "collector" / "socket"
    config = internet.config(tlsrpt={"socket": str(path)}, metrics={"listen": "inet:127.0.0.1:9471"})
    with Daemon(tmp_path / "daemon", config) as daemon:
        assert daemon.ask("postfix", domains[0]) == "NOTFOUND "
        wait_until(lambda: reports("127.0.0.1:9471") == {"unsent": 1}, "a report is counted as lost")
        assert daemon.ask("postfix", domains[0]) == "NOTFOUND "
        with Collector(tmp_path / "collector") as collector:
            assert daemon.ask("postfix", domains[1]) == "NOTFOUND "
            wait_until(lambda: [each.domain for each in collector.failures()] == domains[1:], "a report is stored")
        assert reports("127.0.0.1:9471") == {"unsent": 1, "sent": 1}
        assert [line for line in daemon.lines if "tlsrpt" in line or "error" in line.split()[1]] == []


def test_a_collector_that_reads_nothing_holds_up_nothing(internet: Internet, tmp_path: Path) -> None:
    """Its queue is full: nobody waits for room in it."""
    domain = "full.reports.test"
    want_reports(internet, domain)
    internet.publish(domain, b"no policy")
    path = tmp_path / "full"
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as idle,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as us,
    ):
        idle.bind(str(path))
        us.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                us.sendto(b"{}", str(path))
        config = internet.config(tlsrpt={"socket": str(path)}, metrics={"listen": "inet:127.0.0.1:9472"})
        with Daemon(tmp_path / "daemon", config) as daemon:
            assert daemon.ask("postfix", domain) == "NOTFOUND "
            wait_until(lambda: reports("127.0.0.1:9472") == {"unsent": 1}, "a report is counted as lost")
            assert daemon.ask("postfix", domain) == "NOTFOUND "


def test_a_reload_says_where_the_collector_is(internet: Internet, collector: Collector, tmp_path: Path) -> None:
    """Without tlsrpt.socket nobody is asked who wants reports; with it the next failure is reported."""
    domains = ["before.reports.test", "after.reports.test"]
    want_reports(internet, *domains)
    for domain in domains:
        internet.publish(domain, b"no policy")
    with Daemon(tmp_path / "daemon", internet.config()) as daemon:
        assert daemon.ask("postfix", domains[0]) == "NOTFOUND "
        daemon.configure({**daemon.config, "tlsrpt": {"socket": str(collector.socket)}})
        daemon.reload()
        assert daemon.ask("postfix", domains[1]) == "NOTFOUND "
        wait_until(lambda: [each.domain for each in collector.failures()] == domains[1:], "a report is stored")
    assert internet.dns.count(f"_smtp._tls.{domains[0]}", "TXT") == 0
