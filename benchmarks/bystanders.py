"""Clients beside the attacks of `make bad-minutes`: what they ask, and what they see.

Held policies are d0.held.test and so on, which stay; d0.ending.test, whose
stored policies end during the run; d0.short.test, which end every two minutes.
Each is served on and must never be missed. d0.new.test and so on are healthy
domains, each asked once.
"""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from tests.support.servers.internet import policy
from tests.support.servers.socketmap_client import SocketmapClient

LATE = 1.0  # seconds
HELD, ENDING, SHORT, NEW_PER_SECOND = 5_000, 200, 100, 4
TEXT = policy("mx.example.net", "*.backup.example.net")  # what rig.fill stores
ANSWER = "OK secure match=mx.example.net:.backup.example.net servername=hostname"


@dataclass
class Seen:
    """What clients saw in one second, or in many."""

    answers: int = 0
    late: int = 0
    worst: float = 0.0
    wrong: Counter[str] = field(default_factory=Counter)  # the other answers, by their first word

    def add(self, other: Seen) -> None:
        self.answers += other.answers
        self.late += other.late
        self.worst = max(self.worst, other.worst)
        self.wrong += other.wrong

    def __str__(self) -> str:
        wrong = " ".join(f"{number} {word}" for word, number in self.wrong.most_common()) or "0"
        return f"{self.answers:8,} answers, {self.late} late, {wrong} wrong, worst {self.worst:5.2f} s"


Seconds = dict[int, Seen]


def ask(address: str, names: Iterator[str], pause: float, until: float) -> Seconds:
    """Ask *names* one after the other, and check each answer."""
    seconds: Seconds = {}
    client: SocketmapClient | None = None
    while time.monotonic() < until:
        began, name = time.monotonic(), next(names)
        try:
            client = client or SocketmapClient(address)
            answer = client.ask("postfix", name)
        except (OSError, EOFError) as error:
            answer, client = type(error).__name__, None
        took = time.monotonic() - began
        wrong = Counter() if answer == ANSWER else Counter([answer.split(" ")[0]])
        if took > LATE or wrong:
            print(f"    {began:.0f} {name}: {answer[:60]!r} after {took:.2f} s", flush=True)
        seconds.setdefault(int(began), Seen()).add(Seen(1, took > LATE, took, wrong))
        time.sleep(pause)
    return seconds


def ask_by_threads(make_names: Callable[[int], Iterator[str]], address: str, pause: float, until: float) -> Seconds:
    """Four times `ask` beside each other."""
    found: list[Seconds] = []
    threads = [
        threading.Thread(target=lambda names: found.append(ask(address, names, pause, until)), args=(make_names(n),))
        for n in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return merged(found)


def merged(many: Sequence[Seconds]) -> Seconds:
    result: Seconds = {}
    for second, seen in itertools.chain.from_iterable(seconds.items() for seconds in many):
        result.setdefault(second, Seen()).add(seen)
    return result


def ask_held(address: str, until: float) -> Seconds:
    names = held_names() + ending_names() + short_names()
    return ask_by_threads(lambda _: iter(lambda: random.choice(names), ""), address, 0.005, until)


def ask_new(address: str, until: float) -> Seconds:
    """Each name once: four threads, each with a quarter of them."""
    return ask_by_threads(lambda thread: map(new_name, itertools.count(thread, 4)), address, 4 / NEW_PER_SECOND, until)


def held_names() -> list[str]:
    return [f"d{number}.held.test" for number in range(HELD)]


def ending_names() -> list[str]:
    return [f"d{number}.ending.test" for number in range(ENDING)]


def short_names() -> list[str]:
    return [f"d{number}.short.test" for number in range(SHORT)]


def new_name(number: int) -> str:
    return f"d{number}.new.test"


def between(seconds: Seconds, began: float, ended: float) -> Seen:
    total = Seen()
    for second, seen in seconds.items():
        if began <= second < ended:
            total.add(seen)
    return total
