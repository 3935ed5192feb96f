"""A policy in force, whatever DNS and its policy host do meanwhile: 50 clients see nothing but the right answer.

Times are short (a record is believed for a second), so that each fault is
met many times while the clients ask without a pause. The longest answer any
of them saw is printed, and measured by the benchmark; here only answers count.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.support.fakes.hanging import ADDRESS, HangingHost
from tests.support.servers.daemon import Daemon
from tests.support.servers.dnstap import servfail, silence
from tests.support.servers.internet import Internet, policy
from tests.support.waiting import wait_until

OLD = "OK secure match=mx.example.net servername=hostname"
NEW = "OK secure match=new.example.net servername=hostname"
GOOD, CHANGED = policy("mx.example.net"), policy("new.example.net")
CLIENTS = 50
SHORT = {"refresh": {"recheck": "1s"}, "lookup": {"failure_ttl": "1s"}, "fetch": {"timeout": "3s"}}


@pytest.fixture(scope="module")
def daemon(internet: Internet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with Daemon(tmp_path_factory.mktemp("faults"), internet.config(**SHORT)) as daemon:
        yield daemon


class Crowd:
    """Clients that ask for one domain without a pause, and note what they heard."""

    def __init__(self, daemon: Daemon, domain: str) -> None:
        self._daemon, self._domain = daemon, domain
        self._over = threading.Event()
        self.answers: set[str] = set()
        self.longest = 0.0

    def run(self) -> None:
        with self._daemon.client() as client:
            while not self._over.is_set():
                begun = time.monotonic()
                self.answers.add(client.ask("postfix", self._domain))
                self.longest = max(self.longest, time.monotonic() - begun)

    @contextmanager
    def asking(self) -> Iterator[None]:
        threads = [threading.Thread(target=self.run) for _ in range(CLIENTS)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._over.set()
            for thread in threads:
                thread.join()
            print(f"{self._domain}: longest answer {self.longest * 1000:.1f} ms")


def read_again(internet: Internet, domain: str, times: int = 2) -> None:
    """Wait until the record of *domain* has been asked for *times* more."""
    before = internet.txt_queries(domain)
    wait_until(lambda: internet.txt_queries(domain) >= before + times, f"the record of {domain} is read again")


FAULTS: list[tuple[str, dict[str, object]]] = [
    ("lost", {"records": ()}),
    ("doubled", {"records": ("v=STSv1; id=1;", "v=STSv1; id=2;")}),
    ("invalid", {"records": ("v=STSv1; id=no good;",)}),
]


@pytest.mark.parametrize(("title", "changes"), FAULTS, ids=[fault[0] for fault in FAULTS])
def test_a_record_gone_wrong(internet: Internet, daemon: Daemon, title: str, changes: dict[str, object]) -> None:
    """The cached policy stays until its max_age (RFC 8461 section 5.1)."""
    domain = f"{title}.faults.test"
    internet.publish(domain, GOOD)
    assert daemon.ask("postfix", domain) == OLD
    crowd = Crowd(daemon, domain)
    with crowd.asking():
        internet.publish(domain, GOOD, **changes)
        read_again(internet, domain)
    assert crowd.answers == {OLD}


@pytest.mark.parametrize("fault", [servfail, silence], ids=["servfail", "silence"])
def test_dns_that_fails(internet: Internet, daemon: Daemon, fault: Callable[..., bytes | None]) -> None:
    """Nobody waits for DNS, and nobody loses a policy by it."""
    domain = f"{fault.__name__}.faults.test"
    internet.publish(domain, GOOD)
    assert daemon.ask("postfix", domain) == OLD
    crowd = Crowd(daemon, domain)
    with crowd.asking():
        internet.dns.break_(f"_mta-sts.{domain}", "TXT", fault)
        read_again(internet, domain)
    internet.dns.mend(f"_mta-sts.{domain}", "TXT")
    assert crowd.answers == {OLD}


def test_a_policy_host_gone_wrong(internet: Internet, daemon: Daemon) -> None:
    """A new id leads to fetches; while they fail the old policy serves, and the new one does once it can be had."""
    domain = "host.faults.test"
    internet.publish(domain, GOOD)
    assert daemon.ask("postfix", domain) == OLD
    crowd = Crowd(daemon, domain)
    with crowd.asking():
        internet.publish(domain, b"no policy", records=("v=STSv1; id=2;",))
        daemon.wait_for("refresh-failing", domain=domain, result="sts-policy-invalid")
        internet.publish(domain, CHANGED, records=("v=STSv1; id=3;",), trusted=False)
        read_again(internet, domain)
        assert crowd.answers == {OLD}
        internet.publish(domain, CHANGED, records=("v=STSv1; id=4;",))
        daemon.wait_for("policy-changed", domain=domain)
        wait_until(lambda: NEW in crowd.answers, "the new policy is told")
    assert crowd.answers == {OLD, NEW}
    assert daemon.ask("postfix", domain) == NEW


def test_a_new_id_with_a_host_that_hangs(internet: Internet, daemon: Daemon) -> None:
    """The answers go on while the fetch hangs until its deadline."""
    domain = "hangs.faults.test"
    internet.publish(domain, GOOD)
    assert daemon.ask("postfix", domain) == OLD
    with HangingHost() as host:
        crowd = Crowd(daemon, domain)
        with crowd.asking():
            internet.publish(domain, CHANGED, records=("v=STSv1; id=2;",), address=ADDRESS)
            host.wait_for(1)
            crowd.answers.clear()
            wait_until(lambda: bool(crowd.answers), "answers come while the fetch hangs")
        assert crowd.answers == {OLD}


def test_a_mode_that_changes(internet: Internet, daemon: Daemon) -> None:
    """Testing to enforce, and enforce to none, each at once when fetched."""
    domain = "mode.faults.test"
    internet.publish(domain, policy("mx.example.net", mode="testing"))
    assert daemon.ask("postfix", domain) == "NOTFOUND "
    for number, mode, answer in ((2, "enforce", OLD), (3, "none", "NOTFOUND ")):
        internet.publish(domain, policy("mx.example.net", mode=mode), records=(f"v=STSv1; id={number};",))
        wait_until(lambda answer=answer: daemon.ask("postfix", domain) == answer, f"mode {mode} counts")
