"""policies/agenda.py: what is due, in which order, and how many at once."""

from __future__ import annotations

import pytest

from postfix_mtasts.core.names import Domain
from postfix_mtasts.daemon.policies import agenda as module
from postfix_mtasts.daemon.policies.agenda import (
    AT_ONCE,
    BY_END,
    COUNTED,
    SLOW,
    SLOW_AT_ONCE,
    SLOW_KNOWN,
    Agenda,
    Place,
)
from tests.support.fakes.keeping import ManualClock


class Kept:
    """An agenda whose time the test moves, and what of it is under way."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.agenda = Agenda(self.clock.monotonic)
        self.under_way: list[tuple[str, Place]] = []

    def note(self, name: str, due: float = -1.0, ends: float = 1000.0) -> None:
        now = self.clock.monotonic()
        self.agenda.push([(now + due, now + ends, Domain(name))])

    def begin(self, most: int = 1000) -> list[str]:
        """Begin what is due, while there are places; the names in their order."""
        begun: list[str] = []
        while len(begun) < most and (chosen := self.agenda.next(0.0)) is not None:
            self.agenda.take(chosen[1])
            self.under_way.append(chosen)
            begun.append(chosen[0])
        return begun

    def land(self, seconds: float = 0.1, which: str = "") -> int:
        """End all that is under way and whose name begins with *which*, after *seconds*; how many these were."""
        landing = [each for each in self.under_way if each[0].startswith(which)]
        for name, place in landing:
            self.agenda.note_pace(Domain(name), seconds)
            self.agenda.free(place)
        self.under_way = [each for each in self.under_way if each not in landing]
        return len(landing)


@pytest.fixture
def kept() -> Kept:
    return Kept()


def test_what_is_overdue_goes_by_time_left(kept: Kept) -> None:
    """Not by when it was due."""
    for name, due, ends in (("c", -9, 30), ("a", -1, 10), ("b", -5, 20)):
        kept.note(name, due, ends)
    assert kept.begin() == ["a", "b", "c"]


def test_what_is_not_due_waits(kept: Kept) -> None:
    """A note comes at its time, however soon its policy ends."""
    kept.note("later", 500, 600)
    kept.note("now", -1, 9000)
    assert kept.begin() == ["now"]
    kept.clock.advance(500)
    assert kept.begin() == ["later"]


def test_a_bounded_number_at_once(kept: Kept) -> None:
    """With AT_ONCE under way the next begins when one has landed."""
    for number in range(AT_ONCE + 5):
        kept.note(f"d{number:03}", -1, 100 + number)
    assert len(kept.begin()) == AT_ONCE
    assert kept.land(which="d00") == 10
    assert len(kept.begin()) == 5


def test_places_for_what_is_overdue_longest(kept: Kept) -> None:
    """Domains that end soon and never land leave a quarter of the places to those that have waited longest."""
    for number in range(AT_ONCE):
        kept.note(f"soon{number:02}", -1, 10 + number)
        kept.note(f"late{number:02}", -500 + number, 9000)
    begun = kept.begin()
    assert begun[:BY_END] == [f"soon{number:02}" for number in range(BY_END)]
    assert begun[BY_END:] == [f"late{number:02}" for number in range(AT_ONCE - BY_END)]


def test_slow_hosts_hold_up_themselves_only(kept: Kept) -> None:
    """250 hosts known to answer late, all ending soon, leave half of the places to the others."""
    for number in range(250):
        kept.agenda.note_pace(Domain(f"slow{number:03}"), 25.0)
        kept.note(f"slow{number:03}", -9, 10)
    for number in range(100):
        kept.note(f"sound{number:03}", -1, 9000)
    begun = kept.begin()
    while kept.land(which="sound"):
        begun += kept.begin()
    assert [name for name in begun if name.startswith("sound")] == [f"sound{number:03}" for number in range(100)]
    assert len([name for name in begun if name.startswith("slow")]) == SLOW_AT_ONCE


def rounds_until_refreshed(slow: int, sound: int) -> int:
    """How many times 25 s pass until each sound domain was refreshed once, while slow ones come again at once."""
    kept = Kept()
    for number in range(slow):
        kept.note(f"slow{number:03}", -9, 10)
    for number in range(sound):
        kept.note(f"sound{number:04}", -1, 9000)
    refreshed: set[str] = set()
    for rounds in range(1000):
        while kept.begin():
            refreshed |= {name for name, _ in kept.under_way if name.startswith("sound")}
            kept.land(which="sound")
        if len(refreshed) == sound:
            return rounds
        kept.clock.advance(25)
        again = [name for name, _ in kept.under_way]
        kept.land(25.0)
        for name in again:
            kept.note(name, 0, 10)
    raise AssertionError(f"{sound - len(refreshed)} never had their turn")


def test_slow_hosts_that_come_again_at_once_starve_nobody() -> None:
    """However short the policies of 250 slow hosts, 1,000 others get through before those are all known to be slow."""
    assert rounds_until_refreshed(250, 1000) <= 6


def test_a_slow_host_that_is_quick_again(kept: Kept) -> None:
    """One refresh in time, and it goes with the others."""
    kept.agenda.note_pace(Domain("a"), SLOW)
    kept.agenda.note_pace(Domain("a"), SLOW - 0.1)
    kept.note("a", -1, 10)
    assert kept.agenda.next(0.0) == ("a", Place.BY_END)


def test_how_many_slow_hosts_are_known(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    """The longest unseen are forgotten: their number is anybody's to raise."""
    monkeypatch.setattr(module, "SLOW_KNOWN", 2)
    for name in "abca":
        kept.agenda.note_pace(Domain(name), SLOW)
    for name in "bca":
        kept.note(name)
    assert [kept.agenda.next(0.0) for _ in range(3)] == [
        ("b", Place.BY_END),
        ("a", Place.SLOW),
        ("c", Place.SLOW),
    ]
    assert SLOW_KNOWN >= 1000


