"""README.rst: what it tells to type exists, and what it shows is what is printed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from postfix_mtasts.cli.main import build_parser

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.rst").read_text()
COMMANDS = [
    line.strip().removeprefix("$ ") for line in README.splitlines() if re.match(r" +(\$ )?postfix-mtasts ", line)
]


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_is_one_that_the_parser_takes(command: str) -> None:
    """With its options; what is after > is the shell's."""
    words = shlex.split(command.partition(" > ")[0], comments=True)[1:]
    assert build_parser().parse_args(words).run


def test_each_target_of_make_exists() -> None:
    """make run, demo, demo-shell, check, test, deb, wheel."""
    targets = set(re.findall(r"\bmake ([a-z-]+)\b", README))
    assert {"run", "demo", "demo-shell", "check", "test"} <= targets
    makefile = (ROOT / "Makefile").read_text()
    assert [target for target in targets if not re.search(rf"^{target}:", makefile, re.MULTILINE)] == []


def test_the_explanation_is_the_golden_one() -> None:
    """But for the domain and the times."""
    shown = README.partition("query --explain late.example\n")[2].partition("\n    daemon  ")[0]
    golden = (ROOT / "tests/cli/commands/golden/expired-certificate.txt").read_text()

    def words(text: str) -> list[str]:
        return re.sub(r"[0-9]+ ms|late\.example|example\.com|127\.0\.0\.1|198\.51\.100\.[0-9]+", "", text).split()

    assert words(shown)[-60:] == words(golden)[-60:]


SECTIONS = re.split(r"^(You send mail|You receive mail|You develop|The manual)\n-+\n", README, flags=re.MULTILINE)


@pytest.mark.parametrize("reader", ["You send mail", "You receive mail", "You develop"])
def test_each_reader_has_a_page(reader: str) -> None:
    """Of a screen, but for what a command prints."""
    page = SECTIONS[SECTIONS.index(reader) + 1]
    printed = re.findall(r"^    \$ .*\n((?:    (?!\$).*\n)*)", page, re.MULTILINE)
    assert page.strip().count("\n") - sum(text.count("\n") for text in printed) <= 50
