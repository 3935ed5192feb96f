"""policies/resolver_check.py: when the resolver is asked, and what is said of one that DANE cannot rest on."""

from __future__ import annotations

import logging

import pytest

from postfix_mtasts.config.settings import DEFAULT_MAPS, MapSettings, Settings
from postfix_mtasts.core.dnsdata import Validation
from postfix_mtasts.core.outcome import OwnFault
from postfix_mtasts.core.ports import ResolverFacts
from postfix_mtasts.daemon.policies.resolver_check import ResolverCheck, judge
from tests.support.fakes.keeping import BUG, DIED, FakeResolver

PLAIN, DANE = {"postfix": MapSettings()}, {"postfix-dane": MapSettings(dane=True)}

BEGINNINGS = [
    # maps of the file (None: none there), whether a dane map is asked after the start, how often the resolver is asked
    ("no maps in the file, and no dane map asked", None, False, 0),
    ("no maps in the file, and a dane map asked", None, True, 1),
    ("maps without dane", PLAIN, False, 0),
    ("a dane map in the file", DANE, False, 1),
    ("a dane map in the file, and asked", DANE, True, 1),
    ("the default maps written into the file", dict(DEFAULT_MAPS), False, 1),
]


@pytest.mark.parametrize(("title", "maps", "asked", "times"), BEGINNINGS, ids=[case[0] for case in BEGINNINGS])
def test_when_the_resolver_is_asked(title: str, maps: dict[str, MapSettings] | None, asked: bool, times: int) -> None:
    """At the start only where the configuration file names a dane map; else once, when one is first asked."""
    resolver = FakeResolver()
    check = ResolverCheck(resolver)
    check.begin(Settings() if maps is None else Settings(maps=maps))
    for _ in range(3 * asked):
        check.dane_asked()
    assert [question.method for question, _ in resolver.open] == ["resolver"] * times


def test_a_reload_asks_again_where_it_matters() -> None:
    """Other resolvers may be in use since."""
    resolver = FakeResolver()
    check = ResolverCheck(resolver)
    check.begin(Settings())
    check.begin(Settings())
    assert resolver.count == 0
    check.dane_asked()
    check.begin(Settings())
    assert resolver.count == 2


HERE, THERE = "127.0.0.1:53", "192.0.2.53:53"

CASES: list[tuple[str, ResolverFacts, list[str]]] = [
    ("it validates", ResolverFacts((HERE,), Validation.VALIDATES), []),
    ("it does not validate", ResolverFacts((HERE,), Validation.NO_AD), [f"resolver-not-validating servers={HERE} "]),
    (
        "it does not answer",
        ResolverFacts((HERE,), Validation.NO_ANSWER, (), "no DNSKEY answer for .: no answer within 5 s"),
        [f'resolver-not-answering servers={HERE} reason="no DNSKEY answer'],
    ),
    (
        "AD comes back and does not count",
        ResolverFacts((THERE,), Validation.NOT_TRUSTED, (THERE,)),
        [f"resolver-not-trusted servers={THERE} "],
    ),
    (
        "one that counts, one that does not",
        ResolverFacts((HERE, THERE), Validation.VALIDATES, (THERE,)),
        [f"resolver-not-trusted servers={THERE} "],
    ),
    (
        "neither AD nor trust",
        ResolverFacts((THERE,), Validation.NO_AD, (THERE,)),
        [f"resolver-not-validating servers={THERE} ", f"resolver-not-trusted servers={THERE} "],
    ),
]


@pytest.mark.parametrize(("title", "facts", "said"), CASES, ids=[case[0] for case in CASES])
def test_the_resolver(caplog: pytest.LogCaptureFixture, title: str, facts: ResolverFacts, said: list[str]) -> None:
    """RFC 7672 section 1.3.1: what a site with a dane map must know of its resolvers."""
    judge(facts)
    assert all(record.levelno == logging.WARNING for record in caplog.records)
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == len(said)
    for message, begins in zip(messages, said, strict=True):
        assert message.startswith(begins)


@pytest.mark.parametrize("answer", [DIED, BUG])
def test_no_word_without_an_answer(caplog: pytest.LogCaptureFixture, answer: OwnFault) -> None:
    """That the worker died says nothing of the resolver."""
    judge(answer)
    assert caplog.records == []
