"""`postfix-mtasts`: the parser of the command line, and the edge where errors become exit codes."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Sequence
from errno import EDQUOT, ENOSPC
from importlib import import_module
from typing import Any, NoReturn, TextIO

from .. import __version__
from ..errors import ConfigError, LibraryError, ListenError, StoreBusyError, StoreError
from ..process import signals

# each a module of commands/
COMMANDS = (
    *("daemon", "status", "query", "cache", "config"),  # of who sends mail
    *("check", "policy", "record", "publish", "serve", "report"),  # of who receives it
)
OK, USAGE, UNAVAILABLE, OUTPUT_LOST, TRY_AGAIN, BAD_CONFIG = 0, 64, 69, 74, 75, 78  # sysexits.h


class _Parser(argparse.ArgumentParser):
    """Exits with 64 for a wrong command line, as sysexits.h wants; argparse exits with 2.

    Descriptions and examples of commands are shown as they are written.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"formatter_class": argparse.RawDescriptionHelpFormatter, **options})

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(USAGE, f"{self.prog}: {message}; see {self.prog} --help\n")

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        sys.stdout.flush()  # while main() can still tell what went wrong
        super().exit(status, message)


def build_parser(commands: Sequence[str] = COMMANDS) -> argparse.ArgumentParser:
    """Build the parser, of all commands or of some: importing the others takes longer than running one."""
    parent = argparse.ArgumentParser(add_help=False)
    parent.add_argument("--config", metavar="FILE", help="the configuration (default: /etc/postfix-mtasts/config.yml)")
    parser = _Parser(
        prog="postfix-mtasts",
        description="MTA-STS (RFC 8461) policies for Postfix, as a socketmap daemon.",
        epilog="In main.cf: smtp_tls_policy_maps = socketmap:inet:127.0.0.1:8462:postfix",
        formatter_class=argparse.HelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"postfix-mtasts {__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name in commands:
        import_module(f".commands.{name}", __package__).add_parser(subparsers, parent)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code."""
    words = sys.argv[1:] if argv is None else argv
    if words[:1] in (["daemon"], ["serve"]):
        signals.guard()
    if list(words[:2]) == ["report", "receive"]:
        return _receive(words)
    if sys.stderr is None:  # it was closed: print() would write to standard output instead
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 -- until the process ends
    if sys.stdout is None:
        if words[:1] != ["daemon"]:  # which prints nothing
            print("postfix-mtasts: standard output is closed; nothing was done", file=sys.stderr)
            return OUTPUT_LOST
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    try:
        return _run(words)
    except BrokenPipeError:  # the reader has seen enough, as in `... | head`
        _drop(sys.stdout)
        return OK
    except OSError as error:
        lost = {stream.name.strip("<>"): _drop(stream) for stream in (sys.stdout, sys.stderr)}
        reasons = [f"{name}: {fault.strerror}" for name, fault in lost.items() if fault]
        if not reasons and error.errno in (ENOSPC, EDQUOT) and error.filename is None:  # by python -u nothing is kept
            reasons = [f"stdout: {error.strerror}"]
        if not reasons:
            raise  # it is something else, which nobody expected
        print(f"postfix-mtasts: {'; '.join(reasons)}; the output is not whole", file=sys.stderr)
        return OUTPUT_LOST
    except KeyboardInterrupt:
        return 130


def _receive(words: Sequence[str]) -> int:
    """Run `report receive`, whatever goes wrong: pipe(8) bounces mail on each exit code but 0 and 75."""
    code: object = TRY_AGAIN
    try:
        sys.stdout, sys.stderr = (stream or open(os.devnull, "w") for stream in (sys.stdout, sys.stderr))  # noqa: SIM115
        code = _run(words)
    except SystemExit as error:  # argparse
        code = error.code
    except BaseException as error:  # noqa: BLE001 -- a bug must not bounce mail either
        with contextlib.suppress(OSError):
            print(f"postfix-mtasts: report receive: {type(error).__name__}: {error}"[:300], file=sys.stderr)
    for stream in (sys.stdout, sys.stderr):
        _drop(stream)
    return OK if code in (None, OK) else TRY_AGAIN


def _run(words: Sequence[str]) -> int:
    """Run a command and print the errors that are expected. Raises: OSError if the output cannot be written."""
    named = words[:1] if words and words[0] in COMMANDS else COMMANDS
    try:
        args = build_parser(named).parse_args(words)
        code: int = args.run(args)
    except ConfigError as error:
        print("\n".join(error.faults), file=sys.stderr)
        code = BAD_CONFIG
    except (ListenError, StoreError, StoreBusyError, LibraryError) as error:
        print(f"postfix-mtasts: {error}", file=sys.stderr)
        code = UNAVAILABLE
    sys.stdout.flush()
    return code


def _drop(stream: TextIO) -> OSError | None:
    """Throw away what *stream* still holds if it cannot be written, and return the reason.

    The interpreter would try it again at its end, and exit with 120.
    """
    try:
        stream.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        return error
    return None
