"""`make bad-minutes`: ten minutes of attacks by turns, and what clients saw meanwhile.

    python -m tests.support.namespace python -m benchmarks.badminutes [--minutes 10]

One daemon holds some thousand policies, a part of which end soon. Clients ask
for held ones all the time and check each answer and its time; others ask for
healthy domains that are new (benchmarks/bystanders.py). Two of the attacks
(benchmarks/attacks.py) go on at any time. Printed is a line for each attack
with what the clients saw while it went on, a line for all of it, and what the
daemon and its processes took before the first attack and a minute after the
last. It fails if a held answer was wrong or late, or a healthy domain was told
NOTFOUND.
"""

from __future__ import annotations

import argparse
import fcntl
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from benchmarks import attacks
from benchmarks.attacks import ATTACKS, World, children
from benchmarks.bystanders import (
    ENDING,
    NEW_PER_SECOND,
    TEXT,
    ask_held,
    ask_new,
    between,
    ending_names,
    held_names,
    merged,
    new_name,
    short_names,
)
from benchmarks.rig import DAY, Bench, fill
from tests.support.namespace import inside
from tests.support.servers.daemon import Daemon
from tests.support.servers.debian import UNBOUND, Knot, Unbound
from tests.support.servers.internet import Internet, Site, zone_lines

WARM, REST = 10.0, 60.0  # seconds
DANE, METRICS = 400, 9480  # domains, a port


class Unheard(Daemon):
    """A daemon with a small pipe for its log, which is not read while the file *unread* is there."""

    unread: Path

    def _read(self) -> None:
        log = cast("IO[bytes]", self._process.stderr)
        fcntl.fcntl(log, fcntl.F_SETPIPE_SZ, 4096)
        for line in log:
            with self._changed:
                self.lines.append(line.decode(errors="replace").rstrip("\n"))
                self._changed.notify_all()
            while self.unread.exists():
                time.sleep(0.1)


def publish(internet: Internet, seconds: float) -> None:
    """All the domains that are asked; the hosts of the bad ones are the attacks' own."""
    new = [new_name(number) for number in range(int(seconds * NEW_PER_SECOND * 1.2))]
    sites = dict.fromkeys([*ending_names(), *new], Site(TEXT))
    sites |= dict.fromkeys(short_names(), Site(TEXT.replace(b"604800", b"120")))
    bursts = int(seconds) // 20 + 2
    bad = [
        ("hang", attacks.HANGING, 750 * bursts),
        ("drip", attacks.DRIPPING, 250 * bursts),
        ("empty", attacks.EMPTY, int(seconds) * 4),
    ]
    lines = [line for name in held_names() for line in zone_lines(name, Site(TEXT))]
    for kind, addresses, number in bad:
        for n in range(number):
            lines += zone_lines(f"d{n}.{kind}.test", Site(TEXT, address=addresses[n % len(addresses)]))
    lines += ["silent.test. 60 IN NS ns.silent.test.", f"ns.silent.test. 60 IN A {attacks.SILENT_ZONE}"]
    internet.publish_all(sites, *lines)
    for n in range(DANE):
        internet.serve(f"d{n}.dane.test", TEXT)


def signed_records() -> list[str]:
    """Domains with a policy and two dead mail hosts before a usable one."""
    lines = [line for n in range(DANE) for line in zone_lines(f"d{n}.dane.test", Site(TEXT))]
    lines += ["mx.dane.test. 60 IN A 127.0.0.2", f"_25._tcp.mx.dane.test. 60 IN TLSA 3 1 1 {'ab' * 32}"]
    for n in range(DANE):
        hosts = (f"a{n}.silent.test", f"b{n}.silent.test", "mx.dane.test")
        lines += [f"d{n}.dane.test. 60 IN MX {place} {host}." for place, host in enumerate(hosts, 1)]
    return lines


def processes(pid: int) -> list[int]:
    return [pid, *(below for child in children(pid) for below in processes(child))]


def takes(pid: int) -> str:
    """What the daemon and the processes below it hold."""
    rss = pss = threads = descriptors = 0
    family = processes(pid)
    for one in family:
        rollup = Path(f"/proc/{one}/smaps_rollup").read_text()
        rss += int(rollup.partition("\nRss:")[2].split()[0])
        pss += int(rollup.partition("\nPss:")[2].split()[0])
        threads += len(os.listdir(f"/proc/{one}/task"))
        descriptors += len(os.listdir(f"/proc/{one}/fd"))
    own = len(os.listdir(f"/proc/{pid}/fd")), len(os.listdir(f"/proc/{pid}/task"))
    return (
        f"RSS {rss / 1024:.0f} MiB, PSS {pss / 1024:.0f} MiB, {descriptors} descriptors ({own[0]} of the daemon), "
        f"{threads} threads ({own[1]}), {len(family) - 1} children"
    )


