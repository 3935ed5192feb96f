"""What an audit needs of the outside world, shared by all domains of one run.

Rule 1: a DNS question is asked once, whoever needs the answer.
Rule 2: a mail host is looked at once at each of its addresses, however many
        domains name it: 1,000 domains of one provider are not 1,000 connections.
Rule 3: whatever hangs, who waits for it waits until a deadline only; threads
        are daemons, so the process ends when it has told what it knows.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from ...config.settings import LookupSettings, MapSettings
from ...core.dnsdata import DnsAnswer, Mx, Tlsa
from ...core.names import Domain
from ...core.ports import CuriousHosts, Dns, Look, MailHosts
from ...errors import DnsError

T = TypeVar("T")

LOOKS = 64  # mail hosts looked at side by side


class Task(Generic[T]):
    """Work in a thread of its own, or in another's that calls run()."""

    def __init__(self, work: Callable[[], T], start: bool = True) -> None:
        self._work, self._done = work, threading.Event()
        self._value: T | None = None
        self._error: BaseException | None = None
        self.seconds = 0.0  # that it took
        if start:
            threading.Thread(target=self.run, daemon=True).start()

    def run(self) -> None:
        """Do the work. Never raises."""
        begun = time.monotonic()
        try:
            self._value = self._work()
        except BaseException as error:  # noqa: BLE001 -- raised again in wait()
            self._error = error
        self.seconds = time.monotonic() - begun
        self._done.set()

    def wait(self, until: float) -> T | None:
        """What came of it, None if that is not known at *until* (monotonic). Raises: what the work raised."""
        if not self._done.wait(max(0.0, until - time.monotonic())):
            return None
        if self._error is not None:
            raise self._error
        return self._value


class MemoDns:
    """core.ports.Dns that asks another one each question once, failures included."""

    def __init__(self, dns: Dns) -> None:
        self._dns = dns
        self._answers: dict[tuple[str, str], _Answer] = {}
        self._lock = threading.Lock()
        self._for_dane: MemoDns | None = None

    def for_dane(self) -> MemoDns:
        with self._lock:
            self._for_dane = self._for_dane or MemoDns(self._dns.for_dane())
            return self._for_dane

    def txt(self, name: str) -> DnsAnswer[bytes]:
        return self._ask("txt", name)

    def a(self, name: str) -> DnsAnswer[str]:
        return self._ask("a", name)

    def aaaa(self, name: str) -> DnsAnswer[str]:
        return self._ask("aaaa", name)

    def mx(self, name: str) -> DnsAnswer[Mx]:
        return self._ask("mx", name)

    def tlsa(self, name: str) -> DnsAnswer[Tlsa]:
        return self._ask("tlsa", name)

    def cname(self, name: str) -> DnsAnswer[str]:
        return self._ask("cname", name)

    def _ask(self, kind: str, name: str) -> DnsAnswer[Any]:
        with self._lock:
            answer = self._answers.setdefault((kind, name), _Answer())
        with answer.lock:
            if answer.value is None:
                try:
                    answer.value = getattr(self._dns, kind)(name)
                except DnsError as error:
                    answer.value = error
        if isinstance(answer.value, DnsError):
            raise answer.value.with_traceback(None)
        return answer.value


@dataclass(slots=True)
class _Answer:
    value: DnsAnswer[Any] | DnsError | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)


class SharedLooks:
    """Looks at mail hosts, one for each name and address, by LOOKS threads at most."""

    def __init__(self, mail: MailHosts) -> None:
        self._mail = mail
        self._looks: dict[tuple[str, str], Task[Look]] = {}
        self._lock = threading.Lock()
        self._waiting: deque[Task[Look]] = deque()
        self._threads = 0
        self.tried = 0
        self.reached = threading.Event()  # a mail host has answered

    def look(self, host: str, address: str, seconds: float) -> Task[Look]:
        with self._lock:
            task = self._looks.get((host, address))
            if task is None:
                self.tried += 1
                task = self._looks[host, address] = Task(lambda: self._look(host, address, seconds), start=False)
                self._waiting.append(task)
                if self._threads < LOOKS:
                    self._threads += 1
                    threading.Thread(target=self._work, daemon=True).start()
            return task

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._threads -= 1
                    return
                task = self._waiting.popleft()
            task.run()

    def _look(self, host: str, address: str, seconds: float) -> Look:
        look = self._mail.look(host, address, seconds)
        if look.answered:
            self.reached.set()
        return look


@dataclass(frozen=True, slots=True)
class Held:
    """A policy that the local daemon holds."""

    record_id: str
    text: str  # as core.policy.Policy.text


@dataclass(frozen=True)
class World:
    """The outside world and the settings of a run."""

    dns: Dns
    hosts: CuriousHosts
    looks: SharedLooks | None  # None: mail hosts are not connected to
    maps: Mapping[str, MapSettings]
    lookup: LookupSettings
    clock: Callable[[], float]  # UTC seconds since 1970
    has_route: Callable[[str], bool]
    allow_private_addresses: bool = False
    by_name: bool = False  # policy hosts are reached through a proxy that resolves their names
    expiry_days: int = 14
    seconds: float = 110.0  # for one domain, whatever hangs
    port: int = 25
    resolver_validates: Callable[[], bool] = lambda: True
    held: Callable[[Domain], Held | None] = lambda domain: None  # by the local daemon
