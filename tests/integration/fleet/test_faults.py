"""The shared store goes away in every way that it can, a replica takes its place: nobody notices, nothing is lost."""

from __future__ import annotations

import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.support.servers.daemon import Daemon
from tests.support.servers.internet import Internet, Site, policy
from tests.support.servers.redis import RedisServer
from tests.support.waiting import wait_until
from tests.support.worlds.fleet import command, fleet, fleet_config, secure, status

GOOD = secure("mx.example.net")
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
Act = Callable[[RedisServer], object]

AWAY: list[tuple[str, Act, Act]] = [
    ("hanging", RedisServer.hang, RedisServer.go_on),
    ("killed", RedisServer.end, RedisServer.__enter__),
    ("full", lambda server: server.set("maxmemory", "1"), lambda server: server.set("maxmemory", "0")),
    ("read-only", lambda server: server.client().replicaof("127.0.0.1", "1"), RedisServer.promote),
]


def numbers(address: str) -> tuple[str, str]:
    """What monitoring is told: whether the shared store is up, and /healthz."""
    with DIRECT.open(f"http://{address}/metrics", timeout=60) as answer:
        lines = answer.read().decode().splitlines()
    with DIRECT.open(f"http://{address}/healthz", timeout=60) as answer:
        health = answer.read().decode()
    return next(line for line in lines if line.startswith("mtasts_shared_up ")), health


@pytest.mark.parametrize(("how", "goes", "comes"), AWAY, ids=[row[0] for row in AWAY])
def test_the_shared_store_goes_and_comes_back(
    internet: Internet,
    server: RedisServer,
    tmp_path: Path,
    how: str,
    goes: Act,
    comes: Act,
    request: pytest.FixtureRequest,
) -> None:
    """One warning, one all-clear; meanwhile each daemon is as if alone, and then both sides reconcile."""
    names = [f"{each}.{request.node.callspec.id}.away.test" for each in ("before", "during")]
    internet.publish_all({name: Site(policy("mx.example.net")) for name in names})
    config = fleet_config(internet, server, timeout="1s")
    config["metrics"] = {"listen": "inet:127.0.0.1:9580"}
    with (
        Daemon(tmp_path / "other", fleet_config(internet, server, timeout="1s")) as other,
        Daemon(tmp_path / "one", config) as one,
    ):
        for daemon in (one, other):
            daemon.wait_for("shared-reconciled")
        assert numbers("127.0.0.1:9580") == ("mtasts_shared_up 1.0", "ok\n")
        one.ask("postfix", names[0])
        other.wait_for("policy-new", domain=names[0])
        goes(server)
        for daemon in (one, other):
            daemon.wait_for("shared-away")
        assert numbers("127.0.0.1:9580") == ("mtasts_shared_up 0.0", "ok\n")
        assert one.ask("postfix", names[1]) == GOOD
        assert other.ask("postfix", names[0]) == GOOD
        found = status(one)
        assert (found["faults"], found["shared"]["up"]) == ([], False)
        assert server.url in found["shared_away"]
        comes(server)
        other.wait_for("policy-new", domain=names[1])
        for daemon in (one, other):
            daemon.wait_for("shared-back")
            assert len(daemon.events("shared-away")) == len(daemon.events("shared-back")) == 1
    assert [internet.gets(name) for name in names] == [1, 1]


def test_a_first_lookup_meets_a_server_that_hangs(
    internet: Internet, server: RedisServer, zone: str, tmp_path: Path
) -> None:
    """It goes on to the resolver, and is answered while the server still hangs."""
    name = f"first.{zone}"
    internet.publish(name, policy("mx.example.net"))
    with Daemon(tmp_path / "a", fleet_config(internet, server, timeout="200ms")) as daemon:
        daemon.wait_for("shared-reconciled")
        server.hang()
        assert daemon.ask("postfix", name) == GOOD
        server.go_on()


def test_a_daemon_is_whole_without_the_shared_store(
    internet: Internet, server: RedisServer, zone: str, tmp_path: Path
) -> None:
    """It starts, answers, and after kill -9 still has what it told."""
    name = f"whole.{zone}"
    internet.publish(name, policy("mx.example.net"))
    server.end()
    daemon = Daemon(tmp_path / "a", fleet_config(internet, server))
    with daemon:
        assert daemon.ask("postfix", name) == GOOD
        daemon.kill()
    with daemon:
        assert daemon.ask("postfix", name) == GOOD
    assert internet.gets(name) == 1


