"""`postfix-mtasts cache`: look at the stored policies, and change them.

Options, output and exit codes. cli/asking.py finds who answers, and
daemon/operating/operations.py does the work. All remote text goes through core.quoting.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from itertools import islice
from typing import IO, Any

from ...config.file import read
from ...config.values import parse_duration
from ...core.names import Domain, parse_domain
from ...core.quoting import escape, json_line, quote
from ...daemon.operating.codec import to_json
from ...daemon.operating.messages import (
    Export,
    Fetch,
    Forget,
    Import,
    List,
    Show,
    ShownPolicy,
    Stats,
)
from ...daemon.operating.numbers import leaves
from ...errors import DomainError, InputError
from ..asking import connected
from ..client import Ask
from ..text import span, when

OK, NOTHING, USAGE, UNAVAILABLE = 0, 1, 64, 69
DOMAINS_EACH = 1_000  # of one request: far below the limit of its line
YEARS = {"low": 0.0, "high": 100 * 365 * 86_400.0}
BATCH_BYTES, BATCH_ROWS = 200_000, 200  # of one import request; JSON may write each byte as six
NAME_LIMIT = 2_000  # characters of a line with a domain
LINES_NAMED = 20  # lines of `warm` that are not a domain; the sum tells of more

Run = Callable[[argparse.Namespace, Ask], int]


def add_parser(subparsers: argparse._SubParsersAction[Any], parent: argparse.ArgumentParser) -> None:
    """Add `cache` with its subcommands."""
    parser = subparsers.add_parser(
        "cache",
        help="look at the stored policies, fetch them again, forget, save and restore them",
        description=(
            "Look at the stored policies and change them: through the daemon if one runs, with effect\n"
            "at once; else in the store itself."
        ),
        epilog="examples:\n  postfix-mtasts cache list --failing\n  postfix-mtasts cache show gmail.com",
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def add(name: str, run: Run, help: str, example: str) -> argparse.ArgumentParser:
        command: argparse.ArgumentParser = commands.add_parser(
            name,
            parents=[parent],
            help=help,
            description=help[0].upper() + help[1:] + ".",
            epilog="exit codes: 0, 1 nothing found, 64 wrong usage, 69 the store cannot be used, 78 bad configuration"
            f"\n\nexamples:\n  postfix-mtasts cache {example}",
        )
        command.set_defaults(run=lambda args: _run(args, run))
        return command

    command = add("list", _list, "list the policies held", "list --mode enforce --expiring 2d")
    command.add_argument("--mode", choices=("enforce", "testing", "none"), help="only those in this mode")
    command.add_argument(
        "--expiring", metavar="DURATION", type=_duration, help="only those that expire within this time"
    )
    command.add_argument("--shared", action="store_true", help="only those that another daemon fetched")
    command.add_argument("--failing", action="store_true", help="only those that could not be fetched when last tried")
    command.add_argument("--json", action="store_true", help="print one JSON object a line")
    command = add("show", _show, "show all that is known about a domain", "show gmail.com")
    command.add_argument("domain", metavar="DOMAIN", type=_domain)
    add("stats", _stats, "show how many policies, lookups and fetches there are", "stats")
    for name, run, help in (
        ("refresh", _refresh, "fetch policies again now, and wait for the results"),
        ("forget", _forget, "forget all that is known about domains"),
    ):
        command = add(name, run, help, f"{name} gmail.com")
        command.add_argument("domains", metavar="DOMAIN", nargs="+", type=_domain)
        command.add_argument("--local", action="store_true", help="leave the daemons that share policies alone")
    command = add("warm", _warm, "fetch the policies of domains that are not known yet", "warm domains.txt")
    command.add_argument("file", metavar="FILE", help="one domain a line, # begins a comment; - means standard input")
    command.add_argument("--failed", metavar="FILE", help="write the domains that failed to this file, one a line")
    add("export", _export, "print the policies held, as JSON lines", "export > policies.json")
    command = add("import", _import, "add the policies that export printed", "import policies.json")
    command.add_argument("file", metavar="FILE", nargs="?", default="-", help="JSON lines; default: standard input")


def _duration(text: str) -> float:
    try:
        return parse_duration(text, YEARS)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _domain(text: str) -> Domain:
    try:
        return parse_domain(text)
    except DomainError as error:
        raise argparse.ArgumentTypeError(escape(str(error))) from None


def _run(args: argparse.Namespace, run: Run) -> int:
    """Open the files, find who answers, and run a subcommand. Raises: ConfigError, StoreError, StoreBusyError."""
    loaded = read(args.config)
    try:  # the files first: `connected` may become another user
        with (
            _input(getattr(args, "file", None)) as args.lines,
            _output(getattr(args, "failed", None), args) as args.failures,
            connected(loaded, make=run not in (_list, _show, _stats, _export)) as ask,
        ):
            return run(args, ask)
    except InputError as error:
        print(f"postfix-mtasts cache: {escape(str(error)[:400])}", file=sys.stderr)
        return USAGE
    except OSError as error:
        if error.filename is None:
            raise  # standard output, which main.py sees to
        print(f"postfix-mtasts cache: {quote(error.filename)}: {error.strerror}; name a file", file=sys.stderr)
        return USAGE


def _input(file: str | None) -> Any:
    """Open *file* for bytes; "-" is standard input. Raises: OSError, InputError."""
    if file != "-":
        return open(file, "rb") if file is not None else nullcontext()
    if sys.stdin is None:
        raise InputError("standard input is closed; name a file")
    return nullcontext(sys.stdin.buffer)


def _output(file: str | None, args: argparse.Namespace) -> Any:
    """Open *file* for text. Raises: OSError, InputError if it is what is read."""
    if file is None:
        return nullcontext()
    if os.path.exists(file) and args.file != "-" and os.path.samefile(file, args.file):
        raise InputError(f"--failed names the file that is read, {quote(file)}; name another one")
    return open(file, "w", encoding="ascii")


def _list(args: argparse.Namespace, ask: Ask) -> int:
    rows = 0
    for row in ask(List()):
        if (
            (args.mode and row.mode != args.mode)
            or (args.expiring is not None and row.left > args.expiring)
            or (args.failing and not row.failures)
            or (args.shared and not row.shared)
        ):
            continue
        if args.json:
            print(json_line(to_json(row)))
        else:
            if not rows:
                print(f"{'DOMAIN':<40} {'MODE':<8} {'AGE':>7} {'LEFT':>7} MX")
            mx, shared = quote(",".join(row.mx) or "-"), "  from another daemon" if row.shared else ""
            print(f"{quote(row.domain):<40} {row.mode:<8} {span(row.age):>7} {span(row.left):>7} {mx}{shared}")
        rows += 1
    return OK if rows else NOTHING


def _show(args: argparse.Namespace, ask: Ask) -> int:
    for shown in ask(Show(args.domain)):
        if isinstance(shown, ShownPolicy):
            lines = _policy_lines(shown)
        else:
            lines = iter([("no policy", quote(shown.reason)), ("until", when(shown.until))])
        print(f"{'domain':<14}{quote(args.domain)}")
        for name, value in lines:
            print(f"{name:<14}{value}")
        for name, answer in shown.answers.items():
            print(f"answer on {quote(name)}: {escape(answer)}")
        return OK
    print(f"{quote(args.domain)}: nothing is known", file=sys.stderr)
    return NOTHING


def _policy_lines(shown: ShownPolicy) -> Iterator[tuple[str, str]]:
    yield "mode", shown.mode
    yield "record id", quote(shown.record_id)
    yield "fetched", when(shown.fetched_at)
    yield "checked", when(shown.checked_at)
    yield "expires", when(shown.expires_at)
    yield "last failure", quote(shown.failure) if shown.failure else "none"
    yield "next refresh", when(shown.next_due_at) if shown.next_due_at is not None else "none planned"
    yield "DANE", quote(shown.dane) if shown.dane else "not read"
    for line in shown.policy.split("\n"):
        yield "policy", escape(line)


def _stats(args: argparse.Namespace, ask: Ask) -> int:
    for stats in ask(Stats()):
        for name, value in to_json(stats).items():
            if name in ("uptime", "nearest_expiry"):
                print(f"{name}: {span(value) if value is not None else '-'}")
                continue
            for labels, number in sorted(leaves(value), key=lambda leaf: [_rank(label) for label in leaf[0]]):
                print(f"{escape(' '.join((name, *labels)))}: {escape(str(number))}")
    return OK


def _rank(label: str) -> tuple[bool, float, str]:
    """Return what *label* is sorted by: the bounds of a histogram as numbers, before any word."""
    try:
        return False, float(label), ""
    except ValueError:
        return True, 0.0, label


def _refresh(args: argparse.Namespace, ask: Ask) -> int:
    found = 0
    for domains in _chunks(args.domains):
        for answer in ask(Fetch(domains, again=True, local=args.local)):
            print(f"{quote(answer.domain)}: {answer.result}: {quote(answer.reason)}", flush=True)
            found += answer.result == "fetched"
    return OK if found else NOTHING


def _forget(args: argparse.Namespace, ask: Ask) -> int:
    results: Counter[str] = Counter()
    for domains in _chunks(args.domains):
        for answer in ask(Forget(domains, local=args.local)):
            reason = f": {quote(answer.reason)}" if answer.reason else ""
            print(f"{quote(answer.domain)}: {answer.result}{reason}", flush=True)
            results[answer.result] += 1
    if results["failed"]:
        return UNAVAILABLE
    return OK if results["forgotten"] else NOTHING


def _warm(args: argparse.Namespace, ask: Ask) -> int:
    """Fetch what is not known; what is done stays done if this is broken off, and is known to the next run."""
    results: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    try:
        for domains in _chunks(_domains(args.lines, reasons)):
            for answer in ask(Fetch(domains)):
                results[answer.result] += 1
                if answer.result == "failed":
                    reasons[quote(answer.reason)] += 1
                    if args.failures is not None:
                        print(quote(answer.domain), file=args.failures)
                _progress(f"{results.total()} done")
    finally:
        _progress("")
        with_policy = results["fetched"] + results["known"]
        print(f"{with_policy} have policies ({results['known']} known before), {results['none']} have none")
        print(f"{reasons.total()} failed")
        for reason, number in reasons.most_common(20):
            print(f"{number:>7}  {reason}")
    return OK if with_policy else NOTHING


def _progress(text: str) -> None:
    """Show *text* in place of the last one, if standard error is a terminal."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def _domains(lines: IO[bytes], refused: Counter[str]) -> Iterator[Domain]:
    """Yield the domain of each line; name the first lines that hold something else, and count all of them.

    Blank lines and comments (#) are skipped.
    """
    for number, line in _numbered(lines, NAME_LIMIT):
        if (text := line.decode("utf-8", "replace").strip()) and not text.startswith("#"):
            try:
                yield parse_domain(text)
            except DomainError as error:
                refused["not a domain"] += 1
                if refused["not a domain"] <= LINES_NAMED:
                    print(f"line {number}: {escape(str(error))}", file=sys.stderr)


