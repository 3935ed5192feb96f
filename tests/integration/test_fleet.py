"""Daemons that share policies through a real redis-server."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from postfix_mtasts.adapters.store.valkey import ValkeyShared
from postfix_mtasts.config.settings import SharedSettings
from postfix_mtasts.core.names import Domain
from postfix_mtasts.core.ports import BadRow, Lease, Withdrawn
from postfix_mtasts.errors import SharedError
from tests.support.fakes.entries import entry
from tests.support.servers.certificates import Authority
from tests.support.servers.daemon import ENVIRONMENT, Daemon
from tests.support.servers.internet import Internet, Site, policy
from tests.support.servers.redis import RedisServer

D = Domain("example.com")
NOW = time.time()
LATER = NOW + 86_400


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path / "redis") as server:
        yield server


def member(server: RedisServer, **settings: object) -> ValkeyShared:
    return ValkeyShared(SharedSettings(url=server.url, **settings))  # type: ignore[arg-type]


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


def test_tls_with_an_access_list(tmp_path: Path) -> None:
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
    with RedisServer(tmp_path / "redis", *tls):
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


# -- daemons ------------------------------------------------------------------------


def fleet_config(internet: Internet, server: RedisServer, **shared: object) -> dict[str, object]:
    return internet.config(shared={"url": server.url, "timeout": "5s", **shared})


def status(daemon: Daemon) -> dict[str, Any]:
    command = [sys.executable, "-m", "postfix_mtasts", "status", "--json", "--config", str(daemon.config_file)]
    found: dict[str, Any] = json.loads(subprocess.run(command, env=ENVIRONMENT, capture_output=True).stdout)
    return found


def cache(daemon: Daemon, *arguments: str) -> str:
    command = [sys.executable, "-m", "postfix_mtasts", "cache", *arguments, "--config", str(daemon.config_file)]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=60)
    assert not done.stderr
    return done.stdout


def eventually(is_so: Callable[[], object]) -> None:
    """Wait until *is_so* gives something true."""
    deadline = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def secure(mx: str) -> str:
    return f"OK secure match={mx} servername=hostname"


def test_what_one_daemon_learns_the_others_hold(internet: Internet, server: RedisServer, tmp_path: Path) -> None:
    """New, changed and forgotten policies reach the others, whose ready replies go, without a fetch of theirs."""
    name = "learned.fleet.test"
    internet.publish(name, policy("one.example.net"))
    config = fleet_config(internet, server)
    with Daemon(tmp_path / "a", config) as one, Daemon(tmp_path / "b", config) as other:
        for daemon in (one, other):
            daemon.wait_for("shared-reconciled")
        assert one.ask("postfix", name) == secure("one.example.net")
        other.wait_for("policy-new", domain=name)
        with other.client() as client:
            assert client.ask("postfix", name) == secure("one.example.net")
            assert internet.gets(name) == 1
            internet.publish(name, policy("two.example.net"), records=["v=STSv1; id=2;"])
            assert "fetched" in cache(one, "refresh", name)
            other.wait_for("policy-changed", domain=name)
            assert client.ask("postfix", name) == secure("two.example.net")
        assert internet.gets(name) == 2
        assert "from another daemon" in cache(other, "list", "--shared")
        assert status(other)["shared"]["up"] is True
        assert cache(one, "forget", name) == f"{name}: forgotten\n"
        other.wait_for("policy-withdrawn-by-fleet", domain=name)


def test_local_commands_leave_the_others_alone(internet: Internet, server: RedisServer, tmp_path: Path) -> None:
    """With --local a policy is fetched, or forgotten, on one daemon; its next first lookup takes it from the others."""
    name = "local.fleet.test"
    internet.publish(name, policy("one.example.net"))
    config = fleet_config(internet, server)
    with Daemon(tmp_path / "a", config) as one, Daemon(tmp_path / "b", config) as other:
        for daemon in (one, other):
            daemon.wait_for("shared-reconciled")
        one.ask("postfix", name)
        other.wait_for("policy-new", domain=name)
        internet.serve(name, policy("two.example.net"))
        assert "fetched" in cache(one, "refresh", "--local", name)
        assert one.ask("postfix", name) == secure("two.example.net")
        assert other.ask("postfix", name) == secure("one.example.net")
        assert cache(other, "forget", "--local", name) == f"{name}: forgotten\n"
        assert one.ask("postfix", name) == secure("two.example.net")
        gets = internet.gets(name)
        assert other.ask("postfix", name) == secure("one.example.net")
        assert internet.gets(name) == gets


def test_a_daemon_without_a_store_takes_what_the_others_have(
    internet: Internet, server: RedisServer, tmp_path: Path
) -> None:
    """It fetches nothing, and it offers what the shared store lost."""
    names = [f"n{number}.start.fleet.test" for number in range(20)]
    internet.publish_all({name: Site(policy("mx.example.net")) for name in names})
    config = fleet_config(internet, server)
    with Daemon(tmp_path / "a", config) as one:
        one.wait_for("shared-reconciled")
        for name in names:
            one.ask("postfix", name)
        with Daemon(tmp_path / "b", config) as other:
            other.wait_for("shared-reconciled")
            assert {other.ask("postfix", name) for name in names} == {secure("mx.example.net")}
        assert {internet.gets(name) for name in names} == {1}
        with server.client() as client:
            client.flushall()
            eventually(lambda: len(client.keys("mtasts:p:*")) == len(names))


def test_the_shared_store_goes_and_comes_back(internet: Internet, server: RedisServer, tmp_path: Path) -> None:
    """One warning, one all-clear; meanwhile each daemon is as if alone, and then both sides reconcile."""
    names = ["before.away.fleet.test", "during.away.fleet.test"]
    internet.publish_all({name: Site(policy("mx.example.net")) for name in names})
    config = fleet_config(internet, server, timeout="200ms")
    with Daemon(tmp_path / "a", config) as one, Daemon(tmp_path / "b", config) as other:
        for daemon in (one, other):
            daemon.wait_for("shared-reconciled")
        one.ask("postfix", names[0])
        other.wait_for("policy-new", domain=names[0])
        server.hang()
        for daemon in (one, other):
            daemon.wait_for("shared-away")
        assert one.ask("postfix", names[1]) == secure("mx.example.net")
        assert other.ask("postfix", names[0]) == secure("mx.example.net")
        assert status(one)["faults"] == []
        server.go_on()
        other.wait_for("policy-new", domain=names[1])
        for daemon in (one, other):
            daemon.wait_for("shared-back")
            assert len(daemon.events("shared-away")) == 1
        assert internet.gets(names[1]) == 1


def test_unsigned_rows_are_not_believed(internet: Internet, server: RedisServer, tmp_path: Path) -> None:
    """With key_file a row that somebody else wrote serves nobody; it is told of once."""
    name = "forged.fleet.test"
    key = tmp_path / "key"
    key.write_text("sesame\n")
    internet.publish(name, policy("true.example.net"))
    forger = member(server)
    forger.offer([(entry(domain=name, fetched_at=time.time(), mx=["forged.example.net"]), LATER)])
    with Daemon(tmp_path / "a", fleet_config(internet, server, key_file=str(key))) as daemon:
        daemon.wait_for("shared-row-refused", domain=name)
        assert daemon.ask("postfix", name) == secure("true.example.net")
        assert len(daemon.events("shared-row-refused")) == 1
        assert status(daemon)["shared"]["up"] is True
    assert "sesame" not in "\n".join(daemon.lines)


def test_the_fleet_fetches_as_one(internet: Internet, server: RedisServer, tmp_path: Path) -> None:
    """Of three daemons with the same policy and a short interval one fetches each time."""
    name = "lease.fleet.test"
    internet.publish(name, policy("mx.example.net"))
    config = fleet_config(internet, server)
    config["refresh"] = {"recheck": "500ms", "interval": "2s"}
    with (
        Daemon(tmp_path / "a", config) as one,
        Daemon(tmp_path / "b", config) as two,
        Daemon(tmp_path / "c", config) as three,
    ):
        for daemon in (one, two, three):
            daemon.wait_for("shared-reconciled")
        began = time.monotonic()
        one.ask("postfix", name)
        eventually(lambda: internet.gets(name) >= 6)
        rounds = (time.monotonic() - began) / 1.0  # each comes after half of the interval at least
        assert internet.gets(name) <= rounds + 2
