"""`make bench-fleet`: what daemons that share policies cost and save.

python -m tests.support.namespace python -m benchmarks.fleet [start] [lookups] [change] [fetches]
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.rig import Bench
from postfix_mtasts.adapters.store.valkey import ValkeyShared
from postfix_mtasts.config.settings import SharedSettings
from tests.support.fakes.entries import entry
from tests.support.servers.daemon import ENVIRONMENT, Daemon
from tests.support.servers.internet import Internet, Site, policy
from tests.support.servers.redis import RedisServer

DAEMONS, POLICIES, INTERVAL, INTERVALS = 5, 200, 10, 6
CONNECTIONS, CHANGES = 16, 10


def status(daemon: Daemon) -> dict[str, Any]:
    command = [sys.executable, "-m", "postfix_mtasts", "status", "--json", "--config", str(daemon.config_file)]
    found: dict[str, Any] = json.loads(subprocess.run(command, env=ENVIRONMENT, capture_output=True).stdout)
    return found


def fill(server: RedisServer, number: int) -> None:
    """Put *number* policies, fetched now, into the shared store."""
    shared, now = ValkeyShared(SharedSettings(url=server.url, timeout=10.0)), time.time()
    rows = [(entry(f"d{each}.test", fetched_at=now, mx=[f"mx{each}.example"]), now + 86_400) for each in range(number)]
    for first in range(0, number, 500):
        shared.offer(rows[first : first + 500])


def start(directory: Path, internet: Internet) -> None:
    """Seconds until a daemon with an empty folder holds what the others have, and the server's memory for it."""
    for number in (10_000, 100_000):
        with RedisServer(directory / f"redis{number}") as server:
            before = server.client().info("memory")["used_memory"]
            fill(server, number)
            used = server.client().info("memory")["used_memory"] - before
            began = time.monotonic()
            with Daemon(directory / f"start{number}", config(internet, server)) as daemon:
                while not daemon.events("shared-reconciled"):
                    time.sleep(0.05)
                    if time.monotonic() > began + 120:
                        break
                took = time.monotonic() - began
                held = sum(status(daemon)["policies"].values())
            print(
                f"start: {held} of {number} policies after {took:.1f} s; {used / 2**20:.1f} MiB in the server",
                flush=True,
            )


def config(internet: Internet, server: RedisServer | None, **others: Any) -> dict[str, Any]:
    shared = {"shared": {"url": server.url}} if server is not None else {}
    return internet.config(**shared, **others)


def lookups(directory: Path, internet: Internet) -> None:
    """Cached lookups at 16x1: alone, with the shared store quiet, hanging, and reconciling."""
    bench = Bench(directory, 1.0, 9)
    names = [f"c{number}.cached.test" for number in range(50)]
    internet.publish_all({name: Site(policy("mx.example.net")) for name in names})
    keys = bench.keys("cached", names)
    with RedisServer(directory / "redis-l") as server, ExitStack() as stack:
        alone = stack.enter_context(Daemon(directory / "alone", config(internet, None)))
        shared = stack.enter_context(Daemon(directory / "shared", config(internet, server)))
        for daemon in (alone, shared):
            with daemon.client() as client:
                for name in names:
                    client.ask("postfix", name)
        for title, change in (("quiet", lambda: None), ("hanging", server.hang)):
            change()
            time.sleep(1.5)
            places = {"alone": (alone.address, "postfix"), "shared": (shared.address, "postfix")}
            print(f"lookups, {title}: {bench.compare(places, keys, CONNECTIONS)}", flush=True)
        server.go_on()


def change(directory: Path, internet: Internet) -> None:
    """Milliseconds from the first daemon's new answer to that of the last of five."""
    name = "changing.test"
    internet.publish(name, policy("mx0.example.net"))
    with RedisServer(directory / "redis-c") as server, ExitStack() as stack:
        daemons = [
            stack.enter_context(Daemon(directory / f"change{each}", config(internet, server)))
            for each in range(DAEMONS)
        ]
        for daemon in daemons:
            daemon.wait_for("shared-reconciled")
            daemon.ask("postfix", name)
        took = []
        for number in range(1, CHANGES + 1):
            internet.serve(name, policy(f"mx{number}.example.net"))
            at: list[float] = []

            def watch(daemon: Daemon, want: str, at: list[float]) -> None:
                with daemon.client() as client:
                    while want not in client.ask("postfix", name):
                        time.sleep(0.001)
                    at.append(time.monotonic())

            watching = [threading.Thread(target=watch, args=(each, f"mx{number}.", at)) for each in daemons]
            for thread in watching:
                thread.start()
            command = [sys.executable, "-m", "postfix_mtasts", "cache", "refresh", name, "--config"]
            subprocess.run([*command, str(daemons[0].config_file)], env=ENVIRONMENT, capture_output=True)
            for thread in watching:
                thread.join()
            took.append((max(at) - min(at)) * 1000)
        print("change, ms until the last of five: " + " ".join(f"{each:.0f}" for each in sorted(took)), flush=True)


def fetches(directory: Path, internet: Internet) -> None:
    """Fetches of one daemon alone, and of five that share, over the same time."""
    names = [f"f{number}.fetch.test" for number in range(POLICIES)]
    internet.publish_all({name: Site(policy("mx.example.net")) for name in names})
    refresh = {"recheck": "1s", "interval": f"{INTERVAL}s"}
    for number in (1, DAEMONS):
        with RedisServer(directory / f"redis-f{number}") as server, ExitStack() as stack:
            daemons = [
                stack.enter_context(
                    Daemon(directory / f"fetch{number}-{each}", config(internet, server, refresh=refresh))
                )
                for each in range(number)
            ]
            for daemon in daemons:
                daemon.wait_for("shared-reconciled")
            with daemons[0].client() as client:
                for name in names:
                    client.ask("postfix", name)
            time.sleep(INTERVAL * INTERVALS)
            found = [status(daemon) for daemon in daemons]
            each = [one["fetches"].get("ok", 0) for one in found]
            print(
                f"fetches, {number} daemons, {POLICIES} policies, {INTERVALS} intervals: {sum(each)} {each}", flush=True
            )
            print([one["shared"] for one in found], flush=True)


def main(arguments: Sequence[str]) -> None:
    parts = {"start": start, "lookups": lookups, "change": change, "fetches": fetches}
    with tempfile.TemporaryDirectory() as name, Internet(Path(name) / "internet") as internet:
        for part in arguments or parts:
            parts[part](Path(name), internet)


if __name__ == "__main__":
    main(sys.argv[1:])
