"""`postfix-mtasts record`: the DNS records that a domain has to publish, ready to paste.

The id is the policy's (core/publication.py): it changes if, and only if, the policy does.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from ...config.file import read
from ...config.settings import Settings
from ...core.lint import SIZE_LIMIT
from ...core.names import Domain, parse_domain
from ...core.outcome import no_note
from ...core.ownrecords import OwnRecord, nsupdate_lines, records, tlsrpt_text, zone_lines
from ...core.policy import parse_policy
from ...core.publication import policy_id
from ...core.quoting import json_line, quote
from ...core.tlsrpt import RECORD_LIMIT
from ...errors import DnsError, DomainError, FetchError, PolicySyntaxError, RecordError
from ...resolving.discovery import policy_host_addresses
from ...resolving.world import dns_client, make_sources

USAGE, TEMPORARY = 64, 75
TTL = 3600  # seconds
_ID = re.compile(r"[A-Za-z0-9]{1,32}")


def add_parser(subparsers: argparse._SubParsersAction[Any], parent: argparse.ArgumentParser) -> None:
    """Add `record`."""
    parser = subparsers.add_parser(
        "record",
        parents=[parent],
        help="print the DNS records to publish",
        description=(
            "Print the records that DOMAIN has to publish: _mta-sts with the id of the policy, mta-sts as an alias of\n"
            "--host, _smtp._tls with the --rua addresses. Without --policy and --id the live policy is fetched."
        ),
        epilog=(
            "exit codes: 0, 64 wrong usage, 75 the live policy cannot be had, 78 bad configuration\n\n"
            "examples:\n"
            "  postfix-mtasts record example.org --rua mailto:tlsrpt@example.org\n"
            "  postfix-mtasts record example.org --policy mta-sts.txt --host web.example.net\n"
            "  postfix-mtasts record example.org --policy mta-sts.txt --format nsupdate | nsupdate -k key"
        ),
    )
    parser.add_argument("domain", metavar="DOMAIN")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--policy", metavar="FILE", help="compute the id of this policy file")
    source.add_argument("--id", metavar="ID", help="use this id")
    parser.add_argument("--host", metavar="NAME", help="the web server that mta-sts.DOMAIN is an alias of")
    parser.add_argument(
        "--rua", action="append", default=[], metavar="URI", help="where TLS reports go: mailto: or https:"
    )
    parser.add_argument("--format", choices=("zone", "nsupdate", "json"), default="zone", help="default: zone")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Raises: ConfigError (exit code 78)."""
    try:
        domain = parse_domain(args.domain)
        host = parse_domain(args.host) if args.host is not None else None
        _check_rua(args.rua)
        record_id = _given_id(args)
    except (DomainError, ValueError) as error:
        print(f"postfix-mtasts record: {error}", file=sys.stderr)
        return USAGE
    if record_id is None:
        try:
            record_id = policy_id(_live(domain, read(args.config).settings))
        except (DnsError, FetchError, PolicySyntaxError) as error:
            told = f"the policy of {domain} cannot be had: {quote(str(error))}; name a file with --policy"
            print(f"postfix-mtasts record: {told}", file=sys.stderr)
            return TEMPORARY
    own = records(domain, record_id, host, args.rua)
    print("\n".join(_FORMATS[args.format](own)))
    return 0


def _given_id(args: argparse.Namespace) -> str | None:
    """The id by --id or --policy; None: by the live policy. Raises: ValueError."""
    if args.id is not None:
        if not _ID.fullmatch(args.id):
            raise ValueError(f"--id: {quote(args.id)} is not 1 to 32 letters and digits")
        return str(args.id)
    if args.policy is None:
        return None
    try:
        with Path(args.policy).open("rb") as stream:
            body = stream.read(SIZE_LIMIT + 1)
        parse_policy(body)
    except OSError as error:
        raise ValueError(f"--policy: {quote(args.policy)}: {error.strerror}") from None
    except PolicySyntaxError as error:
        raise ValueError(f"--policy: {quote(args.policy)}: {quote(str(error))}") from None
    if len(body) > SIZE_LIMIT:
        raise ValueError(f"--policy: {quote(args.policy)}: it is longer than {SIZE_LIMIT:,} bytes")
    return policy_id(body)


def _live(domain: Domain, settings: Settings) -> bytes:
    """The policy as it is served, byte for byte. Raises: DnsError, FetchError, PolicySyntaxError."""
    sources = make_sources(dns_client(settings.dns), settings.fetch)
    host = f"mta-sts.{domain}"
    body = sources.hosts.get(host, policy_host_addresses(host, sources), no_note)
    parse_policy(body)
    return body


def _check_rua(uris: list[str]) -> None:
    """Raises: ValueError."""
    if not all(uri.isascii() for uri in uris):
        raise ValueError("--rua: a URI is written in ASCII")
    try:
        text = tlsrpt_text(uris)
    except RecordError as error:
        raise ValueError(f"--rua: {quote(str(error))}") from None
    if text is not None and len(text) > RECORD_LIMIT:
        raise ValueError("--rua: these are too many URIs for one record")


def _json(own: Iterable[OwnRecord]) -> Iterator[str]:
    shapes = [{"name": each.name, "type": each.type, "ttl": TTL, "data": each.data} for each in own]
    yield json_line({"records": shapes})


_FORMATS: dict[str, Callable[[list[OwnRecord]], Iterator[str]]] = {
    "zone": lambda own: zone_lines(own, TTL),
    "nsupdate": lambda own: nsupdate_lines(own, TTL),
    "json": _json,
}
