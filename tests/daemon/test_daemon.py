"""daemon/daemon.py, as far as it is no wiring: what is said of a resolver that DANE cannot rest on."""

from __future__ import annotations

import logging

import pytest

from postfix_mtasts.core.dnsdata import Validation
from postfix_mtasts.core.outcome import OwnFault
from postfix_mtasts.core.ports import ResolverFacts
from postfix_mtasts.daemon.daemon import _judge_resolver
from tests.support.fakes.keeping import BUG, DIED

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
    _judge_resolver(facts)
    assert all(record.levelno == logging.WARNING for record in caplog.records)
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == len(said)
    for message, begins in zip(messages, said, strict=True):
        assert message.startswith(begins)


@pytest.mark.parametrize("answer", [DIED, BUG])
def test_no_word_without_an_answer(caplog: pytest.LogCaptureFixture, answer: OwnFault) -> None:
    """That the worker died says nothing of the resolver."""
    _judge_resolver(answer)
    assert caplog.records == []
