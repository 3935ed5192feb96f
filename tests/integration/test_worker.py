"""The worker processes: they may die, stop or fail to start, and it costs a repeat, never a domain's policy."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest
import yaml

from tests.support.fakes.hanging import ADDRESS, HangingHost
from tests.support.servers.daemon import ENVIRONMENT, Daemon
from tests.support.servers.internet import Internet, Site, policy
from tests.support.waiting import wait_until

ENFORCED = "OK secure match=mx.example.net servername=hostname"
GOOD = policy("mx.example.net")
WAIT = "60s"  # lookup.wait: longer than a replacement takes on a busy machine


def children_of(pid: int) -> list[int]:
    found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True).stdout.split()
    return list(map(int, found))


def forkserver_of(daemon: Daemon) -> int:
    """The process id of the one that workers are forked from."""
    (found,) = children_of(daemon.pid)
    return found


def workers_of(daemon: Daemon) -> list[int]:
    """The process ids of the workers."""
    return children_of(forkserver_of(daemon))


def status(daemon: Daemon) -> tuple[int, str]:
    """The exit code and the screen of `status`, by a configuration that names no CA file."""
    config = daemon.config_file.with_name("status.yml")
    config.write_text(yaml.safe_dump({"cache": daemon.config["cache"]}))
    command = [sys.executable, "-m", "postfix_mtasts", "status", "--config", str(config)]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout


@pytest.mark.parametrize(("parallel", "number"), [(63, 1), (64, min(2, os.cpu_count() or 1))])
def test_two_workers_share_the_fetches(internet: Internet, tmp_path: Path, parallel: int, number: int) -> None:
    """Where there are processors for them, and enough fetches to share out."""
    hanging = {f"share{parallel}x{number}.worker.test": Site(GOOD, address=ADDRESS) for number in range(16)}
    internet.publish_all(hanging)
    config = internet.config(fetch={"parallel": parallel})
    with HangingHost() as host, Daemon(tmp_path, config) as daemon, ExitStack() as stack:
        assert workers_of(daemon) == []
        for domain in hanging:
            stack.enter_context(daemon.client()).send("postfix", domain)
        host.wait_for(parallel // number // 4 if number > 1 else 15)
        assert len(workers_of(daemon)) == number


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"])
def test_a_worker_lost_in_the_middle_of_a_first_lookup(
    internet: Internet, tmp_path: Path, sign: signal.Signals
) -> None:
    """It costs a repeat: the domain is answered by its policy, and known ones all the while."""
    name = f"hangs-{sign.name.lower()}.worker.test"
    internet.publish("known.worker.test", GOOD)
    internet.publish(name, GOOD, address=ADDRESS)
    answers: list[str] = []
    with HangingHost() as host, Daemon(tmp_path, internet.config(lookup={"wait": WAIT})) as daemon:
        assert daemon.ask("postfix", "known.worker.test") == ENFORCED
        waiting = threading.Thread(target=lambda: answers.append(daemon.ask("postfix", name)))
        waiting.start()
        host.wait_for(1)
        internet.publish(name, GOOD)  # at a host that answers; the repeat asks anew
        (worker,) = workers_of(daemon)
        os.kill(worker, sign)
        assert daemon.ask("postfix", "known.worker.test") == ENFORCED
        waiting.join()
        assert answers == [ENFORCED]
        assert daemon.wait_for("worker-died")
        assert not daemon.events("fetch-failed")
        assert worker not in workers_of(daemon)


def test_workers_that_cannot_start(internet: Internet, tmp_path: Path) -> None:
    """New domains are deferred, and told nothing false; one line tells of it, and it ends with its cause."""
    internet.publish("kept.worker.test", GOOD)
    internet.publish("torn.worker.test", GOOD)
    ca_file = tmp_path / "ca.pem"
    shutil.copy(internet.ca_file, ca_file)
    with Daemon(tmp_path / "daemon", internet.config(fetch={"ca_file": str(ca_file)})) as daemon:
        assert daemon.ask("postfix", "kept.worker.test") == ENFORCED
        ca_file.write_bytes(internet.ca_file.read_bytes()[:100])
        for worker in workers_of(daemon):
            os.kill(worker, signal.SIGKILL)
        assert daemon.ask("postfix", "torn.worker.test").startswith("TEMP no worker process can be started: ")
        assert daemon.ask("postfix", "kept.worker.test") == ENFORCED
        assert daemon.wait_for("worker-not-started")
        code, shown = status(daemon)
        assert (code, "no worker process can be started: fetch.ca_file: " in shown) == (1, True)
        shutil.copy(internet.ca_file, ca_file)
        wait_until(lambda: daemon.ask("postfix", "torn.worker.test") == ENFORCED, "a worker fetches again")
        wait_until(lambda: status(daemon)[0] == 0, "all is well again")
        assert len(daemon.events("worker-not-started")) == 1


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"])
def test_the_process_that_workers_are_forked_from_is_lost(
    internet: Internet, tmp_path: Path, sign: signal.Signals
) -> None:
    """Its workers end with it, and others are started afresh; a lookup under way is answered by its policy."""
    name = f"forks-{sign.name.lower()}.worker.test"
    internet.publish(name, GOOD, address=ADDRESS)
    answers: list[str] = []
    with HangingHost() as host, Daemon(tmp_path, internet.config(lookup={"wait": WAIT})) as daemon:
        waiting = threading.Thread(target=lambda: answers.append(daemon.ask("postfix", name)))
        waiting.start()
        host.wait_for(1)
        internet.publish(name, GOOD)
        (worker,) = workers_of(daemon)
        os.kill(forkserver_of(daemon), sign)
        os.kill(worker, signal.SIGKILL)
        waiting.join()
        assert answers == [ENFORCED]
        assert daemon.wait_for("forkserver-lost")


def test_old_workers_after_reloads_have_a_limit(internet: Internet, tmp_path: Path) -> None:
    """Ten changes of the settings for fetches, each while one hangs."""
    domains = {f"reload{number}.worker.test": Site(GOOD, address=ADDRESS) for number in range(10)}
    internet.publish_all(domains)
    with HangingHost() as host, Daemon(tmp_path, internet.config()) as daemon, ExitStack() as stack:
        for number, domain in enumerate(domains, 1):
            before = host.connections
            stack.enter_context(daemon.client()).send("postfix", domain)
            host.wait_for(before + 1)
            daemon.configure({**daemon.config, "fetch": {**daemon.config["fetch"], "timeout": f"{60 + number}s"}})
            daemon.reload()
        wait_until(lambda: len(workers_of(daemon)) <= 4, "old workers have ended")
        assert not daemon.events("worker-died")


@pytest.mark.parametrize("stopped", [False, True], ids=["at work", "stopped"])
def test_no_worker_outlives_its_daemon(internet: Internet, tmp_path: Path, stopped: bool) -> None:
    """Not even where the daemon is killed, and a fetch still hangs."""
    name = f"outlives{stopped:d}.worker.test"
    internet.publish(name, GOOD, address=ADDRESS)
    with HangingHost() as host, Daemon(tmp_path, internet.config()) as daemon:
        threading.Thread(target=ask_in_vain, args=(daemon, name)).start()
        host.wait_for(1)
        workers = [forkserver_of(daemon), *workers_of(daemon)]
        for worker in workers if stopped else ():
            os.kill(worker, signal.SIGSTOP)
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
    except (FileNotFoundError, ProcessLookupError):  # it goes between opening and reading
        return True
