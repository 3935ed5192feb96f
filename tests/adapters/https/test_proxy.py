"""The way through fetch.proxy, by fake proxies that keep the rules, break them, or do nothing."""

from __future__ import annotations

import socket
import struct
import threading
from base64 import b64encode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mtasts.adapters.https import proxy
from postfix_mtasts.adapters.https.fetch import HttpsPolicyHosts
from postfix_mtasts.adapters.https.proxy import Proxy
from postfix_mtasts.adapters.https.transfer import Transfer
from postfix_mtasts.config.settings import FetchSettings
from postfix_mtasts.core.outcome import ResultType, Stage, no_note
from postfix_mtasts.errors import FetchError
from postfix_mtasts.faults import Fault
from tests.support.servers.hostile_https import (
    POLICY,
    PolicyHost,
    Reply,
    after,
    answer,
    closes,
    drips,
    repeats,
    says,
    tls,
    unanswered,
)
from tests.support.servers.proxies import OK, PASSWORD, USER, asked, silent, tunnels
from tests.support.waiting import wait_until
from tests.support.worlds.policy_hosts import ENOUGH, HERE, NAME, SHORT, World

BAD = b"HTTP/1.1 "


def breaks(sock: socket.socket, seen: Any) -> None:
    """Reset the connection."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def through(url: str, world: World, port: int, timeout: float = ENOUGH, **settings: Any) -> HttpsPolicyHosts:
    """The policy host at *port*, through the proxy at *url*."""
    way = Proxy(FetchSettings(proxy=url, **settings)).connect
    return HttpsPolicyHosts(timeout, world.ca_file, port, connect=way)


@contextmanager
def fake(reply: Reply) -> Iterator[tuple[PolicyHost, str]]:
    """A proxy that reads a CONNECT and then does as *reply* says, and its URL."""
    with PolicyHost(asked(reply)) as host:
        yield host, f"http://127.0.0.1:{host.port}"


def refused(world: World, reply: Reply, timeout: float = ENOUGH, **settings: Any) -> FetchError:
    """What a fetch through such a proxy ends in: one bounded sentence."""
    with fake(reply) as (_, url), pytest.raises(FetchError) as caught:
        through(url, world, 443, timeout, **settings).get(NAME, HERE, no_note)
    reason = caught.value.reason
    assert len(reason) < 300
    assert not any(mark in reason for mark in (" at 0x", "Error(", "[Errno", "\n"))
    return caught.value


def test_by_name_the_proxy_is_told_the_host_and_addresses_do_not_matter(world: World) -> None:
    """What goes through the tunnel is TLS with the policy host's own name and certificate."""
    with PolicyHost(tls(world.certificate, says(answer(POLICY)))) as host, fake(tunnels(host.port)) as (middle, url):
        seen: list[tuple[Stage, str]] = []
        hosts = through(url, world, 443)
        assert hosts.get(NAME, (), lambda stage, text: seen.append((stage, text))) == POLICY
    line, *headers = middle.requests[0].decode().rstrip().split("\r\n")
    assert line == f"CONNECT {NAME}:443 HTTP/1.1"
    assert [header.partition(":")[0] for header in headers] == ["Host", "User-Agent"]
    assert host.names == [NAME]
    assert seen[0] == (Stage.ADDRESS, f"connected to {NAME} through the proxy {url.removeprefix('http://')}")


def test_by_address_the_proxy_is_told_what_was_judged(world: World) -> None:
    """One after another, as without a proxy: the next where the proxy does not reach the first."""

    def second(sock: socket.socket, seen: Any) -> None:
        first = len(seen.requests) == 1
        (says(BAD + b"503 Down\r\n\r\n") if first else tunnels(host.port))(sock, seen)

    with PolicyHost(tls(world.certificate, says(answer(POLICY)))) as host, fake(second) as (middle, url):
        hosts = through(url, world, 443, proxy_connect="address")
        assert hosts.get(NAME, ("2001:db8::1", "192.0.2.1"), no_note) == POLICY
    assert [request.split(b" ")[1] for request in middle.requests] == [b"[2001:db8::1]:443", b"192.0.2.1:443"]


