"""POST /tlsrpt: what is stored is answered 201, and a sender is never told that a fault of ours is its own."""

from __future__ import annotations

import gzip
import http.client
import json
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from tests.support.servers.daemon import ENVIRONMENT
from tests.support.servers.serve import Serve, fetch

HOST = "reports.intake.test"
ADDRESS = ("127.0.0.9", 443)
GZIP, JSON = "application/tlsrpt+gzip", "application/tlsrpt+json"
REPORT = {
    "organization-name": "Sender",
    "report-id": "1",
    "contact-info": "a@sender.test",
    "date-range": {"start-datetime": "2026-01-01T00:00:00Z", "end-datetime": "2026-01-01T23:59:59Z"},
    "policies": [
        {
            "policy": {"policy-type": "sts", "policy-domain": "intake.test", "policy-string": ["version: STSv1"]},
            "summary": {"total-successful-session-count": 5, "total-failure-session-count": 0},
        }
    ],
}
BODY = json.dumps(REPORT).encode()


class Host:
    """A `serve` that takes reports at HOST."""

    def __init__(self, directory: Path) -> None:
        self.ca, self.reports = trustme.CA(), directory / "reports"
        folder = directory / "live" / HOST
        folder.mkdir(parents=True)
        issued = self.ca.issue_cert(HOST)
        issued.private_key_pem.write_to_path(str(folder / "privkey.pem"))
        (folder / "fullchain.pem").write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
        publish = {
            "listen": [f"inet:{ADDRESS[0]}:{ADDRESS[1]}"],
            "certificates": "files",
            "certificate_directory": str(directory / "live"),
            "report_host": HOST,
        }
        self.serve = Serve(directory / "serve", publish, reports={"directory": str(self.reports)})

    def post(self, body: bytes, kind: str, path: str = "/tlsrpt") -> int:
        ca = self.ca.cert_pem.bytes()
        return fetch(HOST, ca, ADDRESS, method="POST", path=path, body=body, headers={"Content-Type": kind})[0]

    def listed(self, *options: str) -> list[dict[str, object]]:
        """What `report list` says."""
        command = [*self.serve.command()[:-3], "report", "list", "--json", "--since", "2000-01-01", *options]
        command += ["--config", str(self.serve.config_file)]
        done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=60)
        return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    made = Host(tmp_path)
    with made.serve:
        made.serve.wait_for("certificate-read", name=HOST)
        yield made


def test_a_report_is_stored_and_the_same_again_is_welcome(host: Host) -> None:
    """Compressed or not; it is one report."""
    assert host.post(gzip.compress(BODY), GZIP) == 201
    assert host.post(BODY, JSON) == 201
    assert [row["report_id"] for row in host.listed()] == ["1"]


ANSWERS = [
    ("of another type", 415, BODY, "application/json"),
    ("a form", 415, BODY, "multipart/form-data; boundary=x"),
    ("not JSON", 400, b"hello", JSON),
    ("not gzip", 400, b"hello", GZIP),
    ("JSON of something else", 400, b"{}", JSON),
    ("over 5 MiB", 413, b" " * (5 << 20) + BODY, JSON),
    ("a bomb of 65 MiB", 413, gzip.compress(b" " * (65 << 20)), GZIP),
]


@pytest.mark.parametrize(("title", "want", "body", "kind"), ANSWERS, ids=[row[0] for row in ANSWERS])
def test_what_is_no_report(title: str, want: int, body: bytes, kind: str, host: Host) -> None:
    """What could not be read is kept aside, what is too much is not read."""
    assert host.post(body, kind) == want
    assert len(host.listed("--unreadable")) == (want == 400)
    assert host.listed() == []


def test_other_methods_and_paths(host: Host) -> None:
    """Nothing else is at the report host."""
    ca = host.ca.cert_pem.bytes()
    assert fetch(HOST, ca, ADDRESS, path="/tlsrpt")[0] == 405
    assert host.post(BODY, JSON, "/") == 404
    assert fetch(HOST, ca, ADDRESS)[0] == 404


def test_a_store_that_cannot_be_written_is_503(host: Host) -> None:
    """The sender tries again."""
    host.reports.rmdir() if host.reports.exists() and not any(host.reports.iterdir()) else None
    for path in sorted(host.reports.glob("**/*"), reverse=True):
        path.unlink()
    if host.reports.exists():
        host.reports.rmdir()
    host.reports.write_text("in the way")
    assert host.post(BODY, JSON) == 503


def test_a_body_that_is_said_to_be_too_long_is_not_waited_for(host: Host) -> None:
    """The answer comes before it."""
    context = ssl.create_default_context(cadata=host.ca.cert_pem.bytes().decode())
    with context.wrap_socket(socket.create_connection(ADDRESS, timeout=20), server_hostname=HOST) as sock:
        head = f"POST /tlsrpt HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: {JSON}\r\nContent-Length: 9999999\r\n\r\n"
        sock.sendall(head.encode())
        response = http.client.HTTPResponse(sock)
        response.begin()
        assert response.status == 413
        response.close()


def connect(host: Host) -> ssl.SSLSocket:
    context = ssl.create_default_context(cadata=host.ca.cert_pem.bytes().decode())
    return context.wrap_socket(socket.create_connection(ADDRESS, timeout=20), server_hostname=HOST)


def head(length: int, *more: str) -> bytes:
    lines = ["POST /tlsrpt HTTP/1.1", f"Host: {HOST}", f"Content-Type: {JSON}", f"Content-Length: {length}", *more]
    return "".join(f"{line}\r\n" for line in [*lines, ""]).encode()


def test_a_client_that_waits_is_told_to_go_on(host: Host) -> None:
    """Expect: 100-continue (RFC 9110 section 10.1.1)."""
    with connect(host) as sock:
        sock.sendall(head(len(BODY), "Expect: 100-continue"))
        assert sock.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(BODY)
        assert sock.recv(65536).startswith(b"HTTP/1.1 201 ")


BROKEN = [
    ("it ends early", head(len(BODY)) + BODY[:20]),
    ("not gzip, as it says", head(5, "Content-Encoding: gzip") + b"hello"),
    ("a chunk without a length", head(0).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked") + b"zz\r\n"),
]


@pytest.mark.parametrize(("title", "request_"), BROKEN, ids=[row[0] for row in BROKEN])
def test_a_broken_body_is_the_client_s_fault(title: str, request_: bytes, host: Host) -> None:
    """Nothing is stored, and no bug is logged."""
    with connect(host) as sock:
        sock.sendall(request_)
    assert host.post(BODY, JSON) == 201
    assert not [line for line in host.serve.lines if "internal-error" in line]


def test_bodies_that_do_not_end_shut_nobody_out(host: Host) -> None:
    """64 MiB of them are held at most; the one that stands still longest is asked to try again."""
    slow = [connect(host) for _ in range(13)]
    for sock in slow[:-1]:
        sock.sendall(head(5 << 20))
        sock.sendall(bytes((5 << 20) - 1))
    slow[-1].sendall(head(5 << 20))
    slow[-1].sendall(bytes(4 << 20))
    for number in range(3):
        assert host.post(BODY + b" " * ((4 << 20) + number), JSON) == 201
    assert slow[0].recv(65536).startswith(b"HTTP/1.1 503 ")
    slow[-1].sendall(bytes(1 << 20))
    assert slow[-1].recv(65536).startswith(b"HTTP/1.1 400 ")
    for sock in slow:
        sock.close()
