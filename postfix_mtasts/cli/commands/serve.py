"""`postfix-mtasts serve`: the policy host of the domains whose policies lie in a folder."""

from __future__ import annotations

import argparse

from ...config.file import read
from ..libraries import needed


def add_parser(
    subparsers: argparse._SubParsersAction[argparse.ArgumentParser], parent: argparse.ArgumentParser
) -> None:
    parser = subparsers.add_parser(
        "serve",
        parents=[parent],
        help="publish policies: HTTPS, certificates, DNS records",
        description="Serve the policies in publish.directory over HTTPS, in the foreground, and log to standard\n"
        "error. Certificates are ordered by ACME, record ids are written to DNS, as configured.\n\n"
        "SIGHUP reads the folder again at once; SIGTERM and SIGINT end it.",
        epilog="examples:\n"
        "  postfix-mtasts serve\n"
        "  postfix-mtasts serve --config ./config.yml\n"
        "  postfix-mtasts publish list",
    )
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    with needed():
        from ...publishing.serve import run
    run(read(args.config))
    return 0