def test_the_login_is_read_from_the_file_for_each_connection(world: World, tmp_path: Path) -> None:
    """A changed password counts without a reload, and stands in no sentence."""
    file = tmp_path / "login"
    with PolicyHost(tls(world.certificate, says(answer(POLICY)))) as host, fake(tunnels(host.port)) as (middle, url):
        hosts = through(url, world, 443, proxy_password_file=str(file))
        for login in (f"{USER}:{PASSWORD}:with:colons", "other:word"):
            file.write_text(login + "\n")
            assert hosts.get(NAME, (), no_note) == POLICY
        file.unlink()
        with pytest.raises(FetchError) as caught:
            hosts.get(NAME, (), no_note)
    for login, request in zip((f"{USER}:{PASSWORD}:with:colons", "other:word"), middle.requests, strict=True):
        assert f"\r\nProxy-Authorization: Basic {b64encode(login.encode()).decode()}\r\n".encode() in request
    assert caught.value.reason.endswith(
        "does not take the credentials: fetch.proxy_password_file: no such file or directory"
    )
    assert caught.value.seen.fault is Fault.PROXY_LOGIN


TUNNELS = [b"HTTP/1.0 200 OK\r\nA: b\r\n\r\n", b"HTTP/1.1 204\r\n\r\n", b"HTTP/1.1 200 OK\n\n"]


@pytest.mark.parametrize("first", TUNNELS, ids=["HTTP/1.0", "another 2xx", "bare LF"])
def test_answers_that_are_a_tunnel(world: World, first: bytes) -> None:
    """RFC 9110 section 9.3.6: any 2xx."""
    with PolicyHost(tls(world.certificate, says(answer(POLICY)))) as host, fake(tunnels(host.port, first)) as (_, url):
        assert through(url, world, 443).get(NAME, (), no_note) == POLICY


REFUSALS: list[tuple[str, Reply, Fault, str]] = [
    ("407", says(BAD + b"407 Auth\r\nProxy-Authenticate: Basic\r\n\r\n"), Fault.PROXY_LOGIN, "407 Auth, and fetch."),
    ("401", says(BAD + b"401 Unauthorized\r\n\r\n"), Fault.PROXY_LOGIN, "the credentials: 401 Unauthorized"),
    ("403 with a body", says(answer(b"<h1>no", "403 Filtered")), Fault.PROXY_DENIED, "refuses: 403 Filtered"),
    ("a redirect", says(BAD + b"302 Found\r\nLocation: http://x/\r\n\r\n"), Fault.PROXY_DENIED, "refuses: 302 Found"),
    ("501", says(BAD + b"501 Not Implemented\r\n\r\n"), Fault.PROXY_DENIED, "refuses: 501 Not Implemented"),
    ("502", says(BAD + b"502 Bad Gateway\r\n\r\n"), Fault.UNREACHED, f"to {NAME}: the proxy says 502 Bad Gateway"),
    ("503 with a body", says(answer(b"no DNS", "503 Down")), Fault.UNREACHED, "the proxy says 503 Down"),
    ("504 without a word", says(BAD + b"504\r\n\r\n"), Fault.UNREACHED, "the proxy says 504"),
    ("a long reason", says(BAD + b"403 " + b"x" * 9999 + b"\r\n\r\n"), Fault.PROXY_DENIED, "x..."),
    (
        "an endless header",
        after(BAD + b"200 OK\r\n", repeats(b"a: b\r\n")),
        Fault.PROXY_BROKEN,
        "its answer is longer than 16,384 bytes or 100",
    ),
    ("an endless line", repeats(b"HTTP/1.1 200 x"), Fault.PROXY_BROKEN, "its answer is longer than 16,384 bytes"),
    ("many lines", says(BAD + b"200 OK\r\n" + b"a:b\r\n" * 100 + b"\r\n"), Fault.PROXY_BROKEN, "or 100 lines"),
    ("bytes behind a 200", says(OK + b"\x16\x03\x03"), Fault.PROXY_BROKEN, "bytes behind its answer"),
    ("a body behind a 200", says(answer(b"hello")), Fault.PROXY_BROKEN, "bytes behind its answer"),
    ("an interim answer", says(BAD + b"100 Continue\r\n\r\n"), Fault.PROXY_BROKEN, "is not HTTP/1"),
    ("another protocol", after(b"SSH-2.0-x\r\n", silent), Fault.PROXY_BROKEN, "'SSH-2.0-x\\r\\n' is not HTTP/1"),
    ("HTTP/2", says(b"HTTP/2 200 OK\r\n\r\n"), Fault.PROXY_BROKEN, "is not HTTP/1"),
    ("a status of letters", says(BAD + b"2OO OK\r\n\r\n"), Fault.PROXY_BROKEN, "is not HTTP/1"),
    ("no word", closes, Fault.PROXY_BROKEN, "as it must: it closed the connection"),
    ("half an answer", says(BAD + b"200 OK\r\nA"), Fault.PROXY_BROKEN, "it closed the connection within its answer"),
    ("a reset", breaks, Fault.PROXY_BROKEN, "connection reset by peer"),
]


