"""The worker processes: they may die at any time, and never outlive the daemon."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from pathlib import Path

import pytest

from tests.support.fakes.hanging import ADDRESS, HangingHost
from tests.support.servers.daemon import Daemon
from tests.support.servers.internet import Internet, policy
from tests.support.waiting import wait_until

ENFORCED = "OK secure match=mx.example.net servername=hostname"
GOOD = policy("mx.example.net")


def workers_of(daemon: Daemon) -> list[int]:
    """The process ids of the workers."""
    found = subprocess.run(["pgrep", "-P", str(daemon.pid)], capture_output=True, text=True).stdout.split()
    assert found
    return list(map(int, found))


@pytest.mark.parametrize(("parallel", "number"), [(63, 1), (64, min(2, os.cpu_count() or 1))])
def test_two_workers_share_the_fetches(internet: Internet, tmp_path: Path, parallel: int, number: int) -> None:
    """Where there are processors for them, and enough fetches to share out."""
    with Daemon(tmp_path, internet.config(fetch={"parallel": parallel})) as daemon:
        assert len(workers_of(daemon)) == number


def test_a_worker_that_dies_is_started_again(internet: Internet, tmp_path: Path) -> None:
    """What it was doing is not the domain's failure, known policies are answered all the while, new ones soon."""
    internet.publish("known.worker.test", GOOD)
    internet.publish("later.worker.test", GOOD)
    internet.publish("hangs.worker.test", GOOD, address=ADDRESS)
    answers: list[str] = []
    with HangingHost() as host, Daemon(tmp_path, internet.config()) as daemon:
        assert daemon.ask("postfix", "known.worker.test") == ENFORCED
        waiting = threading.Thread(target=lambda: answers.append(daemon.ask("postfix", "hangs.worker.test")))
        waiting.start()
        host.wait_for(1)
        for worker in workers_of(daemon):
            os.kill(worker, signal.SIGKILL)
        waiting.join()
        assert answers == ["TEMP the worker process ended"]
        assert daemon.wait_for("worker-died")
        assert daemon.wait_for("temp", domain="hangs.worker.test")
        assert daemon.ask("postfix", "known.worker.test") == ENFORCED
        wait_until(lambda: daemon.ask("postfix", "later.worker.test") == ENFORCED, "a new worker fetches")


def test_no_worker_outlives_its_daemon(internet: Internet, tmp_path: Path) -> None:
    """Not even where the daemon is killed, and a fetch still hangs."""
    internet.publish("outlives.worker.test", GOOD, address=ADDRESS)
    with HangingHost() as host, Daemon(tmp_path, internet.config()) as daemon:
        threading.Thread(target=ask_in_vain, args=(daemon, "outlives.worker.test")).start()
        host.wait_for(1)
        workers = workers_of(daemon)
        daemon.kill()
        wait_until(lambda: all(map(is_zombie, workers)), "the workers have ended")


def ask_in_vain(daemon: Daemon, domain: str) -> None:
    try:
        daemon.ask("postfix", domain)
    except (OSError, EOFError, AssertionError):
        return  # the daemon was killed


def is_zombie(pid: int) -> bool:
    """Whether a process has ended, and at most its parent has not yet asked how."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True
