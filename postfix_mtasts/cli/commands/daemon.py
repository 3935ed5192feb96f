"""`postfix-mtasts daemon`: answer Postfix, in the foreground."""

from __future__ import annotations

import argparse

from ...config.file import read
from ...daemon.daemon import run


def add_parser(
    subparsers: argparse._SubParsersAction[argparse.ArgumentParser], parent: argparse.ArgumentParser
) -> None:
    parser = subparsers.add_parser(
        "daemon",
        parents=[parent],
        help="answer Postfix",
        description="Answer Postfix in the foreground and log to standard error.\n\n"
        "SIGHUP reads the configuration again; SIGTERM and SIGINT end the daemon.",
        epilog="examples:\n"
        "  postfix-mtasts daemon\n"
        "  postfix-mtasts daemon --config ./config.yml\n"
        "  postmap -q example.org socketmap:inet:127.0.0.1:8462:postfix",
    )
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    run(read(args.config), args.config)
    return 0
