"""/metrics and /healthz over a real socket, with a real loop behind them."""

from __future__ import annotations

import asyncio
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from postfix_mtasts.daemon.counters import Counts
from postfix_mtasts.daemon.operating.http import HttpServer
from postfix_mtasts.daemon.operating.metrics import Snapshot
from postfix_mtasts.daemon.operating.survey import Survey
from postfix_mtasts.errors import ListenError

SNAPSHOT = Snapshot(
    lookups={("postfix", "secure"): 3, ("postfix", "notfound"): 2},
    cold_buckets=[("0.005", 1), ("+Inf", 2)],
    cold_seconds=1.5,
    fetches={"ok": 1, "sts-webpki-invalid": 4},
    dns_queries={("TXT", "nxdomain"): 7},
    dns_up=False,
    reports={"sent": 11},
    policies=Survey({"enforce": 1, "testing": 0, "none": 0}, 2, 86400.0),
    negatives=5,
    connections=6,
    errors=8,
    refresh_due=9,
    refresh_lag=10.5,
)

LINES = [
    'mtasts_lookups_total{answer="secure",map="postfix"} 3.0',
    'mtasts_lookups_total{answer="notfound",map="postfix"} 2.0',
    'mtasts_lookup_seconds_bucket{le="0.005"} 1.0',
    "mtasts_lookup_seconds_count 2.0",
    "mtasts_lookup_seconds_sum 1.5",
    'mtasts_policies{mode="enforce"} 1.0',
    'mtasts_policies{mode="testing"} 0.0',
    "mtasts_negative_entries 5.0",
    'mtasts_fetches_total{result="sts-webpki-invalid"} 4.0',
    'mtasts_dns_queries_total{result="nxdomain",type="TXT"} 7.0',
    "mtasts_dns_up 0.0",
    'mtasts_reports_total{result="sent"} 11.0',
    "mtasts_refresh_due 9.0",
    "mtasts_refresh_lag_seconds 10.5",
    "mtasts_refresh_failing 2.0",
    "mtasts_policy_expiry_seconds 86400.0",
    "mtasts_connections 6.0",
    "mtasts_errors_total 8.0",
    "mtasts_build_info{",
]

DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # whatever proxy the environment names


@pytest.fixture
def address() -> str:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return f"inet:127.0.0.1:{free.getsockname()[1]}"


def ask(address: str, path: str) -> tuple[int, str]:
    url = "http://" + address.removeprefix("inet:") + path
    try:
        with DIRECT.open(url, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


async def nothing_shown() -> Snapshot:
    raise AssertionError


Serve = Callable[..., None]


@pytest.fixture
def serve(loop: asyncio.AbstractEventLoop, address: str) -> Iterator[Serve]:
    servers: list[HttpServer] = []

    def start(snapshot: Snapshot = SNAPSHOT, faults: Callable[[], list[str]] = list) -> None:
        async def shown() -> Snapshot:
            return snapshot

        servers.append(HttpServer(address, loop, shown, faults))

    yield start
    for server in servers:
        server.close()


def test_every_metric_has_its_name_and_labels(serve: Serve, address: str) -> None:
    """The names that dashboards and alerts rely on."""
    serve()
    status, text = ask(address, "/metrics")
    assert status == 200
    missing = [line for line in LINES if not any(got.startswith(line) for got in text.splitlines())]
    assert not missing, text


def test_without_a_policy_there_is_no_nearest_end(serve: Serve, address: str) -> None:
    """An absent series, not a misleading zero."""
    serve(replace(SNAPSHOT, policies=Survey({}, 0, None)))
    assert "mtasts_policy_expiry_seconds " not in ask(address, "/metrics")[1]


def test_healthz_is_200_while_all_moves(serve: Serve, address: str) -> None:
    serve()
    assert ask(address, "/healthz") == (200, "ok\n")


def test_healthz_is_503_with_the_reasons(serve: Serve, address: str) -> None:
    serve(faults=lambda: ["the store cannot be used: no space left", "the refresher has not moved for 12 s"])
    assert ask(address, "/healthz") == (
        503,
        "the store cannot be used: no space left\nthe refresher has not moved for 12 s\n",
    )


def test_a_loop_that_does_not_move_is_503(serve: Serve, address: str, loop: asyncio.AbstractEventLoop) -> None:
    """Both pages say so, instead of hanging with it."""
    serve()
    go_on = threading.Event()
    loop.call_soon_threadsafe(go_on.wait)
    try:
        assert ask(address, "/healthz")[0] == 503
        assert ask(address, "/metrics")[0] == 503
    finally:
        go_on.set()


def test_other_paths_say_what_there_is(serve: Serve, address: str) -> None:
    serve()
    assert ask(address, "/") == (404, "here are /metrics and /healthz\n")


def test_a_taken_address_is_named(loop: asyncio.AbstractEventLoop) -> None:
    """A ListenError, as for the addresses of `listen`."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ListenError, match=f"metrics.listen: inet:127.0.0.1:{port}: Address already in use"):
            HttpServer(f"inet:127.0.0.1:{port}", loop, nothing_shown, list)


def test_cold_lookups_fall_into_buckets() -> None:
    """Each bucket counts what took no longer than its bound, so the last counts all."""
    counts = Counts()
    for seconds in (0.004, 0.005, 0.2, 99.0):
        counts.cold(seconds)
    buckets = dict(counts.cold_buckets())
    assert (buckets["0.005"], buckets["0.1"], buckets["0.25"], buckets["15.0"], buckets["+Inf"]) == (2, 2, 3, 3, 4)
    assert counts.cold_seconds == pytest.approx(99.209)
