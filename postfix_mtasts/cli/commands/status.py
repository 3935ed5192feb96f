"""`postfix-mtasts status`: show a running daemon on one screen.

What is on it; how it is drawn is tables.py's, what it rests on
operating/status.py's. The shape of --json is in the manual and does not
change: keys may be added.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

from ...adapters.store.place import holder
from ...config.file import read
from ...core.quoting import json_line, quote
from ...daemon.directory import store_directory
from ...daemon.operating.codec import to_json
from ...daemon.operating.messages import Status, StatusShown
from ...daemon.operating.numbers import Cold
from ...errors import ConfigError, ForbiddenError, StoreError
from ..client import ask_daemon
from ..tables import Cell, Table, show
from ..text import shown, span, when

OK, UNWELL = 0, 1
WARNING, CRITICAL, UNKNOWN = 1, 2, 3  # with --monitor
_STATES = ("OK", "WARNING", "CRITICAL", "UNKNOWN")
# What --monitor warns of, as docs/monitoring/alerts.yml does:
LAG = 3600.0  # seconds that the refresher is behind
FEW, SHARE = 5, 0.1  # policies, and of all policies, that cannot be fetched again; single ones may stay broken
PATIENCE = 10.0  # seconds that the daemon may take
ANSWERS = ("secure", "dane-only", "notfound", "temp", "perm")
_BAD = ("temp", "perm")  # answers that defer mail


def add_parser(subparsers: argparse._SubParsersAction[Any], parent: argparse.ArgumentParser) -> None:
    """Add `status`."""
    parser = subparsers.add_parser(
        "status",
        parents=[parent],
        help="show how the running daemon is",
        description=(
            "Show how the running daemon is: where it listens, what it holds, what it answered,\n"
            "and whose policies cannot be fetched. In colour on a terminal if python3-rich is installed."
        ),
        epilog="exit codes: 0 well, 1 unwell, 64 wrong usage, 69 no daemon runs or it does not answer,\n"
        "78 bad configuration; with --monitor 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN\n\n"
        "examples:\n"
        "  postfix-mtasts status\n"
        "  postfix-mtasts status --json | jq '.failures[].kind'\n"
        "  postfix-mtasts status --monitor",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print one JSON object")
    form.add_argument("--monitor", action="store_true", help="print one line in the Monitoring Plugins format")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    """Ask, print, and return how the daemon is. Raises: ConfigError, StoreError."""
    if args.monitor:
        return _monitor(args)
    status = _ask(args)
    if args.json:
        print(json_line(to_json(status)))
    else:
        show(list(_tables(status)))
    return UNWELL if status.faults else OK


def _ask(args: argparse.Namespace) -> StatusShown:
    """Ask the daemon how it is. Raises: ConfigError, StoreError if none runs, ForbiddenError."""
    loaded = read(args.config)
    answers = ask_daemon(loaded, Status(), PATIENCE)
    if not answers:
        directory = store_directory(loaded, make=False)
        if (process := holder(directory)) is not None:
            raise StoreError(
                f"{directory}: process {process} holds the store, but it offers no control socket; see its log"
            )
        raise StoreError(f"no daemon runs on {directory}; `cache` shows what is stored there")
    return answers[0]


def _monitor(args: argparse.Namespace) -> int:
    """Print one line as the Monitoring Plugins do, whatever goes wrong, and return its exit code."""
    numbers = ""
    try:
        status = _ask(args)
        state, text = _judged(status)
        numbers = f" | {_numbers(status)}"
    except ForbiddenError as error:
        state, text = UNKNOWN, str(error)
    except StoreError as error:
        state, text = CRITICAL, str(error)
    except ConfigError as error:
        state, text = UNKNOWN, error.faults[0]
    print(f"MTASTS {_STATES[state]} - {shown(text).replace('|', '/')}{numbers}")
    return state


def _judged(status: StatusShown) -> tuple[int, str]:
    """Return the state, and why it is."""
    if status.faults:
        return CRITICAL, "; ".join(status.faults)
    if status.numbers.refresh.lag > LAG:
        return WARNING, f"the refresher is {span(status.numbers.refresh.lag)} behind"
    policies, failing = sum(status.numbers.policies.values()), status.numbers.refresh.failing
    if failing > FEW and failing > SHARE * policies:
        return WARNING, f"{failing} of {policies} policies cannot be fetched again and will expire"
    if status.numbers.shared.up is False:
        return WARNING, f"the shared store is away: {status.shared_away}"
    held = f"{policies} policies, up {span(status.uptime)}"
    return OK, held if status.loaded else f"{held}, the stored policies are still being read"


def _numbers(status: StatusShown) -> str:
    """Return the performance data."""
    refresh = status.numbers.refresh
    numbers = {
        "policies": sum(status.numbers.policies.values()),
        "without": status.numbers.negatives,
        "connections": status.numbers.connections,
        "failing": sum(failure.domains for failure in status.failures),
        "refresh_due": refresh.due,
        "refresh_lag": f"{refresh.lag:.0f}s;{LAG:.0f}",
        "errors": f"{status.numbers.errors}c",
    }
    return " ".join(f"{name}={number}" for name, number in numbers.items())


def _tables(status: StatusShown) -> Iterator[Table]:
    yield _facts(_itself(status))
    yield _policies(status)
    yield _lookups(status)
    yield _facts(_work(status))
    if failures := list(_failures(status)):
        yield Table(("failing", "domains", "policy", "left", "times", "reason"), failures)


def _facts(facts: Iterator[tuple[str, str, str]]) -> Table:
    """Make a table of names and their values."""
    return Table((), [(Cell(name), Cell(text, style)) for name, text, style in facts])


def _itself(status: StatusShown) -> Iterator[tuple[str, str, str]]:
    faults = "; ".join(map(quote, status.faults))
    yield "postfix-mtasts", f"{status.numbers.version}, process {status.pid}", "bold"
    yield "up", f"{span(status.uptime)}, since {when(status.started_at)}", ""
    if not status.loaded and not faults:
        yield "health", "well, but the stored policies are still being read", "yellow"
    else:
        yield "health", faults or "well", "bold red" if faults else "green"
    yield "listening", ", ".join(map(quote, status.listen)), ""
    yield "metrics", quote(status.metrics) if status.metrics else "none", ""
    yield "connections", str(status.numbers.connections), ""
    yield "store", quote(status.directory), ""
    shared = status.numbers.shared
    if shared.up is not None:
        held = f"in use, {shared.policies} policies came from others"
        yield "shared", held if shared.up else f"away: {quote(status.shared_away)}", "" if shared.up else "yellow"


def _policies(status: StatusShown) -> Table:
    modes = status.numbers.policies
    numbers = [*modes.values(), sum(modes.values()), status.numbers.negatives]
    nearest = status.numbers.nearest_expiry
    ends = span(nearest) if nearest is not None else "-"
    header = ("policies", *map(quote, modes), "all", "without", "first expires in")
    return Table(header, [[Cell("domains"), *(Cell(str(number)) for number in numbers), Cell(ends)]], numbers=True)


def _lookups(status: StatusShown) -> Table:
    rows = []
    for name, answers in sorted(status.numbers.lookups.items()):
        numbers = [answers.get(answer, 0) for answer in ANSWERS]
        styles = ["red" if number and answer in _BAD else "" for answer, number in zip(ANSWERS, numbers, strict=True)]
        cells = [Cell(str(number), style) for number, style in zip(numbers, styles, strict=True)]
        rows.append([Cell(quote(name)), *cells])
    return Table(("lookups", *ANSWERS), rows or [[Cell("none yet"), *(Cell("0") for _ in ANSWERS)]], numbers=True)


def _work(status: StatusShown) -> Iterator[tuple[str, str, str]]:
    yield "cold lookups", _cold(status.numbers.cold), ""
    due, lag = status.numbers.refresh.due, status.numbers.refresh.lag
    yield (
        "refresher",
        f"{due} due, the first for {span(lag)}" if due else "nothing is due",
        "yellow" if lag > 60 else "",
    )
    fetches = status.numbers.fetches
    yield "fetches", ", ".join(f"{fetches[kind]} {quote(kind)}" for kind in sorted(fetches)) or "none yet", ""
    if status.numbers.reports:
        reports = status.numbers.reports
        yield "reports", ", ".join(f"{reports[kind]} {quote(kind)}" for kind in sorted(reports)), ""
    errors = status.numbers.errors
    yield "own errors", f"{errors}: see the log, internal-error" if errors else "0", "bold red" if errors else ""


def _cold(cold: Cold) -> str:
    """Say how long those lookups took that waited for the network."""
    number = cold.number
    if not number:
        return "none yet"
    half, most = (_within(cold, share) for share in (0.5, 0.99))
    return f"{number}, mean {_precise(cold.seconds / number)}, half {half}, 99% {most}"


def _within(cold: Cold, share: float) -> str:
    """Say which bound a *share* of the cold lookups stayed in."""
    bounds = [bound for bound in cold.within if bound != "+Inf"]
    for bound in bounds:
        if cold.within[bound] >= share * cold.number:
            return f"within {_precise(float(bound))}"
    return f"over {_precise(float(bounds[-1]))}"


def _precise(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.3g} s"


def _failures(status: StatusShown) -> Iterator[list[Cell]]:
    """Yield a row for each kind of failure, and below it the domains that need help most."""
    for failure in status.failures:
        yield [Cell(quote(failure.kind), "bold"), Cell(str(failure.domains)), *[Cell("")] * 4]
        for each in failure.worst:
            left = (
                Cell(span(each.left), "red" if each.mode == "enforce" else "") if each.left is not None else Cell("-")
            )
            times = str(each.failures) if each.failures is not None else "-"
            mode = Cell(quote(each.mode or "-"))
            yield [Cell(f"  {quote(each.domain)}"), Cell(""), mode, left, Cell(times), Cell(shown(each.reason))]
