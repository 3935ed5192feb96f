"""What `make bad-minutes` does to a daemon: each attack goes on for a while in a process of its own.

An attack is a function of the World and of the time at which it ends
(CLOCK_MONOTONIC, which all processes share). It returns what it has to tell.
"""

from __future__ import annotations

import itertools
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import yaml

from tests.support.fakes.hanging import HangingHost
from tests.support.servers.dnsserver import DnsServer
from tests.support.servers.hostile_https import PolicyHost, after, drips, repeats
from tests.support.servers.socketmap_client import SocketmapClient, frame

HELLO_REQUEST = b"\x16\x03\x03\x00\x04\x00\x00\x00\x00"
LONG_RECORD = b"\x16\x03\x03\x40\x00\x02"  # the begin of a handshake message of 16 KiB
HANGING = [f"127.0.1.{number}" for number in range(1, 21)]
DRIPPING = [f"127.0.2.{number}" for number in range(1, 11)]
EMPTY = [f"127.0.3.{number}" for number in range(1, 11)]
SILENT_ZONE, SILENT, LAME = "127.0.0.99", "127.0.0.53", "127.0.0.52"
ANY = "*", "*"


@dataclass(frozen=True)
class World:
    """The daemon, and what the attacks need to reach it."""

    pid: int
    address: str
    metrics: tuple[str, int]
    config_file: Path
    disk: Path
    store: Path
    unread: Path  # while this file is there, nobody reads the daemon's log
    flooder: Path  # sockload
    keys: Path  # of held policies, one a line

    @property
    def control(self) -> Path:
        return self.store / "control"

    def client(self) -> SocketmapClient:
        return SocketmapClient(self.address)

    def hang_up(self) -> None:
        os.kill(self.pid, signal.SIGHUP)


Attack: TypeAlias = Callable[[World, float], str]


def pausing(until: float, seconds: float) -> Iterator[int]:
    """Count at this pace until the attack ends."""
    for number in itertools.count():
        if time.monotonic() >= until:
            return
        yield number
        time.sleep(max(0.0, min(seconds, until - time.monotonic())))


def unread_log(world: World, until: float) -> str:
    world.unread.touch()
    time.sleep(until - time.monotonic())
    world.unread.unlink()
    return ""


def flooders(world: World, until: float) -> str:
    """Eight connections with 256 requests each under way, all the time."""
    left = str(max(1.0, until - time.monotonic()))
    command = [world.flooder, world.address, "postfix", world.keys, "8", "256", left]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    return done.stdout.strip()[:60] or f"exit code {done.returncode}"


def slow_connections(world: World, until: float) -> str:
    """300 to metrics.listen and 40 to the control socket, a byte a second in each."""
    opened = 0
    places: list[tuple[int, tuple[str, int] | str]] = [(socket.AF_INET, world.metrics)] * 300
    places += [(socket.AF_UNIX, str(world.control))] * 40
    kept: dict[int, socket.socket] = {}
    for _ in pausing(until, 1):
        for number, (family, place) in enumerate(places):
            try:
                if number not in kept:
                    kept[number] = socket.socket(family)
                    kept[number].settimeout(0.5)
                    kept[number].connect(place)
                    opened += 1
                kept[number].send(b"G")
            except OSError:
                kept.pop(number).close()
    for sock in kept.values():
        sock.close()
    return f"{opened} connections"


def hanging_and_dripping(world: World, until: float) -> str:
    """A thousand domains at once, every 20 s: hosts that say nothing, hosts that say a byte at a time."""
    answers: Counter[str] = Counter()
    with ExitStack() as stack:
        stack.enter_context(HangingHost(*HANGING))
        for address in DRIPPING:
            stack.enter_context(PolicyHost(after(LONG_RECORD, drips(b"\x02")), address, 443))
        for burst in pausing(until, 20):
            names = [f"d{burst * 750 + number}.hang.test" for number in range(750)]
            names += [f"d{burst * 250 + number}.drip.test" for number in range(250)]
            answers += ask_at_once(world, names, until)
    return told(answers)


def tls_without_data(world: World, until: float) -> str:
    """Hosts that send HelloRequests without end, as fast as they are read: four new domains a second."""
    answers: Counter[str] = Counter()
    with ExitStack() as stack:
        for address in EMPTY:
            stack.enter_context(PolicyHost(repeats(HELLO_REQUEST), address, 443))
        for number in pausing(until, 1):
            answers += ask_at_once(world, [f"d{number * 4 + more}.empty.test" for more in range(4)], until)
    return told(answers)


def ask_at_once(world: World, names: Iterable[str], until: float) -> Counter[str]:
    """Ask all *names* over 20 connections and count the answers that came in time, by their first word."""
    answers: Counter[str] = Counter()
    with ExitStack() as stack:
        clients = [stack.enter_context(world.client()) for _ in range(20)]
        sent: Counter[SocketmapClient] = Counter()
        for name, client in zip(names, itertools.cycle(clients), strict=False):
            client.send("postfix", name)
            sent[client] += 1
        for client, number in sent.items():
            for _ in range(number):
                answers[client.receive().partition(" ")[0]] += 1
                if time.monotonic() > until + 20:
                    return answers
    return answers


