"""What a host may answer over HTTP, and what is made of all else."""

from __future__ import annotations

import gzip
import logging
import subprocess
import sys
import zlib
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import postfix_mtasts
from postfix_mtasts.adapters.https.fetch import BODY_LIMIT, HttpsPolicyHosts
from postfix_mtasts.core.outcome import ResultType, Stage, no_note
from postfix_mtasts.errors import FetchError
from tests.support.servers.hostile_https import (
    POLICY,
    PolicyHost,
    Reply,
    after,
    answer,
    bombs,
    chunked,
    closes,
    repeats,
    resets,
    says,
    tls,
)
from tests.support.worlds.policy_hosts import (
    CHUNKED,
    ENOUGH,
    FULL,
    HERE,
    NAME,
    OK,
    World,
    answered,
    fetch,
    refused,
)


def test_the_request_says_what_it_must_and_nothing_more(world: World) -> None:
    """One GET by the policy host's name, by SNI and Host, without cookies or credentials."""
    with PolicyHost(tls(world.certificate, says(answer(POLICY)))) as host:
        assert fetch(world, host.port) == POLICY
    assert host.names == [NAME]
    assert host.connections == 1
    first, *lines = host.requests[0].decode().rstrip().split("\r\n")
    assert first == "GET /.well-known/mta-sts.txt HTTP/1.1"
    assert dict(line.split(": ") for line in lines) == {
        "Host": f"{NAME}:{host.port}",
        "User-Agent": f"postfix-mtasts/{postfix_mtasts.__version__}",
        "Accept": "*/*",
        "Accept-Encoding": "identity",
        "Connection": "close",
    }


