"""What a shared store costs those who ask: the second half of `make bench-fleet`.

    python -m tests.support.namespace python -m benchmarks.fleetlookups [cached] [cold] [--rounds 9]

cached   lookups of held policies at 16x1 with the shared store quiet, hanging (SIGSTOP), and while the daemon
         takes 100,000 rows from it: the ratio to a daemon without one, p50 and p99
cold     first lookups, one after another: latency, and processor time of the daemon and its workers

Rounds of both daemons take turns, so that a busy machine troubles both.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.fleet import fill
from benchmarks.rig import Bench, Load, cpu_seconds, place
from tests.support.namespace import inside
from tests.support.servers.daemon import Daemon
from tests.support.servers.internet import Internet, Site, policy
from tests.support.servers.redis import RedisServer

CONNECTIONS, ROWS = 16, 100_000
SECONDS, EACH = 0.5, 200  # of a round of cached lookups; cold lookups in a round


def pair(stack: ExitStack, directory: Path, internet: Internet, server: RedisServer) -> tuple[Daemon, Daemon]:
    """A daemon without a shared store, and one with it."""
    shared = {"url": server.url}
    alone = stack.enter_context(Daemon(directory / "alone", internet.config()))
    return alone, stack.enter_context(Daemon(directory / "shared", internet.config(shared=shared)))


def cached(directory: Path, internet: Internet, bench: Bench) -> None:
    names = [f"c{number}.cached.test" for number in range(50)]
    internet.publish_all({name: Site(policy("mx.example.net")) for name in names})
    keys = bench.keys("cached-keys", names)

    def compare(title: str, alone: Daemon, shared: Daemon) -> None:
        for daemon in (alone, shared):
            bench.load(place(daemon), keys, CONNECTIONS, seconds=0)
        loads = bench.compare({"alone": place(alone), "shared": place(shared)}, keys, CONNECTIONS)
        print(f"cached, {title}: ratio {loads['shared']['ratio']:.3f}", flush=True)
        for name, load in loads.items():
            told = {key: load[key] for key in ("rps", "p50_us", "p99_us", "p999_us", "max_us", "other", "errors")}
            print(f"    {name:7} {told}", flush=True)

    with RedisServer(directory / "redis-l") as server, ExitStack() as stack:
        alone, shared = pair(stack, directory / "cached", internet, server)
        shared.wait_for("shared-reconciled")
        compare("quiet", alone, shared)
        server.hang()
        shared.wait_for("shared-away")
        compare("hanging", alone, shared)
        server.go_on()
        fill(server, ROWS)
        with Daemon(directory / "reconciling", shared.config | newcomer(directory)) as late:
            compare(f"taking {ROWS} rows", alone, late)
            print("    " + ("all was taken before the end" if late.events("shared-reconciled") else "taking all along"))


def newcomer(directory: Path) -> dict[str, Any]:
    """What a daemon needs of its own beside the configuration of another."""
    return {"listen": ["inet:127.0.0.1:8400"], "cache": {"directory": str(directory / "newcomer")}}


def processor(pid: int) -> float:
    """Seconds of a process and of those that came from it."""
    children = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True).stdout.split()
    return cpu_seconds(pid) + sum(processor(int(child)) for child in children)


def cold(directory: Path, internet: Internet, bench: Bench) -> None:
    def numbered(kind: str) -> Iterator[list[str]]:
        for number in range(2 * bench.rounds):
            yield [f"d{each}.r{number}.{kind}.test" for each in range(EACH)]

    published = [name for names in numbered("policy") for name in names]
    internet.publish_all({name: Site(policy("mx.example.net")) for name in published})
    with RedisServer(directory / "redis-d") as server, ExitStack() as stack:
        alone, shared = pair(stack, directory / "cold", internet, server)
        shared.wait_for("shared-reconciled")
        bench.load(place(alone), bench.keys("warm-keys", ["warm.test"]), 1, seconds=0)
        bench.load(place(shared), bench.keys("warm-keys", ["warm.test"]), 1, seconds=0)
        for kind in ("absent", "policy"):
            runs: dict[Daemon, list[tuple[Load, float]]] = {alone: [], shared: []}
            for number, names in enumerate(numbered(kind)):
                daemon = (alone, shared)[number % 2]
                before = processor(daemon.pid)
                load = bench.load(place(daemon), bench.keys("cold-keys", names), 1, seconds=0)
                runs[daemon].append((load, (processor(daemon.pid) - before) / EACH * 1e6))
            tell(kind, runs[alone], runs[shared])


def tell(kind: str, *runs: list[tuple[Load, float]]) -> None:
    for title, each in zip(("alone", "shared"), runs, strict=True):
        p50 = median(load["p50_us"] for load, _ in each)
        p99 = median(load["p99_us"] for load, _ in each)
        used = median(microseconds for _, microseconds in each)
        print(f"cold, {kind}, {title:6}: p50 {p50:.0f} us, p99 {p99:.0f} us, {used:.0f} us of a processor for each")
    alone, shared = (sum(microseconds for _, microseconds in each) for each in runs)
    print(f"cold, {kind}: processor time {shared / alone:.3f} of that without", flush=True)


PARTS = {"cached": cached, "cold": cold}


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="benchmarks.fleetlookups", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", default=list(PARTS))
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args(arguments)
    if not inside():
        parser.error("it needs root and namespaces of its own: make bench-fleet")
    with tempfile.TemporaryDirectory() as name, Internet(Path(name) / "internet") as internet:
        bench = Bench(Path(name), SECONDS, options.rounds)
        for part in options.parts:
            PARTS[part](Path(name), internet, bench)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
