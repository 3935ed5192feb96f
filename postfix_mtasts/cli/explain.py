"""Show a traced lookup to the administrator of the sending server: what was seen, what it means, what to do.

Lines of WIDTH columns at most, in ASCII. Remote text goes through `text.shown`, so
that it can neither send a terminal code nor take more than LIMIT characters.
Asking is resolving/tracing.py's.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from ..config.settings import LookupSettings
from ..core.dane import DaneStatus, judge, without_tlsa
from ..core.findings import sender
from ..core.names import NoDomain
from ..core.outcome import Absent, DnsFailed, Failed, Found, Stage
from ..core.policy import Mode, Policy
from ..core.quoting import escape, quote
from ..core.verdict import Kind
from ..daemon.operating.messages import ShownPolicy
from ..resolving.tracing import Inquiry, Step
from .comparing import Holding
from .text import shown, span

WIDTH = 80
_HEAD = 24  # columns of "address  12345 ms  ok   "

_GREEN, _RED, _BOLD, _PLAIN = "\x1b[32m", "\x1b[31m", "\x1b[1m", "\x1b[0m"

_KEPT = (
    "The policy that the daemon holds stays in force until it expires, whatever DNS and the policy host say "
    "(RFC 8461 section 3.3)."
)
_CHANGED = (
    "The domain has changed it since. The daemon reads the record again at the first lookup after refresh.recheck."
)
_NOT_YET = "The domain has a policy now. The daemon asks for it at the first lookup after that time."
_READ_EARLIER = "The policy is the same: the daemon goes by what it read earlier, of DANE or of its settings."


def name_of(inquiry: Inquiry) -> str:
    """Return the first field of a line: the domain in A-labels, or what was given instead of one."""
    hop = inquiry.hop
    if isinstance(hop, NoDomain):
        return quote(inquiry.key)
    return hop.domain if hop.port == "25" else f"{hop.domain}:{hop.port}"


def answer_line(inquiry: Inquiry) -> str:
    """Return what `query` prints: the answer, and the reason if the answer itself holds none."""
    line = f"{name_of(inquiry)}: {escape(inquiry.answer)}"
    return f"{line} ({shown(inquiry.verdict.reason)})" if inquiry.verdict.kind is Kind.NOTFOUND else line


def holding_line(holding: Holding) -> str:
    """Return what `query` prints below the answer: what a running daemon holds and answers."""
    return f"  daemon: {'; '.join(_held(holding))}"


def _held(holding: Holding) -> Iterator[str]:
    """Yield what the daemon answers, in what that differs, and what it holds."""
    if holding.problem:
        yield f"cannot be asked: {shown(holding.problem)}"
        return
    if holding.shown is None:
        yield "holds nothing, the next lookup asks"
        return
    if holding.differs:
        yield f"DIFFERS in {', '.join(holding.differs)}"
    if holding.reply is None:
        yield "no answer is ready"
    elif "answer" in holding.differs:
        yield f"answers {escape(holding.reply)}"
    else:
        yield "answers alike"
    if isinstance(holding.shown, ShownPolicy):
        age, left = span(holding.shown.age), holding.shown.left
        ends = f"expires in {span(left)}" if left > 0 else "has expired"
        yield f"holds id {quote(holding.shown.record_id)}, fetched {age} ago, {ends}"
    else:
        left = max(holding.shown.left, 0.0)
        yield f"holds no policy, for {span(left)} more ({shown(holding.shown.reason)})"


def lines(inquiry: Inquiry, settings: LookupSettings, colour: bool, holding: Holding | None = None) -> Iterator[str]:
    """Yield the lines that `query --explain` prints."""
    title = f"{name_of(inquiry)}, map {inquiry.map_name}"
    for part in textwrap.wrap(title, WIDTH):
        yield f"{_BOLD}{part}{_PLAIN}" if colour else part
    for step in inquiry.steps:
        yield from _step(step, inquiry, settings, colour)
    if holding is not None:
        yield from _holding(holding, inquiry, colour)
    yield ""


def _holding(holding: Holding, inquiry: Inquiry, colour: bool) -> Iterator[str]:
    """Yield what the daemon holds, laid out like a step."""
    mark, paint = ("--", "") if holding.shown is None else ("no", _RED) if holding.differs else ("ok", _GREEN)
    if colour and paint:
        mark = f"{paint}{mark}{_PLAIN}"
    head = f"{'daemon':<20}{mark}  "
    for said in _held(holding):
        yield from (head + line if not number else " " * _HEAD + line for number, line in enumerate(_wrapped(said)))
        head = " " * _HEAD
    for meaning in _holding_meaning(holding, inquiry):
        yield from (" " * _HEAD + line for line in _wrapped(meaning, "   " if meaning.startswith("->") else ""))


def _holding_meaning(holding: Holding, inquiry: Inquiry) -> Iterator[str]:
    """Say why it differs, and what to do if that does not settle by itself soon."""
    if not holding.differs or holding.shown is None:
        return
    if not isinstance(inquiry.outcome, Found):
        yield from [_KEPT] if holding.has_policy else []
    elif holding.differs == ("answer",):
        yield _READ_EARLIER
    else:
        yield _CHANGED if holding.has_policy else _NOT_YET
        yield f"-> `postfix-mtasts cache refresh {quote(holding.shown.domain)}` has the daemon fetch it now."


def _step(step: Step, inquiry: Inquiry, settings: LookupSettings, colour: bool) -> Iterator[str]:
    # Of the answer the time is the whole: of itself it takes none.
    seconds = inquiry.seconds if step.stage is Stage.ANSWER else step.seconds
    advice = _advice(step, inquiry)
    failed = bool(advice) or step.stage is Stage.DANE or inquiry.verdict.kind is Kind.TEMP
    mark, paint = ("ok", _GREEN) if step.ok else ("no", _RED) if failed else ("--", "")
    if colour and paint:
        mark = f"{paint}{mark}{_PLAIN}"
    head = f"{step.stage:<7} {seconds * 1000:6.0f} ms  {mark}   "
    seen = escape(inquiry.answer) if step.stage is Stage.ANSWER else shown(step.seen)
    for line in _wrapped(seen):
        yield f"{head}{line}"
        head = " " * _HEAD
    for text in _meaning(step, inquiry, settings):
        yield from (" " * _HEAD + line for line in _wrapped(text))
    if advice:
        yield from (" " * _HEAD + line for line in _wrapped(f"-> {advice}", "   "))


def _wrapped(text: str, indent: str = "") -> list[str]:
    return textwrap.wrap(text, WIDTH - _HEAD, subsequent_indent=indent, break_on_hyphens=False)


def _meaning(step: Step, inquiry: Inquiry, settings: LookupSettings) -> Iterator[str]:
    """Yield what a step means, one paragraph each."""
    outcome = inquiry.outcome
    if step.stage is Stage.ANSWER:
        yield from _answer_meaning(inquiry, settings)
    elif step.stage is Stage.DANE:
        if step is inquiry.steps[-2]:  # the last host: what they mean together
            yield from _dane_meaning(inquiry)
    elif step.ok and step.stage is Stage.POLICY and isinstance(outcome, Found):
        yield from _policy_meaning(outcome.policy)
    elif step.ok:
        yield sender.PASSED[step.stage]
    elif isinstance(outcome, Absent | Failed | DnsFailed):
        yield sender.meaning(outcome, settings.on_dns_failure)


def _policy_meaning(policy: Policy) -> Iterator[str]:
    until = f"{policy.max_age / 86400:.3g} days"
    if policy.mode is Mode.ENFORCE:
        hosts = ", ".join(policy.mx[:4]) + (f" and {len(policy.mx) - 4} more" if len(policy.mx) > 4 else "")
        yield f"For {until} from now, mail goes to these hosts only, over TLS with a valid certificate: {hosts}."
    elif policy.mode is Mode.TESTING:
        yield "The domain tries its policy out and does not want it enforced: mail goes as if there were none."
    else:
        yield "The domain has withdrawn its policy: mail goes as if there were none."
    if policy.unusable:
        yield f"Left out, since no host names: {shown(', '.join(policy.unusable[:4]))} ({len(policy.unusable)} in all)"


def _dane_meaning(inquiry: Inquiry) -> Iterator[str]:
    facts = inquiry.facts
    assert facts is not None  # noqa: S101 -- only reading them makes such a step
    status, _ = judge(facts)
    if status is DaneStatus.USABLE:
        yield "DANE comes first (RFC 8461 section 2): Postfix checks the hosts by their TLSA records."
        if missing := without_tlsa(facts):
            yield f"Postfix will pass over hosts without: {shown(', '.join(missing))}"
    elif status is DaneStatus.UNUSABLE:
        yield "DANE does not apply: the MTA-STS policy does."
    else:
        yield "Whether DANE comes first cannot be told, and neither may be skipped: the mail waits."


def _answer_meaning(inquiry: Inquiry, settings: LookupSettings) -> Iterator[str]:
    match inquiry.verdict.kind:
        case Kind.SECURE:
            yield "Postfix gets a policy: no mail without a verified certificate of these hosts."
        case Kind.DANE_ONLY:
            yield "Postfix gets a policy: no mail without usable TLSA records."
        case Kind.NOTFOUND if isinstance(inquiry.hop, NoDomain):
            yield f"No domain: {inquiry.hop.reason}. Postfix goes by smtp_tls_security_level."
        case Kind.NOTFOUND:
            yield "Postfix gets no policy and goes by its next table, then by smtp_tls_security_level."
        case Kind.TEMP | Kind.PERM:
            yield "Postfix defers the mail and asks again."
    if inquiry.seconds > settings.wait:
        yield (
            f"That took longer than lookup.wait ({settings.wait:g} s): the first mail meets TEMP and is tried again."
        )


def _advice(step: Step, inquiry: Inquiry) -> str:
    """Return what to do about a failure; empty if nothing failed."""
    if step.ok or step.stage is Stage.ANSWER or isinstance(inquiry.hop, NoDomain):
        return ""
    if step.stage is Stage.DANE and not (step is inquiry.steps[-2] and inquiry.verdict.kind is Kind.TEMP):
        return ""  # once, after the last host, and only where it decides
    if step.stage is Stage.DANE:
        return sender.dane_advice(inquiry.hop.domain, inquiry.hop.port)
    outcome = inquiry.outcome
    return sender.advice(outcome, inquiry.hop.domain) if isinstance(outcome, Absent | Failed | DnsFailed) else ""