def test_the_environment_changes_nothing(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy, no .netrc and no trust store from the environment."""
    (tmp_path / "netrc").write_text(f"machine {NAME} login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.setenv(name, str(tmp_path / "absent"))
    with PolicyHost(tls(world.certificate, says(answer(POLICY)))) as host:
        assert fetch(world, host.port) == POLICY
    assert b"authorization" not in host.requests[0].lower()


def test_a_cookie_is_not_sent_back(world: World) -> None:
    """Fetches know nothing of each other."""
    reply = says(answer(POLICY, headers=("Set-Cookie: a=b; Path=/; Domain=example.test",)))
    with PolicyHost(tls(world.certificate, reply)) as host:
        hosts = HttpsPolicyHosts(ENOUGH, world.ca_file, host.port)
        for _ in range(2):
            hosts.get(NAME, HERE, no_note)
    assert b"cookie" not in host.requests[1].lower()


def test_what_was_seen_is_told(world: World) -> None:
    """Each stage is noted, in order, with what an administrator wants to know."""
    seen: list[tuple[Stage, str]] = []
    with PolicyHost(tls(world.ca.issue(NAME, "a.test", "b.test", "c.test"), says(answer(POLICY)))) as host:
        fetch(world, host.port, note=lambda stage, text: seen.append((stage, text)))
    (address, where), (stage, what), (http, how) = seen
    assert (address, where) == (Stage.ADDRESS, "connected to 127.0.0.1")
    assert stage is Stage.TLS
    assert what.startswith(f"TLSv1.3, certificate of {NAME}, a.test, b.test and 1 more, valid until ")
    assert what.endswith("GMT, issued by Test CA")
    assert (http, how) == (Stage.HTTP, f"200 text/plain, {len(POLICY)} bytes")


LENGTH = f"Content-Length: {len(POLICY)}"

TAKEN: list[tuple[str, bytes, bytes]] = [
    ("a plain answer", answer(POLICY), POLICY),
    ("an empty body", answer(b""), b""),
    ("parameters of the media type", answer(POLICY, content_type="text/plain; charset=utf-8;x"), POLICY),
    ("a media type in capitals", answer(POLICY, content_type="Text/PLAIN"), POLICY),
    ("a chunked body", CHUNKED + chunked(POLICY[:10], POLICY[10:]), POLICY),
    ("chunks of a byte each", CHUNKED + chunked(*[b"x"] * BODY_LIMIT), FULL),
    ("gzip", answer(gzip.compress(POLICY), headers=("Content-Encoding: gzip",)), POLICY),
    ("gzip by another name", answer(gzip.compress(POLICY), headers=("Content-Encoding: X-GZIP",)), POLICY),
    ("deflate", answer(zlib.compress(POLICY), headers=("Content-Encoding: deflate",)), POLICY),
    ("identity", answer(POLICY, headers=("Content-Encoding: identity",)), POLICY),
    ("64 KiB", answer(FULL), FULL),
    ("64 KiB of gzip", answer(gzip.compress(FULL), headers=("Content-Encoding: gzip",)), FULL),
    ("a body that ends with the connection", OK + b"\r\n" + POLICY, POLICY),
    ("HTTP/1.0", answer(POLICY).replace(b"HTTP/1.1", b"HTTP/1.0"), POLICY),
    ("100 Continue first", b"HTTP/1.1 100 Continue\r\n\r\n" * 3 + answer(POLICY), POLICY),
    ("103 Early Hints first", b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 2 + answer(POLICY), POLICY),
    (
        "every other interim answer first",
        b"HTTP/1.1 102 P\r\n\r\nHTTP/1.1 100 C\r\nA: b\r\n\r\n" + answer(POLICY),
        POLICY,
    ),
    ("the media type twice", answer(POLICY, headers=("Content-Type: text/plain; charset=utf-8",)), POLICY),
    ("the media type twice in one line", answer(POLICY, content_type="text/plain, Text/plain"), POLICY),
    ("the same length twice", answer(POLICY, headers=(LENGTH,) * 2), POLICY),
    (
        "the same length twice in one line",
        answer(POLICY, headers=(f"{LENGTH}, {len(POLICY)}",)),
        POLICY,
    ),
    ("a length beside chunks", CHUNKED[:-2] + b"Content-Length: 5\r\n\r\n" + chunked(POLICY), POLICY),
    ("chunked twice", CHUNKED[:-2] + b"Transfer-Encoding: Chunked\r\n\r\n" + chunked(POLICY), POLICY),
    (
        "identity as the transfer coding",
        answer(POLICY, headers=("Transfer-Encoding: identity", LENGTH)),
        POLICY,
    ),
    ("identity twice", answer(POLICY, headers=("Content-Encoding: identity",) * 2), POLICY),
    ("gzip and identity", answer(gzip.compress(POLICY), headers=("Content-Encoding: gzip, identity",)), POLICY),
    ("more than was announced", answer(POLICY) + b"mode: none\r\n", POLICY),
    ("control characters in a header", answer(POLICY, headers=("X: \x1b[2J\x07\x80\xff",)), POLICY),
    ("a folded header", answer(POLICY, headers=("X-Y: z", " folded: x")), POLICY),
]


@pytest.mark.parametrize(("title", "sent", "want"), TAKEN, ids=[row[0] for row in TAKEN])
def test_answers_that_are_taken(world: World, title: str, sent: bytes, want: bytes) -> None:
    """What the host may say in more than one way."""
    assert answered(world, says(sent)) == want


ZIPPED = "Content-Encoding: gzip"

REFUSED: list[tuple[str, Reply, str]] = [
    ("404", says(answer(b"gone", "404 Not Found")), "status 404, not 200"),
    ("500", says(answer(b"oops", "500 Oops")), "status 500, not 200"),
    ("204", says(answer(b"", "204 No Content")), "status 204, not 200"),
    ("206", says(answer(POLICY, "206 Partial Content")), "status 206, not 200"),
    (
        "103 without an end",
        says(b"HTTP/1.1 103 Early Hints\r\n\r\n"),
        "the connection was closed before an answer came",
    ),
    ("103 cut off", says(b"HTTP/1.1 103 Early Hints\r\nA: b"), "the connection was closed before an answer came"),
    ("101", says(b"HTTP/1.1 101 Switching Protocols\r\n\r\n" + answer(POLICY)), "status 101, not 200"),
    (
        "a redirect",
        says(answer(b"", "301 Moved", headers=("Location: https://www.example.test/mta-sts.txt",))),
        "status 301 points to 'https://www.example.test/mta-sts.txt'; redirects are not followed",
    ),
    (
        "a redirect with a bomb",
        after(b"HTTP/1.1 302 X\r\nLocation: http://[\r\nContent-Encoding: gzip\r\n\r\n", bombs(300)),
        "status 302 points to 'http://['; redirects are not followed",
    ),
    (
        "a long redirect",
        says(answer(b"", "307 X", headers=("Location: " + "a" * 9999,))),
        f"status 307 points to '{'a' * 100}'; redirects are not followed",
    ),
    ("a redirect to nowhere", says(answer(b"", "302 Found")), "status 302, not 200"),
    ("a web page", says(answer(b"<p>", content_type="text/html")), "Content-Type 'text/html', not text/plain"),
    ("no media type", says(answer(POLICY, content_type=None)), "no Content-Type, not text/plain"),
    ("an empty media type", says(answer(POLICY, content_type="")), "Content-Type '', not text/plain"),
    (
        "two media types",
        says(answer(POLICY, headers=("Content-Type: text/html",))),
        "Content-Type 'text/html, text/plain', not text/plain",
    ),
    (
        "two media types in one line",
        says(answer(POLICY, content_type="text/plain, text/html")),
        "Content-Type 'text/plain, ",
    ),
    ("a like media type", says(answer(POLICY, content_type="text/plainer")), "Content-Type 'text/plainer', not text/"),
    ("a byte over 64 KiB", says(answer(FULL + b"x")), "the policy is longer than 65,536 bytes"),
    (
        "a byte over 64 KiB of gzip",
        says(answer(gzip.compress(FULL + b"x"), headers=(ZIPPED,))),
        "the policy is longer than 65,536 bytes",
    ),
    ("an endless body", after(OK + b"\r\n", repeats(b"x")), "the policy is longer than 65,536 bytes"),
    ("endless chunks", after(CHUNKED, repeats(b"1\r\nx\r\n")), "the policy is longer than 65,536 bytes"),
    ("a gzip bomb", after(OK + b"Content-Encoding: gzip\r\n\r\n", bombs(300)), "the policy is longer than 65,536 by"),
    (
        "gzip in gzip",
        says(answer(gzip.compress(gzip.compress(POLICY)), headers=("Content-Encoding: gzip, gzip",))),
        "Content-Encoding 'gzip, gzip', which was not asked for",
    ),
    (
        "two headers of gzip",
        says(answer(gzip.compress(gzip.compress(POLICY)), headers=(ZIPPED, ZIPPED))),
        "Content-Encoding 'gzip, gzip', which was not asked for",
    ),
    (
        "a transfer coding that was not asked for",
        says(OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + chunked(gzip.compress(POLICY))),
        "Transfer-Encoding 'gzip, chunked', which was not asked for",
    ),
    (
        "two transfer codings",
        says(OK + b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(POLICY)),
        "Transfer-Encoding 'identity, chunked', which was not asked for",
    ),
    (
        "chunked twice in one line",
        says(OK + b"Transfer-Encoding: chunked, chunked\r\n\r\n" + chunked(POLICY)),
        "Transfer-Encoding 'chunked, chunked', which was not asked for",
    ),
    ("brotli", says(answer(b"x", headers=("Content-Encoding: br",))), "Content-Encoding 'br', which was not asked for"),
    ("gzip that is none", says(answer(POLICY, headers=(ZIPPED,))), "the body is not what its Content-Encoding says"),
    (
        "gzip cut off",
        says(answer(gzip.compress(POLICY)[:-5], headers=(ZIPPED,))),
        "the body is not what its Content-Encoding says",
    ),
    (
        "more than gzip",
        says(answer(gzip.compress(POLICY) + POLICY, headers=(ZIPPED,))),
        "the body is not what its Content-Encoding says",
    ),
    (
        "less than was announced",
        says(answer(POLICY, headers=("Content-Length: 9999",))),
        "the body ends early, or its chunks are broken",
    ),
    ("no last chunk", says(CHUNKED + b"3\r\nabc\r\n"), "the body ends early, or its chunks are broken"),
    ("a broken chunk", says(CHUNKED + b"3\r\nabc\r\nzz\r\n"), "the body ends early, or its chunks are broken"),
    ("a negative chunk", says(CHUNKED + b"-3\r\nabc\r\n0\r\n\r\n"), "the answer cannot be read as HTTP (ValueError)"),
    ("a chunk of -1 bytes", says(CHUNKED + b"-1\r\nabc"), "the body ends early, or its chunks are broken"),
    ("no answer", closes, "the connection was closed before an answer came"),
    ("a reset", resets, "the connection broke off"),
    ("a reset in the body", after(OK + b"Content-Length: 9\r\n\r\nx", resets), "the connection broke off"),
    ("another protocol", says(b"220 mx.example.test ESMTP\r\n"), "what was answered is not HTTP/1"),
    ("another version", says(b"HTTP/3 200 OK\r\n\r\n"), "what was answered is not HTTP/1"),
    ("a status out of range", says(b"HTTP/1.1 99999 OK\r\n\r\n"), "what was answered is not HTTP/1"),
    ("a header cut off", says(b"HTTP/1.1 200 OK\r\nContent-Ty"), "no Content-Type, not text/plain"),
    ("an endless line", after(b"HTTP/1.1 200 ", repeats(b"x")), "the header has a line of more than 65,536 bytes"),
    ("endless headers", after(OK, repeats(b"A: b\r\n")), "the header has more than 100 lines"),
    ("endless long headers", after(OK, repeats(b"A: " + b"b" * 60_000 + b"\r\n")), "the answer is longer than 1,048,5"),
    ("endless 103", repeats(b"HTTP/1.1 103 E\r\nA: b\r\n\r\n"), "the header has more than 100 lines"),
    (
        "endless lines in a 103",
        after(b"HTTP/1.1 103 E\r\n", repeats(b"A: b\r\n")),
        "the header has more than 100 lines",
    ),
    ("endless 1xx", repeats(b"HTTP/1.1 100 Continue\r\n\r\n"), "the header has more than 100 lines"),
    ("an endless trailer", after(CHUNKED + b"0\r\n", repeats(b"A: b\r\n")), "the answer is longer than 1,048,576 by"),
    (
        "two lengths",
        says(answer(POLICY, headers=("Content-Length: 5", "Content-Length: 6"))),
        "the header contradicts itself",
    ),
]


@pytest.mark.parametrize(("title", "reply", "reason"), REFUSED, ids=[row[0] for row in REFUSED])
def test_answers_that_are_refused(world: World, title: str, reply: Reply, reason: str) -> None:
    """Each a fetch error of the HTTP stage, said in words."""
    error = refused(world, tls(world.certificate, reply))
    assert error.reason.startswith(reason)
    assert (error.stage, error.result_type) == (Stage.HTTP, ResultType.FETCH_ERROR)


def test_the_libraries_log_nothing(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """A host must not write our log, and libraries like to quote broken headers at length."""
    with caplog.at_level(logging.WARNING):
        refused(world, tls(world.certificate, says(b"HTTP/1.1 200 OK\r\n: x\r\n broken \x1b[2J\r\nA B: c\r\n\r\n")))
    assert caplog.records == []


HOSTILE = """
import sys
from postfix_mtasts.adapters.https.fetch import HttpsPolicyHosts
from postfix_mtasts.errors import FetchError

def peak():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))