def _export(args: argparse.Namespace, ask: Ask) -> int:
    rows = 0
    for row in ask(Export()):
        print(json_line(to_json(row)))
        rows += 1
    return OK if rows else NOTHING


def _import(args: argparse.Namespace, ask: Ask) -> int:
    results: Counter[str] = Counter()
    for batch in _batches(args.lines):
        for number, answer in zip(batch, list(ask(Import([*batch.values()]))), strict=True):
            results[answer.result] += 1
            if answer.result == "refused":
                print(f"line {number}: refused: {quote(answer.reason)}", file=sys.stderr)
    print(f"{results['taken']} taken, {results['kept']} older than what is held, {results['refused']} refused")
    return OK if results["taken"] + results["kept"] else NOTHING


def _batches(lines: IO[bytes]) -> Iterator[dict[int, object]]:
    """Yield rows by line number, as many as fit a request; a line that is not JSON becomes null, which is refused."""
    from ...adapters.store.rows import ROW_LIMIT  # the other commands need nothing of the store's

    batch: dict[int, object] = {}
    size = 0
    for number, line in _numbered(lines, ROW_LIMIT):
        if not line.strip():
            continue
        try:
            batch[number] = json.loads(line)
        except (ValueError, RecursionError):
            batch[number] = None
        size += len(line)
        if size > BATCH_BYTES or len(batch) >= BATCH_ROWS:
            yield batch
            batch, size = {}, 0
    if batch:
        yield batch


def _numbered(lines: IO[bytes], limit: int) -> Iterator[tuple[int, bytes]]:
    """Yield each line with its number; of a line over *limit* bytes only the beginning. Raises: InputError."""
    number = 0
    try:
        while line := lines.readline(limit):
            number += 1
            rest = line
            while rest and not rest.endswith(b"\n"):
                rest = lines.readline(limit)
            yield number, line
    except OSError as error:
        raise InputError(f"line {number + 1} of the input cannot be read: {error.strerror}") from None


def _chunks(domains: Iterable[Domain]) -> Iterator[list[Domain]]:
    each = iter(domains)
    while chunk := list(islice(each, DOMAINS_EACH)):
        yield chunk