@pytest.mark.parametrize(("title", "reply", "fault", "reason"), REFUSALS, ids=[row[0] for row in REFUSALS])
def test_answers_that_are_no_tunnel(world: World, title: str, reply: Reply, fault: Fault, reason: str) -> None:
    """Ours, unless the proxy says that it did not reach the host (rule 2)."""
    error = refused(world, reply)
    assert error.seen.fault is fault
    assert reason in error.reason
    assert (error.stage, error.result_type) == (Stage.ADDRESS, ResultType.FETCH_ERROR)
    assert error.seen.fault.ours is (fault is not Fault.UNREACHED)
    assert "127.0.0.1" not in error.seen.to_strangers()


def test_the_proxy_cannot_pretend_to_be_the_policy_host(world: World) -> None:
    """A certificate for another name is refused, whoever holds the other end."""
    other = world.ca.issue("other.example.test")
    with PolicyHost(tls(other, says(answer(POLICY)))) as host, fake(tunnels(host.port)) as (_, url):
        with pytest.raises(FetchError) as caught:
            through(url, world, 443).get(NAME, (), no_note)
        shown = through(url, world, 443).peek(NAME, HERE[0])
    assert caught.value.seen.fault is Fault.CERTIFICATE_NAME
    assert shown is not None  # `check` looks at it through the proxy too
    assert len(shown.chain) == 1


def test_a_tunnel_into_garbage_is_no_tls(world: World) -> None:
    """What comes once TLS has begun is judged as without a proxy."""

    def garbage(sock: socket.socket, seen: Any) -> None:
        sock.sendall(OK)
        sock.recv(1)  # TLS has begun
        sock.sendall(b"garbage" * 99)
        seen.over.wait()

    error = refused(world, garbage)
    assert (error.stage, error.seen.fault) == (Stage.TLS, Fault.TLS_NONE)


SILENCES: list[tuple[str, Reply]] = [("nothing", silent), ("a dripping header", after(BAD + b"200 O", drips(b"K")))]


@pytest.mark.parametrize(("title", "reply"), SILENCES, ids=[row[0] for row in SILENCES])
def test_a_proxy_that_answers_nobody_is_late(world: World, title: str, reply: Reply) -> None:
    """Within the time of the fetch, and ours."""
    error = refused(world, reply, SHORT)
    assert error.seen.fault is Fault.PROXY_SILENT
    assert error.reason.endswith(f"did not answer within {SHORT:g} s")


def test_a_proxy_that_answers_others_waits_for_the_host(world: World) -> None:
    """Then its silence is the policy host's (rule 2)."""
    answered = threading.Event()

    def one_of_two(sock: socket.socket, seen: Any) -> None:
        if b"CONNECT hanging." in seen.requests[-1]:
            silent(sock, seen)
        else:
            sock.sendall(BAD + b"403 No\r\n\r\n")
            answered.set()

    with fake(one_of_two) as (middle, url):
        hosts = through(url, world, 443, 3.0)

        def ask_another() -> None:
            middle.reached.wait()
            with pytest.raises(FetchError):
                hosts.get(NAME, (), no_note)

        other = threading.Thread(target=ask_another)
        other.start()
        with pytest.raises(FetchError) as caught:
            hosts.get("hanging.example.test", (), no_note)
        other.join()
    assert answered.is_set()
    assert caught.value.seen.fault is Fault.UNREACHED
    assert "the proxy, which answers others, was silent for 3 s" in caught.value.reason


def test_a_proxy_that_is_away(world: World) -> None:
    """Nobody listens, or nobody answers."""
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    with pytest.raises(FetchError) as caught:
        through(f"http://127.0.0.1:{port}", world, 443).get(NAME, (), no_note)
    assert caught.value.seen.fault is Fault.PROXY_AWAY
    assert caught.value.reason == f"cannot connect to the proxy 127.0.0.1:{port}: 127.0.0.1: connection refused"
    with unanswered() as port, pytest.raises(FetchError) as caught:
        through(f"http://127.0.0.1:{port}", world, 443, SHORT).get(NAME, (), no_note)
    assert caught.value.seen.fault is Fault.PROXY_AWAY


def test_the_proxy_may_have_a_name(world: World) -> None:
    """It is looked up as the system does, /etc/hosts included, without a DNS client of ours."""
    with PolicyHost(tls(world.certificate, says(answer(POLICY)))) as host, fake(tunnels(host.port)) as (middle, _):
        assert through(f"http://localhost:{middle.port}", world, 443).get(NAME, (), no_note) == POLICY


