"""Many clients, many hanging policy hosts, and clients that misbehave: nobody else notices."""

from __future__ import annotations

import resource
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.support.fakes.hanging import ADDRESS as HANGING
from tests.support.fakes.hanging import HangingHost
from tests.support.servers.daemon import ENVIRONMENT, Daemon
from tests.support.servers.internet import Internet, Site, policy, zone_lines
from tests.support.servers.socketmap_client import SocketmapClient, frame
from tests.support.waiting import wait_until

ENFORCED = "OK secure match=mx.example.net servername=hostname"
GOOD = policy("mx.example.net")
MIB = 1 << 20


@pytest.fixture(scope="module")
def daemon(internet: Internet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon that holds the policy of known.crowds.test."""
    internet.publish("known.crowds.test", GOOD)
    with Daemon(tmp_path_factory.mktemp("daemon"), internet.config()) as running:
        assert running.ask("postfix", "known.crowds.test") == ENFORCED
        yield running


def test_forty_clients_at_once_cost_one_lookup(daemon: Daemon, internet: Internet) -> None:
    """SPEC 4: one TXT query, one HTTPS request, whoever else asks meanwhile."""
    internet.publish("forty.crowds.test", GOOD)
    answers: list[str] = []
    together = threading.Barrier(40)

    def ask() -> None:
        with daemon.client() as client:
            together.wait(30)
            answers.append(client.ask("postfix", "forty.crowds.test"))

    threads = [threading.Thread(target=ask) for _ in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [ENFORCED] * 40
    assert internet.txt_queries("forty.crowds.test") == 1
    assert internet.gets("forty.crowds.test") == 1


def test_hosts_that_hang_never_shut_out_others(internet: Internet, tmp_path: Path) -> None:
    """300 of them take all places that lookups have: what is held is answered, and a new domain gets its turn."""
    addresses = [f"127.0.1.{number}" for number in range(1, 21)]
    hanging = [f"hang{number}.crowds.test" for number in range(300)]
    internet.publish_all({"held.crowds.test": Site(GOOD), "healthy.crowds.test": Site(GOOD)})
    internet.add(*records(hanging, addresses))
    with (
        HangingHost(*addresses) as host,
        Daemon(tmp_path, internet.config(fetch={"timeout": "60s"})) as daemon,
        ExitStack() as stack,
    ):
        assert daemon.ask("postfix", "held.crowds.test") == ENFORCED
        for domain in hanging:
            stack.enter_context(daemon.client()).send("postfix", domain)
        host.wait_for(192)
        with daemon.client(timeout=2) as client:
            assert client.ask("postfix", "held.crowds.test") == ENFORCED
            assert client.ask("postfix", "HELD.crowds.test:25") == ENFORCED
        assert daemon.ask("postfix", "healthy.crowds.test") == ENFORCED


def test_a_burst_of_domains_at_one_host_that_hangs(internet: Internet, tmp_path: Path) -> None:
    """3,000 of them: new domains elsewhere are answered, a policy is refreshed, and no overload is NOTFOUND."""
    hanging = [f"burst{number}.crowds.test" for number in range(3_000)]
    healthy = [f"sound{number}.crowds.test" for number in range(10)]
    internet.publish_all({domain: Site(GOOD) for domain in ["due.crowds.test", *healthy]})
    internet.add(*records(hanging, [HANGING]))
    config = internet.config(fetch={"timeout": "60s"}, dns={"timeout": "30s"})  # DNS may be slow; it does not fail here
    with HangingHost() as host, Daemon(tmp_path, config) as daemon:
        assert daemon.ask("postfix", "due.crowds.test") == ENFORCED
        with ExitStack() as stack:
            clients = [stack.enter_context(daemon.client()) for _ in range(30)]
            for number, domain in enumerate(hanging):
                clients[number % len(clients)].send("postfix", domain)
            host.wait_for(64)
            assert [daemon.ask("postfix", domain) for domain in healthy] == [ENFORCED] * len(healthy)
            fetched = internet.gets("due.crowds.test")
            assert refresh(tmp_path / "config.yml", "due.crowds.test") == 0
            assert internet.gets("due.crowds.test") > fetched
            answers = {domain: clients[number % len(clients)].receive() for number, domain in enumerate(hanging)}
        assert {answer[:5] for answer in answers.values()} <= {"TEMP ", "NOTFO"}
        told = {domain for domain, answer in answers.items() if answer == "NOTFOUND "}
        wait_until(lambda: told <= failed_by(daemon), "only hosts that had their time are told as failed")


def failed_by(daemon: Daemon) -> set[str]:
    """The domains whose fetch is logged as failed."""
    return {line.partition("domain=")[2].split()[0] for line in daemon.events("fetch-failed")}


def records(domains: Sequence[str], addresses: Sequence[str]) -> list[str]:
    """Lines of a zone file: *domains* with policy hosts at *addresses* by turns, which nobody has to serve."""
    sites = [Site(GOOD, address=addresses[number % len(addresses)]) for number in range(len(domains))]
    return [line for domain, site in zip(domains, sites, strict=True) for line in zone_lines(domain, site)]


def refresh(config: Path, domain: str) -> int:
    """The exit code of `cache refresh`."""
    command = [sys.executable, "-m", "postfix_mtasts", "cache", "refresh", domain, "--config", str(config)]
    return subprocess.run(command, env=ENVIRONMENT, capture_output=True, timeout=60).returncode


def test_sigterm_while_fetches_hang(internet: Internet, tmp_path: Path) -> None:
    """SPEC 6: what is under way is answered, and the daemon has ended within 6 seconds, exit 0."""
    domains = [f"term{number}.crowds.test" for number in range(60)]
    internet.publish_all({domain: Site(GOOD, address=HANGING) for domain in domains})
    with HangingHost() as host, Daemon(tmp_path, internet.config()) as daemon, ExitStack() as stack:
        clients = [stack.enter_context(daemon.client()) for _ in domains]
        for client, domain in zip(clients, domains, strict=True):
            client.send("postfix", domain)
        host.wait_for(60)
        assert daemon.stop() < 6
        assert {client.receive()[:5] for client in clients} == {"TEMP "}


def test_four_thousand_idle_connections(daemon: Daemon) -> None:
    """SPEC 3: Postfix keeps a connection per smtp process; all of them stay open and the last one is answered."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        with ExitStack() as stack:
            clients = [stack.enter_context(daemon.client()) for _ in range(4000)]
            assert daemon.ask("postfix", "known.crowds.test") == ENFORCED
            for client in (clients[0], clients[2000], clients[-1]):
                assert client.ask("postfix", "known.crowds.test") == ENFORCED
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("key", ["known.crowds.test", "no.such.crowds.test", "192.0.2.1"])
def test_a_client_that_sends_and_never_reads(daemon: Daemon, key: str) -> None:
    """It is read no further at 1 MiB of unread replies; memory stays bounded and others are answered."""
    assert daemon.ask("postfix", key)
    before = daemon.memory()
    block = memoryview(frame(f"postfix {key}".encode()) * 10_000)
    sent, rest = 0, block
    with daemon.client() as flooder:
        flooder.sock.settimeout(3)
        try:
            while sent < 256 * MIB:
                count = flooder.sock.send(rest)
                sent, rest = sent + count, rest[count:] or block
        except TimeoutError:
            pass
        assert sent < 64 * MIB, "the daemon read on and on"
        assert daemon.ask("postfix", "known.crowds.test") == ENFORCED
        assert daemon.memory() - before < 20 * MIB


JUNK = [
    ("an HTTP request", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    ("a TLS handshake", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(506)),
    ("100 KB of digits", b"9" * 100_000),
    ("a leading zero", b"025:postfix known.crowds.test,"),
    ("no comma", b"25:postfix known.crowds.test;"),
    ("a request over 10,000 bytes", frame(b"postfix " + b"a" * 10_000)),
    ("a negative length", b"-1:,"),
    ("an empty line", b"\n"),
]


@pytest.mark.parametrize("junk", [row[1] for row in JUNK], ids=[row[0] for row in JUNK])
def test_junk_closes_its_connection_and_no_other(daemon: Daemon, junk: bytes) -> None:
    """A broken frame closes that connection at once and harms no other."""
    with daemon.client() as bystander, daemon.client() as client:
        assert bystander.ask("postfix", "known.crowds.test") == ENFORCED
        assert client.ask("postfix", "known.crowds.test") == ENFORCED
        with suppress(ConnectionError):  # closed before all of it was sent
            client.sock.sendall(junk)
        assert closed(client)
        assert bystander.ask("postfix", "known.crowds.test") == ENFORCED


def test_what_came_before_junk_is_answered(daemon: Daemon) -> None:
    """In the same segment: the answer that lay ready, then the end."""
    with daemon.client() as client:
        client.sock.sendall(frame(b"postfix known.crowds.test") + b"x")
        assert client.receive() == ENFORCED
        assert closed(client)


def test_half_a_frame_waits_for_its_other_half(daemon: Daemon) -> None:
    """There is no idle timeout; byte by byte is as good as at once, and a client may go away in between."""
    request = frame(b"postfix known.crowds.test")
    with daemon.client() as client:
        client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in request:
            client.sock.sendall(bytes([byte]))
        assert client.receive() == ENFORCED
        client.sock.sendall(request[:10])
    assert daemon.ask("postfix", "known.crowds.test") == ENFORCED


def closed(client: SocketmapClient) -> bool:
    """Whether the daemon closes the connection without another byte; a reset is a close."""
    try:
        return client.sock.recv(1) == b""
    except ConnectionResetError:
        return True
