"""adapters/store/valkey.py against a real redis-server (by a unix socket) and valkey-server (by TCP)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from postfix_mtasts.adapters.store.valkey import ValkeyShared
from postfix_mtasts.config.settings import SharedSettings
from postfix_mtasts.core.names import Domain
from postfix_mtasts.core.ports import BadRow, Lease, Withdrawn
from postfix_mtasts.errors import SharedError
from tests.support.fakes.entries import entry
from tests.support.servers.certificates import Authority
from tests.support.servers.redis import RedisServer
from tests.support.waiting import wait_until
from tests.support.worlds.fleet import LATER, NOW, member

D = Domain("example.com")


def test_the_later_fetch_counts_whoever_offers_last(server: RedisServer) -> None:
    """The server decides, and names what changed to the others alone."""
    one, other = member(server), member(server)
    assert one.check() == other.check()
    one.changes(0)
    other.changes(0)
    newer = entry(fetched_at=NOW)
    one.offer([(newer, LATER)])
    other.offer([(entry(fetched_at=NOW - 1, record_id="old"), LATER)])
    assert other.get([D, Domain("example.org")]) == [newer]
    assert other.changes(5) == [D]
    assert one.changes(0) == []
    assert [row for rows in other.rows() for row in rows] == [newer]


def test_what_is_withdrawn_stays_so_until_a_later_fetch(server: RedisServer) -> None:
    """A daemon that was away cannot bring back what the fleet was told to forget."""
    shared = member(server)
    shared.offer([(Withdrawn(D, NOW), LATER)])
    shared.offer([(entry(fetched_at=NOW - 1), LATER)])
    assert shared.get([D]) == [Withdrawn(D, NOW)]
    shared.offer([(entry(fetched_at=NOW + 1), LATER)])
    assert shared.get([D]) == [entry(fetched_at=NOW + 1)]


def test_a_row_goes_when_it_is_to_go(server: RedisServer) -> None:
    """By the server's own clock, also after a later fetch was offered."""
    shared = member(server)
    for fetched_at, until in ((NOW - 1, LATER), (NOW, LATER + 1000)):
        shared.offer([(entry(fetched_at=fetched_at), until)])
        with server.client() as client:
            assert abs(time.time() + client.pttl(f"mtasts:p:{D}") / 1000 - until) < 100
    shared.offer([(entry(fetched_at=NOW + 1), time.time() + 0.2)])
    wait_until(lambda: shared.get([D]) == [], "the row is gone")


def test_a_full_server_keeps_what_it_has(server: RedisServer) -> None:
    """And takes no more: neither a row that it has not, nor a later one."""
    shared = member(server)
    shared.offer([(entry(fetched_at=NOW), LATER)])
    with server.client() as client:
        client.config_set("maxmemory", "1")
        for row in (entry(fetched_at=NOW + 1), entry(domain="example.org", fetched_at=NOW)):
            with pytest.raises(SharedError, match=r"maxmemory|OOM"):
                shared.offer([(row, LATER)])
        client.config_set("maxmemory", "0")
    assert shared.get([D, Domain("example.org")]) == [entry(fetched_at=NOW)]


def test_a_row_of_a_wrong_clock_loses(server: RedisServer) -> None:
    """A time of fetch later than the server's own by more than a minute keeps nobody out."""
    shared = member(server)
    shared.offer([(entry(fetched_at=NOW + 5_000), LATER)])
    shared.offer([(entry(fetched_at=NOW), LATER)])
    assert shared.get([D]) == [entry(fetched_at=NOW)]


def test_a_lease_is_one_daemons(server: RedisServer) -> None:
    """Another has to wait until it is given back, or take what was fetched meanwhile."""
    one, other = member(server), member(server)
    assert one.lease(D, 60, NOW) is Lease.GRANTED
    assert one.lease(D, 60, NOW) is Lease.GRANTED
    assert other.lease(D, 60, NOW) is Lease.TAKEN
    other.release(D)
    assert other.lease(D, 60, NOW) is Lease.TAKEN
    one.offer([(entry(fetched_at=NOW + 1), LATER)])
    assert other.lease(D, 60, NOW) is Lease.NEWER
    one.release(D)
    assert other.lease(D, 60, NOW + 1) is Lease.GRANTED


