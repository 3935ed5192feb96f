"""docs/reports.rst: each command that it shows is one, and each setting that it names is there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from postfix_mtasts.cli.main import build_parser
from postfix_mtasts.config.file import leaves
from postfix_mtasts.config.settings import DEFAULT_REPORTS, Settings

TEXT = (Path(__file__).parents[2] / "docs" / "reports.rst").read_text()
COMMANDS = [line.strip() for line in re.findall(r"postfix-mtasts (report [^`\"\n#|]*)", TEXT)]


@pytest.mark.parametrize("command", sorted(set(COMMANDS)))
def test_a_command_is_understood(command: str) -> None:
    """With its options."""
    assert build_parser(("report",)).parse_args(shlex.split(command)).run


def test_the_settings_are_there() -> None:
    """By their dotted names, with the default directory."""
    named = set(re.findall(r"``(reports\.[a-z_]+)(?=[`:])", TEXT))
    assert named - {"reports.db"} <= set(leaves(Settings()))
    assert {"reports.directory", "reports.keep", "reports.require_dkim"} <= named
    assert DEFAULT_REPORTS in TEXT
