"""kill -9 at any moment loses no policy that a client was told of."""

from __future__ import annotations

import threading
from pathlib import Path

from tests.support.servers.daemon import Daemon
from tests.support.servers.internet import Internet, Site, policy

ROUNDS, EACH = 50, 6  # kills, and domains that are asked for at the same time before each
ENFORCED = "OK secure match=mx.example.net servername=hostname"


def test_fifty_kills_lose_nothing(internet: Internet, tmp_path: Path) -> None:
    """All that was told before the kills is answered afterwards, without one fetch more."""
    names = [f"crash{number}.test" for number in range(ROUNDS * EACH)]
    internet.publish_all({name: Site(policy("mx.example.net")) for name in names})
    told: set[str] = set()
    daemon = Daemon(tmp_path, internet.config())

    def ask(name: str, answered: threading.Semaphore) -> None:
        try:
            if daemon.ask("postfix", name) == ENFORCED:
                told.add(name)
        except (OSError, EOFError, AssertionError):
            return  # killed before it could answer
        finally:
            answered.release()

    for number in range(ROUNDS):
        with daemon:
            answered = threading.Semaphore(0)
            batch = names[number * EACH : (number + 1) * EACH]
            threads = [threading.Thread(target=ask, args=(name, answered)) for name in batch]
            for thread in threads:
                thread.start()
            for _ in range(number % EACH):  # the kill comes with some answered, some not, and one just told
                answered.acquire()
            daemon.kill()
            for thread in threads:
                thread.join()
    fetched = {name: len(internet.nginx.requests(f"mta-sts.{name}")) for name in told}
    with daemon:
        assert {name: daemon.ask("postfix", name) for name in told} == dict.fromkeys(told, ENFORCED)
    assert {name: len(internet.nginx.requests(f"mta-sts.{name}")) for name in told} == fetched
    assert len(told) >= ROUNDS  # else the kills came too early to show anything
