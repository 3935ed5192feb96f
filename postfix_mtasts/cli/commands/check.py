"""`postfix-mtasts check`: is a domain protected as its owner wants it, and what to do where it is not.

The command: its options, output and exit codes. Examining is resolving/audit's,
the words are core/findings', the formats cli/checking's.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...adapters.files import write_whole
from ...config.file import read
from ...core.findings.owner import TABLE, Verdict
from ...core.names import Domain, parse_domain
from ...core.quoting import json_line
from ...errors import DomainError
from ...resolving.audit.audit import Report, Stage
from ...resolving.audit.outside import outside
from ...resolving.audit.run import blocked, examine
from ...resolving.audit.world import World
from ..checking import formats, text
from ..checking.held import LocalDaemon

USAGE, UNAVAILABLE = 64, 69
_ERASE = "\r\x1b[K"


def add_parser(subparsers: argparse._SubParsersAction[Any], parent: argparse.ArgumentParser) -> None:
    """Add `check`."""
    parser = subparsers.add_parser(
        "check",
        parents=[parent],
        help="examine all that domains publish, and every mail host behind them",
        description=(
            "Examine the record, the policy host at each of its addresses, the policy, the MX set, every mail host\n"
            "at each of its addresses, DANE and TLSRPT, by the code with which the daemon protects outgoing mail,\n"
            "and say what to do about what is wrong."
        ),
        epilog=(
            "exit codes: 0 fine, 1 warnings, 2 errors, 3 could not be determined; of several domains the gravest\n"
            "(2 over 3 over 1); 64 wrong usage, 69 --metrics cannot be written, 78 bad configuration\n\n"
            "examples:\n"
            "  postfix-mtasts check example.org\n"
            "  postfix-mtasts check --json example.org example.com | jq -r '.domain + \" \" + .verdict'\n"
            "  postfix-mtasts check --monitor --expiry-days 21 example.org\n"
            "  xargs postfix-mtasts check --metrics /var/lib/prometheus/node-exporter/mtasts.prom < domains.txt\n"
            "  postfix-mtasts check --codes"
        ),
    )
    parser.add_argument("domains", nargs="*", metavar="DOMAIN", help="a domain that receives mail")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--json", action="store_true", help="print one JSON object a line")
    how.add_argument("--monitor", action="store_true", help="print in the Monitoring Plugins format")
    parser.add_argument("--no-mail", action="store_true", help="connect to no mail host")
    parser.add_argument(
        "--expiry-days",
        metavar="DAYS",
        type=_days,
        default=14,
        help="warn of certificates with fewer days left (default: 14)",
    )
    parser.add_argument("--codes", action="store_true", help="list all codes with severity and meaning, and end")
    parser.add_argument("--metrics", metavar="FILE", help="also write a textfile for node_exporter")
    parser.set_defaults(run=run)


def _days(word: str) -> int:
    if not (word.isascii() and word.isdigit() and int(word) <= 3650):
        raise argparse.ArgumentTypeError(f"{word[:20]!r} is not a number of days from 0 to 3650")
    return int(word)


def run(args: argparse.Namespace) -> int:
    """The gravest exit code of all domains. Raises: ConfigError (exit code 78)."""
    if args.codes:
        print("\n".join(codes()))
        return 0
    if not args.domains:
        return _usage("name a domain, or use --codes")
    domains: list[Domain] = []
    for word in args.domains:
        try:
            domains.append(parse_domain(word))
        except DomainError as error:
            return _usage(str(error))
    loaded = read(args.config)
    world = outside(loaded.settings, not args.no_mail, args.expiry_days, LocalDaemon(loaded, args.config).held)
    verdict, reports = _tell(list(dict.fromkeys(domains)), world, args)
    if args.metrics is not None:
        try:
            write_whole(Path(args.metrics), formats.metrics(reports, time.time()).encode(), 0o644)
        except OSError as error:
            print(f"postfix-mtasts check: --metrics: {args.metrics}: {error.strerror}", file=sys.stderr)
            return UNAVAILABLE
    return formats.CODES[verdict]


def _usage(problem: str) -> int:
    print(f"postfix-mtasts check: {problem}; see postfix-mtasts check --help", file=sys.stderr)
    return USAGE


def codes() -> Iterator[str]:
    """What --codes prints: code, severity, meaning."""
    for code, row in TABLE.items():
        yield f"{code:<28} {row.letters:<14} {row.meaning}"


def _tell(domains: list[Domain], world: World, args: argparse.Namespace) -> tuple[Verdict, list[Report]]:
    """Print as the domains are done. Returns the gravest verdict, and the reports if they are still needed."""
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    live = len(domains) == 1 and not (args.json or args.monitor)
    progress = sys.stderr.isatty() and len(domains) > 1

    def told(stage: Stage) -> None:
        if live:
            print("\n".join(text.stage(stage, colour)), flush=True)

    def count(done: int) -> None:
        if progress:
            print(f"{_ERASE}{done} of {len(domains)} domains", end="", file=sys.stderr, flush=True)

    if live:
        print(text.title(domains[0], colour), flush=True)
    reports: list[Report] = []
    verdict = Verdict.OK
    for report in examine(domains, world, told=told, progress=count):
        if progress and not args.monitor:
            print(_ERASE, end="", file=sys.stderr, flush=True)
        if args.json:
            print(json_line(formats.of_report(report)), flush=True)
        elif not args.monitor:
            print("\n".join((text.end if live else text.whole)(report, colour)), flush=True)
        verdict = formats.gravest((verdict, report.verdict))
        if args.monitor or args.metrics is not None:
            reports.append(report)
    if args.monitor:
        print("\n".join(formats.monitor(reports, time.time())))
    elif blocked(world) and not args.json:
        print("\n".join(text.hint(text.PORT_25)))
    elif blocked(world):
        print("\n".join(text.hint(text.PORT_25)), file=sys.stderr)
    return verdict, reports
