"""publishing/{webserver,host,tls}.py over real sockets: exact bytes for those who ask right, bounds for all."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import re
import socket
import ssl
import threading
from collections.abc import Iterator

import pytest
import trustme

from postfix_mtasts.core.names import Domain
from postfix_mtasts.core.policy import parse_policy
from postfix_mtasts.core.publication import publish
from postfix_mtasts.publishing import webserver
from postfix_mtasts.publishing.host import ChallengeHost, PolicyHost
from postfix_mtasts.publishing.publisher import Served
from postfix_mtasts.publishing.tls import Names
from postfix_mtasts.publishing.webserver import WebServer
from tests.support.servers.serve import POLICY_PATH, fetch
from tests.support.waiting import wait_until

TEXT = b"version: STSv1\r\nmode: enforce\r\nmx: mx.example.com\r\nmax_age: 604800\r\n"
HOST = "mta-sts.example.com"


def served(domain: str) -> Served:
    policy = parse_policy(TEXT)
    return Served(TEXT, policy, publish(None, Domain(domain), TEXT, policy, 0.0))


class World:
    """A policy host for example.com and example.net on a free port, in a thread of its own."""

    def __init__(self, limit: int = webserver.CONNECTIONS, tls: bool = True) -> None:
        ca = trustme.CA()
        self.ca: bytes | None = ca.cert_pem.bytes() if tls else None
        self.refused: list[str] = []
        self.names = Names(self.refuse)
        for name in (HOST, "mta-sts.example.net"):
            self.names.put(name, ca.issue_cert(name).private_key_and_cert_chain_pem.bytes())
        self.host = PolicyHost(None, None)
        self.host.table = {Domain(name): served(name) for name in ("example.com", "example.net")}
        self.loop = asyncio.new_event_loop()
        self.address = self.start(self.host.handle, limit, self.names.front if tls else None)

    def refuse(self, name: str) -> None:
        self.refused.append(name)
        webserver.tell_unrecognized_name()

    def start(self, handler: webserver.Handler, limit: int, tls: ssl.SSLContext | None) -> tuple[str, int]:
        sock = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()

        async def listen() -> None:
            self.server = WebServer(handler, limit, tls, self.host.requests)
            self.server.listen(sock)

        asyncio.run_coroutine_threadsafe(listen(), self.loop).result(20)
        address: tuple[str, int] = sock.getsockname()
        return address

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self.server.close(1.0), self.loop).result(20)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()

    def connect(self, name: str = HOST) -> ssl.SSLSocket | socket.socket:
        """A connection after its handshake."""
        sock = socket.create_connection(self.address, timeout=20)
        if self.ca is None:
            return sock
        return ssl.create_default_context(cadata=self.ca.decode()).wrap_socket(sock, server_hostname=name)


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.close()


def test_the_policy_comes_byte_for_byte(world: World) -> None:
    """As text/plain with its length, never compressed."""
    status, body, headers = fetch(HOST, world.ca, world.address)
    assert (status, body) == (200, TEXT)
    assert headers["content-type"].partition(";")[0] == "text/plain"
    assert headers["content-length"] == str(len(TEXT))
    assert headers["content-encoding"] is None
    assert headers["server"] == "postfix-mtasts"
    assert world.host.requests == {"200": 1}


def test_head_has_the_same_header_and_no_body(world: World) -> None:
    """Content-Length included."""
    status, body, headers = fetch(HOST, world.ca, world.address, method="HEAD")
    assert (status, body, headers["content-length"]) == (200, b"", str(len(TEXT)))


ANSWERS = [
    ("another path", 404, {"path": "/"}),
    ("the path with a query", 404, {"path": POLICY_PATH + "?x=1"}),
    ("the path with two slashes", 404, {"path": "/" + POLICY_PATH}),
    ("the path in capitals", 404, {"path": POLICY_PATH.upper()}),
    ("the path, escaped", 404, {"path": "/.well-known/mta-sts%2Etxt"}),
    ("a path that climbs", 404, {"path": "/.well-known/x/../mta-sts.txt"}),
    ("a host in capitals, with a port and a final dot", 200, {"host": "MTA-STS.Example.Com.:443"}),
    ("POST", 405, {"method": "POST", "body": b"x"}),
    ("PUT", 405, {"method": "PUT", "body": b"x"}),
    ("DELETE", 405, {"method": "DELETE"}),
    ("OPTIONS", 405, {"method": "OPTIONS"}),
    ("SNI and Host disagree", 421, {"host": "mta-sts.example.net"}),
    ("a host that is not served, behind the SNI of one that is", 421, {"host": "mta-sts.example.org"}),
]


@pytest.mark.parametrize(("title", "want", "request_"), ANSWERS, ids=[row[0] for row in ANSWERS])
def test_answers(title: str, want: int, request_: dict[str, str], world: World) -> None:
    """One path, two methods, the host that was asked for in the handshake."""
    status, body, headers = fetch(HOST, world.ca, world.address, **request_)  # type: ignore[arg-type]
    assert status == want
    assert (body == TEXT) is (want == 200)
    assert headers["location"] is None
    assert (headers["allow"] == "GET, HEAD") is (want == 405)


@pytest.mark.parametrize("name", ["mta-sts.example.org", "example.com", "localhost"])
def test_an_unknown_name_is_refused_in_the_handshake(name: str, world: World) -> None:
    """With the alert that is meant for it."""
    with pytest.raises(ssl.SSLError, match="UNRECOGNIZED_NAME"):
        world.connect(name)
    assert world.refused == [name]


def test_a_handshake_without_a_name_is_refused(world: World) -> None:
    """There is no default certificate."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(world.address, timeout=20) as sock, pytest.raises(ssl.SSLError):
        context.wrap_socket(sock)