def test_failures_and_absence_stay_local(internet: Internet, server: RedisServer, zone: str, tmp_path: Path) -> None:
    """The server has no row of a domain without a policy in force, nor of one that could not be fetched."""
    absent, failing, good = (f"{each}.local.{zone}" for each in ("absent", "failing", "good"))
    internet.publish_all({failing: Site(b"no policy"), good: Site(policy("mx.example.net"))})
    with fleet(tmp_path, 2, fleet_config(internet, server)) as (one, other), server.client() as client:
        assert [one.ask("postfix", name) for name in (absent, failing, good)] == ["NOTFOUND ", "NOTFOUND ", GOOD]
        other.wait_for("policy-new", domain=good)
        assert client.keys("mtasts:p:*") == [f"mtasts:p:{good}".encode()]


def test_a_withdrawn_policy_is_in_force_nowhere(
    internet: Internet, server: RedisServer, zone: str, tmp_path: Path
) -> None:
    """`mode: none`, learned by one, ends it on the others, whose ready replies go."""
    name = f"none.{zone}"
    internet.publish(name, policy("mx.example.net"))
    with fleet(tmp_path, 2, fleet_config(internet, server)) as (one, other), other.client() as client:
        one.ask("postfix", name)
        other.wait_for("policy-new", domain=name)
        assert client.ask("postfix", name) == GOOD
        internet.publish(name, policy(mode="none"), records=["v=STSv1; id=2;"])
        command(one, "cache", "refresh", name)
        wait_until(lambda: client.ask("postfix", name) == "NOTFOUND ", "the policy is gone")
        assert internet.gets(name) == 2


def test_no_credentials_anywhere(internet: Internet, server: RedisServer, tmp_path: Path) -> None:
    """A password in the URL that the server refuses is in no line of the log, and in no answer of a command."""
    with server.client() as client:
        client.acl_setuser("mtasts", enabled=True, passwords=["+other"], keys=["*"], commands=["+@all"])
    url = f"unix://mtasts:hunter2@{server.socket}"
    config = fleet_config(internet, server, url=url)
    config["log"] = {"level": "debug"}
    with Daemon(tmp_path / "a", config) as daemon:
        daemon.wait_for("shared-away")
        said = [command(daemon, *words) for words in (["status"], ["status", "--json"], ["config", "show"])]
    assert "mtasts:***@" in said[2]
    assert "hunter2" not in "\n".join(said + daemon.lines)


def test_a_replica_takes_the_place_of_its_primary(
    internet: Internet, zone: str, tmp_path: Path, program: Sequence[str]
) -> None:
    """The primary dies, its address moves to a replica, which takes nothing until it is promoted: nothing is lost."""
    names = [f"{each}.failover.{zone}" for each in ("before", "during", "after")]
    internet.publish_all({name: Site(policy("mx.example.net")) for name in names})
    primary = RedisServer(tmp_path / "primary", program=program, address="127.0.0.61")
    with primary, RedisServer(tmp_path / "replica", program=program, address="127.0.0.62") as replica:
        replica.follow(primary.address, primary.port)
        with fleet(tmp_path, 2, fleet_config(internet, primary, timeout="1s")) as (one, other):
            assert one.ask("postfix", names[0]) == GOOD
            other.wait_for("policy-new", domain=names[0])
            primary.end()
            replica.take_over(primary.address, primary.port)
            for daemon in (one, other):
                wait_until(lambda d=daemon: "read only replica" in status(d)["shared_away"], "it says READONLY")  # type: ignore[misc]
            assert one.ask("postfix", names[1]) == GOOD
            replica.promote()
            for daemon in (one, other):
                daemon.wait_for("shared-back")
            assert other.ask("postfix", names[1]) == GOOD
            assert other.ask("postfix", names[2]) == GOOD
            one.wait_for("policy-new", domain=names[2])
            with replica.client() as client:
                assert {f"mtasts:p:{name}".encode() for name in names} == set(client.keys("mtasts:p:*"))
            assert [len(d.events(event)) for d in (one, other) for event in ("shared-away", "shared-back")] == [1] * 4
    assert [internet.gets(name) for name in names] == [1, 1, 1]
