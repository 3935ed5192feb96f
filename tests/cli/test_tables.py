"""cli/tables.py: columns in a pipe, and by rich on a terminal."""

from __future__ import annotations

import io
import re
import sys

import pytest

from postfix_mtasts.cli.tables import Cell, Table, show

NAMES = Table(("name", "number"), [[Cell("a"), Cell("1")], [Cell("long name"), Cell("1000", "red")]], numbers=True)
FACTS = Table((), [[Cell("up"), Cell("[red]2 days[/red]")], [Cell("listening"), Cell("")]])
PLAIN = """\
NAME       NUMBER
a               1
long name    1000

up         [red]2 days[/red]
listening
"""


def test_columns_are_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    """Words on the left, numbers on the right, no blanks at a line's end, an empty line between tables."""
    show([NAMES, FACTS])
    assert capsys.readouterr().out == PLAIN


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_the_same_words_in_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    """Brackets in a cell are text, and not rich's markup."""
    out = Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    show([NAMES, FACTS])
    assert re.search(r"\x1b\[31m *1000", out.getvalue())
    assert "[red]2 days[/red]" in out.getvalue()


def test_without_rich_a_terminal_gets_plain_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is optional."""
    out = Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setitem(sys.modules, "rich.console", None)
    show([NAMES, FACTS])
    assert out.getvalue() == PLAIN