@contextmanager
def surroundings(directory: Path, seconds: float) -> Iterator[tuple[Unheard, World]]:
    """The outside world and the daemon, its policies held, its store on a disk of 16 MiB."""
    disk = directory / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m,mode=755", "none", str(disk)], check=True)
    store, bench, now = disk / "store", Bench(directory, 1, 1), time.time()
    fill(store, held_names(), now)
    for number, name in enumerate(ending_names()):  # from two minutes after the start on, one after the other
        fill(store, [name], now - 7 * DAY + 120 + number * seconds / ENDING)
    with ExitStack() as stack:
        internet = stack.enter_context(Internet(directory / "internet"))
        publish(internet, seconds + WARM)
        knot = stack.enter_context(Knot(directory / "knot", {"dane.test": signed_records()}))
        anchors = [knot.trust_anchor("dane.test")]
        stack.enter_context(Unbound(directory / "unbound", ["dane.test"], anchors))
        config = internet.config(
            dns={"servers": [f"{UNBOUND}:53"]}, cache={"directory": str(store)},
            metrics={"listen": f"inet:127.0.0.1:{METRICS}"},
        )  # fmt: skip
        daemon = Unheard(directory / "daemon", config)
        daemon.unread = directory / "unread"
        stack.enter_context(daemon)
        daemon.wait_for("store-loaded")
        for name in short_names():
            daemon.ask("postfix", name)
        yield daemon, World(
            daemon.pid, daemon.address, ("127.0.0.1", METRICS), daemon.config_file, disk, store, daemon.unread,
            bench.directory / "sockload", bench.keys("held", held_names()),
        )  # fmt: skip


@dataclass
class Turn:
    """One attack: when it went on, and what it tells."""

    name: str
    began: float
    ended: float
    told: Future[str]


def attack_by_turns(pool: ProcessPoolExecutor, world: World, seconds: float) -> list[Turn]:
    """Begin one attack after the other; each goes on for two such steps."""
    step = seconds / (len(ATTACKS) + 1)
    turns = []
    for attack in ATTACKS:
        now = time.monotonic()
        turns.append(Turn(attack.__name__, now, now + 2 * step, pool.submit(attack, world, now + 2 * step)))
        print(f"{attack.__name__} begins; load average {os.getloadavg()[0]:.1f}; {takes_or_not(world.pid)}", flush=True)
        time.sleep(max(0.0, now + step - time.monotonic()))
    time.sleep(step)
    return turns


def takes_or_not(pid: int) -> str:
    """The same while processes come and go."""
    try:
        return takes(pid)
    except (OSError, IndexError):
        return "(a process ended meanwhile)"


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="make bad-minutes", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    seconds = parser.parse_args(arguments).minutes * 60
    if not inside():
        parser.error("it needs root and namespaces of its own: make bad-minutes")
    spawn = multiprocessing.get_context("spawn")
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory,
        ProcessPoolExecutor(16, spawn) as pool,
        surroundings(Path(directory), seconds) as (daemon, world),
    ):
        begun = time.monotonic()
        until = begun + WARM + seconds
        clients = [pool.submit(work, world.address, until) for work in (ask_held, ask_held, ask_new)]
        time.sleep(WARM)
        before = takes(daemon.pid)
        turns = attack_by_turns(pool, world, seconds)
        held, new = merged([clients[0].result(), clients[1].result()]), clients[2].result()
        tales = [turn.told.exception() or turn.told.result() for turn in turns]
        time.sleep(REST)
        after = takes(daemon.pid)
        events = Counter(line.split(" ", 3)[2] for line in daemon.lines if line.count(" ") > 2)
        print(f"SIGTERM: ended after {daemon.stop():.1f} s", flush=True)
    for turn, tale in zip(turns, tales, strict=True):
        print(f"{turn.name}: {tale}")
        print(f"    held {between(held, turn.began, turn.ended)}\n    new  {between(new, turn.began, turn.ended)}")
    in_all = between(held, 0, until), between(new, 0, until)
    print(f"total\n    held {in_all[0]}\n    new  {in_all[1]}\nbefore {before}\nafter  {after}")
    for event in ("internal-error", "store-damaged", "store-failing", "log-dropped", "worker-died"):
        print(*daemon.events(event)[:5], sep="\n")
    print("log:", ", ".join(f"{number} {event}" for event, number in events.most_common(20)))
    bad = in_all[0].late or in_all[0].wrong or set(in_all[1].wrong) - {"TEMP"} or events["internal-error"]
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
