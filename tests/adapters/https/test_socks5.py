"""The way through a SOCKS proxy, by servers that speak it, break it, or do nothing."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from postfix_mtasts.adapters.https.fetch import HttpsPolicyHosts
from postfix_mtasts.adapters.https.proxy import Proxy
from postfix_mtasts.adapters.https.transfer import Transfer
from postfix_mtasts.config.settings import FetchSettings
from postfix_mtasts.core.outcome import Stage, no_note
from postfix_mtasts.errors import FetchError
from postfix_mtasts.faults import Fault
from tests.support.servers.hostile_https import POLICY, PolicyHost, Reply, Script, answer, drips, says, tls, unanswered
from tests.support.servers.proxies import PASSWORD, USER, silent, tunnels
from tests.support.worlds.policy_hosts import ENOUGH, HERE, NAME, SHORT, World

NO_LOGIN, LOGIN, GRANTED = b"\x05\x00", b"\x05\x02", b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00"


def read(sock: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = sock.recv(count - len(data))
        if not piece:
            raise ConnectionError
        data += piece
    return data


def speaks(reply: Reply, login: str = "") -> Script:
    """A SOCKS 5 server up to the request, which is put into `requests`; then *reply*."""

    def run(sock: socket.socket, seen: Any) -> None:
        _, count = read(sock, 2)
        read(sock, count)
        sock.sendall(LOGIN if login else NO_LOGIN)
        if login:
            user = read(sock, read(sock, 2)[1])
            given = user + b":" + read(sock, read(sock, 1)[0])
            sock.sendall(b"\x01" + (b"\x00" if given == login.encode() else b"\x01"))
        head = read(sock, 4)
        if head[3] == 3:
            size = read(sock, 1)
            rest = size + read(sock, size[0] + 2)
        else:
            rest = read(sock, {1: 6, 4: 18}[head[3]])
        seen.requests.append(head + rest)
        reply(sock, seen)

    return run


def through(port: int, world: World, timeout: float = ENOUGH, **settings: Any) -> HttpsPolicyHosts:
    way = Proxy(FetchSettings(proxy=f"socks5h://127.0.0.1:{port}", **settings)).connect
    return HttpsPolicyHosts(timeout, world.ca_file, connect=way)


def test_by_name(world: World) -> None:
    """The proxy resolves; TLS is as without it."""
    seen: list[tuple[Stage, str]] = []
    with (
        PolicyHost(tls(world.certificate, says(answer(POLICY)))) as host,
        PolicyHost(speaks(tunnels(host.port, GRANTED))) as middle,
    ):
        hosts = through(middle.port, world)
        assert hosts.get(NAME, (), lambda stage, text: seen.append((stage, text))) == POLICY
    assert middle.requests == [b"\x05\x01\x00\x03" + bytes([len(NAME)]) + NAME.encode() + b"\x01\xbb"]
    assert host.names == [NAME]
    assert seen[0] == (Stage.ADDRESS, f"connected to {NAME} through the proxy 127.0.0.1:{middle.port}")


def test_by_address_with_a_login(world: World, tmp_path: Path) -> None:
    """IPv6 too; the next address where the proxy does not reach the first."""
    (tmp_path / "login").write_text(f"{USER}:{PASSWORD}\n")

    def second(sock: socket.socket, seen: Any) -> None:
        first = len(seen.requests) == 1
        (says(b"\x05\x04\x00\x01") if first else tunnels(host.port, GRANTED))(sock, seen)

    with (
        PolicyHost(tls(world.certificate, says(answer(POLICY)))) as host,
        PolicyHost(speaks(second, f"{USER}:{PASSWORD}")) as middle,
    ):
        hosts = through(middle.port, world, proxy_connect="address", proxy_password_file=str(tmp_path / "login"))
        assert hosts.get(NAME, ("2001:db8::1", "192.0.2.1"), no_note) == POLICY
    v6, v4 = (socket.inet_pton(socket.AF_INET6, "2001:db8::1"), socket.inet_aton("192.0.2.1"))
    assert middle.requests == [b"\x05\x01\x00\x04" + v6 + b"\x01\xbb", b"\x05\x01\x00\x01" + v4 + b"\x01\xbb"]


REFUSALS: list[tuple[str, Script, Fault, str]] = [
    ("host unreachable", speaks(says(b"\x05\x04\x00\x01")), Fault.UNREACHED, "the proxy says host unreachable"),
    ("a general failure", speaks(says(b"\x05\x01\x00\x01")), Fault.UNREACHED, "the proxy says general socks server"),
    ("not allowed", speaks(says(b"\x05\x02\x00\x01")), Fault.PROXY_DENIED, "refuses: connection not allowed by rule"),
    ("a reply that nobody knows", speaks(says(b"\x05\x63\x00\x01")), Fault.PROXY_DENIED, "refuses: unknown error"),
    ("a login that none was given for", speaks(says(b""), "a:b"), Fault.PROXY_LOGIN, "No username/password supplied"),
    ("no method", says(b"\x05\xff"), Fault.PROXY_LOGIN, "All offered SOCKS5 authentication methods were rejected"),
    (
        "another protocol",
        says(b"HTTP/1.1 400 Bad\r\n\r\n"),
        Fault.PROXY_BROKEN,
        "socks5 proxy server sent invalid data",
    ),
    ("an address of no kind", speaks(says(b"\x05\x00\x00\x09")), Fault.PROXY_BROKEN, "sent invalid data"),
    ("half a reply", speaks(says(GRANTED[:7])), Fault.PROXY_BROKEN, "connection closed unexpectedly"),
    ("no word", says(b""), Fault.PROXY_BROKEN, "as it must: "),
]


@pytest.mark.parametrize(("title", "script", "fault", "reason"), REFUSALS, ids=[row[0] for row in REFUSALS])
def test_answers_that_are_no_tunnel(world: World, title: str, script: Script, fault: Fault, reason: str) -> None:
    """Ours, unless the proxy says that it did not reach the host."""
    with PolicyHost(script) as middle, pytest.raises(FetchError) as caught:
        through(middle.port, world).get(NAME, (), no_note)
    assert caught.value.seen.fault is fault
    assert reason in caught.value.reason
    assert len(caught.value.reason) < 300
    assert "[Errno" not in caught.value.reason


def drips_a_name(sock: socket.socket, seen: Any) -> None:
    """A bound address of 255 bytes, one at a time."""
    sock.sendall(b"\x05\x00\x00\x03\xff")
    drips(b"x")(sock, seen)


@pytest.mark.parametrize("script", [silent, speaks(silent), speaks(drips_a_name)], ids=["at once", "asked", "dripping"])
def test_silence_lasts_no_longer_than_the_fetch(world: World, script: Script) -> None:
    """Though PySocks counts its time anew with each byte."""
    with PolicyHost(script) as middle, pytest.raises(FetchError) as caught:
        through(middle.port, world, SHORT).get(NAME, (), no_note)
    assert caught.value.seen.fault is Fault.PROXY_SILENT


def test_a_proxy_that_is_away(world: World) -> None:
    """Nobody listens, or nobody answers."""
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    with pytest.raises(FetchError) as caught:
        through(port, world).get(NAME, (), no_note)
    assert caught.value.reason == f"cannot connect to the proxy 127.0.0.1:{port}: 127.0.0.1: connection refused"
    with unanswered() as port, pytest.raises(FetchError) as caught:
        through(port, world, SHORT).get(NAME, (), no_note)
    assert caught.value.seen.fault is Fault.PROXY_AWAY
    assert "127.0.0.1: no answer within " in caught.value.reason


def test_a_fetch_is_given_up_while_the_proxy_is_silent(world: World) -> None:
    """From another thread, at once."""
    transfer = Transfer()
    with PolicyHost(speaks(silent)) as middle:
        giving_up = threading.Thread(target=lambda: (middle.reached.wait(), transfer.abort("given up")))
        giving_up.start()
        with pytest.raises(FetchError) as caught:
            through(middle.port, world).get(NAME, (), no_note, transfer)
        giving_up.join()
    assert caught.value.seen.fault is Fault.GIVEN_UP


def test_what_pysocks_would_write_wrong_is_never_sent(world: World, tmp_path: Path) -> None:
    """It writes a length of 128 and more as two bytes: the proxy would take a part of the name for the port."""
    (tmp_path / "login").write_text(f"relay:{'x' * 128}\n")
    long = f"mta-sts.{'a' * 60}.{'b' * 60}.test"
    cases: list[tuple[str, dict[str, Any], Fault]] = [
        (long, {}, Fault.UNREACHED),
        (NAME, {"proxy_password_file": str(tmp_path / "login")}, Fault.PROXY_LOGIN),
    ]
    with PolicyHost(silent) as middle:
        for host, settings, fault in cases:
            with pytest.raises(FetchError) as caught:
                through(middle.port, world, **settings).get(host, HERE, no_note)
            assert caught.value.seen.fault is fault
            assert middle.connections == 0


def test_no_descriptor_is_left_over(world: World) -> None:
    """Whatever the proxy did."""

    def count() -> int:
        return len(os.listdir("/proc/self/fd"))

    scripts: list[Callable[[Any, Any], None]] = [script for _, script, *_ in REFUSALS]
    before = count()
    for script in scripts:
        with PolicyHost(script) as middle, contextlib.suppress(FetchError):
            through(middle.port, world).get(NAME, (), no_note)
    assert count() <= before
