"""`make bench`: the daemon against a floor, and against peers, in one run on loopback.

    python -m tests.support.namespace python -m benchmarks.bench [--seconds 2] [--rounds 3] [--peer ADDRESS:MAP]

The floor (floor.c) is a C epoll server that always sends the same bytes; the
load (sockload.c) comes from the same machine. Servers take turns within each
round, and what is printed is the median over the rounds: figures of one run
compare, figures of two runs do not. DNS is nsd, policy hosts are nginx.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from postfix_mtasts.adapters.store_disk import DiskStore
from postfix_mtasts.core.entry import Entry
from postfix_mtasts.core.names import parse_domain
from postfix_mtasts.core.policy import parse_policy
from tests.support.daemon import Daemon
from tests.support.internet import Internet, Site, policy
from tests.support.namespace import inside
from tests.support.servers import NSD
from tests.support.waiting import wait_until

HERE = Path(__file__).parent
CACHED, REFRESHED, COLD_WITH, COLD_WITHOUT = 300, 500, 600, 40_000  # domains
DAY = 86_400.0
Load = dict[str, Any]


class Bench:
    """The programs, the directory, and how long each measurement takes."""

    def __init__(self, directory: Path, seconds: float, rounds: int) -> None:
        self.directory, self.seconds, self.rounds = directory, seconds, rounds
        for name in ("sockload", "floor"):
            subprocess.run(["cc", "-O2", "-o", directory / name, HERE / f"{name}.c"], check=True)
        self.cached = self.keys("cached", (f"known{i}.bench.test" for i in range(CACHED)))

    def keys(self, name: str, domains: Iterator[str]) -> Path:
        path = self.directory / name
        path.write_text("".join(f"{domain}\n" for domain in domains))
        return path

    def load(self, address: str, map_name: str, keys: Path, connections: int, depth: int, seconds: float) -> Load:
        command = [self.directory / "sockload", address, map_name, keys, connections, depth, seconds]
        done = subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True)
        load: Load = json.loads(done.stdout)
        return load

    @contextmanager
    def floor(self, address: str) -> Iterator[int]:
        """The floor on *address*; its process id."""
        process = subprocess.Popen([self.directory / "floor", address])
        try:
            wait_until(lambda: _answers(self, address), "the floor listens")
            yield process.pid
        finally:
            process.kill()
            process.wait()

    def compare(self, servers: dict[str, tuple[str, str]], connections: int, depth: int) -> dict[str, Load]:
        """The median round of each server (name to address and map), taken in turns."""
        runs: dict[str, list[Load]] = {name: [] for name in servers}
        for _ in range(self.rounds):
            for name, (address, map_name) in servers.items():
                runs[name].append(self.load(address, map_name, self.cached, connections, depth, self.seconds))
        return {name: sorted(found, key=lambda load: load["rps"])[len(found) // 2] for name, found in runs.items()}


def _answers(bench: Bench, address: str) -> bool:
    command = [bench.directory / "sockload", address, "postfix", bench.cached, "1", "1", "0.01"]
    return subprocess.run(command, capture_output=True).returncode == 0


def cpu_seconds(pid: int) -> float:
    """What a process has used of the processor until now."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def fill(directory: Path, names: Iterator[str], fetched_at: float) -> None:
    """Store policies as if they had been fetched at *fetched_at*."""
    store = DiskStore(directory)
    text = parse_policy(policy("mx.example.net", "*.backup.example.net"))
    today = time.time() // DAY * DAY
    store.put([Entry(parse_domain(name), text, "1", fetched_at, today) for name in names])
    store.close()


def cached(bench: Bench, internet: Internet, peers: dict[str, tuple[str, str]]) -> None:
    """Cached lookups over TCP and a unix socket, with the processor's part at 100 connections."""
    path = bench.directory / "cached-daemon"
    fill(path / "store", iter(bench.cached.read_text().split()), time.time())
    unix, unix_floor = f"unix:{path}/socket", f"unix:{path}/floor"
    config = quiet(internet) | {"listen": ["inet:127.0.0.1:18462", unix]}
    tcp_floor = "inet:127.0.0.1:18499"
    with Daemon(path, config) as daemon, bench.floor(tcp_floor) as floor, bench.floor(unix_floor):
        tcp = {"floor": (tcp_floor, "postfix"), "daemon": (daemon.address, "postfix"), **peers}
        for connections, depth in ((1, 1), (16, 1), (100, 1), (16, 16)):
            show(f"cached, TCP, {connections}x{depth}", bench.compare(tcp, connections, depth))
        local = {"floor": (unix_floor, "postfix"), "daemon": (unix, "postfix")}
        for connections, depth in ((1, 1), (16, 1), (100, 1), (16, 16)):
            show(f"cached, unix socket, {connections}x{depth}", bench.compare(local, connections, depth))
        costs = {}
        for name, pid, address in (("floor", floor, tcp_floor), ("daemon", daemon.pid, daemon.address)):
            before = cpu_seconds(pid)
            load = bench.load(address, "postfix", bench.cached, 100, 1, 2 * bench.seconds)
            costs[name] = (cpu_seconds(pid) - before) / (load["rps"] * 2 * bench.seconds) * 1e6
        ratio = costs["daemon"] / costs["floor"]
        print(f"{'processor per cached lookup, 100x1':42} {costs['daemon']:6.2f} us, {ratio:.2f} of the floor's")
        print(f"{'memory of the daemon':42} {daemon.memory() / 2**20:6.1f} MiB")


