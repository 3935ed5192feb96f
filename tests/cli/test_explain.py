"""cli/explain.py: lines that fit a terminal and hold nothing but text; whole screens are tests/cli/commands/golden."""

from __future__ import annotations

from dataclasses import replace

import pytest

from postfix_mtasts.cli import explain
from postfix_mtasts.cli.comparing import Holding
from postfix_mtasts.config.settings import LookupSettings
from postfix_mtasts.core.names import Domain, NextHop, NoDomain
from postfix_mtasts.core.outcome import Stage
from postfix_mtasts.core.verdict import Kind, Verdict
from postfix_mtasts.resolving.tracing import Inquiry, Step
from tests.support.fakes import told

EVIL = "\x1b[2J\r\nexample.org: OK\u202e" + "A" * 2_000
DOMAIN = NextHop(Domain("example.com"), "25")
NAMES = [
    ("a domain", "Example.COM", DOMAIN, "example.com"),
    ("a port", "example.com:587", NextHop(Domain("example.com"), "587"), "example.com:587"),
    ("no domain", "\x1b.x y", NoDomain("the name holds other characters"), '"\\x1b.x y"'),
]


def inquiry(hop: NextHop | NoDomain = DOMAIN, key: str = "example.com", seen: str = "") -> Inquiry:
    steps = (Step(Stage.RECORD, 0.004, seen, False), Step(Stage.ANSWER, 0.0, "", False))
    verdict = Verdict(Kind.NOTFOUND, seen or "a reason", 0.0)
    return Inquiry(key, hop, "postfix", None, None, verdict, "NOTFOUND", steps)


@pytest.mark.parametrize(("title", "key", "hop", "name"), NAMES, ids=[case[0] for case in NAMES])
def test_a_line_begins_with_what_was_asked(title: str, key: str, hop: NextHop | NoDomain, name: str) -> None:
    """The domain in A-labels; what is none as it was given, quoted."""
    assert explain.name_of(inquiry(hop, key)) == name
    assert explain.answer_line(inquiry(hop, key)) == f"{name}: NOTFOUND (a reason)"


HOLDINGS = [
    ("nothing", Holding(None, None, ()), "holds nothing, the next lookup asks"),
    ("it cannot be asked", Holding(None, None, (), "no\x1b"), r"cannot be asked: no\x1b"),
    (
        "no policy",
        Holding(replace(told.NEGATIVE, left=-5.0), "NOTFOUND", ()),
        "answers alike; holds no policy, for 0s more (there is no record)",
    ),
]


@pytest.mark.parametrize(("title", "holding", "text"), HOLDINGS, ids=[case[0] for case in HOLDINGS])
def test_what_the_daemon_holds_is_one_line(title: str, holding: Holding, text: str) -> None:
    """Below the answer."""
    assert explain.holding_line(holding) == f"  daemon: {text}"


@pytest.mark.parametrize("colour", [False, True])
def test_hostile_text_stays_in_its_column(colour: bool) -> None:
    """80 columns of visible ASCII, and no line of its own."""
    holding = Holding(replace(told.NEGATIVE, reason=EVIL), EVIL, ("answer",))
    for line in explain.lines(inquiry(seen=EVIL), LookupSettings(), colour, holding):
        plain = line
        for code in ("\x1b[1m", "\x1b[0m", "\x1b[31m", "\x1b[32m") if colour else ():
            plain = plain.replace(code, "")
        assert plain.isascii()
        assert plain.isprintable()
        assert not plain.startswith("example.org")
