"""The manual says what the code does: settings, defaults, ranges, options, and how it renders."""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import Field, fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest

import postfix_mtasts
from postfix_mtasts.config.file import SIZE_LIMIT
from postfix_mtasts.config.settings import DEFAULT_CONFIG_FILE, MapSettings, Settings
from postfix_mtasts.config.values import duration_text

MAN = Path(__file__).parents[2] / "man"
PACKAGE = Path(postfix_mtasts.__file__).parent  # here, or where Debian installed it
PAGES = ["postfix-mtasts.1", "postfix-mtasts.yml.5", "postfix-mtasts.8"]


def page(name: str) -> str:
    """The source of a page without its escapes for "-" and "'"."""
    return (MAN / name).read_text().replace(r"\-", "-").replace(r"\(aq", "'")


def settings_of(defaults: Any, prefix: str) -> Iterator[tuple[str, Field[Any], Any]]:
    for field in fields(defaults):
        value = getattr(defaults, field.name)
        if is_dataclass(value):
            yield from settings_of(value, f"{prefix}{field.name}.")
        else:
            yield prefix + field.name, field, value


SETTINGS = [*settings_of(Settings(), ""), *settings_of(MapSettings(), "maps.NAME.")]


def first_line(field: Field[Any], default: Any) -> str:
    """What .5 has to say of a setting before anything else: its kind, range and default."""
    about, kind = field.metadata, field.metadata["kind"]
    kinds = {
        "bool": "true or false",
        "path": "An absolute path",
        "ca_file": "A file of PEM certificates",
        "group": "A group of this system",
        "mode": "Octal digits in quotes",
        "inet": "An address inet:HOST:PORT",
        "listen": "A list of addresses",
        "servers": "A list of resolvers",
        "maps": "Names and their options",
        "host": "A host name",
        "https_url": "An HTTPS address",
        "mail_address": "A mail address",
        "rua": "A list of report URIs",
        "shared_url": "A URL redis://, rediss:// or unix://",
        "secret_file": "A file of one line",
        "proxy_url": "A URL http:// or socks5h://",
        "login_file": "A file of one line USER:PASSWORD",
        "prefix": '1 to 64 letters, digits, ":", ".", "_" or "-"',
        "choice": f"One of {', '.join(about.get('choices', ()))}",
    }
    if kind == "duration":
        low, high = duration_text(about["low"]), duration_text(about["high"])
        return f"A duration from {low} to {high}; default: {duration_text(default)}."
    if kind == "int":
        return f"A whole number from {about['low']} to {about['high']}; default: {default}."
    return f"{kinds[kind]}; default: {shown(kind, default)}."


def shown(kind: str, default: Any) -> str:
    if kind == "mode":
        return f'"{default:04o}"'
    if kind == "maps":
        return "the six maps below"
    if kind == "bool":
        return str(default).lower()
    if isinstance(default, tuple):
        return f"[{', '.join(default)}]"
    return "null" if default is None else str(default)


@pytest.mark.parametrize(("key", "field", "default"), SETTINGS, ids=[row[0] for row in SETTINGS])
def test_each_setting_stands_in_the_manual_with_range_and_default(key: str, field: Field[Any], default: Any) -> None:
    """Under its dotted name."""
    text = re.sub(r"^\.BI maps\. NAME \.", ".B maps.NAME.", page("postfix-mtasts.yml.5"), flags=re.MULTILINE)
    assert f"\n.TP\n.B {key}\n{first_line(field, default)}\n" in text


def test_the_manual_has_no_setting_that_does_not_exist() -> None:
    """A setting taken out of the code is taken out of the manual."""
    told = re.findall(r"^\.TP\n\.B ([a-z_.]+)\n", page("postfix-mtasts.yml.5"), flags=re.MULTILINE)
    assert set(told) == {key for key, _, _ in SETTINGS if "NAME" not in key}
    assert len(told) == len(set(told))


def test_the_default_maps_stand_in_the_manual() -> None:
    """As the file would have them, and nothing else."""
    lines = ["maps:"]
    for name, options in Settings().maps.items():
        given = ", ".join(f"{field.name}: true" for field in fields(options) if getattr(options, field.name))
        lines.append(f"  {name}: {{{given}}}")
    assert "\n.EX\n" + "\n".join(lines) + "\n.EE\n" in page("postfix-mtasts.yml.5")
    for name in Settings().maps:
        assert name in page("postfix-mtasts.8")


def test_the_limits_of_the_file_stand_in_the_manual() -> None:
    """How large it may be, and where it is."""
    assert f"at most {SIZE_LIMIT // 1024} KiB" in page("postfix-mtasts.yml.5")
    for name in PAGES:
        assert DEFAULT_CONFIG_FILE in page(name)


def commands(parser: argparse.ArgumentParser, name: str) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Every command with its parser; the program itself has the name ""."""
    yield name, parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for word, command in action.choices.items():
                yield from commands(command, f"{name} {word}".strip())


def test_each_command_and_option_stands_in_the_manual() -> None:
    """Commands with options have a section; each option is there, in its command's section or for all."""
    from postfix_mtasts.cli.main import build_parser

    text = re.sub(r"[\\]f[BIR]", "", page("postfix-mtasts.1"))
    section = text[text.index("\n.SH COMMANDS\n") : text.index("\n.SH EXIT STATUS\n")]
    common, *rest = re.split(r"^\.SS ", section, flags=re.MULTILINE)
    sections = {re.match(r"[a-z ]*[a-z]", part)[0]: part for part in rest}  # type: ignore[index]
    missing = []
    for name, parser in commands(build_parser(), ""):
        if any(isinstance(action, argparse._SubParsersAction) for action in parser._actions):
            told = common
        else:
            told = common + sections.pop(name, f"no section {name}")
            if "no section" in told:
                missing.append(name)
        for action in parser._actions:
            missing += [
                f"{name} {option}"
                for option in action.option_strings
                if not re.search(rf"^\.TP\n\.BI?R? (.*[ ,])?{re.escape(option)}( |$)", told, flags=re.MULTILINE)
            ]
    assert missing == []
    assert sections == {}, "the manual has commands that do not exist"


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.skipif(shutil.which("groff") is None, reason="groff is not installed")
def test_a_page_renders_without_a_warning(name: str) -> None:
    """All of groff's warnings are on."""
    done = subprocess.run(
        ["groff", "-ww", "-man", "-Tascii", "-P-cbou", str(MAN / name)], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    assert "NAME" in done.stdout


def test_every_event_of_the_log_is_explained() -> None:
    """An administrator who greps the manual for an event of the log finds it, with the level it has."""
    source = "\n".join(path.read_text() for path in PACKAGE.rglob("*.py"))
    logged = set(re.findall(r'log\.(?:info|warning|error)\("([a-z-]+)(?: %s)?"', source))
    logged |= set(re.findall(r'"([a-z]+(?:-[a-z]+)+) %s"', source))
    explained = set(re.findall(r"^\.B ([a-z-]+)\n\((?:info|warning|error)\)", page("postfix-mtasts.8"), re.MULTILINE))
    debug = {
        "record-unchanged",
        "record-missing",
        "broken-frame",
        "client-cut-off",
        "event-name",
        "record-unread",
        "unknown-name",
    }
    assert logged - debug == explained


def test_every_metric_is_explained() -> None:
    """The names of SPEC's metrics, as the daemon exports them."""
    names = set(re.findall(r'"(mtasts_[a-z_]+)"', (PACKAGE / "daemon/operating/numbers.py").read_text()))
    text = page("postfix-mtasts.8")
    assert names
    assert [name for name in names if f".B {name}" not in text] == []
