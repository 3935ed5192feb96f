"""adapters/smtp.py: what a mail host shows, right, wrong or hostile, and what it costs."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from postfix_mtasts.adapters.smtp import PLAIN_LIMIT, SmtpMailHosts
from postfix_mtasts.core.ports import Look
from postfix_mtasts.faults import Fault
from tests.support.servers.certificates import DAY, Authority, self_signed
from tests.support.servers.hostile_https import PolicyHost, Script, Seen, server_context, unanswered

NAME = "mx.example.test"
SHORT = 0.5  # seconds for a host that never ends
HELLO = b"250-mx.example.test\r\n250-STARTTLS\r\n250 8BITMIME\r\n"


class World:
    def __init__(self, directory: Path) -> None:
        self.authority = Authority()
        self.ca_file = str(self.authority.write(directory / "ca.pem"))

    def look(self, script: Script, seconds: float = 10.0) -> tuple[Look, Seen]:
        with PolicyHost(script) as host:
            look = SmtpMailHosts(self.ca_file, host.port).look(NAME, "127.0.0.1", seconds)
        return look, host


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("smtp"))


def smtp(*replies: bytes, then: Script | None = None, before: bytes = b"220 mx ready\r\n") -> Script:
    """Greet, answer each command with the next reply, then run *then*; commands are kept as requests."""

    def run(sock: socket.socket, seen: Seen) -> None:
        sock.sendall(before)
        for reply in replies:
            seen.requests.append(_line(sock))
            sock.sendall(reply)
        if then is not None:
            then(sock, seen)
        else:
            while line := _line(sock):
                seen.requests.append(line)

    return run


def _line(sock: socket.socket) -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        byte = sock.recv(1)
        if not byte:
            break
        line += byte
    return line


def shakes(certificate: bytes, newest: ssl.TLSVersion | None = None) -> Script:
    """TLS, then SMTP for a well-behaved client."""
    context = server_context(certificate, newest)

    def run(sock: socket.socket, seen: Seen) -> None:
        def note(_: object, name: str | None, __: object) -> None:
            seen.names.append(name)

        context.sni_callback = note
        with context.wrap_socket(sock, server_side=True) as secured:
            while line := _line(secured):
                seen.requests.append(line)
                secured.sendall(HELLO if line.startswith(b"EHLO") else b"221 bye\r\n")

    return run


def good(world: World, **certificate: object) -> Script:
    names = certificate.pop("names", (NAME,))
    pem = world.authority.issue(*names, **certificate)  # type: ignore[misc, arg-type]
    return smtp(HELLO, b"220 go ahead\r\n", then=shakes(pem))


def test_a_good_host_is_greeted_once(world: World) -> None:
    """EHLO with this host's name, STARTTLS, EHLO, QUIT, SNI; never MAIL FROM."""
    look, host = world.look(good(world))
    hello = f"EHLO {socket.gethostname()}\r\n".encode()
    assert look.refused is None
    assert host.requests == [hello, b"STARTTLS\r\n", hello, b"QUIT\r\n"]
    assert (host.names, host.connections) == ([NAME], 1)
    assert look.presented is not None
    assert look.presented.version == "TLSv1.3"
    assert look.presented.leaf is not None
    assert look.presented.leaf.names == (NAME,)


def leaves(sock: socket.socket, seen: Seen) -> None:
    seen.requests.append(_line(sock))


def garbles(sock: socket.socket, seen: Seen) -> None:
    sock.sendall(b"250 hello\r\n" * 2_000)
    seen.over.wait(20)


def tell(*says: bytes) -> Script:
    return smtp(*says)


REFUSED: list[tuple[str, Callable[[World], Script], Fault]] = [
    ("a greeting of 554", lambda world: smtp(before=b"554 go away\r\n"), Fault.MAIL_GREETING),
    ("a greeting of 421 in two lines", lambda world: smtp(before=b"421-a\r\n421 b\r\n"), Fault.MAIL_GREETING),
    ("garbage for a greeting", lambda world: smtp(before=b"\x16\x03\x01\x00\xff\n"), Fault.MAIL_GARBAGE),
    ("HTTP", lambda world: smtp(before=b"HTTP/1.1 400 Bad Request\r\n\r\n"), Fault.MAIL_GARBAGE),
    ("no greeting", lambda world: lambda sock, seen: None, Fault.MAIL_CLOSED),
    ("EHLO refused", lambda world: tell(b"502 no\r\n"), Fault.MAIL_EHLO),
    ("no STARTTLS", lambda world: tell(b"250-mx\r\n250 8BITMIME\r\n"), Fault.MAIL_NO_STARTTLS),
    ("a word like STARTTLS", lambda world: tell(b"250-mx\r\n250 XSTARTTLS\r\n"), Fault.MAIL_NO_STARTTLS),
    ("STARTTLS refused", lambda world: tell(HELLO, b"454 not now\r\n"), Fault.MAIL_STARTTLS_REFUSED),
    ("closed at STARTTLS", lambda world: smtp(HELLO, then=leaves), Fault.MAIL_STARTTLS_REFUSED),
    ("garbage for an answer to STARTTLS", lambda world: tell(HELLO, b"\x00\n"), Fault.MAIL_STARTTLS_REFUSED),
    (
        "garbage for a handshake",
        lambda world: smtp(HELLO, b"220 go\r\n", then=garbles),
        Fault.TLS_NONE,
    ),
    (
        "closed at the handshake",
        lambda world: smtp(HELLO, b"220 go\r\n", then=lambda sock, seen: sock.shutdown(socket.SHUT_RDWR)),
        Fault.TLS_BROKE_OFF,
    ),
    (
        "TLS 1.1",
        lambda world: smtp(HELLO, b"220 go\r\n", then=shakes(world.authority.issue(NAME), ssl.TLSVersion.TLSv1_1)),
        Fault.TLS_OLD,
    ),
    ("expired", lambda world: good(world, begins=-3 * DAY, ends=-DAY), Fault.CERTIFICATE_EXPIRED),
    ("another name", lambda world: good(world, names=("mx.example.net",)), Fault.CERTIFICATE_NAME),
    ("a common name only", lambda world: good(world, names=(), common_name=NAME), Fault.CERTIFICATE_NAME),
    (
        "self-signed",
        lambda world: smtp(HELLO, b"220 go\r\n", then=shakes(self_signed(NAME))),
        Fault.CERTIFICATE_SELF_SIGNED,
    ),
    (
        "an unknown CA",
        lambda world: smtp(HELLO, b"220 go\r\n", then=shakes(Authority("Other CA").issue(NAME))),
        Fault.CERTIFICATE_ISSUER,
    ),
]


