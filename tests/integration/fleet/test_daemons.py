"""Daemons that share policies through a real server."""

from __future__ import annotations

import time
from pathlib import Path

from tests.support.fakes.entries import entry
from tests.support.servers.daemon import Daemon
from tests.support.servers.internet import Internet, Site, policy
from tests.support.servers.redis import RedisServer
from tests.support.waiting import wait_until
from tests.support.worlds.fleet import LATER, command, fleet, fleet_config, member, secure, status


def test_what_one_daemon_learns_the_others_hold(
    internet: Internet, server: RedisServer, zone: str, tmp_path: Path
) -> None:
    """New, changed and forgotten policies reach the others, whose ready replies go, without a fetch of theirs."""
    name = f"learned.{zone}"
    internet.publish(name, policy("one.example.net"))
    with fleet(tmp_path, 2, fleet_config(internet, server)) as (one, other):
        assert one.ask("postfix", name) == secure("one.example.net")
        other.wait_for("policy-new", domain=name)
        with other.client() as client:
            assert client.ask("postfix", name) == secure("one.example.net")
            assert internet.gets(name) == 1
            internet.publish(name, policy("two.example.net"), records=["v=STSv1; id=2;"])
            assert "fetched" in command(one, "cache", "refresh", name)
            other.wait_for("policy-changed", domain=name)
            assert client.ask("postfix", name) == secure("two.example.net")
        assert internet.gets(name) == 2
        assert "from another daemon" in command(other, "cache", "list", "--shared")
        assert status(other)["shared"]["up"] is True
        assert command(one, "cache", "forget", name) == f"{name}: forgotten\n"
        other.wait_for("policy-withdrawn-by-fleet", domain=name)


def test_local_commands_leave_the_others_alone(
    internet: Internet, server: RedisServer, zone: str, tmp_path: Path
) -> None:
    """With --local a policy is fetched, or forgotten, on one daemon; its next first lookup takes it from the others."""
    name = f"local.{zone}"
    internet.publish(name, policy("one.example.net"))
    with fleet(tmp_path, 2, fleet_config(internet, server)) as (one, other):
        one.ask("postfix", name)
        other.wait_for("policy-new", domain=name)
        internet.serve(name, policy("two.example.net"))
        assert "fetched" in command(one, "cache", "refresh", "--local", name)
        assert one.ask("postfix", name) == secure("two.example.net")
        assert other.ask("postfix", name) == secure("one.example.net")
        assert command(other, "cache", "forget", "--local", name) == f"{name}: forgotten\n"
        assert one.ask("postfix", name) == secure("two.example.net")
        gets = internet.gets(name)
        assert other.ask("postfix", name) == secure("one.example.net")
        assert internet.gets(name) == gets


def test_a_daemon_without_a_store_takes_what_the_others_have(
    internet: Internet, server: RedisServer, zone: str, tmp_path: Path
) -> None:
    """It fetches nothing, and it offers what the shared store lost."""
    names = [f"n{number}.start.{zone}" for number in range(20)]
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
            wait_until(lambda: len(client.keys("mtasts:p:*")) == len(names), "all is there again")


def test_unsigned_rows_are_not_believed(internet: Internet, server: RedisServer, zone: str, tmp_path: Path) -> None:
    """With key_file a row that somebody else wrote serves nobody; it is told of once."""
    name = f"forged.{zone}"
    key = tmp_path / "key"
    key.write_text("sesame\n")
    internet.publish(name, policy("true.example.net"))
    forger, now = member(server), time.time()
    for each in (name, f"other.{name}"):
        forger.offer([(entry(domain=each, fetched_at=now, mx=["forged.example.net"]), LATER)])
    with Daemon(tmp_path / "a", fleet_config(internet, server, key_file=str(key))) as daemon:
        daemon.wait_for("shared-reconciled")
        assert daemon.ask("postfix", name) == secure("true.example.net")
        assert len(daemon.events("shared-row-refused")) == 1
        shared = status(daemon)["shared"]
        assert (shared["up"], shared["requests"]["get"]["bad"]) == (True, 3)  # two when it began, one when asked
    assert "sesame" not in "\n".join(daemon.lines)


def test_the_fleet_fetches_as_one(internet: Internet, server: RedisServer, zone: str, tmp_path: Path) -> None:
    """Of three daemons with the same policy and a short interval one fetches each time."""
    name = f"lease.{zone}"
    internet.publish(name, policy("mx.example.net"))
    config = fleet_config(internet, server)
    config["refresh"] = {"recheck": "500ms", "interval": "2s"}
    with fleet(tmp_path, 3, config) as daemons:
        began = time.monotonic()
        daemons[0].ask("postfix", name)
        wait_until(lambda: internet.gets(name) >= 6, "six fetches")
        rounds = (time.monotonic() - began) / 1.0  # each comes after half of the interval at least
        assert internet.gets(name) <= rounds + 2
