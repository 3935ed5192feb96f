"""`make bad-fleet`: a week of faults in five minutes, in a seeded random order, under lookups.

    python -m tests.support.namespace python -m benchmarks.fleetfaults [--minutes 5] [--seed N]

Three daemons share one server, which has a replica; a fourth, alone, has the
same load and none of the faults, for comparison. Policies change all the time
and end soon, rows are forged, and each answer is compared with the truth:

wrong   not what the domain published within max_age, or older than what the same daemon answered before
late    after 1 s, or 5 s for a domain that was not known
lost    a policy that a daemon does not have at the end, or that it has not after kill -9 of all, without the server

On a busy machine compare what is late, and TEMP, with the fourth daemon's. It
fails if there is one of them, an internal error, or a daemon that says
twice that the shared store is away, or back.
"""

from __future__ import annotations

import argparse
import itertools
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from postfix_mtasts.core.entry import Entry
from postfix_mtasts.core.names import Domain
from tests.support.fakes.entries import entry
from tests.support.namespace import inside
from tests.support.servers.daemon import Daemon
from tests.support.servers.debian import NSD
from tests.support.servers.internet import Internet, Site, policy
from tests.support.servers.redis import RedisServer
from tests.support.waiting import wait_until
from tests.support.worlds.fleet import member, secure

DAEMONS, HELD, NEW = 3, 150, 2000
INTERVAL, MAX_AGE = 15, 60  # seconds
LATE, LATE_NEW = 1.0, 5.0  # seconds
ADDRESS, PORT = "127.0.0.60", 6400  # of whichever server is the primary
KEY = "sesame\n"
URL = f"redis://{ADDRESS}:{PORT}/0"


class Asked(NamedTuple):
    seconds: float
    new: bool
    fault: str  # the last one before the answer


@dataclass
class Truth:
    """What each domain has published, and when."""

    internet: Internet
    names: list[str]
    since: dict[str, list[float]] = field(default_factory=dict)  # by the number of the version
    fault: str = ""  # the last one

    def publish(self) -> None:
        self.internet.publish_all({name: Site(self._policy(0)) for name in self.names})
        self.since = {name: [0.0] for name in self.names}

    def _policy(self, version: int) -> bytes:
        return policy(f"v{version}.example.net", max_age=MAX_AGE)

    def change(self, name: str) -> None:
        """Publish another policy; no fetch sees half of it."""
        path = self.internet.nginx.directory / "hosts" / f"mta-sts.{name}" / ".well-known" / "mta-sts.txt"
        path.with_suffix(".new").write_bytes(self._policy(len(self.since[name])))
        self.since[name].append(time.monotonic())
        path.with_suffix(".new").rename(path)

    def version(self, name: str, answer: str, asked: float) -> int | None:
        """Which version *answer* is; None if it is none that was published within max_age before *asked*."""
        since = self.since[name]
        for version in reversed(range(len(since))):
            if answer == secure(f"v{version}.example.net"):
                ended = since[version + 1] if version + 1 < len(since) else float("inf")
                return version if ended > asked - MAX_AGE - LATE_NEW else None
        return None


class Relay:
    """A daemon, who asks it, and what it said in all its lives."""

    def __init__(self, name: str, daemon: Daemon, truth: Truth, new: Callable[[], tuple[str, bool]]) -> None:
        self.name, self.daemon, self.truth, self._new = name, daemon, truth, new
        self.asked: list[Asked] = []
        self.wrong: list[str] = []
        self.log: list[str] = []
        self.excused = threading.Event()  # it was stopped, or killed, by us

    def work(self, new: bool, over: threading.Event) -> None:
        """Ask until it is over."""
        latest: dict[str, int] = {}
        while not over.is_set():
            try:
                with self.daemon.client() as client:
                    while not over.is_set():
                        name, published = self._new() if new else (random.choice(self.truth.names), True)
                        excused, began = self.excused.is_set(), time.monotonic()
                        answer = client.ask("postfix", name)
                        took = time.monotonic() - began
                        if not excused and not self.excused.is_set():
                            self.asked.append(Asked(took, new, self.truth.fault))
                        self._judge(name, answer, began, published, new, latest)
                        over.wait(0.1 if new else 0.002)
            except (OSError, EOFError):  # killed: Postfix tries again, too
                if not self.excused.wait(0.2) and not over.is_set():
                    self.wrong.append("the connection was closed")

    def _judge(self, name: str, answer: str, began: float, published: bool, new: bool, latest: dict[str, int]) -> None:
        if new:
            if answer != (secure("v0.example.net") if published else "NOTFOUND "):
                self.wrong.append(f"{name}: {answer} at {time.time():.1f}, {self.truth.fault}")
            return
        version = self.truth.version(name, answer, began)
        if version is None or version < latest.get(name, 0):
            before = f"{latest.get(name)} before, of {len(self.truth.since[name])}"
            self.wrong.append(f"{name}: {answer}; {before}, at {time.time():.1f}, {self.truth.fault}")
        else:
            latest[name] = version

    def keep_log(self) -> None:
        self.log += [*self.daemon.lines, "--"]


