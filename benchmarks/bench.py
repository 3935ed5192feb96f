"""`make bench`: the daemon against a floor, and against peers, in one run on loopback.

    python -m tests.support.namespace python -m benchmarks.bench [--seconds 2] [--rounds 3] [--svg FILE]
        [--mta-sts-daemon PROGRAM] [--tlspol PROGRAM] [--peer ADDRESS:MAP] [--page FILE]

The floor (floor.c) is a C epoll server that always sends the same bytes; the
load (sockload.c) comes from the same machine. Servers take turns within each
round; a ratio is the median of the rounds' ratios. Figures of one run
compare, figures of two runs do not. DNS is nsd, policy hosts are nginx.
Processor time and memory are those of all processes of a daemon together.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from benchmarks.peers import Server, Servers, start
from benchmarks.plot import draw
from benchmarks.rig import (
    DAY,
    FLOOR,
    Bench,
    ImpatientDaemon,
    Load,
    Place,
    SlowDaemon,
    cpu_seconds,
    family,
    fill,
    memory,
    place,
    quiet,
)
from tests.support.namespace import inside
from tests.support.servers.daemon import Daemon
from tests.support.servers.internet import Internet, Site, policy
from tests.support.waiting import wait_until

CACHED, REFRESHED, COLD_WITH, COLD_WITHOUT = 300, 500, 600, 20_000  # domains
CROWD = 64  # connections that ask for unknown domains
SHAPES = ((1, 1), (16, 1), (100, 1), (16, 16))  # connections by requests under way on each
MANY = (1, 4, 16, 64, 256, 1000)  # connections, for the plot
OURS = "daemon"
MANY_HELD = 100_000  # policies, for the memory
_said: list[str] = []  # the lines of the table


def cached(bench: Bench, internet: Internet, peers: Servers, svg: Path | None) -> None:
    """Cached lookups over TCP and a unix socket, and what they cost the processor."""
    names = [f"known{i}.bench.test" for i in range(CACHED)]
    internet.publish_all({name: Site(policy("mx.example.net", "*.backup.example.net")) for name in names})
    keys = bench.keys("cached", names)
    for peer in peers.values():
        bench.load(peer.place, keys, CROWD, seconds=0)
    path = bench.directory / "cached-daemon"
    fill(path / "store", names, time.time())
    unix, unix_floor, tcp_floor = f"unix:{path}/socket", f"unix:{path}/floor", "inet:127.0.0.1:18499"
    config = quiet(internet) | {"listen": ["inet:127.0.0.1:18462", unix]}
    with Daemon(path, config) as daemon, bench.floor(tcp_floor) as floor, bench.floor(unix_floor):
        servers = {FLOOR: Server((tcp_floor, "postfix"), floor), OURS: Server(place(daemon), daemon.pid), **peers}
        tcp = {name: server.place for name, server in servers.items()}
        for connections, depth in SHAPES:
            show(f"cached, TCP, {connections}x{depth}", bench.compare(tcp, keys, connections, depth))
        local = {FLOOR: (unix_floor, "postfix"), OURS: (unix, "postfix")}
        for connections, depth in SHAPES:
            show(f"cached, unix socket, {connections}x{depth}", bench.compare(local, keys, connections, depth))
        costs = {
            name: cost(bench, server.pid, server.place, keys)
            for name, server in servers.items()
            if server.pid is not None
        }
        for name, microseconds in costs.items():
            if name != FLOOR:
                beside = f"{microseconds / costs[FLOOR]:.2f} of the floor's"
                say("processor per cached lookup, 100x1", f"{microseconds:.2f} us, {beside}", name)
        if svg is not None:
            runs = {connections: bench.compare(tcp, keys, connections) for connections in MANY}
            lines = {name: [(number, run[name]["rps"]) for number, run in runs.items()] for name in tcp}
            draw(svg, "cached lookups a second over TCP", lines)
    with SlowDaemon(path, quiet(internet)) as daemon, bench.floor(tcp_floor):
        slow = {FLOOR: (tcp_floor, "postfix"), OURS: place(daemon)}
        show("cached, TCP, 16x1, without uvloop", bench.compare(slow, keys, 16))


def cost(bench: Bench, pid: int, where: Place, keys: Path) -> float:
    """Microseconds of the processor for one lookup at 100 connections."""
    before, seconds = cpu_seconds(pid), 2 * bench.seconds
    lookups = float(bench.load(where, keys, 100, seconds=seconds)["rps"]) * seconds
    return (cpu_seconds(pid) - before) / lookups * 1e6


def at_rest(bench: Bench, internet: Internet, peers: Servers) -> None:
    """Memory of all processes: with nothing to do and nothing known, and of the daemon with many policies."""
    with Daemon(bench.directory / "empty", quiet(internet)) as daemon:
        for name, server in {OURS: Server(place(daemon), daemon.pid), **peers}.items():
            if server.pid is not None:
                say("memory at rest, all processes", f"{memory(server.pid):.1f} MiB", name)
    path = bench.directory / "many"
    fill(path / "store", (f"held{i}.bench.test" for i in range(MANY_HELD)), time.time(), alike=False)
    with Daemon(path, quiet(internet)) as daemon:
        daemon.wait_for("store-loaded")
        say(f"memory with {MANY_HELD:,} policies, all processes", f"{memory(daemon.pid):.1f} MiB")


def after_idling(bench: Bench, internet: Internet) -> None:
    """The first lookup when the workers have ended for want of work, and one with a worker at hand."""
    names = [f"idle{i}.bench.test" for i in range(2 * bench.rounds)]
    internet.publish_all({name: Site(policy("mx.example.net")) for name in names})
    times: dict[int, list[float]] = {0: [], 1: []}
    with ImpatientDaemon(bench.directory / "idle", quiet(internet)) as daemon, daemon.client() as client:
        for number, name in enumerate(names):
            if number % 2 == 0:  # the process from which workers are forked stays
                wait_until(lambda: len(family(daemon.pid)) <= 2, "no worker is left")
            begun = time.monotonic()
            client.ask("postfix", name)
            times[number % 2].append((time.monotonic() - begun) * 1000)
    say("first lookup after an idle hour", f"{median(times[0]):.1f} ms, the next {median(times[1]):.1f} ms")


def start_up(bench: Bench, internet: Internet) -> None:
    """From the start of the process to the line `ready`, on the store of `cached`."""
    daemon, times = Daemon(bench.directory / "cached-daemon", quiet(internet)), []
    for _ in range(bench.rounds):
        begun = time.monotonic()
        with daemon:
            times.append(time.monotonic() - begun)
    say("start to ready", f"{median(times):.2f} s")


def refreshing(bench: Bench, internet: Internet) -> None:
    """Cached lookups while policies that are overdue are refreshed, and quiet afterwards."""
    names = [f"due{i}.bench.test" for i in range(REFRESHED)]
    internet.publish_all({name: Site(policy("mx.example.net", "*.backup.example.net")) for name in names})
    path = bench.directory / "refreshing"
    fill(path / "store", names, time.time() - 2 * DAY)
    keys = bench.keys("due", names)
    with Daemon(path, quiet(internet)) as daemon:
        begun = time.monotonic()
        busy = bench.load(place(daemon), keys, 16, seconds=3)
        wait_until(lambda: all(internet.nginx.requests(f"mta-sts.{name}") for name in names), "all are refreshed", 60)
        took = time.monotonic() - begun
        still = bench.load(place(daemon), keys, 16, seconds=3)
    say(
        f"cached, 16x1, while {REFRESHED} are refreshed",
        f"{busy['rps']:9,.0f}/s {busy['rps'] / still['rps']:5.2f} of quiet      p99 {busy['p99_us'] / 1000:.2f} ms; "
        f"all refreshed within {took:.1f} s",
    )


def cold(bench: Bench, internet: Internet, peers: Servers) -> None:
    """Unknown domains without and with a policy, each asked once; cached lookups meanwhile."""
    path = bench.directory / "cold"
    known = bench.directory / "cached"
    fill(path / "store", known.read_text().split(), time.time())
    with Daemon(path, quiet(internet)) as daemon:
        servers = {OURS: Server(place(daemon), daemon.pid), **peers}
        without: dict[str, list[Load]] = {name: [] for name in servers}
        with_policy: dict[str, list[Load]] = {name: [] for name in servers}
        for number in range(bench.rounds):
            for name, server in servers.items():
                label = f"{number}{'x' if name == OURS else 'y'}"
                keys = bench.keys("none", (f"cold{i}.none{label}{i % 97}.test" for i in range(COLD_WITHOUT)))
                without[name].append(asked_once(bench, server, keys, COLD_WITHOUT))
                with_policy[name].append(asked_once(bench, server, unknown(bench, internet, label), COLD_WITH))
        show_cold(f"cold, no policy, {CROWD}x1", without)
        show_cold(f"cold, with a policy, {CROWD}x1", with_policy)
        shares = []
        for number in range(bench.rounds):
            burst = unknown(bench, internet, f"burst{number}")
            still = bench.load(place(daemon), known, 16)
            with bench.crowd(place(daemon), burst, CROWD):
                busy = bench.load(place(daemon), known, 16, seconds=0.8)
            shares.append(busy["rps"] / still["rps"])
        say(f"cached, 16x1, in a burst of {COLD_WITH}", f"{'':11} {median(shares):5.2f} of quiet")


def asked_once(bench: Bench, server: Server, keys: Path, number: int) -> Load:
    """Ask for each of *number* keys once; "cost" is microseconds of the processor for each."""
    before = cpu_seconds(server.pid) if server.pid is not None else 0.0
    load = bench.load(server.place, keys, CROWD, seconds=0)
    spent = cpu_seconds(server.pid) - before if server.pid is not None else float("nan")
    return {**load, "cost": spent / number * 1e6}


def unknown(bench: Bench, internet: Internet, label: str) -> Path:
    """Domains with policies that nobody asked for yet."""
    names = [f"cold{i}.{label}.bench.test" for i in range(COLD_WITH)]
    internet.publish_all({name: Site(policy("mx.example.net")) for name in names})
    return bench.keys(label, names)


def show(title: str, loads: dict[str, Load]) -> None:
    for name, load in loads.items():
        if name != FLOOR:
            say(title, f"{load['rps']:9,.0f}/s {load['ratio']:5.2f} of the floor  {times(load)}", name)


def show_cold(title: str, loads: dict[str, list[Load]]) -> None:
    ours = loads[OURS]
    for name, runs in loads.items():
        middle = sorted(runs, key=lambda load: load["rps"])[len(runs) // 2]
        ratio = median(mine["rps"] / theirs["rps"] for mine, theirs in zip(ours, runs, strict=True))
        beside = "" if name == OURS else f"we {ratio:5.2f} of it"
        cost = f"{median(load['cost'] for load in runs):,.0f} us each"
        found = f"  {middle['ok']:,} found" if middle["ok"] else ""
        say(title, f"{middle['rps']:9,.0f}/s {beside:15}  {times(middle)}  {cost}{found}", name)


def times(load: Load) -> str:
    return ", ".join(f"{load[key] / 1000:.2f}" for key in ("p50_us", "p99_us", "p999_us")) + " ms"


def say(title: str, words: str, name: str = OURS) -> None:
    """Print a line of the table, and keep it for `write_page`."""
    label = title if name == OURS else f"{title}; {name}"
    _said.append(f"{label:52} {words}".rstrip())
    print(_said[-1], flush=True)


def write_page(path: Path) -> None:
    """Put the table into a page, in the place of the one after "beside it::"."""
    table = "".join(f"    {line}\n" for line in _said)
    text, number = re.subn(r"(?<=beside it::\n\n)(?:    .*\n)+", lambda _: table, path.read_text())
    if number != 1:
        raise SystemExit(f'{path} has no table after "beside it::"')
    path.write_text(text)


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0, help="of one measurement (default: 2)")
    parser.add_argument("--rounds", type=int, default=3, help="of which the median counts (default: 3)")
    parser.add_argument("--svg", type=Path, help="also plot lookups by connections into this file")
    parser.add_argument("--page", type=Path, help="also put the table into this page (docs/performance.rst)")
    parser.add_argument("--mta-sts-daemon", help="postfix-mta-sts-resolver's program, measured beside it")
    parser.add_argument("--tlspol", help="postfix-tlspol's program, the same")
    parser.add_argument("--peer", action="append", default=[], metavar="ADDRESS:MAP", help="another daemon that runs")
    options = parser.parse_args(arguments)
    if not inside():
        parser.error("it needs root and namespaces of its own: make bench")
    programs = {"mta-sts-resolver": options.mta_sts_daemon, "tlspol": options.tlspol}
    peers: Servers = {peer: Server(tuple(peer.rsplit(":", 1))) for peer in options.peer}
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        bench = Bench(directory, options.seconds, options.rounds)
        internet = stack.enter_context(Internet(directory / "internet"))
        peers |= start(stack, bench, internet, {name: program for name, program in programs.items() if program})
        at_rest(bench, internet, peers)
        cached(bench, internet, peers, options.svg)
        start_up(bench, internet)
        after_idling(bench, internet)
        refreshing(bench, internet)
        cold(bench, internet, peers)
    if options.page is not None:
        write_page(options.page)


if __name__ == "__main__":
    main(sys.argv[1:])
