"""adapters/https/fetch.py and tls.py against hosts that do right, and hosts that do all else."""

from __future__ import annotations

import errno
import gzip
import logging
import os
import ssl
import subprocess
import sys
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import postfix_mtasts
from postfix_mtasts.adapters.https.fetch import BODY_LIMIT, HttpsPolicyHosts, Transfer
from postfix_mtasts.core.outcome import ResultType, Stage, no_note
from postfix_mtasts.errors import ConfigError, FetchError
from tests.support.servers.certificates import Authority, self_signed
from tests.support.servers.hostile_https import (
    POLICY,
    PolicyHost,
    Reply,
    Script,
    Seen,
    after,
    answer,
    bombs,
    chunked,
    closes,
    drips,
    hangs,
    is_connecting,
    repeats,
    resets,
    says,
    says_plainly,
    tls,
    unanswered,
)
from tests.support.waiting import wait_until

NAME = "mta-sts.example.test"
HERE = ("127.0.0.1",)
ENOUGH = 30.0  # seconds: a deadline that is never reached
SHORT = 0.6  # seconds: a deadline that is waited for

OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
FULL = b"x" * BODY_LIMIT


class World(NamedTuple):
    ca: Authority
    ca_file: str
    certificate: bytes


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    ca = Authority()
    return World(ca, str(ca.write(tmp_path_factory.mktemp("ca") / "ca.pem")), ca.issue(NAME))


def fetch(
    world: World,
    port: int,
    addresses: Sequence[str] = HERE,
    timeout: float = ENOUGH,
    transfer: Transfer | None = None,
    note: Callable[[Stage, str], None] = no_note,
) -> bytes:
    return HttpsPolicyHosts(timeout, world.ca_file, port).get(NAME, addresses, note, transfer)


def failure(world: World, port: int, **how: Any) -> FetchError:
    """The error that a fetch ends in: one bounded sentence without Python's innards."""
    with pytest.raises(FetchError) as caught:
        fetch(world, port, **how)
    reason = caught.value.reason
    assert reason
    assert len(reason) < 300
    assert not any(mark in reason for mark in ("Pool", " at 0x", "Error(", "[Errno", "\n", "_ssl.c"))
    return caught.value


def answered(world: World, reply: Reply, **how: Any) -> bytes:
    with PolicyHost(tls(world.certificate, reply)) as host:
        return fetch(world, host.port, **how)


def refused(world: World, script: Script, **how: Any) -> FetchError:
    with PolicyHost(script) as host:
        return failure(world, host.port, **how)


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
    ("103 without an end", says(b"HTTP/1.1 103 Early Hints\r\n\r\n"), "status 103, not 200"),
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
    ("endless 1xx", repeats(b"HTTP/1.1 100 Continue\r\n\r\n"), "the answer is longer than 1,048,576 bytes"),
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


def test_a_body_cut_off_by_the_network_is_refused(world: World) -> None:
    """Without TLS's end mark anybody on the way can shorten a body that has no length."""
    error = refused(world, tls(world.certificate, says(OK + b"\r\n" + POLICY[:-4]), ragged=True))
    assert error.reason == "the connection broke off"


LATE: list[tuple[str, Reply]] = [
    ("no answer at all", hangs),
    ("a dripping status line", drips(b"x")),
    ("a dripping header", after(OK + b"A: ", drips(b"x"))),
    ("a dripping body", after(OK + b"Content-Length: 99999\r\n\r\n", drips(b"x"))),
    ("dripping chunks", after(CHUNKED, drips(b"1\r\nx\r\n"))),
    ("a dripping chunk size", after(CHUNKED, drips(b"0"))),
    ("a dripping trailer", after(CHUNKED + b"0\r\n", drips(b"A: b\r\n"))),
    ("dripping 1xx", drips(b"HTTP/1.1 100 Continue\r\n\r\n")),
    ("a body that stops", after(OK + b"Content-Length: 9\r\n\r\nx", hangs)),
]


