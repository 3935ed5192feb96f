"""publishing/checks.py: each domain once a day, soon after a change, and kept over restarts."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from postfix_mtasts.core.names import Domain
from postfix_mtasts.publishing.checks import AGAIN_AFTER, SETTLE, Checked, Checks, Remark
from tests.support.waiting import wait_until

D = Domain("example.com")


class World:
    def __init__(self, folder: Path) -> None:
        self.folder, self.now = folder, 1_700_000_000.0
        self.examined: list[list[Domain]] = []
        self.restart()

    def examine(self, domains: Sequence[Domain]) -> Iterator[tuple[Domain, Checked]]:
        self.examined.append(list(domains))
        for domain in domains:
            if domain.startswith("bug"):
                raise ZeroDivisionError
            remark = Remark("mx-unused", "warning", "*.x", "It matches nothing.", "Take it out.")
            yield domain, Checked(self.now, "warning", (remark,))

    def restart(self) -> None:
        self.checks = Checks(self.folder, self.examine, lambda: self.now)

    def due(self) -> list[Domain]:
        """What a thread would take now, in its order."""
        taken = []
        while domains := self.checks.due():
            self.checks.attend(domains)
            taken += domains
        return taken


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_new_domain_is_checked_at_once_and_then_daily(world: World) -> None:
    """Not more often."""
    world.checks.want({D: "a1"})
    assert world.due() == [D]
    world.now += AGAIN_AFTER - 1
    assert world.due() == []
    world.now += 1
    assert world.due() == [D]


def test_what_is_due_is_checked_together(world: World) -> None:
    """So that a mail host they share is asked once."""
    domains = [Domain(f"d{number}.example") for number in range(100)]
    world.checks.want(dict.fromkeys(domains, "a1"))
    world.due()
    assert world.examined == [domains]
    assert world.checks.last.keys() == set(domains)


def test_a_changed_policy_is_checked_once_dns_has_followed(world: World) -> None:
    """Earlier the check would only find the old id."""
    world.checks.want({D: "a1"})
    world.due()
    world.checks.want({D: "b2"})
    assert world.due() == []
    world.now += SETTLE
    assert world.due() == [D]


def test_the_last_check_is_shown_after_a_restart(world: World) -> None:
    """And not repeated for it."""
    world.checks.want({D: "a1"})
    world.due()
    before = world.checks.last[D]
    world.restart()
    world.checks.want({D: "a1"})
    assert world.checks.last == {D: before}
    assert world.due() == []


def test_a_bug_of_ours_costs_one_check(world: World) -> None:
    """The others go on, and it is tried again tomorrow."""
    bug = Domain("bug.example")
    world.checks.want({bug: "a1", D: "a1"})
    assert sorted(world.due()) == [bug, D]
    assert world.checks.last.keys() == {D}
    assert world.due() == []


def test_damaged_outcomes_are_left_out(world: World) -> None:
    """The domain is checked anew."""
    world.checks.want({D: "a1"})
    world.due()
    (world.folder / "checks" / f"{D}.json").write_text('{"at": "x"}')
    world.restart()
    world.checks.want({D: "a1"})
    assert world.due() == [D]


def test_the_thread_ends_when_it_is_told_to(world: World) -> None:
    """Also while it has nothing to do."""
    thread = threading.Thread(target=world.checks.run)
    thread.start()
    world.checks.want({D: "a1"})
    wait_until(lambda: D in world.checks.last, "the domain is checked")
    world.checks.stop()
    thread.join(30)
    assert not thread.is_alive()