@pytest.mark.parametrize(("title", "script", "fault"), REFUSED, ids=[row[0] for row in REFUSED])
def test_what_a_wrong_host_shows(world: World, title: str, script: Callable[[World], Script], fault: Fault) -> None:
    """Each way to be wrong has a name; a certificate that is refused is shown all the same, by a second connection."""
    again = script(world)
    look, host = world.look(again)
    assert look.refused is not None
    assert look.refused.fault is fault
    certificate = fault.value.startswith("certificate-")
    assert (look.presented is not None) is certificate
    assert host.connections == (2 if certificate else 1)
    assert not any(line.upper().startswith(b"MAIL") for line in host.requests)


def endless(piece: bytes) -> Script:
    def run(sock: socket.socket, seen: Seen) -> None:
        while not seen.over.is_set():
            sock.sendall(piece)

    return run


ENDLESS: list[tuple[str, bytes, Fault]] = [
    ("220- lines", b"220-hello\r\n", Fault.MAIL_MANY_LINES),
    ("a line without end", b"220 " + b"x" * 1000, Fault.MAIL_TOO_LONG),
    ("zeros", bytes(4096), Fault.MAIL_TOO_LONG),
]


@pytest.mark.parametrize(("title", "piece", "fault"), ENDLESS, ids=[row[0] for row in ENDLESS])
def test_an_endless_banner_is_read_no_further_than_the_limit(
    world: World, title: str, piece: bytes, fault: Fault
) -> None:
    """32 KiB, or 100 lines of one reply, whatever comes first."""
    look, _ = world.look(endless(piece))
    assert look.refused is not None
    assert look.refused.fault is fault
    assert len(look.refused.value) <= 200
    assert PLAIN_LIMIT == 32_768


def drips(sock: socket.socket, seen: Seen) -> None:
    while not seen.over.wait(0.05):
        sock.sendall(b"2")


def silent(sock: socket.socket, seen: Seen) -> None:
    seen.over.wait(20)


@pytest.mark.parametrize("script", [drips, silent], ids=["a drip", "silence"])
def test_the_whole_dialogue_has_one_deadline(world: World, script: Script) -> None:
    """A byte in time prolongs nothing."""
    begun = time.monotonic()
    look, _ = world.look(script, SHORT)
    assert look.refused is not None
    assert look.refused.fault in (Fault.MAIL_LATE, Fault.MAIL_GARBAGE)
    assert time.monotonic() - begun < 15


def test_a_handshake_that_hangs_ends_at_the_deadline(world: World) -> None:
    """TLS is under the same clock."""
    look, _ = world.look(smtp(HELLO, b"220 go\r\n", then=silent), SHORT)
    assert look.refused is not None
    assert look.refused.fault is Fault.TLS_LATE


def test_what_comes_before_the_handshake_is_no_part_of_tls(world: World) -> None:
    """RFC 3207 section 5: a reply put in after "220 go ahead" is never read as the answer to EHLO."""
    pem = world.authority.issue(NAME)
    script = smtp(HELLO, b"220 go ahead\r\n250 injected\r\n", then=shakes(pem))
    look, _ = world.look(script)
    assert look.refused is None or look.refused.fault is Fault.TLS_NONE


def test_nobody_there(world: World) -> None:
    """Refused, and unanswered."""
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    look = SmtpMailHosts(world.ca_file, port).look(NAME, "127.0.0.1", 5)
    assert look.refused is not None
    assert (look.refused.fault, look.answered) == (Fault.MAIL_NOT_CONNECTED, False)
    with unanswered() as port:
        look = SmtpMailHosts(world.ca_file, port).look(NAME, "127.0.0.1", SHORT)
        assert look.refused is not None
        assert look.refused.fault is Fault.MAIL_NOT_CONNECTED


@pytest.fixture
def odd_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "not a name\r\nMAIL FROM:<>")


@pytest.mark.usefixtures("odd_name")
def test_a_host_name_that_is_none_is_not_sent(world: World) -> None:
    """EHLO then says the address (RFC 5321 section 4.1.3)."""
    _, host = world.look(good(world))
    assert host.requests[0] == b"EHLO [127.0.0.1]\r\n"
