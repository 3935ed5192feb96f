"""daemon/daemon.py, as far as it is no wiring: what is said of a resolver that DANE cannot rest on."""

from __future__ import annotations

import logging

import pytest

from postfix_mtasts.core.outcome import OwnFault
from postfix_mtasts.core.ports import ResolverFacts
from postfix_mtasts.daemon.daemon import _judge_resolver
from tests.support.fakes.keeping import BUG, DIED

NOT_LOCAL, NOT_VALIDATING = "resolver-not-local", "resolver-not-validating"

CASES: list[
    tuple[str, bool, list[str], list[tuple[str, str]]]
] = [  # AD for the root, servers, events and whom they name
    ("validating, on this host", True, ["127.0.0.1:53"], []),
    ("on another loopback address", True, ["127.0.0.53:53"], []),
    ("by IPv6", True, ["[::1]:53"], []),
    ("validating nothing", False, ["127.0.0.1:53"], [(NOT_VALIDATING, "servers=127.0.0.1:53")]),
    ("on another host", True, ["192.0.2.53:53"], [(NOT_LOCAL, "servers=192.0.2.53")]),
    ("one here, one elsewhere", True, ["127.0.0.1:53", "192.0.2.53:53"], [(NOT_LOCAL, "servers=192.0.2.53")]),
    ("at a link-local address", True, ["[fe80::1%eth0]:53"], [(NOT_LOCAL, "servers=fe80::1%eth0")]),
    ("in the local network", True, ["[fd00::53]:53"], [(NOT_LOCAL, "servers=fd00::53")]),
    (
        "elsewhere, and validating nothing",
        False,
        ["192.0.2.53:53", "198.51.100.53:53"],
        [
            (NOT_VALIDATING, 'servers="192.0.2.53:53 198.51.100.53:53"'),
            (NOT_LOCAL, 'servers="192.0.2.53 198.51.100.53"'),
        ],
    ),
]


@pytest.mark.parametrize(("title", "secure", "servers", "said"), CASES, ids=[case[0] for case in CASES])
def test_the_resolver(
    caplog: pytest.LogCaptureFixture, title: str, secure: bool, servers: list[str], said: list[tuple[str, str]]
) -> None:
    """RFC 7672 section 1.3.1: its AD bit is worth something on this host only, and if it validates."""
    _judge_resolver(ResolverFacts(tuple(servers), True, secure))
    assert all(record.levelno == logging.WARNING for record in caplog.records)
    messages = [record.getMessage() for record in caplog.records]
    assert [message.split(" ")[0] for message in messages] == [event for event, _ in said]
    for message, (_, named) in zip(messages, said, strict=True):
        assert f" {named} " in message


@pytest.mark.parametrize("answer", [DIED, BUG])
def test_no_word_without_an_answer(caplog: pytest.LogCaptureFixture, answer: OwnFault) -> None:
    """That the worker died says nothing of the resolver."""
    _judge_resolver(answer)
    assert caplog.records == []
