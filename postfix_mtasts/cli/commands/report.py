"""`postfix-mtasts report`: the TLS reports that others send, taken in, listed, explained.

What is said about them is made in reports/; how it looks as text is
../reporting.py's.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from pathlib import Path
from typing import Any

from ...adapters.clock import SystemClock
from ...config.file import read
from ...config.settings import Settings
from ...core.quoting import quote
from ...core.reporttimes import time_text
from ...core.tlsreport import normal_domain
from ...core.trust import OUTCOMES
from ..windows import moment

OK, NOTHING, FAILURES, USAGE, UNAVAILABLE, TRY_AGAIN = 0, 1, 1, 64, 69, 75
WEEK, MONTH = 7 * 86400.0, 30 * 86400.0
KEYS = ("result", "source", "day", "mx", "policy", "domain")  # as reports.summary.KEYS, whose import takes longer

_EXIT = "exit codes: 0, 1 {}, 64 wrong usage, 69 the store cannot be used, 74 output lost, 78 bad configuration"


def add_parser(subparsers: argparse._SubParsersAction[Any], parent: argparse.ArgumentParser) -> None:
    """Add `report` with its subcommands."""
    now = SystemClock().wall()
    parser = subparsers.add_parser(
        "report",
        help="take in and explain the TLS reports that others send about your domains",
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
        "  tlsrpt unix - n n - 4 pipe user=_mtasts-owner argv=/usr/bin/postfix-mtasts report receive",
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

    command = add(
        "show",
        _show,
        "add the reports up, and explain what failed",
        "Say whether anything is wrong, then what, since when, from whom, and what to do.",
        _EXIT.format("nothing found") + "\n\nexample:\n  postfix-mtasts report show --domain example.com --since 7d",
        windows,
    )
    command.add_argument("--by", choices=KEYS, help="print one table by this key instead")
    form = command.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print one JSON object")
    form.add_argument("--csv", action="store_true", help="print the table as CSV")
    command = add(
        "html",
        _html,
        "write one self-contained page with charts",
        "Write one page with charts and tables: no script, and nothing is loaded from elsewhere.",
        _EXIT.format("nothing found, which the page says too").replace("be used", "be used or FILE not written"),
        windows,
    )
    command.add_argument("-o", "--output", metavar="FILE", help="replace this file (default: standard output)")
    command = add(
        "digest",
        _digest,
        "write what is new and what got worse, as a mail to a person",
        "Write what is new, what got worse and what to do, of what was received in the last 7 days.\n"
        "Write nothing if all is well.",
        _EXIT.format("there were failures") + "\n\nexample, in a crontab:\n"
        "  0 7 * * 1 _mtasts-owner postfix-mtasts report digest --since-last",
        windows,
    )
    command.add_argument("--since-last", action="store_true", help="of what was received since the last --since-last")
    command.add_argument("--always", action="store_true", help="write also if all is well")
    command = add(
        "forget",
        _forget,
        "delete old reports",
        "Delete reports that are about the time before reports.keep ago, and what was set aside before then.",
        _EXIT.format("is not used"),
    )
    command.add_argument(
        "--before",
        metavar="TIME",
        type=moment(now),
        help="delete what is before this time: 400d (ago), a date or RFC 3339",
    )


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
    from ...reports.intake import Intake
    from ...resolving.world import dns_client
    from ..libraries import needed

    verifier = None
    if settings.reports.dkim:
        with needed():
            from ...adapters.signatures import Signatures
        verifier = Signatures(dns_client(settings.dns).txt)
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
            for name, taken in intake.items(item for path in args.paths for item in items(path)):
                progress.count(name, taken)
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


def _show(args: argparse.Namespace) -> int:
    """Exit code 1 if there is nothing. Raises: ConfigError, StoreError."""
    from ...adapters.reportdb import ReportDb
    from ...core.quoting import json_line
    from ...reports.summary import Facts, rows, summarize
    from .. import reporting

    window = _window(args)
    with ReportDb(read(args.config).settings.reports.directory) as store, store.snapshot():
        facts = Facts(store, window)
        summary = summarize(facts)
        table = rows(facts, args.by) if args.by else []
    if args.json:
        extra = {"by": args.by, "rows": [reporting.row_json(row) for row in table]}
        print(json_line(reporting.totals_json(summary) | extra if args.by else reporting.summary_json(summary)))
    elif args.csv:
        if args.by:
            names = (*(("domain", "type", "policy") if args.by == "policy" else (args.by,)), *_COUNTS)
            reporting.print_csv([reporting.row_json(row) for row in table], names)
        else:
            reporting.print_csv(reporting.summary_json(summary)["results"], _RESULTS)
    elif not summary.reports:
        print("no report begins in this time; see --since")
    elif args.by:
        reporting.print_rows(table, args.by)
    else:
        reporting.print_summary(summary)
    return OK if summary.reports else NOTHING


_COUNTS = ("sessions", "successful", "failed")
_RESULTS = ("result", "sessions", "sources", "mx", "meaning", "advice")


def _html(args: argparse.Namespace) -> int:
    """Exit code 1 if there is nothing. Raises: ConfigError, StoreError, LibraryError."""
    from ...adapters.reportdb import ReportDb
    from ..libraries import needed

    with needed():
        from ...reports.page import look, render
    window = _window(args)
    with ReportDb(read(args.config).settings.reports.directory) as store, store.snapshot():
        view = look(store, window)
    page = render(view, args.now)
    if args.output is None:
        sys.stdout.buffer.write(page.encode())
        sys.stdout.buffer.flush()
    else:
        try:
            _write(args.output, page.encode())
        except OSError as error:
            print(f"postfix-mtasts report: {quote(args.output)}: {error.strerror}", file=sys.stderr)
            return UNAVAILABLE
    return OK if view.summary.reports else NOTHING


def _write(path: str, data: bytes) -> None:
    """Replace a file whole; a device or a pipe is written to. Raises: OSError."""
    from ...adapters.files import write_whole

    if os.path.exists(path) and not os.path.isfile(path):
        with open(path, "wb") as stream:
            stream.write(data)
        return
    mask = os.umask(0o022)
    os.umask(mask)
    write_whole(Path(os.path.realpath(path)), data, 0o666 & ~mask)


def _digest(args: argparse.Namespace) -> int:
    """Exit code 1 if there were failures. Raises: ConfigError, StoreError, OSError."""
    from dataclasses import replace

    from ...adapters import reportsums
    from ...adapters.reportdb import ReportDb
    from ...reports import digest

    window = _window(args) if args.since or args.until else replace(_window(args), since=0.0, until=args.now + MONTH)
    name = f"digest {args.domain or ''} {args.dkim or ''}"
    with ReportDb(read(args.config).settings.reports.directory) as store:
        last = store.remembered(name) if args.since_last else None
        with store.snapshot():
            latest = reportsums.latest(store)
            if last is not None:
                window, period = replace(window, numbers=(int(last), latest)), "the time since the last digest"
            elif args.since or args.until:
                period = "the time asked for"
            else:
                window, period = replace(window, received=(args.now - WEEK, args.now + MONTH)), "the last 7 days"
            found = digest.compare(store, window, digest.before_of(window, args.now - WEEK))
        if found.failed or args.always:
            print(digest.text(found, period), end="")
            sys.stdout.flush()
        if args.since_last:
            store.remember(name, latest)
    return FAILURES if found.failed else OK


def _forget(args: argparse.Namespace) -> int:
    """Raises: ConfigError, StoreError."""
    from ...adapters.reportdb import ReportDb

    settings = read(args.config).settings.reports
    before = args.now - settings.keep if args.before is None else args.before
    with ReportDb(settings.directory) as store:
        reports, unreadable = store.forget(before)
    print(f"forgot {reports} reports and {unreadable} unreadable mails from before {time_text(max(before, 0))}")
    return OK
