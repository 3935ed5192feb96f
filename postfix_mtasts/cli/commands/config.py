"""`config check` tells whether a configuration is right; `config show` prints the one in force."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields, is_dataclass
from typing import Any

from ...config import environment
from ...config.file import Loaded, read
from ...config.settings import DEFAULT_CONFIG_FILE
from ...config.values import duration_text, shown_url
from ...core.quoting import escape, json_line, quote
from ...errors import ConfigError
from ..postfix import check, postconf
from ..postfix.groups import Misfit

OK, WARNINGS, FAULTS = 0, 1, 78

# What our reader takes without quotes for the same text: words, paths, addresses, durations, but not null and 0660.
_PLAIN = re.compile(r"(?!null$)[A-Za-z/](?:[A-Za-z0-9/._:\[\]-]*[A-Za-z0-9\]])?|[0-9]+(?:ms|[smhd])", re.IGNORECASE)


def add_parser(subparsers: argparse._SubParsersAction[Any], parent: argparse.ArgumentParser) -> None:
    """Add `config` with its subcommands."""
    parser = subparsers.add_parser(
        "config",
        help="check a configuration, or print the one in force",
        description="Check a configuration, or print the one in force.",
        epilog=(
            "examples:\n"
            "  postfix-mtasts config check\n"
            "  postfix-mtasts config check --config /tmp/new.yml && systemctl reload postfix-mtasts\n"
            "  postfix-mtasts config show"
        ),
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    checking = commands.add_parser(
        "check",
        parents=[parent],
        help="report every fault, and what in Postfix would defeat the answers",
        description=(
            "Report every fault of the configuration, one line each. If postconf(1) is on PATH, also warn\n"
            "of what in main.cf and master.cf would hold up mail or bypass the policies."
        ),
        epilog=(
            "exit codes: 0 all is well, 1 warnings (78 with --strict), 78 faults\n\n"
            "examples:\n"
            "  postfix-mtasts config check\n"
            "  postfix-mtasts config check --config /tmp/new.yml\n"
            "  postfix-mtasts config check --json | jq '.warnings[].wrong'"
        ),
    )
    checking.add_argument("--strict", action="store_true", help="exit with 78 also for warnings")
    checking.add_argument("--json", action="store_true", help="print one object with file, faults and warnings")
    checking.set_defaults(run=run_check)
    show = commands.add_parser(
        "show",
        parents=[parent],
        help="print every setting in force, and where it came from",
        description="Print every setting in force as a configuration file; a comment tells where each value came from.",
        epilog=(
            "exit codes: 0, 78 faults\n\n"
            "examples:\n"
            "  postfix-mtasts config show\n"
            "  postfix-mtasts config show --json | jq .origins"
        ),
    )
    show.add_argument("--json", action="store_true", help="print an object with file, settings and origins")
    show.set_defaults(run=run_show)


def run_check(args: argparse.Namespace) -> int:
    """Print faults and warnings, and return the exit code. Raises: ConfigError with the faults (exit code 78)."""
    try:
        loaded = read(args.config)
    except ConfigError as error:
        if args.json:
            print(json_line({"file": args.config, "faults": error.faults, "warnings": []}))
            return FAULTS
        raise
    warnings = _postfix_warnings(loaded)
    if args.json:
        print(json_line({"file": loaded.file, "faults": [], "warnings": [asdict(warning) for warning in warnings]}))
    else:
        for warning in warnings:
            print(f"warning: {warning}", file=sys.stderr)
        print(f"{_file(loaded)}: ok" + (", with warnings" if warnings else ""))
    return (FAULTS if args.strict else WARNINGS) if warnings else OK


def _file(loaded: Loaded) -> str:
    source = quote(loaded.file) if loaded.file else f"{DEFAULT_CONFIG_FILE} is not there, the defaults"
    more = any(origin.startswith(environment.PREFIX) for origin in loaded.origins.values())
    return f"{source} and the environment" if more else source


def _postfix_warnings(loaded: Loaded) -> list[Misfit]:
    try:
        facts = postconf.ask()
    except OSError as error:
        wrong = f"Postfix was not looked at: {escape(str(error)[:200])}"
        return [Misfit("", wrong, "try `postconf` by hand")]
    return check.misfits(facts, loaded.settings) if facts else []


def run_show(args: argparse.Namespace) -> int:
    """Print the settings in force, and return 0. Raises: ConfigError with the faults (exit code 78)."""
    loaded = read(args.config)
    if args.json:
        shape = {"file": loaded.file, "settings": plain(loaded.settings), "origins": dict(loaded.origins)}
        print(json.dumps(shape, indent=2))
    else:
        print("\n".join(yaml_lines(loaded)))
    return 0


def plain(settings: Any) -> dict[str, Any]:
    """Return the settings as a file would hold them: durations as 15s, the mode as "0660"."""
    shape: dict[str, Any] = {}
    for field in fields(settings):
        value, kind = getattr(settings, field.name), field.metadata.get("kind")
        if is_dataclass(value):
            shape[field.name] = plain(value)
        elif kind == "maps":
            shape[field.name] = {name: asdict(options) for name, options in value.items()}
        elif kind == "duration":
            shape[field.name] = duration_text(value)
        elif kind == "shared_url" and value is not None:
            shape[field.name] = shown_url(value)
        elif kind == "mode":
            shape[field.name] = f"{value:04o}"
        else:
            shape[field.name] = list(value) if isinstance(value, tuple) else value
    return shape


def yaml_lines(loaded: Loaded) -> Iterator[str]:
    """Yield the lines of a file with the same settings, the origin of each in a comment."""
    yield f"# {_file(loaded)}"
    yield from _section(plain(loaded.settings), loaded.origins, "")


def _section(shape: Mapping[str, Any], origins: Mapping[str, str], prefix: str) -> Iterator[str]:
    indent = "  " * prefix.count(".")
    for name, value in shape.items():
        origin = origins.get(prefix + name)
        if origin is None:
            yield f"{indent}{name}:"
            yield from _section(value, origins, f"{prefix}{name}.")
        elif name == "maps":
            yield f"{indent}maps:  # {origin}"
            yield from (f"{indent}  {_scalar(key)}: {_flow(options)}" for key, options in value.items())
        elif isinstance(value, list) and value:
            yield f"{indent}{name}:  # {origin}"
            yield from (f"{indent}  - {_scalar(item)}" for item in value)
        else:
            yield f"{indent}{name}: {_scalar(value)}  # {origin}"


def _flow(options: Mapping[str, bool]) -> str:
    """Return the options of a map that are not the default."""
    return "{" + ", ".join(f"{name}: true" for name, given in options.items() if given) + "}"


def _scalar(value: Any) -> str:
    if isinstance(value, str) and not _PLAIN.fullmatch(value):
        return '"' + escape(value).replace('"', r"\"") + '"'
    return value if isinstance(value, str) else json.dumps(value)
