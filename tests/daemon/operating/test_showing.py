"""What is shown of one domain: its policy, or why there is none, and each map's answer."""

from __future__ import annotations

import pytest

from postfix_mtasts.config.settings import MapSettings
from postfix_mtasts.core.names import Domain
from postfix_mtasts.daemon.operating.messages import ShownNegative, ShownPolicy
from postfix_mtasts.daemon.operating.showing import exported, row, show
from tests.support.fakes.entries import NOW, entry
from tests.support.fakes.keeping import D, World, absent, in_loop

MAPS = {"plain": MapSettings(), "dane": MapSettings(dane=True), "tlsrpt": MapSettings(tlsrpt=True)}
SECURE = "secure match=mx.example.com servername=hostname"


@pytest.fixture
def world() -> World:
    return World()


@in_loop
async def test_a_policy_is_shown_with_each_answer(world: World) -> None:
    """In words and as Postfix gets it; what only a lookup could tell is not guessed."""
    world.hold(entry(fetched_at=NOW - 60))
    shown = show(world.keeper.known, MAPS, D, 25)
    assert isinstance(shown, ShownPolicy)
    assert (shown.domain, shown.mode, shown.age, shown.record_id, shown.mx) == (
        D,
        "enforce",
        60.0,
        "20231114",
        ["mx.example.com"],
    )
    assert shown.answers["plain"] == SECURE
    assert shown.replies["plain"] == f"OK {SECURE}"
    assert shown.answers["dane"] == "not known before a lookup has read the DANE status"
    assert shown.replies["dane"] is None
    assert "policy_type=sts" in shown.answers["tlsrpt"]


@in_loop
async def test_an_expired_policy_says_so(world: World) -> None:
    """It serves nothing, and is still held."""
    world.hold(entry(fetched_at=NOW - 60, max_age=30))
    world.clock.advance(60.0)
    shown = show(world.keeper.known, MAPS, D, 25)
    assert isinstance(shown, ShownPolicy)
    assert shown.left <= 0
    assert shown.answers["plain"] == "none: the policy has expired, the next lookup fetches it again"


@in_loop
async def test_why_there_is_no_policy_is_shown(world: World) -> None:
    """And for how long that is remembered."""
    world.ask()
    world.resolver.answer(absent())
    await world.settle()
    shown = show(world.keeper.known, MAPS, D, 25)
    assert isinstance(shown, ShownNegative)
    assert shown.replies == dict.fromkeys(MAPS, "NOTFOUND")
    assert 0 < shown.left <= 300.0
    assert show(world.keeper.known, MAPS, Domain("never.example"), 25) is None


@in_loop
async def test_a_row_and_an_export_hold_the_same_policy(world: World) -> None:
    """One for people, one for `cache import`."""
    world.hold(entry())
    [holding] = world.keeper.known.holdings()
    assert (row(holding).domain, row(holding).mx, row(holding).failures) == (D, ["mx.example.com"], 0)
    assert exported(holding.entry).policy == entry().policy.text