def lookups(monkeypatch: pytest.MonkeyPatch, answers: Sequence[Any]) -> None:
    """Have names of proxies found as *answers* say: errors, addresses, or an event that is waited for."""
    left = list(answers)

    def getaddrinfo(host: str, port: Any, **how: Any) -> Any:
        said = left.pop(0)
        if isinstance(said, OSError):
            raise said
        if isinstance(said, threading.Event):
            said.wait()
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", 0))]

    class Names:
        gaierror, SOCK_STREAM = socket.gaierror, socket.SOCK_STREAM

    Names.getaddrinfo = staticmethod(getaddrinfo)  # type: ignore[attr-defined]
    monkeypatch.setattr(proxy, "socket", Names)


def test_a_name_that_is_not_found_is_asked_for_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A resolver may have been away."""
    with PolicyHost(tls(world.certificate, says(answer(POLICY)))) as host, fake(tunnels(host.port)) as (middle, _):
        lookups(monkeypatch, [socket.gaierror(-2, "Name or service not known"), None])
        hosts = through(f"http://proxy.test:{middle.port}", world, 443)
        with pytest.raises(FetchError) as caught:
            hosts.get(NAME, (), no_note)
        assert caught.value.reason.endswith(": no address: name or service not known")
        assert caught.value.seen.fault is Fault.PROXY_AWAY
        for _ in range(2):  # the second by what is remembered
            assert hosts.get(NAME, (), no_note) == POLICY


def test_a_name_that_nobody_answers_for_holds_up_no_longer_than_a_fetch_may_take(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """getaddrinfo() has no deadline of its own."""
    over = threading.Event()
    lookups(monkeypatch, [over])
    with pytest.raises(FetchError) as caught:
        through("http://proxy.test:3128", world, 443, SHORT).get(NAME, (), no_note)
    over.set()
    assert caught.value.seen.fault is Fault.PROXY_AWAY
    assert caught.value.reason.endswith("nothing says what its address is")


def test_a_fetch_is_given_up_while_the_proxy_is_silent(world: World) -> None:
    """From another thread, at once."""
    transfer = Transfer()
    with fake(silent) as (middle, url):
        giving_up = threading.Thread(target=lambda: (middle.reached.wait(), transfer.abort("given up")))
        giving_up.start()
        with pytest.raises(FetchError) as caught:
            through(url, world, 443).get(NAME, (), no_note, transfer)
        giving_up.join()
    assert caught.value.seen.fault is Fault.GIVEN_UP


def test_the_environment_names_no_other_proxy(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The configured one is asked for everything, no_proxy or not."""
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("no_proxy", "*")
    with PolicyHost(tls(world.certificate, says(answer(POLICY)))) as host, fake(tunnels(host.port)) as (middle, url):
        assert through(url, world, 443).get(NAME, (), no_note) == POLICY
    assert middle.connections == 1
    wait_until(lambda: host.connections == 1, "the tunnel led to the host")


class _Cut:
    """An answer that comes in pieces, in the place of a Fetch and its socket."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self._left = [piece for piece in pieces if piece]

    def receive(self, sock: Any) -> bytes:
        return self._left.pop(0) if self._left else b""

    def failure(self, fault: Fault, value: str = "") -> FetchError:
        return FetchError(Stage.ADDRESS, fault, "proxy.example:3128", value)


def _judged(pieces: Sequence[bytes]) -> str:
    step: Any = _Cut(pieces)
    try:
        proxy._judge(step, proxy._head(step, step), True)
    except FetchError as error:
        return error.seen.fault
    return "a tunnel"


LINES = [BAD, b"200", b"407", b" OK", b"\r\n", b"\n", b"\r", b"a: b", b"\x16\x03", b"HTTP/2 ", b"x" * 9_000]


@given(st.binary(max_size=60) | st.lists(st.sampled_from(LINES), max_size=12).map(b"".join), st.data())
def test_any_answer_ends_in_a_tunnel_or_in_a_fault_however_it_is_cut(answer: bytes, data: st.DataObject) -> None:
    """Nothing else is raised; but bytes behind a 200 that come later are TLS's to judge."""
    whole = _judged([answer])
    cut = data.draw(st.integers(0, len(answer)))
    in_two = _judged([answer[:cut], answer[cut:]])
    assert in_two == whole or (whole == Fault.PROXY_BROKEN and in_two == "a tunnel")
