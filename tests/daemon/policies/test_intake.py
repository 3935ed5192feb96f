"""policies/intake.py: who is to blame for a lookup without a policy, and what is remembered of it."""

from __future__ import annotations

import pytest

from postfix_mtasts.config.settings import LookupSettings
from postfix_mtasts.core.entry import Entry
from postfix_mtasts.core.names import Domain
from postfix_mtasts.core.outcome import Cause, Failed, OwnFault
from postfix_mtasts.daemon.policies.intake import Intake, Lacking
from tests.support.fakes.entries import entry
from tests.support.fakes.faults import proxy_failed
from tests.support.fakes.keeping import BUG, DIED, DNS_FAILED, UNCHANGED, D, World, absent, failed, in_loop


class Taken(World):
    """A world whose intake is asked by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.reported: list[tuple[Failed, Entry | None]] = []
        self.intake = Intake(
            self.keeper._holdings, self.counts, lambda failed, held, domain: self.reported.append((failed, held))
        )
        self.intake.configure(LookupSettings())


@pytest.fixture
def world() -> Taken:
    return Taken()


OVERLOAD = OwnFault(Cause.OVERLOAD, "too much at once")
BLAME: list[tuple[str, Lacking, bool, bool, bool]] = [
    # outcome, reported to the domain's owner, counted as a fetch, counted as an error of ours
    ("a failed fetch is the domain's", failed(), True, True, False),
    ("no record is nobody's", absent(), False, False, False),
    ("a DNS failure is no fetch", DNS_FAILED, False, False, False),
    ("an unchanged record neither", UNCHANGED, False, False, False),
    ("the death of a worker is ours", DIED, False, False, False),
    ("an overload too", OVERLOAD, False, False, False),
    ("a proxy that fails too, though it was a fetch", proxy_failed(), False, True, False),
    ("a bug is ours, and counts as a failed fetch", BUG, False, True, True),
]


@pytest.mark.parametrize("cached", [False, True], ids=["nothing held", "a policy in force"])
@pytest.mark.parametrize(("title", "outcome", "reported", "fetch", "error"), BLAME, ids=[case[0] for case in BLAME])
@in_loop
async def test_who_is_to_blame(
    world: Taken, title: str, outcome: Lacking, reported: bool, fetch: bool, error: bool, cached: bool
) -> None:
    """Strangers are told of their own failures only; a policy in force stays, whatever came."""
    if cached:
        world.hold(entry())
    taken = world.intake.take(D, outcome, late=False)
    assert [told for told, _ in world.reported] == ([outcome] if reported else [])
    assert [held is not None for _, held in world.reported] == ([cached] if reported else [])
    assert sum(world.counts.fetches.values()) == fetch
    assert world.counts.errors == error
    assert isinstance(taken, Failed) if outcome is BUG else taken is outcome
    assert (world.keeper.known.holding(D) is not None) is cached


RETRIES: list[tuple[str, Lacking, bool, float | None]] = [
    # outcome of a refresh, whether it counts as a failure of the domain, seconds until the next
    ("a failed fetch", failed(), True, 300.0),
    ("a bug of ours", BUG, True, 300.0),
    ("the death of a worker", DIED, False, 60.0),
    ("an overload", OVERLOAD, False, 60.0),
    ("a proxy that fails", proxy_failed(), False, 60.0),
    ("no record any more", absent(), False, None),
    ("a DNS failure", DNS_FAILED, False, None),
]


@pytest.mark.parametrize(("title", "outcome", "trouble", "again"), RETRIES, ids=[case[0] for case in RETRIES])
@in_loop
async def test_the_retry_clock(world: Taken, title: str, outcome: Lacking, trouble: bool, again: float | None) -> None:
    """It runs for failures of the domain; ours are tried again soon, and a lost record is none."""
    world.hold(entry(fetched_at=world.clock.utc - 2 * 86_400))
    world.notes.clear()
    world.intake.take(D, outcome, late=False)
    assert (world.held[D].trouble is not None) is trouble
    assert [due - world.clock.since_boot for due, _, _ in world.notes] == ([again] if again is not None else [])


LATE: list[tuple[str, Lacking, str, bool]] = [
    ("it failed", failed(), "skip", True),
    ("it has no record", absent(), "skip", True),
    ("DNS failed, which is skipped", DNS_FAILED, "skip", True),
    ("DNS failed, which defers", DNS_FAILED, "defer", False),
    ("our worker died", DIED, "skip", False),
    ("the proxy failed, which is skipped", proxy_failed(), "skip", True),
    ("the proxy failed, which defers", proxy_failed(), "defer", False),
    ("we were overloaded", OVERLOAD, "skip", False),
]


@pytest.mark.parametrize(("title", "outcome", "rule", "counts"), LATE, ids=[case[0] for case in LATE])
@in_loop
async def test_whose_lateness_it_was(world: Taken, title: str, outcome: Lacking, rule: str, counts: bool) -> None:
    """A lateness that ended in a failure of ours, or of DNS where that defers, does not count against the host."""
    world.intake.configure(LookupSettings(on_dns_failure=rule))
    holdings = world.keeper._holdings
    holdings.told_temp(D)
    holdings.told_temp(Domain("other.example"))
    world.intake.take(D, outcome, late=True)
    assert holdings._late.has(D, world.clock.since_boot) is counts
    assert holdings.failed_before(Domain("other.example"))
