"""What anybody can have the daemon log: each line stays one well-formed line, whatever they say.

The paths are all that bring remote text to a log line: requests, TXT records,
policies, HTTP, certificates, and the control socket. How a line is made is
tested in tests/daemon/test_logs.py.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.fakes.loglines import HOSTILE, read_json, read_stamped, read_text
from tests.support.servers.certificates import Authority
from tests.support.servers.daemon import Daemon
from tests.support.servers.hostile_https import PolicyHost, Script, Seen, answer, server_context
from tests.support.servers.internet import Internet, Site, policy
from tests.support.waiting import wait_until

ADDRESS = "127.0.7.1"  # of the hostile policy host
READERS = {"text": read_stamped, "json": read_json}
HIDDEN = policy("mx.example.net").removesuffix(b"\r\n")

# How the text comes in the answer to the request for a policy.
REPLIES: dict[str, Callable[[bytes], bytes]] = {
    "reason": lambda evil: b"HTTP/1.1 404 " + evil + b"\r\nContent-Length: 0\r\n\r\n",
    "status": lambda evil: evil,
    "header": lambda evil: b"HTTP/1.1 200 OK\r\n" + evil + b"\r\n\r\n",
    "location": lambda evil: b"HTTP/1.1 301 Moved\r\nLocation: " + evil + b"\r\nContent-Length: 0\r\n\r\n",
    "type": lambda evil: b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Type: " + evil + b"\r\n\r\n",
    "encoding": lambda evil: b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Encoding: " + evil + b"\r\n\r\nx",
    "version": lambda evil: answer(b"version: " + evil + b"\n" + HIDDEN),
    "mode": lambda evil: answer(HIDDEN.replace(b"enforce", evil)),
    "max-age": lambda evil: answer(HIDDEN.replace(b"604800", evil)),
    "line": lambda evil: answer(HIDDEN + b"\r\n" + evil + b"\r\n"),
    "key": lambda evil: answer(HIDDEN + b"\r\n" + evil + b": x\r\n"),
    "only-mx": lambda evil: answer(HIDDEN.replace(b"mx.example.net", evil)),
    "one-mx": lambda evil: answer(HIDDEN + b"\r\nmx: " + evil + b"\r\n"),
}


def domains() -> Iterator[tuple[str, bytes, str]]:
    """Path, text and domain of each case that a policy host takes part in."""
    for number, evil in enumerate(HOSTILE.values()):
        for path in [*REPLIES, "certificate"]:
            yield path, evil, f"{path}-{number}.logs.test"


def host(authority: Authority) -> Script:
    """A policy host that goes by the name asked for."""
    replies, certificates = {}, {}
    for path, evil, domain in domains():
        name = f"mta-sts.{domain}"
        if path == "certificate":
            ascii_only = evil.decode("ascii", "ignore")[:200]
            words = evil.decode("utf-8", "ignore")[:60] or "x"
            certificates[name] = authority.issue(*([ascii_only] if ascii_only.strip() else []), common_name=words)
        else:
            replies[name] = REPLIES[path](evil)
    good = server_context(authority.issue(*sorted(replies)))

    def choose(sock: ssl.SSLSocket, name: str | None, _: ssl.SSLContext) -> None:
        if name in certificates:
            sock.context = server_context(certificates[name])
        chosen[id(sock)] = replies.get(str(name), b"")

    chosen: dict[int, bytes] = {}
    good.sni_callback = choose  # type: ignore[assignment]

    def run(sock: socket.socket, seen: Seen) -> None:
        with good.wrap_socket(sock, server_side=True) as secured:
            head = b""
            while b"\r\n\r\n" not in head:
                if not (more := secured.recv(4_096)):
                    return
                head += more
            secured.sendall(chosen.pop(id(secured)))
            secured.unwrap()

    return run


def zone_text(text: bytes) -> str:
    """*text* in a zone file: strings of 255 bytes at most."""
    pieces = [text[at : at + 200] for at in range(0, len(text), 200)]
    return '" "'.join("".join(f"\\{byte:03d}" for byte in piece) for piece in pieces)


def records() -> Iterator[tuple[str, list[str]]]:
    for number, evil in enumerate(HOSTILE.values()):
        whole = zone_text(b"v=STSv1; id=" + evil + b";")
        yield f"id-{number}.logs.test", [whole]
        yield f"field-{number}.logs.test", [zone_text(b"v=STSv1; id=1; " + evil + b"=x;")]
        yield f"second-{number}.logs.test", ["v=STSv1; id=1;", whole]


@pytest.fixture(scope="module")
def world(internet: Internet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Any]]:
    """Everybody is hostile; a configuration for it."""
    authority = Authority()
    ca_file = authority.write(tmp_path_factory.mktemp("ca") / "ca.pem")
    sites = {domain: Site(None, address=ADDRESS) for _, _, domain in domains()}
    sites |= {domain: Site(None, records=lines) for domain, lines in records()}
    internet.publish_all(sites)
    with PolicyHost(host(authority), ADDRESS, 443):
        yield internet.config(fetch={"ca_file": str(ca_file)})


def socketmap(daemon: Daemon) -> None:
    """As key, as map, as a frame, and in a frame's length."""
    for evil in HOSTILE.values():
        for payload in (b"postfix " + evil, b"postfix " + evil + b".example", evil + b" example.com", evil):
            speak(daemon, b"%d:%b," % (len(payload), payload))
        speak(daemon, evil)