class Faults:
    """What befalls the server and the daemons."""

    def __init__(self, directory: Path, relays: list[Relay], names: list[str], random: random.Random) -> None:
        options = ["--enable-debug-command", "yes"]
        self.primary, self.replica = (
            RedisServer(directory / name, *options, address=address)
            for name, address in (("one", "127.0.0.61"), ("two", "127.0.0.62"))
        )
        self._relays, self._names, self._random = relays, names, random

    def pause(self, longest: float = 5.0) -> None:
        time.sleep(self._random.uniform(0.2, longest))

    def hang(self) -> None:
        self.primary.hang()
        self.pause(8.0)
        self.primary.go_on()

    def debug_sleep(self) -> None:
        with self.primary.client() as client:
            client.execute_command("DEBUG", "SLEEP", str(self._random.uniform(0.1, 4.0)))

    def restart_empty(self) -> None:
        self.primary.end()
        self.pause()
        self.primary.__enter__()
        self.primary.take_over(ADDRESS, PORT)

    def fail_over(self) -> None:
        self.primary.end()
        self.pause()
        self.replica.take_over(ADDRESS, PORT)
        self.pause(3.0)
        self.replica.promote()
        self.primary, self.replica = self.replica, self.primary
        self.replica.__enter__()
        self.replica.follow(ADDRESS, PORT)

    def cut(self) -> None:
        for _ in range(self._random.randint(1, 10)):
            with self.primary.client() as client:
                for kind in ("normal", "pubsub"):
                    client.client_kill_filter(_type=kind)
            self.pause(0.5)

    def flush(self) -> None:
        with self.primary.client() as client:
            client.flushall()

    def fill(self) -> None:
        self.primary.set("maxmemory", "1")
        self.pause()
        self.primary.set("maxmemory", "0")

    def read_only(self) -> None:
        with self.primary.client() as client:
            client.replicaof("127.0.0.1", 1)
        self.pause()
        self.primary.promote()

    def forge(self) -> None:
        """Rows without a signature, of other policies, some of a wrong clock; and rubbish."""
        forger, now = member(self.primary, url=URL), time.time()
        for name in self._random.sample(self._names, 20):
            row = entry(domain=name, fetched_at=now + self._random.uniform(-5, 50), mx=["forged.example.net"])
            forger.offer([(row, now + MAX_AGE)])
        with self.primary.client() as client:
            client.set(f"mtasts:p:{self._random.choice(self._names)}", "rubbish")

    def kill_daemon(self) -> None:
        relay = self._random.choice(self._relays)
        relay.excused.set()
        relay.daemon.kill()
        relay.keep_log()
        self.pause(2.0)
        relay.daemon.__enter__()
        relay.excused.clear()

    def stop_daemon(self) -> None:
        relay = self._random.choice(self._relays)
        relay.excused.set()
        relay.daemon.send_signal("SIGSTOP")
        self.pause()
        relay.daemon.send_signal("SIGCONT")
        relay.daemon.ask("postfix", self._names[0])
        time.sleep(2.0)  # who asked before has had the answer by now
        relay.excused.clear()

    def all(self) -> list[Callable[[], None]]:
        return [
            self.hang, self.debug_sleep, self.restart_empty, self.fail_over, self.cut, self.flush, self.fill,
            self.read_only, self.forge, self.kill_daemon, self.stop_daemon,
        ]  # fmt: skip

    def rage(self, until: float) -> Counter[str]:
        """Each fault in turn, in an order of its own each time; some at once with a daemon's."""
        done: Counter[str] = Counter()
        while time.monotonic() < until:
            faults = self.all()
            self._random.shuffle(faults)
            for fault in faults:
                if time.monotonic() < until:
                    print(f"{until - time.monotonic():5.0f} s left: {fault.__name__}", flush=True)
                    self._relays[0].truth.fault = fault.__name__
                    fault()
                    done[fault.__name__] += 1
                    self.pause(3.0)
        return done


def told_once(log: Sequence[str]) -> bool:
    """Whether each life of a daemon told of the shared store's going and coming in turns."""
    words = [word for line in log for word in ("shared-away", "shared-back", "--") if word in line.split(" ")]
    return not any(one == other != "--" for one, other in itertools.pairwise(words))


def mishaps(log: Sequence[str]) -> list[int]:
    """Which lines tell of an error of ours."""
    return [number for number, line in enumerate(log) if "internal-error" in line or "Traceback" in line]


def lost(relay: Relay) -> list[str]:
    with relay.daemon.client() as client:
        now, truth = time.monotonic(), relay.truth
        return [name for name in truth.names if truth.version(name, client.ask("postfix", name), now) is None]


