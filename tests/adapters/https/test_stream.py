"""TLS of which every byte on the socket is counted, messages without data too."""

from __future__ import annotations

import socket
import ssl
from typing import Any

from postfix_mtasts.adapters.https.transfer import RECEIVED_LIMIT
from postfix_mtasts.core.outcome import ResultType, Stage
from tests.support.servers.certificates import self_signed
from tests.support.servers.hostile_https import (
    POLICY,
    PolicyHost,
    Seen,
    answer,
    drips,
    repeats,
    says,
    server_context,
    tls,
)
from tests.support.worlds.policy_hosts import (
    NAME,
    OK,
    SHORT,
    World,
    failure,
    refused,
)


def test_a_body_cut_off_by_the_network_is_refused(world: World) -> None:
    """Without TLS's end mark anybody on the way can shorten a body that has no length."""
    error = refused(world, tls(world.certificate, says(OK + b"\r\n" + POLICY[:-4]), ragged=True))
    assert error.reason == "the connection broke off"


RECORD = b"\x16\x03\x03"  # a handshake record of TLS 1.2, before its length
HELLO_REQUESTS = RECORD + b"\x40\x00" + b"\0" * 16_384  # 4,096 of them, each of which a client passes over


def floods(sock: Any, seen: Seen) -> None:
    """HelloRequests before any certificate, as fast as the client takes them."""
    sock.recv(4096)
    repeats(HELLO_REQUESTS)(sock, seen)


def test_messages_without_data_before_the_certificate_are_bounded(world: World) -> None:
    """OpenSSL would read them as long as they come, within one call."""
    error = refused(world, floods)
    assert error.reason == "the TLS handshake is longer than 1,048,576 bytes"
    assert (error.stage, error.result_type) == (Stage.TLS, ResultType.FETCH_ERROR)


def test_messages_without_data_do_not_move_the_deadline(world: World) -> None:
    """However evenly they come."""

    def dripping(sock: Any, seen: Seen) -> None:
        sock.recv(4096)
        drips(RECORD + b"\0\4" + b"\0" * 4)(sock, seen)

    error = refused(world, dripping, timeout=SHORT)
    assert error.reason == f"the TLS handshake was not done within {SHORT:g} s"


def test_session_tickets_are_bounded(world: World) -> None:
    """A server may send any number of them after its certificate, and no data."""
    error = refused(world, tls(world.certificate, says(answer(POLICY)), tickets=20_000))
    assert error.reason == "the answer is longer than 1,048,576 bytes"
    assert error.stage is Stage.HTTP


def test_a_certificate_without_end_is_bounded(world: World) -> None:
    """OpenSSL bounds a message by itself; the sum of all is ours to bound."""

    def endless(sock: Any, seen: Seen) -> None:
        sock.recv(4096)
        sock.sendall(RECORD + b"\x40\x00" + b"\x02\xff\xff\xff" + bytes(16_380))
        repeats(RECORD + b"\x40\x00" + bytes(16_384))(sock, seen)

    assert refused(world, endless).stage is Stage.TLS


def test_little_more_than_the_limit_is_received(world: World) -> None:
    """The rest of a flood stays in the kernel."""
    sent = [0]

    def counting(sock: Any, seen: Seen) -> None:
        sock.recv(4096)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)
        while True:
            sent[0] += sock.send(HELLO_REQUESTS)

    refused(world, counting)
    assert sent[0] < 16 * RECEIVED_LIMIT  # both kernels' buffers included


def test_a_refused_certificate_is_told_to_the_host(world: World) -> None:
    """TLS's alert says to the host's log why the connection ends."""
    told: list[str] = []

    def listening(sock: Any, seen: Seen) -> None:
        try:
            server_context(self_signed(NAME)).wrap_socket(sock, server_side=True).recv(1)
        except ssl.SSLError as error:
            told.append(error.reason)

    with PolicyHost(listening) as host:
        failure(world, host.port)
    assert told == ["TLSV1_ALERT_UNKNOWN_CA"]
