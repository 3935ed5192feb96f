"""What every measurement needs: the load generator, the floor, the daemon, and other daemons beside it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median
from typing import Any

from postfix_mtasts.adapters.store.disk import DiskStore
from postfix_mtasts.core.entry import Entry
from postfix_mtasts.core.names import parse_domain
from postfix_mtasts.core.policy import parse_policy
from tests.support.servers.daemon import Daemon
from tests.support.servers.debian import NSD
from tests.support.servers.internet import Internet, policy
from tests.support.waiting import wait_until

HERE = Path(__file__).parent
DAY = 86_400.0
FLOOR = "floor"
Load = dict[str, Any]
Place = tuple[str, str]  # an address and a map


class Bench:
    """The programs, the directory, and how long each measurement takes."""

    def __init__(self, directory: Path, seconds: float, rounds: int) -> None:
        self.directory, self.seconds, self.rounds = directory, seconds, rounds
        for name in ("sockload", "floor"):
            subprocess.run(["cc", "-O2", "-o", directory / name, HERE / f"{name}.c"], check=True)

    def keys(self, name: str, domains: Iterable[str]) -> Path:
        path = self.directory / name
        path.write_text("".join(f"{domain}\n" for domain in domains))
        return path

    def _command(self, place: Place, keys: Path, connections: int, depth: int, seconds: float) -> list[str]:
        return list(map(str, [self.directory / "sockload", *place, keys, connections, depth, seconds]))

    def load(self, place: Place, keys: Path, connections: int, depth: int = 1, seconds: float | None = None) -> Load:
        """Ask at random for `seconds`; for 0, each key once."""
        command = self._command(place, keys, connections, depth, self.seconds if seconds is None else seconds)
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        load: Load = json.loads(done.stdout)
        return load

    @contextmanager
    def crowd(self, place: Place, keys: Path, connections: int) -> Iterator[None]:
        """Each key asked once, by others, while the block runs."""
        with subprocess.Popen(self._command(place, keys, connections, 1, 0), stdout=subprocess.DEVNULL) as crowd:
            yield
            crowd.wait()

    @contextmanager
    def floor(self, address: str) -> Iterator[int]:
        """The floor on *address*; its process id."""
        process = subprocess.Popen([self.directory / "floor", address])
        try:
            self.wait_for((address, "postfix"))
            yield process.pid
        finally:
            process.kill()
            process.wait()

    def wait_for(self, place: Place) -> None:
        command = self._command(place, self.keys("probe", ["a.test"]), 1, 1, 0)
        wait_until(lambda: subprocess.run(command, capture_output=True).returncode == 0, f"{place[0]} answers")

    def compare(self, places: Mapping[str, Place], keys: Path, connections: int, depth: int = 1) -> dict[str, Load]:
        """The median round of each server, taken in turns; "ratio" is the median of its ratios to the first."""
        runs: dict[str, list[Load]] = {name: [] for name in places}
        for _ in range(self.rounds):
            for name, place in places.items():
                runs[name].append(self.load(place, keys, connections, depth))
        first = next(iter(runs.values()))
        return {
            name: {
                **sorted(loads, key=lambda load: load["rps"])[len(loads) // 2],
                "ratio": median(load["rps"] / base["rps"] for load, base in zip(loads, first, strict=True)),
            }
            for name, loads in runs.items()
        }


class SlowDaemon(Daemon):
    """The daemon where uvloop is not installed."""

    def command(self) -> list[str]:
        stub = self.config_file.parent / "without"
        stub.mkdir(exist_ok=True)
        (stub / "uvloop.py").write_text("raise ImportError\n")
        return ["env", f"PYTHONPATH={stub}:{HERE.parent}", *super().command()]


class ImpatientDaemon(Daemon):
    """The daemon as an hour without work leaves it, at once: its workers end as soon as they have nothing to do."""

    CODE = (
        "import sys; from postfix_mtasts.daemon.workers import pool; pool.IDLE, pool.LOOK_EVERY = 0.2, 0.1;"
        "from postfix_mtasts.cli.main import main; sys.exit(main())"
    )

    def command(self) -> list[str]:
        return [sys.executable, "-c", self.CODE, *super().command()[3:]]


def family(pid: int) -> list[int]:
    """Return a process and all that descend from it."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it ended meanwhile
            children.setdefault(int(_stat(stat)[1]), []).append(int(stat.parent.name))
    found = [pid]
    for each in found:
        found += children.get(each, [])
    return found


def _stat(path: Path) -> list[str]:
    """Read proc(5)'s stat from the third field on: state, parent."""
    return path.read_text().rpartition(")")[2].split()


def cpu_seconds(pid: int) -> float:
    """What a process and its descendants have used of the processor until now."""
    fields = [_stat(Path(f"/proc/{each}/stat")) for each in family(pid)]
    return sum(int(each[11]) + int(each[12]) for each in fields) / os.sysconf("SC_CLK_TCK")


def memory(pid: int) -> float:
    """MiB that a process and its descendants hold; what they share counts once (proportional set size)."""
    texts = [Path(f"/proc/{each}/smaps_rollup").read_text() for each in family(pid)]
    return sum(int(text.partition("\nPss:")[2].split()[0]) for text in texts) / 1024


def place(daemon: Daemon) -> Place:
    return daemon.address, "postfix"


def fill(directory: Path, names: Iterable[str], fetched_at: float, *, alike: bool = True) -> None:
    """Store policies, two mx patterns each, as if they had been fetched at *fetched_at*; *alike*: the same for all."""
    today = time.time() // DAY * DAY

    def entry(name: str) -> Entry:
        text = policy("mx.example.net" if alike else f"mx.{name}", "*.backup.example.net")
        return Entry(parse_domain(name), parse_policy(text), "1", fetched_at, today)

    store = DiskStore(directory)
    store.put([entry(name) for name in names])
    store.close()


def quiet(internet: Internet, **changes: Any) -> dict[str, Any]:
    """A configuration that asks nsd itself, and logs no more than it must."""
    return internet.config(dns={"servers": [f"{NSD}:53"]}, log={"level": "info"}, **changes)