VERSIONS = [(ssl.TLSVersion.TLSv1_1, False), (ssl.TLSVersion.TLSv1_2, True), (ssl.TLSVersion.TLSv1_3, True)]


@pytest.mark.parametrize(("version", "taken"), VERSIONS, ids=[version.name for version, _ in VERSIONS])
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_tls_1_2_and_1_3_only(version: ssl.TLSVersion, taken: bool, world: World) -> None:
    """Older ones end in the handshake."""
    assert world.ca is not None
    context = ssl.create_default_context(cadata=world.ca.decode())
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version
    with socket.create_connection(world.address, timeout=20) as sock:
        if taken:
            with context.wrap_socket(sock, server_hostname=HOST) as tls:
                assert tls.version() == version.name.replace("_", ".")
        else:
            with pytest.raises(ssl.SSLError):
                context.wrap_socket(sock, server_hostname=HOST)


def test_a_certificate_is_replaced_for_the_next_handshake(world: World) -> None:
    """While connections with the old one go on."""
    old = world.connect()
    other = trustme.CA()
    world.names.put(HOST, other.issue_cert(HOST).private_key_and_cert_chain_pem.bytes())
    assert fetch(HOST, other.cert_pem.bytes(), world.address)[1] == TEXT
    connection = http.client.HTTPConnection(HOST)
    connection.sock = old
    connection.request("GET", POLICY_PATH)
    assert connection.getresponse().read() == TEXT
    connection.close()


def test_many_requests_on_one_connection(world: World) -> None:
    """Keep-alive, each answered whole; the policy may change between two."""
    connection = http.client.HTTPConnection(HOST)
    connection.sock = world.connect()
    for _ in range(50):
        connection.request("GET", POLICY_PATH)
        assert connection.getresponse().read() == TEXT
    connection.close()


def ends(sock: socket.socket) -> bool:
    """Whether the other side has ended the connection."""
    try:
        return sock.recv(1) == b""
    except (ConnectionError, ssl.SSLError):
        return True