def refreshing(bench: Bench, internet: Internet) -> None:
    """Cached lookups while policies that are overdue are refreshed, and quiet afterwards."""
    names = [f"due{i}.bench.test" for i in range(REFRESHED)]
    internet.publish_all({name: Site(policy("mx.example.net", "*.backup.example.net")) for name in names})
    path = bench.directory / "refreshing"
    fill(path / "store", iter(names), time.time() - 2 * DAY)
    keys = bench.keys("due", iter(names))
    with Daemon(path, quiet(internet)) as daemon:
        begun = time.monotonic()
        busy = bench.load(daemon.address, "postfix", keys, 16, 1, 3)
        wait_until(lambda: all(internet.nginx.requests(f"mta-sts.{name}") for name in names), "all are refreshed", 60)
        took = time.monotonic() - begun
        still = bench.load(daemon.address, "postfix", keys, 16, 1, 3)
    ratio = busy["rps"] / still["rps"]
    print(
        f"{f'cached, 16x1, while {REFRESHED} are refreshed':42} {busy['rps']:9,.0f}/s, {ratio:.2f} of quiet, "
        f"p99 {busy['p99_us'] / 1000:.1f} ms; all refreshed within {took:.1f} s"
    )


def cold(bench: Bench, internet: Internet, peers: dict[str, tuple[str, str]]) -> None:
    """Unknown domains without and with a policy, each asked once by 64 connections; cached lookups meanwhile."""
    without = bench.keys("without", (f"cold{i}.none{i % 97}.test" for i in range(COLD_WITHOUT)))
    names = [f"cold{i}.bench.test" for i in range(COLD_WITH)]
    internet.publish_all({name: Site(policy("mx.example.net")) for name in names})
    with_policy = bench.keys("with", iter(names))
    burst = bench.keys("burst", (f"BURST{i}.bench.test" for i in range(COLD_WITH)))
    internet.publish_all({f"burst{i}.bench.test": Site(policy("mx.example.net")) for i in range(COLD_WITH)})
    path = bench.directory / "cold"
    fill(path / "store", iter(bench.cached.read_text().split()), time.time())
    with Daemon(path, quiet(internet)) as daemon:
        asked = {"daemon": (daemon.address, "postfix"), **peers}
        for title, keys in (("cold, no policy, 64 connections", without), ("cold, with a policy, 64", with_policy)):
            show(title, {name: bench.load(*place, keys, 64, 1, 0) for name, place in asked.items()}, base="")
        still = bench.load(daemon.address, "postfix", bench.cached, 16, 1, bench.seconds)
        command = [bench.directory / "sockload", daemon.address, "postfix", burst, "64", "1", "0"]
        with subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL) as crowd:
            busy = bench.load(daemon.address, "postfix", bench.cached, 16, 1, 1)
            crowd.wait()
        print(f"{f'cached, 16x1, in a burst of {COLD_WITH}':42} {busy['rps'] / still['rps']:.2f} of quiet")


def quiet(internet: Internet) -> dict[str, Any]:
    """A configuration that asks nsd itself, and logs no more than it must."""
    return internet.config(dns={"servers": [f"{NSD}:53"]}, log={"level": "info"})


def show(title: str, loads: dict[str, Load], base: str = "floor") -> None:
    for name, load in loads.items():
        if name == base:
            continue
        ratio = f"{load['rps'] / loads[base]['rps']:5.2f} of the floor" if base else ""
        label = title if name == "daemon" else f"{title} ({name})"
        times = ", ".join(f"{load[key] / 1000:.2f}" for key in ("p50_us", "p99_us", "p999_us"))
        print(f"{label:42} {load['rps']:9,.0f}/s {ratio}  p50, p99, p99.9: {times} ms", flush=True)


def start_up(bench: Bench, internet: Internet) -> None:
    """From the start of the process to the line `ready`, on the store of `cached`."""
    daemon, times = Daemon(bench.directory / "cached-daemon", quiet(internet)), []
    for _ in range(bench.rounds):
        begun = time.monotonic()
        with daemon:
            times.append(time.monotonic() - begun)
    print(f"{'start to ready':42} {median(times):6.2f} s")


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0, help="of one measurement (default: 2)")
    parser.add_argument("--rounds", type=int, default=3, help="of which the median counts (default: 3)")
    parser.add_argument("--peer", action="append", default=[], metavar="ADDRESS:MAP", help="another daemon to measure")
    options = parser.parse_args(arguments)
    if not inside():
        parser.error("it needs root and namespaces of its own: make bench")
    peers = {peer: tuple(peer.rsplit(":", 1)) for peer in options.peer}
    with tempfile.TemporaryDirectory() as directory, Internet(Path(directory) / "internet") as internet:
        bench = Bench(Path(directory), options.seconds, options.rounds)
        parts: list[Callable[[], None]] = [
            lambda: cached(bench, internet, peers),
            lambda: start_up(bench, internet),
            lambda: refreshing(bench, internet),
            lambda: cold(bench, internet, peers),
        ]
        for part in parts:
            part()


if __name__ == "__main__":
    main(sys.argv[1:])
