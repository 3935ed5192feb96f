"""`postfix-mtasts policy`: write a policy file, examine one.

Examining is core/lint.py's, which `check` uses too.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from ...config.file import read
from ...core.findings.owner import Verdict, capped, verdict
from ...core.lint import SIZE_LIMIT, coverage, lint
from ...core.names import parse_domain
from ...core.policy import Mode, parse_policy
from ...core.policytext import compose
from ...core.quoting import json_line, quote
from ...errors import DomainError, PolicySyntaxError
from ...resolving.audit import gather
from ...resolving.world import dns_client
from .. import policywords
from ..checking import formats, text

USAGE, UNUSABLE, UNKNOWN = 64, 2, 3


def add_parser(subparsers: argparse._SubParsersAction[Any], parent: argparse.ArgumentParser) -> None:
    """Add `policy`."""
    parser = subparsers.add_parser("policy", help="write a policy file, examine one")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    new = commands.add_parser(
        "new",
        parents=[parent],
        help="print a policy file",
        description="Print a policy file for DOMAIN: its MX hosts as DNS has them, or the patterns of --mx.",
        epilog=(
            "exit codes: 0, 2 the MX set cannot be used, 3 DNS does not answer, 64 wrong usage,\n"
            "78 bad configuration\n\n"
            "examples:\n"
            "  postfix-mtasts policy new example.org > mta-sts.txt\n"
            "  postfix-mtasts policy new example.org --mode enforce --max-age 30d --mx mx.example.org"
        ),
    )
    new.add_argument("domain", metavar="DOMAIN")
    new.add_argument("--mode", default="testing", metavar="MODE", help="enforce, testing or none (default: testing)")
    new.add_argument("--max-age", default="1d", metavar="DURATION", help="how long it counts, as 30d (default: 1d)")
    new.add_argument("--mx", action="append", default=[], metavar="PATTERN", help="a host name, or *. and a host name")
    new.set_defaults(run=_new)
    examine = commands.add_parser(
        "lint",
        parents=[parent],
        help="examine a policy file",
        description="Examine a policy file; - means standard input.",
        epilog=(
            "exit codes: 0 fine, 1 warnings, 2 errors, 3 DNS does not answer, 64 wrong usage or no such file,\n"
            "78 bad configuration\n\n"
            "examples:\n"
            "  postfix-mtasts policy lint mta-sts.txt\n"
            "  postfix-mtasts policy lint --domain example.org --json mta-sts.txt\n"
            "  curl -s https://mta-sts.gmail.com/.well-known/mta-sts.txt | postfix-mtasts policy lint -"
        ),
    )
    examine.add_argument("file", metavar="FILE")
    examine.add_argument("--domain", metavar="D", help="also compare the policy with the MX hosts of this domain")
    examine.add_argument("--json", action="store_true", help="print one JSON object")
    examine.set_defaults(run=_lint)


def _complain(command: str, problem: str) -> int:
    print(f"postfix-mtasts policy {command}: {problem}", file=sys.stderr)
    return USAGE


def _new(args: argparse.Namespace) -> int:
    """Raises: ConfigError (exit code 78)."""
    try:
        domain = parse_domain(args.domain)
        mode = policywords.mode(args.mode)
        max_age = policywords.max_age(args.max_age)
        patterns = [policywords.pattern(word) for word in args.mx]
    except (DomainError, ValueError) as error:
        return _complain("new", str(error))
    settings = read(args.config).settings
    if not patterns and mode is not Mode.NONE:
        found = gather.mx(domain, dns_client(settings.dns))
        if found.failed is not None:
            print(f"postfix-mtasts policy new: {quote(str(found.failed))}", file=sys.stderr)
            return UNKNOWN
        if found.null or not found.exists:
            why = "takes no mail (null MX); use --mode none" if found.null else "does not exist; name hosts with --mx"
            print(f"postfix-mtasts policy new: {domain} {why}", file=sys.stderr)
            return UNUSABLE
        patterns = list(found.hosts)
    body = compose(mode, patterns, max_age)
    try:
        unusable = parse_policy(body).unusable
    except PolicySyntaxError as error:
        print(f"postfix-mtasts policy new: the MX set of {domain}: {quote(str(error))}", file=sys.stderr)
        return UNUSABLE
    if unusable:
        print(f"postfix-mtasts policy new: the MX host {quote(unusable[0])} is not a host name", file=sys.stderr)
        return UNUSABLE
    sys.stdout.flush()
    sys.stdout.buffer.write(body)
    return 0


def _lint(args: argparse.Namespace) -> int:
    """Raises: ConfigError (exit code 78)."""
    try:
        domain = parse_domain(args.domain) if args.domain is not None else None
        if args.file == "-":
            body = sys.stdin.buffer.read(SIZE_LIMIT + 1)
        else:
            with Path(args.file).open("rb") as stream:
                body = stream.read(SIZE_LIMIT + 1)
    except DomainError as error:
        return _complain("lint", f"--domain: {error}")
    except OSError as error:
        return _complain("lint", f"{quote(args.file)}: {error.strerror}")
    linted = lint(body)
    found = list(linted.findings)
    if domain is not None:
        hosts = gather.mx(domain, dns_client(read(args.config).settings.dns))
        if hosts.failed is not None:
            print(f"postfix-mtasts policy lint: {quote(str(hosts.failed))}", file=sys.stderr)
            return UNKNOWN
        found += coverage(linted.policy, hosts.hosts) if linted.policy is not None else []
    found = list(capped(found))
    outcome = verdict(found)
    if args.json:
        shape = {"file": args.file, "verdict": outcome, "findings": [formats.of_finding(each) for each in found]}
        print(json_line(shape))
    else:
        print(f"{quote(args.file)}: {'fine' if outcome is Verdict.OK else outcome}")
        print("\n".join(text.findings(found, False)), end="\n" if found else "")
    return formats.CODES[outcome]