def test_a_lease_ends_with_its_time(server: RedisServer) -> None:
    """Whoever had it may be dead."""
    dead, other = member(server), member(server)
    assert dead.lease(D, 0.3, NOW) is Lease.GRANTED
    dead.close()
    wait_until(lambda: other.lease(D, 60, NOW) is Lease.GRANTED, "the lease has ended")


def test_hostile_rows_harm_no_others(server: RedisServer, tmp_path: Path) -> None:
    """Another type, a huge row and a forged one are bad rows; the good one beside them is read."""
    key = tmp_path / "key"
    key.write_text("sesame\n")
    shared, forger = member(server, key_file=str(key)), member(server)
    with server.client() as client:
        client.set("mtasts:p:string.example", "x")
        client.hset("mtasts:p:huge.example", mapping={"r": "x" * 1_000_000, "s": "", "t": "1"})
        client.hset("mtasts:p:odd.example", "other", "1")
    forger.offer([(entry(domain="forged.example", fetched_at=NOW), LATER)])
    shared.offer([(entry(fetched_at=NOW), LATER), (entry(domain="string.example", fetched_at=NOW), LATER)])
    names = ["string.example", "huge.example", "odd.example", "forged.example", D]
    rows = shared.get([Domain(name) for name in names])
    assert [isinstance(row, BadRow) for row in rows] == [False, True, True, True, False]


def test_a_server_that_hangs_costs_the_timeout(server: RedisServer) -> None:
    """A call ends with a sentence."""
    shared = member(server, timeout=0.1)
    shared.check()
    server.hang()
    with pytest.raises(SharedError, match="Timeout"):
        shared.get([D])
    server.go_on()
    assert shared.get([D]) == []


BROKEN: list[tuple[str, Callable[[RedisServer], object]]] = [
    ("full", lambda server: server.client().config_set("maxmemory", "1")),
    ("read-only", lambda server: server.client().replicaof("127.0.0.1", "1")),
    ("gone", lambda server: server.end()),
]


@pytest.mark.parametrize(("title", "breaks"), BROKEN, ids=[row[0] for row in BROKEN])
def test_a_server_that_takes_nothing_is_away(
    server: RedisServer, title: str, breaks: Callable[[RedisServer], object]
) -> None:
    """Full, read-only and gone are noticed by a check."""
    shared = member(server)
    shared.check()
    breaks(server)
    with pytest.raises(SharedError):
        shared.check()


def test_tls_with_an_access_list(tmp_path: Path, program: Sequence[str]) -> None:
    """The rights in docs/fleet.rst are enough; a wrong name or password is refused, and no message holds it."""
    authority = Authority()
    ca, certificate = tmp_path / "ca.pem", tmp_path / "server.pem"
    ca.write_bytes(authority.pem)
    certificate.write_bytes(authority.issue("localhost"))
    users = tmp_path / "users.acl"
    users.write_text(
        "user default on nopass ~* &* +@all\n"
        "user mtasts on >s3cret resetchannels &mtasts:changes ~mtasts:* "
        "+set +get +del +eval +hget +hset +hmget +hstrlen +exists +pexpire +pexpireat +time +scan "
        "+subscribe +unsubscribe +publish +ping +select\n"
    )
    password = tmp_path / "password"
    password.write_text("s3cret\n")
    port = "6390"
    tls = ["--port", "0", "--tls-port", port, "--tls-cert-file", str(certificate), "--tls-key-file", str(certificate)]
    tls += ["--tls-ca-cert-file", str(ca), "--tls-auth-clients", "no", "--aclfile", str(users)]
    with RedisServer(tmp_path / "redis", *tls, program=program):
        url = f"rediss://mtasts@localhost:{port}?ssl_ca_certs={ca}"
        shared = ValkeyShared(SharedSettings(url=url, password_file=str(password), timeout=5.0))
        shared.check()
        shared.changes(0)
        shared.offer([(entry(fetched_at=NOW), LATER)])
        assert shared.get([D]) == list(next(shared.rows()))
        assert shared.lease(D, 1, NOW) is Lease.GRANTED
        shared.release(D)
        shared.close()
        for wrong in (url.replace("localhost", "127.0.0.1"), url.replace("mtasts@", "mtasts:hunter2@")):
            with pytest.raises(SharedError) as caught:
                ValkeyShared(SharedSettings(url=wrong, timeout=5.0)).check()
            assert "hunter2" not in str(caught.value)