@pytest.mark.parametrize(("title", "reply"), LATE, ids=[row[0] for row in LATE])
def test_the_deadline_ends_every_answer(world: World, title: str, reply: Reply) -> None:
    """However slowly and evenly bytes come, the fetch ends when its time is over."""
    with PolicyHost(tls(world.certificate, reply)) as host:
        error = failure(world, host.port, timeout=SHORT)
        assert host.reached.is_set()
    assert error.reason == f"the answer was not complete within {SHORT:g} s"
    assert (error.stage, error.result_type) == (Stage.HTTP, ResultType.FETCH_ERROR)


def drips_plainly(sock: Any, seen: Seen) -> None:
    """The beginning of a TLS record, a byte at a time."""
    sock.sendall(b"\x16\x03\x03\x40\x00")
    drips(b"\x02")(sock, seen)


HANDSHAKES: list[tuple[str, Script, str]] = [
    ("silence", hangs, f"the TLS handshake was not done within {SHORT:g} s"),
    ("a dripping record", drips_plainly, f"the TLS handshake was not done within {SHORT:g} s"),
    ("a closed connection", closes, "the TLS handshake failed: "),
    ("a reset", resets, "the TLS handshake failed: "),
    (
        "plain HTTP",
        says_plainly(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
        "the TLS handshake failed: what answers there does not speak TLS",
    ),
    ("garbage", says_plainly(b"\x00\xff" * 99), "the TLS handshake failed: what answers there does not speak TLS"),
    ("a mail server", says_plainly(b"220 mx ESMTP\r\n"), "the TLS handshake failed: what answers there does not "),
]


@pytest.mark.parametrize(("title", "script", "reason"), HANDSHAKES, ids=[row[0] for row in HANDSHAKES])
def test_handshakes_that_fail(world: World, title: str, script: Script, reason: str) -> None:
    """Fetch errors of the TLS stage, since no certificate was judged."""
    error = refused(world, script, timeout=SHORT if "within" in reason else ENOUGH)
    assert error.reason.startswith(reason)
    assert (error.stage, error.result_type) == (Stage.TLS, ResultType.FETCH_ERROR)


def test_tls_1_1_is_refused(world: World) -> None:
    """TLS 1.2 is the least (RFC 8461 section 3.3)."""
    error = refused(world, tls(world.certificate, says(answer(POLICY)), newest=ssl.TLSVersion.TLSv1_1))
    assert error.reason == "the TLS handshake failed: the host offers no TLS 1.2 or later"
    assert (error.stage, error.result_type) == (Stage.TLS, ResultType.FETCH_ERROR)


def test_tls_1_2_is_taken(world: World) -> None:
    """The least is enough."""
    with PolicyHost(tls(world.certificate, says(answer(POLICY)), newest=ssl.TLSVersion.TLSv1_2)) as host:
        assert fetch(world, host.port) == POLICY


Issue = Callable[[Authority], bytes]
UNKNOWN = "the certificate's issuer is not trusted, or the host does not send an intermediate certificate"

BAD_CERTIFICATES: list[tuple[str, Issue, str]] = [
    ("expired", lambda ca: ca.issue(NAME, ends=-timedelta(hours=1)), "the certificate, or one above it, has expired"),
    ("early", lambda ca: ca.issue(NAME, begins=timedelta(hours=1)), "the certificate, or one above it, is not yet val"),
    ("another name", lambda ca: ca.issue("www.example.test", "example.test"), f"the certificate is not for {NAME}"),
    ("a common name alone", lambda ca: ca.issue(common_name=NAME), f"the certificate is not for {NAME}"),
    (
        "a common name beside another name",
        lambda ca: ca.issue("www.example.test", common_name=NAME),
        f"the certificate is not for {NAME}",
    ),
    ("an address alone", lambda ca: ca.issue("127.0.0.1"), f"the certificate is not for {NAME}"),
    ("a wildcard two labels up", lambda ca: ca.issue("*.test"), f"the certificate is not for {NAME}"),
    ("a wildcard within a label", lambda ca: ca.issue("mta-*.example.test"), f"the certificate is not for {NAME}"),
    ("another CA", lambda ca: Authority("Stranger").issue(NAME), UNKNOWN),
    ("another CA of the same name", lambda ca: Authority().issue(NAME), ""),
    ("self-signed", lambda ca: self_signed(NAME), "the certificate is self-signed"),
    ("without the intermediate", lambda ca: Authority.under(ca).issue(NAME, with_chain=False), UNKNOWN),
    (
        "under an expired intermediate",
        lambda ca: Authority.under(ca, ends=-timedelta(hours=1)).issue(NAME),
        "the certificate, or one above it, has expired",
    ),
    (
        "meant for clients",
        lambda ca: ca.issue(NAME, usage=ExtendedKeyUsageOID.CLIENT_AUTH),
        "the certificate is not meant for servers",
    ),
]


@pytest.mark.parametrize(("title", "issue", "reason"), BAD_CERTIFICATES, ids=[row[0] for row in BAD_CERTIFICATES])
def test_certificates_that_are_refused(world: World, title: str, issue: Issue, reason: str) -> None:
    """sts-webpki-invalid, with what is wrong; no request is sent."""
    with PolicyHost(tls(issue(world.ca), says(answer(POLICY)))) as host:
        error = failure(world, host.port)
    assert error.reason.startswith(reason)
    assert (error.stage, error.result_type) == (Stage.TLS, ResultType.WEBPKI_INVALID)
    assert host.requests == []


GOOD_CERTIFICATES: list[tuple[str, Issue]] = [
    ("a wildcard", lambda ca: ca.issue("*.example.test")),
    ("a name in capitals", lambda ca: ca.issue("MTA-STS.Example.Test")),
    ("the last of many names", lambda ca: ca.issue(*[f"{n}.test" for n in range(99)], NAME)),
    ("with its intermediate", lambda ca: Authority.under(ca).issue(NAME)),
    ("without an authority key identifier", lambda ca: ca.issue(NAME, with_authority_key=False)),
]


@pytest.mark.parametrize(("title", "issue"), GOOD_CERTIFICATES, ids=[row[0] for row in GOOD_CERTIFICATES])
def test_certificates_that_are_taken(world: World, title: str, issue: Issue) -> None:
    """The same ones on every Python: 3.13 would refuse the last one by default."""
    with PolicyHost(tls(issue(world.ca), says(answer(POLICY)))) as host:
        assert fetch(world, host.port) == POLICY


def test_an_intermediate_in_the_trust_store_is_trusted(world: World, tmp_path: Path) -> None:
    """What the operator puts there is trusted, a root or not."""
    middle = Authority.under(world.ca)
    ca_file = str(middle.write(tmp_path / "middle.pem"))
    with PolicyHost(tls(middle.issue(NAME, with_chain=False), says(answer(POLICY)))) as host:
        assert HttpsPolicyHosts(ENOUGH, ca_file, host.port).get(NAME, HERE) == POLICY


def test_the_system_trust_store_is_used_without_a_ca_file(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenSSL's own, which SSL_CERT_FILE may name."""
    monkeypatch.setenv("SSL_CERT_FILE", world.ca_file)
    with PolicyHost(tls(world.certificate, says(answer(POLICY)))) as host:
        assert HttpsPolicyHosts(ENOUGH, None, host.port).get(NAME, HERE) == POLICY
        monkeypatch.delenv("SSL_CERT_FILE")
        monkeypatch.delenv("SSL_CERT_DIR", raising=False)
        with pytest.raises(FetchError, match="not trusted"):
            HttpsPolicyHosts(ENOUGH, None, host.port).get(NAME, HERE)


@pytest.mark.parametrize(
    ("text", "reason"),
    [(None, "no such file or directory"), ("no certificates here", "it holds no CA certificates")],
    ids=["an absent file", "a file of something else"],
)
def test_a_ca_file_that_cannot_be_used_is_a_fault(tmp_path: Path, text: str | None, reason: str) -> None:
    """One line with key, value, fault and mend."""
    path = tmp_path / "ca.pem"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        HttpsPolicyHosts(1.0, str(path))
    wanted = "name a readable file of PEM certificates, or null for the system's"
    assert str(caught.value) == f"fetch.ca_file: {path}: {reason}; {wanted}"


def test_the_next_address_is_tried_when_connecting_fails(world: World) -> None:
    """In the order given, and only until one takes the connection."""
    seen: list[str] = []
    with PolicyHost(tls(world.certificate, says(answer(POLICY)))) as host:
        body = fetch(world, host.port, ["127.0.0.2", "127.0.0.1", "127.0.0.3"], note=lambda _, text: seen.append(text))
        assert body == POLICY
    assert seen[0] == "connected to 127.0.0.1"
    assert host.connections == 1


def test_the_next_address_is_tried_when_there_is_no_time_to_connect(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An address that does not answer gets its share of the time only."""
    monkeypatch.setattr("postfix_mtasts.adapters.https.tls.CONNECT_LIMIT", 0.1)
    with unanswered("127.0.0.2") as port:
        error = failure(world, port, addresses=["127.0.0.2", "127.0.0.1"])
    reasons = f"127.0.0.2: no answer within 0.1 s; 127.0.0.1: {os.strerror(errno.ECONNREFUSED).lower()}"
    assert error.reason == f"cannot connect to {NAME}: {reasons}"
    assert (error.stage, error.result_type) == (Stage.ADDRESS, ResultType.FETCH_ERROR)


def test_connecting_ends_at_the_deadline(world: World) -> None:
    """The last address gets what is left, and the others nothing."""
    with unanswered() as port:
        error = failure(world, port, addresses=["127.0.0.1", "127.0.0.1"], timeout=0.1)
    assert error.reason == f"cannot connect to {NAME}: 127.0.0.1: no answer within 0.1 s; 127.0.0.1: no time was left"
    assert error.stage is Stage.ADDRESS


def test_the_next_address_is_not_tried_after_a_failed_handshake(world: World) -> None:
    """A host that answers has answered: its fault is reported, not passed over."""
    with PolicyHost(closes) as host:
        assert failure(world, host.port, addresses=HERE * 2).stage is Stage.TLS
    assert host.connections == 1


@pytest.mark.parametrize("address", ["localhost", "mta-sts.example.test", "", "[::1]", "127.0.0.1:443"])
def test_names_are_never_resolved(world: World, address: str) -> None:
    """Only what was judged before is connected to, and that is an address."""
    error = failure(world, 9, addresses=[address])
    assert error.reason == f"cannot connect to {NAME}: {address}: not an address"


def test_no_address_is_an_error_of_its_own(world: World) -> None:
    """Nothing to connect to, said so."""
    assert failure(world, 9, addresses=[]).reason == f"cannot connect to {NAME}: it has no address"


def test_ipv6(world: World) -> None:
    """An IPv6 literal is connected to as it is."""
    try:
        host = PolicyHost(tls(world.certificate, says(answer(POLICY))), "::1").__enter__()
    except OSError:
        pytest.skip("no IPv6 on loopback")
    try:
        assert fetch(world, host.port, ["::1"]) == POLICY
    finally:
        host.__exit__(None, None, None)


@pytest.mark.parametrize("host", ["", "a" * 64 + ".test", "mta-sts..test", "[", "a b", "mta-sts.\x1b[2J.test"])
def test_a_host_that_is_no_name_is_a_fetch_error(world: World, host: str) -> None:
    """It cannot come from discovery; still no other exception gets out."""
    with PolicyHost(tls(world.certificate, says(answer(POLICY)))) as server, pytest.raises(FetchError):
        HttpsPolicyHosts(ENOUGH, world.ca_file, server.port).get(host, HERE)


ABORTED: list[tuple[str, Callable[[World], Script], Stage]] = [
    ("in the handshake", lambda world: hangs, Stage.TLS),
    ("waiting for the header", lambda world: tls(world.certificate, hangs), Stage.HTTP),
    ("in a dripping header", lambda world: tls(world.certificate, after(OK + b"A: ", drips(b"x"))), Stage.HTTP),
    ("in a body", lambda world: tls(world.certificate, after(OK + b"Content-Length: 9\r\n\r\nx", hangs)), Stage.HTTP),
    ("in a body without length", lambda world: tls(world.certificate, after(OK + b"\r\nx", hangs)), Stage.HTTP),
]


@pytest.mark.parametrize(("title", "script", "stage"), ABORTED, ids=[row[0] for row in ABORTED])
def test_another_thread_may_end_a_fetch(
    world: World, title: str, script: Callable[[World], Script], stage: Stage
) -> None:
    """abort() ends it at once, with its reason, in whatever phase."""
    transfer = Transfer()
    with PolicyHost(script(world)) as host, ThreadPoolExecutor(1) as pool:
        running = pool.submit(failure, world, host.port, transfer=transfer, timeout=1000.0)
        assert host.reached.wait(ENOUGH)
        transfer.abort("others waited")
        transfer.abort("a second reason does not count")
        error = running.result(ENOUGH)
    assert error.reason == "others waited"
    assert (error.stage, error.result_type) == (stage, ResultType.FETCH_ERROR)


def test_another_thread_may_end_a_connection_that_does_not_come_about(world: World) -> None:
    """Connecting is a phase like any other, and the next address is not tried."""
    transfer = Transfer()
    with unanswered() as port, ThreadPoolExecutor(1) as pool:
        running = pool.submit(failure, world, port, addresses=HERE * 9, transfer=transfer, timeout=1000.0)
        wait_until(lambda: is_connecting(port), "a connection is under way")
        transfer.abort("others waited")
        error = running.result(4.0)  # less than one address would get
    assert (error.reason, error.stage) == ("others waited", Stage.ADDRESS)


def test_a_fetch_given_up_before_it_began_does_not_begin(world: World) -> None:
    """abort() may come first."""
    transfer = Transfer()
    transfer.abort("others waited")
    with PolicyHost(hangs) as host:
        assert failure(world, host.port, transfer=transfer).reason == "others waited"


def test_a_fetch_that_is_over_can_still_be_given_up(world: World) -> None:
    """abort() may come too late; it does nothing then."""
    transfer = Transfer()
    assert answered(world, says(answer(POLICY)), transfer=transfer) == POLICY
    transfer.abort("too late")


def test_many_threads_share_one_trust_store(world: World) -> None:
    """Fetches at once do not mix, whatever they end in."""
    names = [f"mta-sts.d{n}.example.test" for n in range(40)]
    wildcard = world.ca.issue(*names[::2])  # every other host's certificate is wrong
    with PolicyHost(tls(wildcard, says(answer(POLICY)))) as host, ThreadPoolExecutor(len(names)) as pool:
        hosts = HttpsPolicyHosts(ENOUGH, world.ca_file, host.port)

        def ask(name: str) -> bytes | str:
            try:
                return hosts.get(name, HERE)
            except FetchError as error:
                return error.reason

        got = list(pool.map(ask, names))
    assert got[::2] == [POLICY] * 20
    assert got[1::2] == [f"the certificate is not for {name}" for name in names[1::2]]


def test_nothing_stays_open(world: World) -> None:
    """Neither after an answer nor after any failure does a descriptor remain."""
    scripts = [
        tls(world.certificate, says(answer(POLICY))),
        tls(world.certificate, says(OK + b"Content-Length: 9\r\n\r\n")),
        tls(world.certificate, says(answer(b"", "404 Not Found"))),
        tls(self_signed(NAME), says(answer(POLICY))),
        tls(world.certificate, after(OK + b"\r\n", repeats(b"x"))),
        closes,
    ]
    before = set(os.listdir("/proc/self/fd"))
    for script in scripts:
        with PolicyHost(script) as host, suppress(FetchError):
            fetch(world, host.port)
    assert set(os.listdir("/proc/self/fd")) == before


def test_the_libraries_log_nothing(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """A host must not write our log, and urllib3 quotes broken headers at length."""
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
