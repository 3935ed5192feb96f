"""What is known of domains, put into messages: nothing is changed, and nothing asked of the network."""

from __future__ import annotations

from collections.abc import Mapping

from ...config.settings import MapSettings
from ...core.answering import of_policy
from ...core.entry import Entry
from ...core.names import Domain
from ...core.policy import Mode
from ...core.quoting import LIMIT
from ...core.reply import answer_text, reply_text
from ...core.verdict import Kind, Verdict
from ..policies.known import Holding, Known
from .messages import Exported, Row, ShownNegative, ShownPolicy


def row(holding: Holding) -> Row:
    entry, trouble = holding.entry, holding.trouble
    return Row(
        domain=entry.domain,
        mode=str(entry.policy.mode),
        age=holding.age,
        left=holding.left,
        mx=list(entry.policy.mx),
        failures=trouble.failures if trouble is not None else 0,
        shared=holding.shared,
    )


def exported(entry: Entry) -> Exported:
    return Exported(entry.domain, entry.record_id, entry.fetched_at, entry.used_at, entry.policy.text)


def show(
    known: Known, maps: Mapping[str, MapSettings], domain: Domain, port: int
) -> ShownPolicy | ShownNegative | None:
    """Return all that is known of *domain*, with each map's answer; None: nothing is."""
    if (holding := known.holding(domain)) is not None:
        verdicts = {name: _verdict(known, domain, port, holding, options) for name, options in maps.items()}
        return _policy(known, domain, port, holding, *_answers(domain, maps, verdicts))
    if (negative := known.negative(domain)) is not None:
        verdict = negative.verdict if negative.left > 0 else "none: this has expired, the next lookup asks again"
        answers = _answers(domain, maps, dict.fromkeys(maps, verdict))
        return ShownNegative(domain, negative.verdict.reason, negative.until, negative.left, *answers)
    return None


def _policy(
    known: Known,
    domain: Domain,
    port: int,
    holding: Holding,
    answers: dict[str, str],
    replies: dict[str, str | None],
) -> ShownPolicy:
    entry, trouble, dane, listed = holding.entry, holding.trouble, known.dane(domain, port), row(holding)
    return ShownPolicy(
        domain=listed.domain,
        mode=listed.mode,
        age=listed.age,
        left=listed.left,
        mx=listed.mx,
        failures=listed.failures,
        shared=listed.shared,
        record_id=entry.record_id,
        policy=entry.policy.text,
        fetched_at=entry.fetched_at,
        used_at=entry.used_at,
        checked_at=holding.checked_at,
        expires_at=holding.expires_at,
        next_due_at=holding.next_due_at,
        failure=f"{trouble.result_type}: {trouble.reason}"[:LIMIT] if trouble is not None else None,
        dane=f"{dane.status}: {dane.reason}" if dane is not None else None,
        answers=answers,
        replies=replies,
    )


def _verdict(known: Known, domain: Domain, port: int, holding: Holding, options: MapSettings) -> Verdict | str:
    """Return what a map tells now, or why that is not known."""
    policy = holding.entry.policy
    if holding.left <= 0:
        return "none: the policy has expired, the next lookup fetches it again"
    dane = None
    if options.dane and policy.mode is Mode.ENFORCE:
        reading = known.serving_dane(domain, port)
        if reading is None:
            return "not known before a lookup has read the DANE status"
        dane = reading.status, reading.reason
    return of_policy(policy, holding.left, dane)


def _answers(
    domain: Domain, maps: Mapping[str, MapSettings], verdicts: Mapping[str, Verdict | str]
) -> tuple[dict[str, str], dict[str, str | None]]:
    """Return each map's answer in words, and its reply as Postfix gets it, None where that is not known."""
    answers: dict[str, str] = {}
    replies: dict[str, str | None] = {}
    for name, verdict in verdicts.items():
        tlsrpt = maps[name].tlsrpt
        answers[name] = _words(verdict, domain, tlsrpt)
        replies[name] = reply_text(verdict, domain, tlsrpt) if isinstance(verdict, Verdict) else None
    return answers, replies


def _words(verdict: Verdict | str, domain: Domain, tlsrpt: bool) -> str:
    if isinstance(verdict, str):
        return verdict
    if verdict.kind is Kind.NOTFOUND:
        return f"NOTFOUND ({verdict.reason})"
    return answer_text(verdict, domain, tlsrpt)
