"""Which address is connected to, and which certificate is believed."""

from __future__ import annotations

import errno
import os
import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from postfix_mtasts.adapters.https.fetch import HttpsPolicyHosts
from postfix_mtasts.core.outcome import ResultType, Stage
from postfix_mtasts.errors import ConfigError, FetchError
from tests.support.servers.certificates import Authority, self_signed
from tests.support.servers.hostile_https import (
    POLICY,
    PolicyHost,
    Script,
    Seen,
    answer,
    closes,
    drips,
    hangs,
    resets,
    says,
    says_plainly,
    tls,
    unanswered,
)
from tests.support.worlds.policy_hosts import (
    ENOUGH,
    HERE,
    NAME,
    SHORT,
    World,
    failure,
    fetch,
    refused,
)


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