def test_overdue(kept: Kept) -> None:
    """How many, and for how long the first of them, slow hosts included."""
    now = kept.clock.monotonic()
    assert kept.agenda.overdue(now) == (0, 0.0)
    kept.agenda.note_pace(Domain("b"), SLOW)
    for name, due in (("a", -5), ("b", -9), ("c", 1)):
        kept.note(name, due)
    assert kept.agenda.overdue(now) == (2, 9.0)
    kept.agenda.clear()
    assert kept.agenda.overdue(now + 2) == (0, 0.0)
    assert COUNTED >= 1000


def test_what_has_gone_is_swept_out() -> None:
    """A domain that waits for long does not make the queues grow with those that pass it."""
    overdue = module._Overdue()
    overdue.push((0.0, float("inf"), Domain("waits")))
    for number in range(10_000):
        overdue.push((float(number), float(number), Domain("passes")))
        assert overdue.pop_by_end() == "passes"
    assert (len(overdue), overdue.first_due()) == (1, 0.0)
    assert len(overdue._by_due) + len(overdue._by_end) < 1_000


def test_who_waits_is_woken_by_what_is_due_sooner(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    """And by nothing else: a note a day ahead, as each fetch makes one, need not wake a thread."""
    woken: list[str] = []
    monkeypatch.setattr(kept.agenda._changed, "notify", lambda: woken.append(name))
    for name, due in (("first", 100.0), ("later", 200.0), ("sooner", 50.0), ("last", 50.5)):
        kept.note(name, due)
    assert woken == ["first", "sooner"]


def test_nobody_waits_for_what_has_stopped(kept: Kept) -> None:
    """Neither for the next domain nor for the pace."""
    kept.note("a")
    kept.agenda.stop()
    assert kept.agenda.next(3600.0) is None
    kept.agenda.pause(3600.0)