def told(answers: Counter[str]) -> str:
    return ", ".join(f"{number} {word}" for word, number in answers.most_common())


def workers_stopped_and_killed(world: World, until: float) -> str:
    """Every three seconds a process below the daemon is stopped for good or killed; one in ten is the forkserver."""
    harmed = 0
    for number in pausing(until, 3):
        forkserver = children(world.pid)
        victims = forkserver if number % 10 == 9 else [pid for parent in forkserver for pid in children(parent)]
        if victims:
            with suppress(ProcessLookupError):
                os.kill(random.choice(victims), signal.SIGSTOP if number % 2 else signal.SIGKILL)
                harmed += 1
    return f"{harmed} processes"


def children(pid: int) -> list[int]:
    listed = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True).stdout
    return [int(child) for child in listed.split()]


def dead_mail_hosts(world: World, until: float) -> str:
    """Two of three mail hosts are in a zone whose name server is silent; each domain is left to DANE all the same."""
    answers: Counter[str] = Counter()
    worst = 0.0
    with silent(SILENT_ZONE), world.client() as client:
        for number in pausing(until, 0.25):
            began = time.monotonic()
            answers[client.ask("postfix-dane", f"d{number % 400}.dane.test").rstrip()] += 1
            worst = max(worst, time.monotonic() - began)
    return f"{told(answers)}, worst {worst:.1f} s"


@contextmanager
def silent(address: str) -> Iterator[None]:
    """A name server that takes questions and says nothing."""
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.bind((address, 53))
        yield


def reload_storms(world: World, until: float) -> str:
    """200 SIGHUPs in four seconds, then four seconds of peace."""
    sent = 0
    for _ in pausing(until, 4):
        for _ in range(200):
            world.hang_up()
            sent += 1
            time.sleep(0.02)
    return f"{sent} SIGHUPs"


def clients_that_never_read(world: World, until: float) -> str:
    """100 that ask as much as is taken, half of them with their side closed; others after 30 s."""
    request = frame(b"postfix d1.held.test") * 5_000
    for _ in pausing(until, 0):
        kept = [world.client().sock for _ in range(100)]
        for number, sock in enumerate(kept):
            sock.setblocking(False)
            with suppress(OSError):
                for _ in range(20):
                    sock.send(request)
            if number % 2:
                with suppress(OSError):
                    sock.shutdown(socket.SHUT_WR)
        time.sleep(max(0.0, min(30.0, until - time.monotonic())))
        for sock in kept:
            sock.close()
    return ""


def silent_and_lame_resolvers(world: World, until: float) -> str:
    """The first name server says nothing, the second knows nothing and does not recurse."""

    def without_recursion(reply: bytes, tcp: bool) -> list[bytes]:
        return [reply[:2] + b"\x80\x00" + reply[4:6] + bytes(6) + reply[12 : 12 + question_length(reply)]]

    before = world.config_file.read_text()
    config = yaml.safe_load(before)
    config["dns"]["servers"] = [f"{SILENT}:53", f"{LAME}:53", *config["dns"]["servers"]]
    with silent(SILENT), DnsServer({}, {ANY: without_recursion}, host=LAME, port=53) as lame:
        replace(world.config_file, yaml.safe_dump(config))
        world.hang_up()
        time.sleep(until - time.monotonic())
        replace(world.config_file, before)
        world.hang_up()
        time.sleep(2)  # until the reload is done
    return f"{sum(lame.asked.values())} questions to the lame one"


def question_length(message: bytes) -> int:
    return message.index(b"\0", 12) + 5 - 12


def replace(path: Path, text: str) -> None:
    """Change a file at once: a reload must never see half of it."""
    new = path.with_suffix(".new")
    new.write_text(text)
    new.replace(path)


def full_disk_and_lost_directory(world: World, until: float) -> str:
    """No byte free for ten seconds, then room; then the store's directory is removed."""
    for _ in pausing(until, 5):
        filler = world.disk / "filler"
        with suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        time.sleep(10)
        filler.unlink()
        time.sleep(5)
        shutil.rmtree(world.store, ignore_errors=True)
    return ""


def control_socket_removed(world: World, until: float) -> str:
    for _ in pausing(until, 3):
        world.control.unlink(missing_ok=True)
    return ""


ATTACKS: list[Attack] = [
    unread_log, hanging_and_dripping, flooders, workers_stopped_and_killed, tls_without_data, silent_and_lame_resolvers,
    reload_storms, dead_mail_hosts, clients_that_never_read, full_disk_and_lost_directory, slow_connections,
    control_socket_removed,
]  # fmt: skip
