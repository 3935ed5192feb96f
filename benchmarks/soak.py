"""`make soak`: ten minutes of lookups and faults, and memory that must come to rest.

    python -m tests.support.namespace python -m benchmarks.soak [--minutes 10] [--domains 20000]

Half of the domains have policies. Clients ask for random ones without a pause
while records change, policy hosts break and DNS fails now and then. Printed
are lookups and the memory of the daemon and its worker; it fails if memory
grows by 2 % or more in the last third.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from tests.support.namespace import inside
from tests.support.servers.daemon import Daemon
from tests.support.servers.dnstap import servfail
from tests.support.servers.internet import Internet, Site, policy

CLIENTS, SHOWN_EVERY, LIMIT = 8, 10.0, 1.02  # threads, seconds, growth


def memory(pid: int) -> int:
    """Bytes held by a process and those that came from it: the daemon, its forkserver, the workers."""
    children = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True).stdout.split()
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * 4096 + sum(memory(int(child)) for child in children)


class Soak:
    def __init__(self, internet: Internet, daemon: Daemon, domains: Sequence[str], seconds: float) -> None:
        self.internet, self.daemon, self.domains = internet, daemon, domains
        self.until = time.monotonic() + seconds
        self.asked = 0

    def ask(self) -> None:
        with self.daemon.client() as client:
            while time.monotonic() < self.until:
                client.ask("postfix", random.choice(self.domains))
                self.asked += 1

    def break_things(self) -> None:
        """Something fails, and something else changes, a few times in a second."""
        number = 1
        while time.monotonic() < self.until:
            number += 1
            domain = random.choice(self.domains)
            question = f"_mta-sts.{domain}", "TXT"
            self.internet.dns.break_(*question, servfail)
            self.internet.serve(random.choice(self.domains), random.choice((b"no policy", policy(f"mx{number}.test"))))
            time.sleep(0.2)
            self.internet.dns.mend(*question)
            self.internet.dns.questions.clear()  # our own memory

    def run(self) -> list[int]:
        threads = [threading.Thread(target=self.ask) for _ in range(CLIENTS)]
        threads.append(threading.Thread(target=self.break_things))
        for thread in threads:
            thread.start()
        sizes, begun = [], time.monotonic()
        while time.monotonic() < self.until:
            time.sleep(SHOWN_EVERY)
            sizes.append(memory(self.daemon.pid))
            print(
                f"{time.monotonic() - begun:5.0f} s {self.asked:11,} lookups {sizes[-1] / 2**20:7.1f} MiB", flush=True
            )
        for thread in threads:
            thread.join()
        return sizes


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--domains", type=int, default=20_000)
    options = parser.parse_args(arguments)
    if not inside():
        parser.error("it needs root and namespaces of its own: make soak")
    with tempfile.TemporaryDirectory() as directory, Internet(Path(directory) / "internet") as internet:
        domains = [f"d{number}.soak.test" for number in range(options.domains)]
        internet.publish_all({domain: Site(policy("mx.example.net")) for domain in domains[::2]})
        config = internet.config(
            refresh={"recheck": "5s", "interval": "60s"}, lookup={"failure_ttl": "2s", "negative_ttl": "60s"},
            cache={"directory": f"{directory}/store", "negative_limit": 5_000},
        )  # fmt: skip
        with Daemon(Path(directory) / "daemon", config) as daemon:
            sizes = Soak(internet, daemon, domains, options.minutes * 60).run()
    third = len(sizes) // 3
    before, after = max(sizes[third : 2 * third]), max(sizes[2 * third :])
    print(f"the last third against the second: {after / before:.3f} (limit {LIMIT})")
    return 0 if after < before * LIMIT else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
