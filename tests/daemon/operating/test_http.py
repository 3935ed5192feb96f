"""/metrics and /healthz over a real socket, with a real loop behind them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import resource
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from postfix_mtasts.daemon.counters import Counts
from postfix_mtasts.daemon.operating import http
from postfix_mtasts.daemon.operating.http import HttpServer
from postfix_mtasts.daemon.operating.numbers import Numbers
from postfix_mtasts.errors import ListenError
from tests.support.fakes.told import NUMBERS
from tests.support.waiting import wait_until

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
    "mtasts_store_up 0.0",
    'mtasts_reports_total{result="sent"} 11.0',
    "mtasts_refresh_due 9.0",
    "mtasts_refresh_lag_seconds 10.5",
    "mtasts_refresh_failing 2.0",
    "mtasts_policy_expiry_seconds 86400.0",
    "mtasts_connections 6.0",
    "mtasts_errors_total 8.0",
    'mtasts_build_info{version="1.2.3"} 1.0',
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


async def nothing_shown() -> Numbers:
    raise AssertionError


Serve = Callable[..., HttpServer]


@pytest.fixture
def serve(loop: asyncio.AbstractEventLoop, address: str) -> Iterator[Serve]:
    servers: list[HttpServer] = []

    def start(
        numbers: Numbers = NUMBERS, faults: Callable[[], list[str]] = list, notices: Callable[[], list[str]] = list
    ) -> HttpServer:
        async def shown() -> Numbers:
            return numbers

        servers.append(HttpServer(address, loop, shown, faults, notices))
        return servers[-1]

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
    serve(replace(NUMBERS, nearest_expiry=None))
    assert "mtasts_policy_expiry_seconds " not in ask(address, "/metrics")[1]


def test_healthz_is_200_while_all_moves(serve: Serve, address: str) -> None:
    serve()
    assert ask(address, "/healthz") == (200, "ok\n")


def test_what_does_not_stop_the_daemon_is_told_with_200(serve: Serve, address: str) -> None:
    """Whoever restarts what is not healthy must not restart a daemon that does its work."""
    serve(notices=lambda: ["no DNS server has answered for 75 s"])
    assert ask(address, "/healthz") == (200, "ok\nno DNS server has answered for 75 s\n")


def test_healthz_is_503_with_the_reasons(serve: Serve, address: str) -> None:
    serve(faults=lambda: ["the store cannot be used: no space left", "the refresher has not moved for 12 s"])
    assert ask(address, "/healthz") == (
        503,
        "the store cannot be used: no space left\nthe refresher has not moved for 12 s\n",
    )


def test_a_loop_that_does_not_move_is_503(
    serve: Serve, address: str, loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both pages say so, instead of hanging with it; once it moves again, no old question is answered."""
    monkeypatch.setattr(http, "LOOP_PATIENCE", 0.2)
    asked: list[str] = []
    serve(faults=lambda: asked)
    go_on = threading.Event()
    loop.call_soon_threadsafe(go_on.wait)
    try:
        assert ask(address, "/healthz") == (503, "the event loop did not answer within 0.2 s\n")
        assert ask(address, "/metrics")[0] == 503
    finally:
        go_on.set()
    monkeypatch.undo()
    assert ask(address, "/healthz")[0] == 200
    assert asyncio.run_coroutine_threadsafe(tasks(), loop).result(60) == 1


async def tasks() -> int:
    """How many there are, this one included."""
    return len(asyncio.all_tasks())


def test_a_loop_that_has_ended_is_503(address: str) -> None:
    """As it is during a stop."""
    ended = asyncio.new_event_loop()
    ended.close()
    server = HttpServer(address, ended, nothing_shown, list)
    try:
        assert ask(address, "/healthz") == (503, "the event loop has ended\n")
    finally:
        server.close()


def connect(address: str) -> socket.socket:
    host, _, port = address.removeprefix("inet:").rpartition(":")
    return socket.create_connection((host, int(port)), timeout=60)


def test_slow_clients_take_no_more_than_a_few_descriptors(serve: Serve, address: str) -> None:
    """The oldest gives way, and monitoring gets through; no thread is made for any."""
    serve()
    threads, descriptors = threading.active_count(), len(os.listdir("/proc/self/fd"))
    slow = [connect(address) for _ in range(100)]
    for sock in slow:
        with contextlib.suppress(OSError):
            sock.sendall(b"GET /metrics HTTP/1.1\r\n")
    assert ask(address, "/healthz") == (200, "ok\n")
    assert threading.active_count() <= threads
    assert len(os.listdir("/proc/self/fd")) <= descriptors + len(slow) + http.CLIENTS + 1
    for sock in slow[: -http.CLIENTS]:
        with contextlib.suppress(ConnectionError):
            assert sock.recv(1) == b"", "closed by the server"
    for sock in slow:
        sock.close()