good, bad, ca_file, name = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
HttpsPolicyHosts(30.0, ca_file, good).get(name, ["127.0.0.1"])
before = peak()
try:
    HttpsPolicyHosts(30.0, ca_file, bad).get(name, ["127.0.0.1"])
except FetchError as error:
    print(peak() - before, error.reason)
"""

GREEDY: list[tuple[str, Reply]] = [
    ("a gzip bomb of 300 MB", after(OK + b"Content-Encoding: gzip\r\n\r\n", bombs(300))),
    ("an endless body", after(OK + b"\r\n", repeats(b"x"))),
    ("an endless header", after(OK, repeats(b"A: " + b"b" * 60_000 + b"\r\n"))),
    ("a chunk of -1 bytes", after(CHUNKED + b"-1\r\n", repeats(b"x"))),
    ("a huge chunk", after(CHUNKED + b"7fffffff\r\n", repeats(b"x"))),
    ("a huge length", after(OK + b"Content-Length: 99999999999\r\n\r\n", repeats(b"x"))),
]


@pytest.mark.parametrize(("title", "reply"), GREEDY, ids=[row[0] for row in GREEDY])
def test_a_greedy_host_costs_little_memory(world: World, title: str, reply: Reply) -> None:
    """Less than 20 MiB, measured in a process of its own."""
    with (
        PolicyHost(tls(world.certificate, says(answer(POLICY)))) as good,
        PolicyHost(tls(world.certificate, reply)) as bad,
    ):
        command = [sys.executable, "-c", HOSTILE, str(good.port), str(bad.port), world.ca_file, NAME]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    grown, _, reason = done.stdout.partition(" ")
    assert "longer than" in reason, done.stderr
    assert int(grown) < 20 * 1024  # KiB


SCRAPS = st.sampled_from(
    [
        *(OK, CHUNKED, b"\r\n", b"\r\n\r\n", b"HTTP/1.1 ", b"200", b"Content-Encoding: gzip\r\n", b"Location: "),
        *(b"Content-Length: ", b"Transfer-Encoding: ", b"chunked", b"Set-Cookie: a=b; expires=", b"\0", b":", b"0\r\n"),
    ]
)


def test_whatever_a_host_says_is_a_body_or_a_fetch_error(world: World) -> None:
    """No bytes of a host's make another exception get out, or more than BODY_LIMIT in."""
    said = [b""]
    with PolicyHost(tls(world.certificate, lambda sock, seen: sock.sendall(said[0]))) as host:
        hosts = HttpsPolicyHosts(ENOUGH, world.ca_file, host.port)

        @settings(max_examples=150, suppress_health_check=list(HealthCheck))
        @given(st.lists(SCRAPS | st.binary(max_size=20), max_size=12).map(b"".join))
        def check(data: bytes) -> None:
            said[0] = data
            with suppress(FetchError):
                assert len(hosts.get(NAME, HERE)) <= BODY_LIMIT

        check()
