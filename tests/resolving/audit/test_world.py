"""resolving/audit/world.py: each question once, each mail host once, and nobody waits for ever."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from postfix_mtasts.core.ports import Look
from postfix_mtasts.errors import DnsError
from postfix_mtasts.faults import Fault, Seen
from postfix_mtasts.resolving.audit.world import LOOKS, MemoDns, SharedLooks, Task
from tests.support.fakes.faults import servfail
from tests.support.fakes.owned import MX, PUBLIC_MX, D, Owned, _Dns


def test_a_question_is_asked_once_whoever_asks() -> None:
    """By many threads too."""
    owned = Owned()
    dns: Any = MemoDns(_Dns(owned))  # type: ignore[arg-type]
    tasks = [Task(lambda: dns.mx(D)) for _ in range(20)]
    answers = [task.wait(time.monotonic() + 10) for task in tasks]
    assert owned.asked["mx", D] == 1
    assert all(answer is answers[0] for answer in answers)
    assert dns.for_dane() is dns.for_dane()


def test_a_failure_is_remembered_too() -> None:
    """A resolver that fails is not asked again in the same run."""
    owned = Owned()
    owned.records["mx", D] = servfail()
    dns = MemoDns(_Dns(owned))  # type: ignore[arg-type]
    for _ in range(3):
        with pytest.raises(DnsError):
            dns.mx(D)
    assert owned.asked["mx", D] == 1


def test_a_shared_mail_host_is_looked_at_once() -> None:
    """Whoever names it."""
    owned = Owned()
    world = owned.world()
    assert world.looks is not None
    tasks = [world.looks.look(MX, PUBLIC_MX, 5) for _ in range(50)]
    assert len({id(task.wait(time.monotonic() + 10)) for task in tasks}) == 1
    assert (owned.looked[MX, PUBLIC_MX], world.looks.tried) == (1, 1)
    assert world.looks.reached.is_set()


def test_a_flood_of_mail_hosts_is_looked_at_by_so_many_threads() -> None:
    """DNS may name thousands of addresses."""
    over, running, most = threading.Event(), [0], [0]

    class Slow:
        def look(self, host: str, address: str, seconds: float) -> Look:
            running[0] += 1
            most[0] = max(most[0], running[0])
            over.wait(10)
            running[0] -= 1
            return Look(None)

    looks = SharedLooks(Slow())
    before = threading.active_count()
    tasks = [looks.look("mx.example.com", f"10.0.{number // 250}.{number % 250}", 1) for number in range(1_000)]
    assert threading.active_count() - before <= LOOKS
    over.set()
    assert all(task.wait(time.monotonic() + 10) is not None for task in tasks)
    assert most[0] <= LOOKS


def test_a_host_that_nobody_reaches_leaves_the_mark_unset() -> None:
    """It tells whether port 25 may be blocked here."""

    class Nobody:
        def look(self, host: str, address: str, seconds: float) -> Look:
            return Look(Seen(Fault.MAIL_NOT_CONNECTED, host, "refused"))

    looks = SharedLooks(Nobody())
    looks.look("mx.example.com", "192.0.2.1", 1).wait(time.monotonic() + 10)
    assert not looks.reached.is_set()


def test_a_task_is_waited_for_until_a_deadline_only() -> None:
    """And raises what its work raised."""
    over = threading.Event()
    task = Task(lambda: over.wait(10))
    assert task.wait(time.monotonic()) is None
    over.set()
    assert task.wait(time.monotonic() + 10) is True

    def bug() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Task(bug).wait(time.monotonic() + 10)
