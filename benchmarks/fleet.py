"""`make bench-fleet`: what daemons that share policies cost and save.

    python -m tests.support.namespace python -m benchmarks.fleet [PART...]
        [--policies 1000] [--interval 20] [--intervals 10]

start    seconds until a daemon with an empty folder holds what the others have; the server's memory
change   milliseconds until the last of five daemons answers a changed policy
alone    fetches of one daemon with 1,000 policies in ten intervals of 20 s
five     fetches of five that share
killed   the same while one of them is killed (-9) in each interval, and started again

The last three take about four minutes each. Policies end after three
intervals, so that a refresh that fails to come is a policy that is lost;
"lost" counts what each daemon answers otherwise at the end.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.rig import Bench, place
from tests.support.fakes.entries import entry
from tests.support.namespace import inside
from tests.support.servers.daemon import Daemon
from tests.support.servers.internet import Internet, Site, policy
from tests.support.servers.redis import RedisServer
from tests.support.worlds.fleet import command, fleet, member, status

DAEMONS, CHANGES = 5, 10
FETCH = 5  # seconds, fetch.timeout: a lease lasts as long and five more


@dataclass(frozen=True)
class Run:
    directory: Path
    internet: Internet
    bench: Bench
    policies: int
    interval: int
    intervals: int

    def config(self, server: RedisServer | None, **others: Any) -> dict[str, Any]:
        shared = {"shared": {"url": server.url}} if server is not None else {}
        return self.internet.config(**shared, **others)


def fill(server: RedisServer, number: int) -> None:
    """Put *number* policies, fetched now, into the shared store."""
    shared, now = member(server, timeout=10.0), time.time()
    rows = [(entry(f"d{each}.test", fetched_at=now, mx=[f"mx{each}.example"]), now + 86_400) for each in range(number)]
    for first in range(0, number, 500):
        shared.offer(rows[first : first + 500])


def start(run: Run) -> None:
    for number in (10_000, 100_000):
        with RedisServer(run.directory / f"redis{number}") as server:
            before = server.client().info("memory")["used_memory"]
            fill(server, number)
            used = server.client().info("memory")["used_memory"] - before
            began = time.monotonic()
            with Daemon(run.directory / f"start{number}", run.config(server)) as daemon:
                while not daemon.events("shared-reconciled") and time.monotonic() < began + 200:
                    time.sleep(0.05)
                took = time.monotonic() - began
                held = sum(status(daemon)["policies"].values())
            print(f"start: {held} of {number} policies after {took:.1f} s; {used / 2**20:.1f} MiB in the server")


def change(run: Run) -> None:
    name = "changing.test"
    run.internet.publish(name, policy("mx0.example.net"))
    took = []
    with (
        RedisServer(run.directory / "redis-c") as server,
        fleet(run.directory / "change", DAEMONS, run.config(server)) as daemons,
    ):
        for daemon in daemons:
            daemon.ask("postfix", name)
        for number in range(1, CHANGES + 1):
            run.internet.serve(name, policy(f"mx{number}.example.net"))
            at: list[float] = []

            def watch(daemon: Daemon, want: str, at: list[float]) -> None:
                with daemon.client() as client:
                    while want not in client.ask("postfix", name):
                        time.sleep(0.001)
                    at.append(time.monotonic())

            watching = [threading.Thread(target=watch, args=(each, f"mx{number}.", at)) for each in daemons]
            for thread in watching:
                thread.start()
            command(daemons[0], "cache", "refresh", name)
            for thread in watching:
                thread.join()
            took.append((max(at) - min(at)) * 1000)
    print("change, ms until the last of five: " + " ".join(f"{each:.0f}" for each in sorted(took)))


def fetches(run: Run, title: str, number: int, kills: bool = False) -> None:
    """So many daemons, all intervals long."""
    zone = f"{title}.fetch.test"
    names = [f"f{each}.{zone}" for each in range(run.policies)]
    text = policy("mx.example.net", max_age=3 * run.interval)
    run.internet.publish_all({name: Site(text) for name in names})
    keys = run.bench.keys(f"keys-{title}", names)
    refresh = {"recheck": "1s", "interval": f"{run.interval}s"}
    with RedisServer(run.directory / f"redis-{title}") as server:
        config = run.config(server, refresh=refresh, fetch={"timeout": f"{FETCH}s"})
        with fleet(run.directory / title, number, config) as daemons:
            began = time.monotonic()
            for daemon in daemons:
                run.bench.load(place(daemon), keys, 16, seconds=0)
            asked, first = time.monotonic() - began, run.internet.nginx.requests_below(zone)
            began = time.monotonic()
            for each in range(1, run.intervals + 1):
                if kills:
                    dies = random.choice(daemons)
                    dies.kill()
                    dies.__enter__()
                time.sleep(max(0.0, began + each * run.interval - time.monotonic()))
            total = run.internet.nginx.requests_below(zone) - first
            took = time.monotonic() - began
            answers = [run.bench.load(place(daemon), keys, 16, seconds=0) for daemon in daemons]
    print(
        f"{title}: {total} fetches by {number} daemons, {run.policies} policies, {took:.0f} s "
        f"({run.intervals} intervals of {run.interval} s); {first} at first, in {asked:.0f} s; "
        f"lost {[run.policies - answer['ok'] for answer in answers]}",
        flush=True,
    )


PARTS: dict[str, Callable[[Run], None]] = {
    "start": start,
    "change": change,
    "alone": lambda run: fetches(run, "alone", 1),
    "five": lambda run: fetches(run, "five", DAEMONS),
    "killed": lambda run: fetches(run, "killed", DAEMONS, kills=True),
}


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="make bench-fleet", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", default=list(PARTS))
    parser.add_argument("--policies", type=int, default=1000)
    parser.add_argument("--interval", type=int, default=20, help="refresh.interval, in seconds")
    parser.add_argument("--intervals", type=int, default=10)
    options = parser.parse_args(arguments)
    if not inside():
        parser.error("it needs root and namespaces of its own: make bench-fleet")
    with tempfile.TemporaryDirectory() as name, Internet(Path(name) / "internet") as internet:
        bench = Bench(Path(name), 1.0, 1)
        for part in options.parts:
            PARTS[part](Run(Path(name), internet, bench, options.policies, options.interval, options.intervals))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