def test_a_burst_takes_no_more_descriptors_than_a_few(
    serve: Serve, address: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Those who wait in the backlog are not all accepted at once: with few descriptors left that ended the server."""
    server = serve()
    assert ask(address, "/healthz") == (200, "ok\n")  # what is loaded at the first question is loaded
    go_on = threading.Event()
    server._own.call_soon_threadsafe(go_on.wait)
    burst = [connect(address) for _ in range(100)]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (burst[-1].fileno() + 20, hard))
    try:
        go_on.set()
        assert ask(address, "/healthz") == (200, "ok\n")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for sock in burst:
            sock.close()
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_without_descriptors_it_waits_for_one(serve: Serve, address: str, caplog: pytest.LogCaptureFixture) -> None:
    """And serves who came meanwhile, once there is one."""
    serve()
    assert ask(address, "/healthz") == (200, "ok\n")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with connect(address) as sock:
        pass
    with socket.socket() as sock:
        sock.settimeout(60)
        resource.setrlimit(resource.RLIMIT_NOFILE, (sock.fileno(), hard))
        try:
            sock.connect(("127.0.0.1", int(address.rpartition(":")[2])))
            sock.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert sock.recv(4096).startswith(b"HTTP/1.1 200 ")
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.mark.parametrize("sent", [b"", b"GET /metrics HTTP/1.1\r\n"])
def test_a_request_has_a_deadline(serve: Serve, address: str, sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that says nothing, or never ends, is closed."""
    monkeypatch.setattr(http, "CLIENT_PATIENCE", 0.2)
    serve()
    with connect(address) as sock:
        sock.sendall(sent)
        with contextlib.suppress(ConnectionError):
            assert sock.recv(1) == b""


def test_a_client_that_does_not_read_has_a_deadline(
    serve: Serve, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its answer is given up."""
    monkeypatch.setattr(http, "CLIENT_PATIENCE", 2.0)
    server = serve(faults=lambda: ["x" * 20_000_000])
    with connect(address) as sock:
        sock.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        received = 0
        wait_until(lambda: bool(server._clients), "the request is there")
        wait_until(lambda: not server._clients, "it is given up")
        with contextlib.suppress(ConnectionError):
            while data := sock.recv(1 << 20):
                received += len(data)
        assert received < 20_000_000


REQUESTS = [
    (b"nonsense\r\n\r\n", b"HTTP/1.1 400 "),
    (b"GET / HTTP/2\r\n\r\n", b"HTTP/1.1 400 "),
    (b"POST /metrics HTTP/1.1\r\n\r\n", b"HTTP/1.1 405 "),
    (b"GET /healthz?verbose HTTP/1.0\r\n\r\n", b"HTTP/1.1 200 "),
    (b"HEAD /healthz HTTP/1.1\r\nHost: x\r\n\r\n", b"HTTP/1.1 200 "),
    (b"GET /\xff HTTP/1.1\r\n\r\n", b"HTTP/1.1 404 "),
    (b"GET /metrics HTTP/1.1\r\n" + b"x: y\r\n" * 2_000, b""),
]


@pytest.mark.parametrize(("request_bytes", "answer"), REQUESTS)
def test_requests(serve: Serve, address: str, request_bytes: bytes, answer: bytes) -> None:
    """What is no request of ours is told so, and what is too long is closed."""
    serve()
    with connect(address) as sock, contextlib.suppress(ConnectionError):
        sock.sendall(request_bytes)
        got = b""
        while data := sock.recv(4096):
            got += data
        assert got.startswith(answer)
        if request_bytes.startswith(b"HEAD"):
            assert got.endswith(b"\r\n\r\n")


def test_openmetrics_is_spoken_to_who_asks_for_it(serve: Serve, address: str) -> None:
    """Prometheus does."""
    serve()
    with connect(address) as sock:
        sock.sendall(b"GET /metrics HTTP/1.1\r\nAccept: application/openmetrics-text; version=1.0.0\r\n\r\n")
        got = b""
        while data := sock.recv(65_536):
            got += data
    assert b"Content-Type: application/openmetrics-text" in got
    assert got.endswith(b"# EOF\n")


def test_no_name_is_asked_of_dns(serve: Serve, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a silent resolver that would stop the loop, which adds this server at a reload."""

    def asked(*_: object) -> Any:
        raise AssertionError

    for name in ("getfqdn", "gethostbyaddr", "getnameinfo", "gethostname"):
        monkeypatch.setattr(socket, name, asked)
    serve()
    assert ask(address, "/healthz")[0] == 200


def test_other_paths_say_what_there_is(serve: Serve, address: str) -> None:
    serve()
    assert ask(address, "/") == (404, "here are /metrics and /healthz\n")


def test_a_taken_address_is_named(loop: asyncio.AbstractEventLoop) -> None:
    """A ListenError, as for the addresses of `listen`."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ListenError, match=f"^metrics.listen: inet:127.0.0.1:{port}: Address already in use$"):
            HttpServer(f"inet:127.0.0.1:{port}", loop, nothing_shown, list)


def test_cold_lookups_fall_into_buckets() -> None:
    """Each bucket counts what took no longer than its bound, so the last counts all."""
    counts = Counts()
    for seconds in (0.004, 0.005, 0.2, 99.0):
        counts.cold(seconds)
    buckets = dict(counts.cold_buckets())
    assert (buckets["0.005"], buckets["0.1"], buckets["0.25"], buckets["15.0"], buckets["+Inf"]) == (2, 2, 3, 3, 4)
    assert counts.cold_seconds == pytest.approx(99.209)
