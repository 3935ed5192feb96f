"""`postfix-mtasts query`: print what Postfix would get for a domain, and why.

The command: its options, output and exit codes. Resolving is resolving/tracing.py's,
the look of --explain explain.py's. The shape of --json is in the manual and
does not change: keys may be added.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from typing import Any

from ...config.file import read
from ...config.settings import Settings
from ...core.dane import judge
from ...core.names import NoDomain
from ...core.outcome import Failed, Found, Stage
from ...core.ports import Sources
from ...core.quoting import json_line, quote
from ...core.verdict import Kind
from ...resolving.tracing import Inquiry, inquire
from ...resolving.world import dns_client, make_sources
from .. import explain
from ..comparing import Holding, Neighbour

POLICY, NO_POLICY, USAGE, TEMPORARY = 0, 1, 64, 75

_CODES = {
    Kind.SECURE: POLICY,
    Kind.DANE_ONLY: POLICY,
    Kind.NOTFOUND: NO_POLICY,
    Kind.TEMP: TEMPORARY,
}
_AWAITED = {
    Stage.RECORD: "the TXT record",
    Stage.ADDRESS: "the policy host's address and a connection",
    Stage.TLS: "the TLS handshake with the policy host",
    Stage.HTTP: "the policy file",
    Stage.DANE: "the MX hosts' addresses and TLSA records",
}
_ERASE = "\r\x1b[K"


def add_parser(subparsers: argparse._SubParsersAction[Any], parent: argparse.ArgumentParser) -> None:
    """Add `query`."""
    parser = subparsers.add_parser(
        "query",
        parents=[parent],
        help="resolve domains afresh and print the answers Postfix would get",
        description=(
            "Resolve each domain afresh, in this process, and print the answer that Postfix would get,\n"
            "one line each: DOMAIN: ANSWER. Where the daemon runs, a second line tells what it holds,\n"
            "what it answers, and whether that differs."
        ),
        epilog=(
            "exit codes: 0 Postfix gets a policy, 1 it gets none, 64 wrong usage,\n"
            "75 temporary failure, 78 bad configuration; of several domains the highest\n\n"
            "examples:\n"
            "  postfix-mtasts query gmail.com\n"
            "  postfix-mtasts query --explain example.org\n"
            "  postfix-mtasts query --map postfix-dane example.org:587\n"
            "  postfix-mtasts query --json gmail.com example.org | jq -r '.domain + \" \" + .verdict'"
        ),
    )
    parser.add_argument("domains", nargs="+", metavar="DOMAIN", help="a next-hop as Postfix asks for it")
    parser.add_argument("--map", metavar="NAME", help="answer as this map does (default: the first one configured)")
    parser.add_argument("--explain", action="store_true", help="show each stage, what it means and what to do")
    parser.add_argument("--json", action="store_true", help="print one JSON object a line, stages included")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Ask for each domain, print, and return the highest exit code. Raises: ConfigError (exit code 78)."""
    loaded = read(args.config)
    settings, neighbour = loaded.settings, Neighbour(loaded)
    map_name: str = next(iter(settings.maps)) if args.map is None else args.map
    if map_name not in settings.maps:
        known = ", ".join(settings.maps)
        print(f"postfix-mtasts query: --map: there is no map {quote(map_name)}; configured: {known}", file=sys.stderr)
        return USAGE
    sources = outside(settings)
    code = POLICY
    for key in args.domains:
        inquiry = _ask(key, map_name, settings, sources)
        _print(inquiry, neighbour.holding(inquiry), settings, args)
        code = max(code, _CODES[inquiry.verdict.kind])
    return code


def outside(settings: Settings) -> Sources:
    """Return the outside world, as the daemon's worker makes it. Raises: ConfigError."""
    return make_sources(dns_client(settings.dns), settings.fetch)


def _ask(key: str, map_name: str, settings: Settings, sources: Sources) -> Inquiry:
    waiting, erase = _progress(key)
    try:
        return inquire(
            key,
            os.fsencode(key),
            map_name,
            settings.maps[map_name],
            settings.lookup,
            sources,
            tick=time.monotonic,
            waiting=waiting,
        )
    finally:
        erase()


def _progress(key: str) -> tuple[Callable[[Stage], None], Callable[[], None]]:
    """Return two functions: show on a terminal what is being waited for, and take that away."""
    if not sys.stderr.isatty():
        return lambda stage: None, lambda: None

    def write(text: str) -> None:
        sys.stderr.write(_ERASE + text)
        sys.stderr.flush()

    def waiting(stage: Stage) -> None:
        if stage in _AWAITED:
            write(f"{quote(key[:30])}: waiting for {_AWAITED[stage]}")

    return waiting, lambda: write("")


def _print(inquiry: Inquiry, holding: Holding | None, settings: Settings, args: argparse.Namespace) -> None:
    if args.json:
        print(json_line(_shape(inquiry, holding)), flush=True)
    elif args.explain:
        colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        print("\n".join(explain.lines(inquiry, settings.lookup, colour, holding)), flush=True)
    else:
        print(explain.answer_line(inquiry), flush=True)
        if holding is not None and not holding.problem:  # of which --explain tells
            print(explain.holding_line(holding), flush=True)


def _shape(inquiry: Inquiry, holding: Holding | None) -> dict[str, Any]:
    hop, outcome, verdict = inquiry.hop, inquiry.outcome, inquiry.verdict
    policy = outcome.policy if isinstance(outcome, Found) else None
    return {
        "domain": inquiry.key if isinstance(hop, NoDomain) else hop.domain,
        "map": inquiry.map_name,
        "answer": inquiry.answer,
        "verdict": verdict.kind,
        "reason": verdict.reason,
        "record_id": outcome.record_id if isinstance(outcome, Found | Failed) else None,
        "policy": {"mode": policy.mode, "max_age": policy.max_age, "mx": policy.mx} if policy else None,
        "result_type": outcome.result_type if isinstance(outcome, Failed) else None,
        "stages": [
            {"stage": step.stage, "seconds": round(step.seconds, 6), "seen": step.seen, "ok": step.ok}
            for step in inquiry.steps
        ],
        "dane": _dane_shape(inquiry),
        "daemon": _holding_shape(holding),
    }


def _dane_shape(inquiry: Inquiry) -> dict[str, Any] | None:
    if inquiry.facts is None:
        return None
    status, reason = judge(inquiry.facts)
    hosts = [{"name": host.name, "status": host.state, "reason": host.detail} for host in inquiry.facts.hosts]
    return {"status": status, "reason": reason, "hosts": hosts}


def _holding_shape(holding: Holding | None) -> dict[str, Any] | None:
    if holding is None:
        return None
    told = {name: getattr(holding.shown, name, None) for name in ("record_id", "age", "left", "reason")}
    return {"answer": holding.reply, "differs": holding.differs, "problem": holding.problem or None} | told