def report(relays: Sequence[Relay]) -> int:
    """Print what the answers were; return how many were wrong or late."""
    bad = 0
    for relay in relays:
        for new, limit in ((False, LATE), (True, LATE_NEW)):
            asked = sorted(each for each in relay.asked if each.new is new)
            late = [each for each in asked if each.seconds > limit]
            p50, p99 = (asked[len(asked) * part // 100].seconds * 1000 for part in (50, 99))
            longest = ", ".join(f"{each.seconds:.2f} s ({each.fault})" for each in asked[-5:])
            kind = f"{relay.name:7} {'new ' if new else 'held'}"
            print(f"{kind} {len(asked):7,} answers, p50 {p50:.2f} ms, p99 {p99:.1f} ms, longest {longest}; late {late}")
            bad += len(late)
        for wrong in relay.wrong:
            print(wrong)
        for domain in {wrong.split(":")[0] for wrong in relay.wrong}:
            print(*(line for line in relay.log + relay.daemon.lines if domain in line), sep="\n")
        bad += len(relay.wrong)
    return bad


def begin(stack: ExitStack, directory: Path, dice: random.Random) -> tuple[list[Relay], Faults]:
    """Both servers, and the daemons, which hold all policies."""
    internet = stack.enter_context(Internet(directory / "internet"))
    truth = Truth(internet, [f"h{number}.held.test" for number in range(HELD)])
    truth.publish()
    new = [(f"n{number}.new.test", number % 2 == 0) for number in range(NEW)]
    internet.publish_all({name: Site(policy("v0.example.net")) for name, published in new if published})
    (directory / "key").write_text(KEY)
    config = internet.config(
        shared={"url": URL, "key_file": str(directory / "key")},
        refresh={"recheck": "5s", "interval": f"{INTERVAL}s"},
        lookup={"failure_ttl": "2s", "negative_ttl": "60s"},
        fetch={"timeout": "5s"},
        dns={"servers": [f"{NSD}:53"]},  # itself: no Python of ours is to be late
    )
    names = itertools.cycle(new)
    configs = {f"shared{number}": config for number in range(DAEMONS)} | {"alone": config | {"shared": {}}}
    relays = [Relay(name, Daemon(directory / name, each), truth, names.__next__) for name, each in configs.items()]
    faults = Faults(directory, relays[:DAEMONS], truth.names, dice)
    stack.enter_context(faults.primary)
    stack.enter_context(faults.replica)
    faults.primary.take_over(ADDRESS, PORT)
    faults.replica.follow(ADDRESS, PORT)
    for relay in relays:
        stack.enter_context(relay.daemon)
        relay.daemon.wait_for("shared-reconciled" if relay.name != "alone" else "ready")
        lost(relay)  # asked for all, it holds all
    return relays, faults


def under_load(relays: Sequence[Relay], faults: Faults, seconds: float) -> Counter[str]:
    """The faults, while each daemon is asked and policies change."""
    over, truth = threading.Event(), relays[0].truth

    def change() -> None:
        while not over.wait(0.1):
            truth.change(random.choice(truth.names))

    threads = [threading.Thread(target=change, daemon=True)]
    for relay, new in itertools.product(relays, (False, False, True)):
        threads.append(threading.Thread(target=relay.work, args=(new, over), daemon=True))
    for thread in threads:
        thread.start()
    done = faults.rage(time.monotonic() + seconds)
    over.set()
    for thread in threads:
        thread.join()
    return done


def lost_at_the_end(relays: Sequence[Relay], faults: Faults, key_file: Path) -> list[list[str]]:
    """What each daemon has not: once all is well again, and after kill -9 of all without the server."""
    shared, names = member(faults.primary, url=URL, key_file=str(key_file)), relays[0].truth.names
    everything = [Domain(name) for name in names]
    wait_until(lambda: sum(isinstance(row, Entry) for row in shared.get(everything)) == HELD, "all is shared", 90)
    gone = [lost(relay) for relay in relays]
    faults.primary.end()
    for relay in relays:
        relay.daemon.kill()
        relay.keep_log()
    for relay in relays:
        relay.daemon.__enter__()
    return gone + [lost(relay) for relay in relays]


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="make bad-fleet", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args(arguments)
    if not inside():
        parser.error("it needs root and namespaces of its own: make bad-fleet")
    print(f"seed {options.seed}")
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        relays, faults = begin(stack, directory, random.Random(options.seed))
        print(f"faults: {under_load(relays, faults, options.minutes * 60)}")
        bad = report(relays)
        gone = lost_at_the_end(relays, faults, directory / "key")
        print(f"lost, with the shared store, and after kill -9 without it: {[len(names) for names in gone]}")
        errors = ["\n".join(relay.log[at : at + 30]) for relay in relays for at in mishaps(relay.log)]
        once = [told_once(relay.log) for relay in relays]
        print(f"internal errors: {len(errors)}; each outage told of once: {once}", *errors[:3], sep="\n")
        for relay in relays:
            relay.daemon.stop()
    return 1 if bad or any(gone) or errors or not all(once) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
