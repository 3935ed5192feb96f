"""`postfix-mtasts report`: the TLS reports that others send, taken in, listed, explained.

What is said about them is made in reports/; how it looks as text is
../reporting.py's.
"""

from __future__ import annotations

import argparse
import logging
import sys
from typing import Any

from ...adapters.clock import SystemClock
from ...config.file import read
from ...config.settings import Settings
from ...core.reporttimes import time_text
from ...core.tlsreport import normal_domain
from ...core.trust import OUTCOMES
from ..windows import moment

OK, NOTHING, FAILURES, USAGE, TRY_AGAIN = 0, 1, 1, 64, 75
MONTH = 30 * 86400.0

_EXIT = "exit codes: 0, 1 {}, 64 wrong usage, 69 the store cannot be used, 74 output lost, 78 bad configuration"


def add_parser(subparsers: argparse._SubParsersAction[Any], parent: argparse.ArgumentParser) -> None:
    """Add `report` with its subcommands."""
    now = SystemClock().wall()
    parser = subparsers.add_parser(
        "report",
        help="take in and explain the TLS reports that others send about your domains",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Take in and explain the TLS reports (RFC 8460) that others send about your domains.",
        epilog=(
            "examples:\n"
            "  postfix-mtasts report import ~/Maildir\n"
            "  postfix-mtasts report show --domain example.com\n"
            "  postfix-mtasts report html -o /var/www/tls.html"
        ),
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    windows = _window_options(now)

    def add(name: str, run: Any, help: str, description: str, epilog: str, *parents: argparse.ArgumentParser) -> Any:
        command = commands.add_parser(
            name,
            parents=[parent, *parents],
            help=help,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            description=description,
            epilog=epilog,
        )
        command.set_defaults(run=run, now=now)
        return command

    add(
        "receive",
        _receive,
        "take in one mail from standard input, for pipe(8) or an alias",
        "Take in one mail from standard input. What is not a TLS report is set aside.",
        "exit codes: 0 stored, already there or set aside; 75 not now, try again; never any other\n\n"
        "example, in master.cf:\n"
        "  tlsrpt unix - n n - 4 pipe user=_mtasts-reports argv=/usr/bin/postfix-mtasts report receive",
    )
    command = add(
        "import",
        _import,
        "read reports from files, directories, mbox and Maildir",
        "Read reports from files (.eml, .json, .gz, .zip), directories, mbox and Maildir. May be broken off\n"
        "and run again: what is there already is not stored twice.",
        _EXIT.format("some could not be read")
        + "\n\nexample:\n  postfix-mtasts report import /var/mail/tlsrpt ~/Maildir",
    )
    command.add_argument("paths", metavar="PATH", nargs="+", help="a file, a directory, a Maildir or an mbox")
    command = add(
        "list",
        _list,
        "list the reports one by one",
        "List the reports one by one, by the day they are about.",
        _EXIT.format("nothing found"),
        windows,
    )
    command.add_argument("--unreadable", action="store_true", help="list what could not be read, by when it came")
    command.add_argument("--json", action="store_true", help="print one JSON object a line")


def _window_options(now: float) -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(add_help=False)
    options.add_argument("--domain", metavar="DOMAIN", type=normal_domain, help="only what is about this domain")
    options.add_argument(
        "--since",
        metavar="TIME",
        type=moment(now),
        help="reports that begin at this time or later: 30d (ago), 2026-06-01 or RFC 3339 (default: 30d)",
    )
    options.add_argument(
        "--until", metavar="TIME", type=moment(now), help="reports that begin before this time (default: now)"
    )
    options.add_argument("--dkim", choices=OUTCOMES, help="only reports with this outcome of the DKIM check")
    return options


def _window(args: argparse.Namespace) -> Any:
    """Exit code 64 if the window has no room."""
    from ...adapters.reportsums import Window

    until = args.now if args.until is None else args.until
    since = until - MONTH if args.since is None else args.since
    if since >= until:
        begin, end = time_text(max(since, 0)), time_text(max(until, 0))
        print(f"postfix-mtasts report: --since ({begin}) is not before --until ({end})", file=sys.stderr)
        raise SystemExit(USAGE)
    return Window(since, until, args.domain, args.dkim)


def _intake(settings: Settings, store: Any) -> Any:
    """Raises: LibraryError."""
    from ...adapters.dns.client import DnsClient
    from ...reports.intake import Intake
    from ..libraries import needed

    verifier = None
    if settings.reports.dkim:
        with needed():
            from ...adapters.signatures import Signatures
        verifier = Signatures(DnsClient(settings.dns.servers, settings.dns.timeout).txt)
    wanted = settings.reports
    return Intake(store, verifier, wanted.require_dkim, wanted.keep, SystemClock().wall)


def _receive(args: argparse.Namespace) -> int:
    """Exit code 0 or 75; main() sees to all that is not caught here."""
    from ...adapters.reportdb import ReportDb
    from ...errors import StoreError, UnavailableError

    logging.raiseExceptions = False
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    settings = read(args.config).settings
    try:
        if sys.stdin is None:
            raise UnavailableError("standard input is closed: there is no mail")
        with ReportDb(settings.reports.directory) as store:
            intake = _intake(settings, store)
            intake.mail(sys.stdin.buffer)
            try:
                intake.forget_daily()
            except StoreError as error:  # the mail is stored all the same
                print(f"postfix-mtasts report: {error}", file=sys.stderr)
    except (StoreError, UnavailableError) as error:
        print(f"postfix-mtasts report: {error}", file=sys.stderr)
        return TRY_AGAIN
    return OK


def _import(args: argparse.Namespace) -> int:
    """Exit code 1 if something could not be read. Raises: ConfigError, StoreError, LibraryError."""
    from ...adapters.mailfiles import items
    from ...adapters.reportdb import ReportDb
    from ..reporting import Progress

    settings = read(args.config).settings
    with ReportDb(settings.reports.directory, durable=False) as store:
        intake = _intake(settings, store)
        progress = Progress(sys.stderr)
        try:
            for path in args.paths:
                for item in items(path):
                    progress.count(item.name, intake.item(item))
        finally:
            print(progress.end())
    return FAILURES if progress.unreadable else OK


def _list(args: argparse.Namespace) -> int:
    """Exit code 1 if there is nothing. Raises: ConfigError, StoreError."""
    from ...adapters import reportsums
    from ...adapters.reportdb import ReportDb
    from .. import reporting

    window = _window(args)
    with ReportDb(read(args.config).settings.reports.directory) as store:
        if args.unreadable:
            return reporting.list_unreadable(store.unreadable(window.since, window.until), args.json)
        return reporting.list_reports(reportsums.reports(store, window), args.json)
