"""`postfix-mtasts`: the parser of the command line, and the edge where errors become exit codes."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

from .. import __version__
from ..errors import ConfigError, ListenError, StoreBusyError, StoreError

COMMANDS = ("daemon", "status", "query", "cache", "config")  # each a module of commands/
OK, USAGE, UNAVAILABLE, BAD_CONFIG = 0, 64, 69, 78  # sysexits.h


class _Parser(argparse.ArgumentParser):
    """argparse, with the exit code that sysexits.h gives to a wrong command line."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(USAGE, f"{self.prog}: {message}; see {self.prog} --help\n")

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        _flush()
        super().exit(status, message)


def build_parser(commands: Sequence[str] = COMMANDS) -> argparse.ArgumentParser:
    """The command line, whole or of some *commands* only: what the others import takes longer than they do."""
    parent = argparse.ArgumentParser(add_help=False)
    parent.add_argument("--config", metavar="FILE", help="the configuration (default: /etc/postfix-mtasts/config.yml)")
    parser = _Parser(
        prog="postfix-mtasts",
        description="MTA-STS (RFC 8461) policies for Postfix, as a socketmap daemon.",
        epilog="In main.cf: smtp_tls_policy_maps = socketmap:inet:127.0.0.1:8462:postfix",
    )
    parser.add_argument("--version", action="version", version=f"postfix-mtasts {__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name in commands:
        import_module(f".commands.{name}", __package__).add_parser(subparsers, parent)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit code."""
    words = sys.argv[1:] if argv is None else argv
    named = words[:1] if words and words[0] in COMMANDS else COMMANDS
    try:
        args = build_parser(named).parse_args(words)
        code: int = args.run(args)
        _flush()
    except ConfigError as error:
        print("\n".join(error.faults), file=sys.stderr)
        return BAD_CONFIG
    except (ListenError, StoreError, StoreBusyError) as error:
        print(f"postfix-mtasts: {error}", file=sys.stderr)
        return UNAVAILABLE
    except BrokenPipeError:  # the reader has seen enough, as in `... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except KeyboardInterrupt:
        return 130
    return code


def _flush() -> None:
    """Write what print() kept back, while a reader that went away can still be seen to. Raises: BrokenPipeError."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError:
        pass  # a full disk: the interpreter says so at its end, and exits 120
