"""`postfix-mtasts publish`: the policies that this host serves.

The commands work on the files in publish.directory, which `serve` follows;
none of them needs a running `serve`.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

from ...adapters.files import sync_folder, write_whole
from ...config.file import Loaded, read
from ...core.lint import SIZE_LIMIT
from ...core.names import Domain, parse_domain
from ...core.ownrecords import records, zone_lines
from ...core.policy import Mode, Policy
from ...core.policytext import compose
from ...core.publication import policy_id
from ...core.quoting import json_line, quote
from ...errors import DomainError, RecordError, StoreError
from ...resolving.world import dns_client
from .. import policywords
from ..libraries import needed
from ..tables import Cell, Table, show
from ..text import shown, span, when

OK, REFUSED = 0, 1
NEW_MODE, NEW_MAX_AGE = Mode.TESTING, 86_400  # of a policy that is published for the first time
FILE_MODE = 0o644  # a policy is public, and `serve` runs as another user
RECENT = 14 * 86_400.0  # seconds that a reported failure speaks against enforce
TTL = 3_600  # seconds, of the records that are shown


def add_parser(subparsers: argparse._SubParsersAction[Any], parent: argparse.ArgumentParser) -> None:
    """Add `publish` and its commands."""
    parser = subparsers.add_parser("publish", help="manage the policies that this host serves")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(
        name: str, run: Callable[[Loaded, Any], int], brief: str, text: str, *examples: str
    ) -> argparse.ArgumentParser:
        made: argparse.ArgumentParser = commands.add_parser(
            name,
            parents=[parent],
            help=brief,
            description=text,
            epilog="exit codes: 0, 1 not found or refused, 64 wrong usage, 69 files cannot be read or written,\n"
            "78 bad configuration\n\n"
            "examples:\n" + "\n".join(f"  postfix-mtasts publish {example}" for example in examples),
        )
        made.set_defaults(parser=made, run=lambda args: run(read(args.config), args))
        return made

    listing = command(
        "list",
        _list,
        "show every domain published",
        "Show every domain published: what is served, the id in DNS, the certificate's end, what is wrong.",
        "list",
        "list --json",
    )
    listing.add_argument("--json", action="store_true", help="print one JSON object a line")
    showing = command(
        "show",
        _show,
        "show a domain's policy and records",
        "Show the policy that is served for DOMAIN, and the records to publish.",
        "show example.org",
    )
    showing.add_argument("domain", metavar="DOMAIN")
    setting = command(
        "set",
        _set,
        "write a domain's policy file",
        "Write the policy file of DOMAIN. What is not given stays as it is; a new policy has mode testing, counts for\n"
        "a day and names the domain's MX hosts. A change to enforce is refused while `check` finds errors, or while\n"
        "failures of the last 14 days were reported.",
        "set example.org",
        "set example.org --mode enforce --max-age 14d",
        "set example.org --mx mx1.example.org --mx '*.backup.example.net'",
    )
    setting.add_argument("domain", metavar="DOMAIN")
    setting.add_argument("--mode", metavar="MODE", help="enforce, testing or none")
    setting.add_argument("--max-age", metavar="DURATION", help="how long senders keep the policy, such as 1d or 14d")
    setting.add_argument("--mx", metavar="PATTERN", action="append", default=[], help="a host name, or *. and a name")
    setting.add_argument("--file", metavar="FILE", help="take the policy from FILE, byte for byte; - is standard input")
    setting.add_argument("--force", action="store_true", help="change to enforce whatever check and reports say")
    withdrawing = command(
        "withdraw",
        _withdraw,
        "remove a domain's policy file",
        "Remove the policy file of DOMAIN. Mode none is then served for as long as a sender may hold the policy.",
        "withdraw example.org",
    )
    withdrawing.add_argument("domain", metavar="DOMAIN")


def _list(loaded: Loaded, args: Any) -> int:
    """Raises: StoreError."""
    with needed():
        from ...publishing.listing import rows
    found = rows(loaded.settings.publish, _txt(loaded), time.time())
    if args.json:
        for row in found:
            print(json_line(asdict(row)))
    elif found:
        header = ("domain", "mode", "max_age", "id", "id in DNS", "certificate", "withdrawn until", "faults")
        show([Table(header, [[Cell(text) for text in _cells(row)] for row in found])])
    else:
        print(f"postfix-mtasts: no policy in {loaded.settings.publish.directory}", file=sys.stderr)
    return OK if found else REFUSED


def _cells(row: Any) -> list[str]:
    return [
        row.domain,
        row.mode or "-",
        span(row.max_age) if row.max_age is not None else "-",
        row.id or "-",
        quote(row.dns_id) if row.dns_id is not None else "-",
        span(row.certificate_end - time.time()) if row.certificate_end is not None else "-",
        when(row.withdrawn_until) if row.withdrawn_until is not None else "-",
        "; ".join(map(quote, row.faults)) or "-",
    ]


def _show(loaded: Loaded, args: Any) -> int:
    """Raises: StoreError."""
    with needed():
        from ...publishing.listing import served_text
    domain, publish = _domain(args), loaded.settings.publish
    text = served_text(publish, domain, time.time())
    if text is None:
        return _not_published(loaded, domain)
    print(text.decode().replace("\r\n", "\n").rstrip("\n"))
    print()
    try:
        print("\n".join(zone_lines(records(domain, policy_id(text), None, publish.rua), TTL)))
    except RecordError as error:
        raise StoreError(f"publish.rua: {shown(str(error))}") from None
    return OK


def _set(loaded: Loaded, args: Any) -> int:
    """Raises: StoreError."""
    with needed():
        from ...publishing.policyfiles import examine, path_of
    domain = _domain(args)
    path = path_of(Path(loaded.settings.publish.directory), domain)
    old = _read_old(path)
    text = _given(args) if args.file is not None else _composed(loaded, domain, old, args)
    new = examine(text)
    if new.policy is None:
        _refuse(args, f"senders would refuse the policy: {shown(new.fault)}")
    becomes_strict = new.policy.mode is Mode.ENFORCE and (old is None or old.mode is not Mode.ENFORCE)
    if becomes_strict and not args.force and (reasons := _reasons_against(loaded, domain, text)):
        for reason in reasons:
            print(f"postfix-mtasts: {domain} is not ready for enforce: {shown(reason)}", file=sys.stderr)
        print("postfix-mtasts: nothing was changed; --force publishes it all the same", file=sys.stderr)
        return REFUSED
    try:
        write_whole(path, text, FILE_MODE)
    except OSError as error:
        raise StoreError(f"{path}: cannot be written: {error.strerror or error}") from None
    print(f"{path}: {new.policy.mode}, max_age {span(new.policy.max_age)}, mx {', '.join(new.policy.mx) or 'none'}")
    return OK


def _withdraw(loaded: Loaded, args: Any) -> int:
    """Raises: StoreError."""
    with needed():
        from ...publishing.policyfiles import path_of
    domain = _domain(args)
    path = path_of(Path(loaded.settings.publish.directory), domain)
    try:
        path.unlink()
        sync_folder(path.parent)
    except FileNotFoundError:
        return _not_published(loaded, domain)
    except OSError as error:
        raise StoreError(f"{path}: cannot be removed: {error.strerror or error}") from None
    print(f"{path} is removed; serve publishes mode none until no sender can hold the policy any more")
    return OK


def _not_published(loaded: Loaded, domain: Domain) -> int:
    print(f"postfix-mtasts: no policy of {domain} in {loaded.settings.publish.directory}", file=sys.stderr)
    return REFUSED


def _refuse(args: Any, problem: str) -> NoReturn:
    """Exit with 64: what was asked for cannot be meant."""
    args.parser.error(problem)
    raise AssertionError  # error() does not return


def _domain(args: Any) -> Domain:
    try:
        return parse_domain(args.domain)
    except DomainError as error:
        _refuse(args, shown(str(error)))


def _txt(loaded: Loaded) -> Callable[[str], list[bytes]]:
    client = dns_client(loaded.settings.dns)
    return lambda name: list(client.txt(name).records)


# -- what `set` writes ------------------------------------------------------------


def _read_old(path: Path) -> Policy | None:
    """The policy that is published now; None where there is none that senders take. Raises: StoreError."""
    from ...publishing.policyfiles import examine

    try:
        with path.open("rb") as stream:
            return examine(stream.read(SIZE_LIMIT + 1)).policy
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(f"{path}: cannot be read: {error.strerror or error}") from None


def _given(args: Any) -> bytes:
    """The text of --file."""
    if args.mode is not None or args.max_age is not None or args.mx:
        _refuse(args, "--file holds the whole policy; leave --mode, --max-age and --mx out")
    try:
        if args.file == "-":
            return sys.stdin.buffer.read(SIZE_LIMIT + 1)
        with Path(args.file).open("rb") as stream:
            return stream.read(SIZE_LIMIT + 1)
    except OSError as error:
        _refuse(args, f"--file: {quote(args.file)}: {error.strerror or error}")


def _composed(loaded: Loaded, domain: Domain, old: Policy | None, args: Any) -> bytes:
    """The old policy with the options; what neither gives comes from DNS and the defaults."""
    try:
        mode = policywords.mode(args.mode) if args.mode is not None else old.mode if old is not None else NEW_MODE
        kept = old.max_age if old is not None else NEW_MAX_AGE
        max_age = policywords.max_age(args.max_age) if args.max_age is not None else kept
        mx = tuple(policywords.pattern(word) for word in args.mx) or (old.mx if old is not None else ())
    except ValueError as error:
        _refuse(args, str(error))
    if not mx and mode is not Mode.NONE:
        mx = _from_dns(loaded, domain, args)
    return compose(mode, mx, max_age)


def _from_dns(loaded: Loaded, domain: Domain, args: Any) -> tuple[str, ...]:
    from ...resolving.audit import gather

    found = gather.mx(domain, dns_client(loaded.settings.dns))
    if found.failed is not None:
        raise StoreError(f"{shown(str(found.failed))}; name the mail hosts with --mx")
    if found.null or not found.exists:
        why = "takes no mail (null MX); use --mode none" if found.null else "does not exist; name its hosts with --mx"
        _refuse(args, f"{domain} {why}")
    try:
        return tuple(policywords.pattern(host) for host in found.hosts)
    except ValueError as error:
        _refuse(args, f"the MX set of {domain}: {error}")


def _reasons_against(loaded: Loaded, domain: Domain, text: bytes) -> list[str]:
    """Why *domain* is not ready for the policy in *text*: what `check` calls errors, and what was reported."""
    with needed():
        from ...publishing.reportviews import recent_failures
        from ...resolving.audit.outside import outside
        from ...resolving.audit.run import examine_one
    from ...core.findings.owner import Severity

    report = examine_one(domain, outside(loaded.settings, True, 0), instead=text)
    grave = (Severity.ERROR, Severity.UNKNOWN)
    found = [f"{each.code}: {each.subject}: {each.text}" for each in report.findings if each.severity in grave]
    now = time.time()
    try:
        return found + recent_failures(loaded.settings.reports.directory, domain, now - RECENT, now + RECENT)
    except StoreError as error:
        return [*found, f"the reports cannot be read: {error}"]
