"""resolving/tracing.py: one key resolved afresh, with every stage that was seen on the way."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from postfix_mtasts.config.settings import LookupSettings, MapSettings
from postfix_mtasts.core.outcome import Stage
from postfix_mtasts.core.ports import Sources
from postfix_mtasts.core.verdict import Kind
from postfix_mtasts.errors import FetchError
from postfix_mtasts.faults import Fault
from postfix_mtasts.resolving.tracing import Inquiry, inquire
from tests.support.fakes.faults import servfail
from tests.support.fakes.owned import HOST, PUBLIC, D, Owned


def ask(owned: Owned, key: str = D, **options: Any) -> tuple[Inquiry, list[Stage]]:
    world, waited = owned.world(), list[Stage]()
    inquiry = inquire(
        key,
        key.encode(),
        "postfix",
        MapSettings(**options),
        LookupSettings(),
        Sources(world.dns, world.hosts, world.clock, False),
        tick=itertools.count().__next__,
        waiting=waited.append,
    )
    return inquiry, waited


def without_record() -> Owned:
    owned = Owned()
    owned.records["txt", f"_mta-sts.{D}"] = ()
    return owned


def without_dns() -> Owned:
    owned = Owned()
    owned.records["txt", f"_mta-sts.{D}"] = servfail()
    return owned


def with_404() -> Owned:
    owned = Owned()
    owned.bodies[PUBLIC] = FetchError(Stage.HTTP, Fault.HTTP_STATUS, HOST, "404")
    return owned


WAYS = [
    ("a policy", Owned(), Kind.SECURE, [(Stage.RECORD, True), (Stage.POLICY, True), (Stage.ANSWER, True)]),
    ("no record", without_record(), Kind.NOTFOUND, [(Stage.RECORD, False), (Stage.ANSWER, False)]),
    ("no DNS", without_dns(), Kind.NOTFOUND, [(Stage.RECORD, False), (Stage.ANSWER, False)]),
    ("404", with_404(), Kind.NOTFOUND, [(Stage.RECORD, True), (Stage.HTTP, False), (Stage.ANSWER, False)]),
]


@pytest.mark.parametrize(("title", "owned", "kind", "steps"), WAYS, ids=[row[0] for row in WAYS])
def test_the_way_to_an_answer(title: str, owned: Owned, kind: Kind, steps: list[tuple[Stage, bool]]) -> None:
    """Up to the stage that failed; the answer comes last, and is what the verdict says."""
    inquiry, waited = ask(owned)
    assert inquiry.verdict.kind is kind
    assert [(step.stage, step.ok) for step in inquiry.steps] == steps
    assert inquiry.steps[-1].seen == inquiry.verdict.reason
    assert waited[0] is Stage.RECORD
    assert inquiry.seconds == sum(step.seconds for step in inquiry.steps)


def test_a_key_that_is_no_domain_asks_nobody() -> None:
    """It has an answer all the same."""
    owned = Owned()
    inquiry, waited = ask(owned, "[192.0.2.1]")
    assert (inquiry.outcome, inquiry.answer, waited) == (None, "NOTFOUND", [])
    assert not owned.asked


def test_dane_is_asked_about_on_a_map_that_wants_it() -> None:
    """And only for a policy that is enforced."""
    inquiry, waited = ask(Owned(), dane=True)
    assert Stage.DANE in waited
    assert inquiry.facts is not None
    assert ask(Owned())[0].facts is None