def speak(daemon: Daemon, data: bytes) -> None:
    place, _, port = daemon.address.removeprefix("inet:").rpartition(":")
    with socket.create_connection((place, int(port)), timeout=30) as sock, contextlib.suppress(OSError):
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(65_536):
            pass


def control(daemon: Daemon) -> None:
    """Requests that are none, and one that takes in policies."""
    row = {"record_id": "1", "fetched_at": 2e9, "used_at": 0.0}
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(30)
        sock.connect(str(Path(daemon.config["cache"]["directory"]) / "control"))
        with sock.makefile("rb") as lines:
            for number, evil in enumerate(HOSTILE.values()):
                text = evil.decode("utf-8", "surrogateescape")
                unusable = f"version: STSv1\nmode: enforce\nmx: mx.example.net\nmx: {text}\nmax_age: 86400"
                rows = [row | {"domain": text, "policy": text}, row | {"domain": "a.logs.test", "record_id": text}]
                rows.append(row | {"domain": f"imported-{number}.logs.test", "policy": unusable})
                for request in (
                    {"do": text},
                    {"do": "show", "domain": text},
                    {"do": "show", "domain": "a.logs.test", "port": text},
                    {"do": "forget", "domains": [text]},
                    {"do": "fetch", "domains": [text + ".example"]},
                    {"do": "import", "rows": rows},
                ):
                    sock.sendall(json.dumps(request).encode() + b"\n")
                    while not {"done", "error"} & json.loads(lines.readline()).keys():
                        pass
                sock.sendall(evil.replace(b"\n", b"") + b"\n")
                assert "error" in json.loads(lines.readline())


@pytest.mark.parametrize("form", ["text", "json"])
def test_nobody_writes_a_line_of_their_own(form: str, world: Mapping[str, Any], tmp_path: Path) -> None:
    """Every line that is logged at debug, and what each path was to bring is among them."""
    with Daemon(tmp_path, {**world, "log": {"level": "debug", "format": form}}) as daemon:
        with daemon.client() as client:
            for name in [*(domain for _, _, domain in domains()), *(domain for domain, _ in records())]:
                client.ask("postfix", name)
        socketmap(daemon)
        control(daemon)
    told = [READERS[form](line) for line in daemon.lines]
    assert not [fields for event, fields in told if event in ("internal-error", "library-message")]
    assert len([event for event, _ in told if event == "ready"]) == 1
    by_event: dict[str, set[str]] = {}
    for event, fields in told:
        by_event.setdefault(event, set()).add(str(fields.get("domain")))
    for path in {*REPLIES, "certificate"} - {"one-mx", "key", "line"}:  # with these the policy is still one
        assert any(name.startswith(path) for name in by_event["fetch-failed"]), path
    assert any(name.startswith("one-mx") for name in by_event["mx-pattern-unusable"])
    assert any(name.startswith("imported") for name in by_event["mx-pattern-unusable"])
    assert {"lookup", "broken-frame"} <= by_event.keys()


def test_the_journal_gets_priorities(internet: Internet, tmp_path: Path) -> None:
    """systemd names standard error in JOURNAL_STREAM; each line begins with its priority, and no time."""
    internet.publish("journal.logs.test", b"x: \x1b[2J\n")
    daemon = Daemon(tmp_path, internet.config())
    log = tmp_path / "stderr"
    with log.open("wb") as err:
        status = os.fstat(err.fileno())
        environment = {**os.environ, "JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
        process = subprocess.Popen(daemon.command(), env=environment, stdin=subprocess.DEVNULL, stderr=err)
        try:
            wait_until(lambda: b"ready" in log.read_bytes(), "the daemon is ready")
            assert daemon.ask("postfix", "journal.logs.test") == "NOTFOUND "
            wait_until(lambda: b"fetch-failed" in log.read_bytes(), "the failure is logged")
        finally:
            process.terminate()
            assert process.wait(30) == 0
    lines = log.read_text().splitlines()
    events = {read_text(line[3:])[0]: line[:3] for line in lines}
    assert (events["ready"], events["fetch-failed"], events["stopped"]) == ("<6>", "<4>", "<6>")