def test_a_request_that_does_not_arrive_is_given_up(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor a handshake, nor a header that drips; a whole request beside them is answered."""
    monkeypatch.setattr(webserver, "ARRIVAL", 0.5)
    monkeypatch.setattr(webserver, "LOOK_EVERY", 0.1)
    silent = socket.create_connection(world.address, timeout=20)
    idle, drips = world.connect(), world.connect()
    drips.sendall(b"GET / HTTP/1.1\r\nHost:")
    assert fetch(HOST, world.ca, world.address)[0] == 200
    for sock in (silent, idle, drips):
        assert ends(sock)
        sock.close()


LARGE = [
    ("one long field", b"GET / HTTP/1.1\r\nX: " + b"a" * 20_000),
    ("many fields", b"GET / HTTP/1.1\r\n" + b"X-Y: a\r\n" * 3_000),
    ("a long target", b"GET /" + b"a" * 20_000),
    ("a whole header over the limit", b"GET / HTTP/1.1\r\nHost: h\r\n" + b"X-Y: aaaaaaaa\r\n" * 1_000 + b"\r\n"),
]


@pytest.mark.parametrize(("title", "header"), LARGE, ids=[row[0] for row in LARGE])
def test_a_header_over_8_kib_is_refused(title: str, header: bytes, world: World) -> None:
    """Read no further, and the connection closed."""
    sock = world.connect()
    sock.sendall(header)
    answer = b""
    while piece := sock.recv(65536):
        answer += piece
    sock.close()
    assert answer.split(b" ")[1] in (b"431", b"400")


SMUGGLED = [
    ("two lengths", b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello"),
    (
        "length and chunked",
        b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    ("a blank before the colon", b"GET / HTTP/1.1\r\nHost : h\r\n\r\n"),
    ("a bare CR in a value", b"GET / HTTP/1.1\r\nHost: h\rX: y\r\n\r\n"),
    ("garbage", b"\x16\x03\x01 hello\r\n\r\n"),
    ("an unknown version", b"GET / HTTP/9.9\r\nHost: h\r\n\r\n"),
    ("two hosts", b"GET / HTTP/1.1\r\nHost: mta-sts.example.com\r\nHost: mta-sts.example.net\r\n\r\n"),
]


@pytest.mark.parametrize(("title", "request_"), SMUGGLED, ids=[row[0] for row in SMUGGLED])
def test_what_two_servers_could_read_differently_is_refused(title: str, request_: bytes, world: World) -> None:
    """And never answered twice."""
    sock = world.connect()
    sock.sendall(request_)
    sock.settimeout(3)
    answer = b""
    try:
        while piece := sock.recv(65536):
            answer += piece
    except TimeoutError:
        pass
    sock.close()
    assert len(re.findall(rb"HTTP/[0-9.]+ [0-9]{3} ", answer)) == 1
    assert answer.split(b" ")[1] in (b"400", b"421", b"501", b"505")


def test_the_connection_idle_longest_makes_room() -> None:
    """However many there are, a new client is served."""
    world = World(limit=5)
    clients = [world.connect() for _ in range(5)]
    connection = http.client.HTTPConnection(HOST)
    connection.sock = clients[0]
    connection.request("GET", POLICY_PATH)
    assert connection.getresponse().read() == TEXT  # so that the second is idle longest
    assert fetch(HOST, world.ca, world.address)[1] == TEXT
    assert ends(clients[1])
    connection.request("GET", POLICY_PATH)
    assert connection.getresponse().read() == TEXT
    for client in clients:
        client.close()
    world.close()


def test_plain_http_behind_a_proxy() -> None:
    """The proxy has checked the name."""
    world = World(tls=False)
    assert fetch(HOST, None, world.address)[:2] == (200, TEXT)
    assert fetch("mta-sts.example.org", None, world.address)[0] == 404
    world.close()


def test_port_80_answers_challenges_and_nothing_else() -> None:
    """Of the tokens that are under way."""
    world = World(tls=False)
    world.close()
    challenges = {"abc": "abc.thumbprint"}
    world.loop = asyncio.new_event_loop()
    address = world.start(ChallengeHost(challenges).handle, 10, None)
    well_known = "/.well-known/acme-challenge/"
    assert fetch(HOST, None, address, path=well_known + "abc")[:2] == (200, b"abc.thumbprint")
    for path in ("/", well_known, well_known + "abcd", "/abc", POLICY_PATH):
        assert fetch(HOST, None, address, path=path)[0] == 404
    assert fetch(HOST, None, address, path=well_known + "abc", method="POST", body=b"x")[0] == 405
    world.close()


def test_a_stop_answers_what_was_asked(world: World) -> None:
    """A request that is being answered gets its answer."""
    begun, go_on = threading.Event(), threading.Event()
    handle = world.host.handle

    async def slow(request: webserver.web.BaseRequest) -> webserver.web.StreamResponse:
        begun.set()
        while not go_on.is_set():
            await asyncio.sleep(0.01)
        return await handle(request)

    world.server._handler = slow
    answers: list[bytes] = []
    asking = threading.Thread(target=lambda: answers.append(fetch(HOST, world.ca, world.address)[1]))
    asking.start()
    assert begun.wait(20)
    closing = asyncio.run_coroutine_threadsafe(world.server.close(20.0), world.loop)
    wait_until(lambda: not world.server._listeners, "it accepts no more")
    go_on.set()
    asking.join(20)
    closing.result(20)
    assert answers == [TEXT]


@pytest.mark.parametrize(("target", "want"), [(HOST, b"200"), ("mta-sts.example.net", b"421")])
def test_a_whole_url_names_the_host(target: str, want: bytes, world: World) -> None:
    """Whatever Host says (RFC 9112 section 3.2.2)."""
    sock = world.connect()
    sock.sendall(f"GET https://{target}{POLICY_PATH} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
    assert sock.recv(65536).split(b" ")[1] == want
    sock.close()


def test_half_of_a_next_request_is_given_up(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has its time to arrive, though it came together with a whole one."""
    monkeypatch.setattr(webserver, "ARRIVAL", 0.5)
    monkeypatch.setattr(webserver, "LOOK_EVERY", 0.1)
    sock = world.connect()
    sock.sendall(f"GET {POLICY_PATH} HTTP/1.1\r\nHost: {HOST}\r\n\r\nGET /".encode())
    assert b" 200 " in sock.recv(65536)
    sock.settimeout(webserver.KEEP_ALIVE / 2)
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        while sock.recv(65536):
            pass
    sock.close()


def test_requests_that_take_long_lock_nobody_out() -> None:
    """Where every connection is busy, the one idle longest makes room for a new client."""
    world = World(limit=3)
    handle = world.host.handle

    async def slow(request: webserver.web.BaseRequest) -> webserver.web.StreamResponse:
        if request.method == "POST":
            await request.read()
        return await handle(request)

    world.server._handler = slow
    clients = [world.connect() for _ in range(3)]
    for number, client in enumerate(clients, 1):  # one after the other: the first is idle longest
        client.sendall(f"POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 9\r\n\r\n".encode())
        wait_until(lambda number=number: sum(each.busy for each in list(world.server._clients)) == number, "it is busy")
    assert fetch(HOST, world.ca, world.address)[1] == TEXT
    assert ends(clients[0])
    for client in clients:
        client.close()
    world.close()


FLOODS = [
    ("requests whose answers nobody reads", f"GET {POLICY_PATH} HTTP/1.1\r\nHost: {HOST}\r\n\r\n" * 1_000, ""),
    ("fields behind blank lines", "X: aaaa\r\n" * 10_000, "\r\n\r\nGET / HTTP/1.1\r\n"),
    (
        "trailers of a body that nobody wants",
        "X: aaaa\r\n" * 10_000,
        f"POST {POLICY_PATH} HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
    ),
]


@pytest.mark.parametrize(("title", "more", "first"), FLOODS, ids=[row[0] for row in FLOODS])
def test_what_does_not_end_is_given_up(title: str, more: str, first: str, world: World) -> None:
    """Before it fills the memory, whatever this aiohttp bounds by itself."""
    sock = world.connect()
    sent = 0
    with contextlib.suppress(OSError):  # it is closed, or not read any more
        sock.settimeout(1)
        sock.sendall(first.encode())
        while sent < 3 * webserver.REQUEST_LIMIT:
            sock.sendall(more.encode())
            sent += len(more)
    sock.close()
    assert sent < 2 * webserver.REQUEST_LIMIT
    assert fetch(HOST, world.ca, world.address)[0] == 200


def answer_to(world: World, request_: bytes) -> bytes:
    """All that comes back until the other side ends the connection."""
    with world.connect() as sock:
        sock.sendall(request_)
        answer = b""
        with contextlib.suppress(ConnectionError):
            while piece := sock.recv(65536):
                answer += piece
    return answer


OWN = [
    ("no HTTP at all", 400, b"\x16\x03\x01 hello\r\n\r\n"),
    ("a header that goes on and on", 431, b"GET / HTTP/1.1\r\nHost: h\r\n" + b"X-Y: a\r\n" * 3_000),
    (
        "a header over the limit",
        431,
        b"GET / HTTP/1.1\r\nHost: h\r\n" + (b"X-Y: " + b"a" * 950 + b"\r\n") * 9 + b"\r\n",
    ),
    ("a fault of ours", 500, b"GET /fault HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"),
]


@pytest.mark.parametrize(("title", "status", "request_"), OWN, ids=[row[0] for row in OWN])
def test_what_never_reaches_the_handler_is_counted_and_names_no_library(
    title: str, status: int, request_: bytes, world: World
) -> None:
    """As every other answer."""

    async def fails(request: webserver.web.BaseRequest) -> webserver.web.StreamResponse:
        raise ValueError

    world.server._handler = fails
    answer = answer_to(world, request_)
    assert answer.split(b" ")[1] == str(status).encode()
    assert b"aiohttp" not in answer.lower()
    assert b"python" not in answer.lower()
    assert b"\r\nserver: postfix-mtasts\r\n" in answer.lower()
    assert world.host.requests == {str(status): 1}


def test_a_connection_that_is_being_closed_may_be_ended(world: World) -> None:
    """Debian 12's Python has a transport without its protocol then, and the end of the server met it."""
    sock = world.connect()
    wait_until(lambda: any(client._transport for client in world.server._clients), "the handshake is over")

    async def end() -> None:
        for client in list(world.server._clients):
            assert client._transport is not None
            for _ in range(2):  # as by aiohttp, and by its client
                client._transport.close()
            client.abort()

    asyncio.run_coroutine_threadsafe(end(), world.loop).result(20)
    sock.close()
