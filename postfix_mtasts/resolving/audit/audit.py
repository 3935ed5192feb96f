"""All stages of one domain, in their order, each told as soon as it is known and the ones before it are told.

The gathering runs side by side; the telling waits for it in order, because
how grave a mail host's fault is depends on the policy's mode.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from ...core import dane
from ...core.answering import of_failure, of_policy
from ...core.dane import DaneFacts, DaneStatus
from ...core.findings.owner import Finding, Verdict, capped, find, verdict
from ...core.names import Domain
from ...core.outcome import Found, Outcome, Unchanged
from ...core.policy import Mode, Policy, parse_policy
from ...core.record import select_record
from ...core.reply import reply_text
from ...core.verdict import Kind
from ...errors import PolicySyntaxError, RecordError
from ...faults import Fault, Seen
from . import gather, judge, mail
from .gather import HostSeen, MailSeen, RecordSeen, Texts
from .judge import Rules, Told
from .world import Held, Task, World


class Section(StrEnum):
    """The stages, in the order in which they are told."""

    RECORD = "record"
    HOST = "policy host"
    POLICY = "policy"
    MX = "MX"
    MAIL = "mail hosts"
    DANE = "DANE"
    TLSRPT = "TLSRPT"


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage that is over."""

    section: Section
    seconds: float
    lines: tuple[str, ...]
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """Everything about one domain."""

    domain: Domain
    stages: tuple[Stage, ...]
    answers: dict[str, str]  # what Postfix gets on each map
    outcome: Outcome | None
    record: RecordSeen | None
    host: HostSeen | None
    policy: Policy | None
    body: bytes | None
    mail: MailSeen | None
    tlsrpt: Texts | None
    seconds: float

    @property
    def findings(self) -> tuple[Finding, ...]:
        return tuple(finding for stage in self.stages for finding in stage.findings)

    @property
    def verdict(self) -> Verdict:
        return verdict(self.findings)


def audit(
    domain: Domain,
    world: World,
    told: Callable[[Stage], None] = lambda stage: None,
    instead: bytes | None = None,
) -> Report:
    """Examine *domain*. Never raises one of our errors, and ends soon after world.seconds whatever hangs.

    Args:
        told: called with each stage as soon as it can be told.
        instead: a policy to judge the domain by, in place of the one that is served.
    """
    begun = time.monotonic()
    until = begun + world.seconds
    record = Task(lambda: gather.record(domain, world.dns))
    host = Task(lambda: gather.host(domain, world, until - 5))
    mx = Task(lambda: gather.mx(domain, world.dns))
    letters = Task(lambda: gather.mail(domain, world, until - 2))
    facts = Task(lambda: gather.dane_facts(domain, world))
    tlsrpt = Task(lambda: gather.texts(f"_smtp._tls.{domain}", world.dns))
    held = Task(lambda: world.held(domain))
    validates = Task(world.resolver_validates)
    stages: list[Stage] = []
    rules = Rules(domain, world.clock(), world.expiry_days)

    def tell(section: Section, seconds: float, what: Told) -> None:
        stages.append(Stage(section, seconds, what.lines, tuple(capped(what.findings))))
        told(stages[-1])

    seen_record = record.wait(until)
    tell(
        Section.RECORD,
        record.seconds,
        judge.judge_record(seen_record, rules) if seen_record else _late(f"_mta-sts.{domain}", rules),
    )
    seen_host = host.wait(until)
    tell(
        Section.HOST,
        host.seconds,
        judge.judge_host(seen_host, rules) if seen_host else _late(f"mta-sts.{domain}", rules),
    )
    policy = judge.judge_policy(seen_host) if instead is None else judge.judge_body(instead)
    enforced = policy.policy is not None and policy.policy.mode is Mode.ENFORCE
    rules = Rules(domain, rules.now, rules.expiry_days, enforced)
    unchanged = _unchanged(domain, held.wait(until), seen_record, policy.policy)
    tell(Section.POLICY, 0.0, Told(policy.told.lines, (*policy.told.findings, *unchanged)))
    seen_mx = mx.wait(until)
    tell(
        Section.MX,
        mx.seconds,
        mail.judge_mx(seen_mx, policy.policy, rules) if seen_mx else _late(domain, rules),
    )
    seen_mail = letters.wait(until)
    if seen_mail is not None:
        tell(Section.MAIL, letters.seconds, mail.judge_mail(seen_mail, rules, world.looks is not None))
    dane_facts = facts.wait(until)
    tell(Section.DANE, facts.seconds, mail.judge_dane(dane_facts, seen_mail, rules, validates.wait(until) is not False))
    seen_tlsrpt = tlsrpt.wait(until)
    tell(
        Section.TLSRPT,
        tlsrpt.seconds,
        judge.judge_tlsrpt(seen_tlsrpt, rules) if seen_tlsrpt else _late(f"_smtp._tls.{domain}", rules),
    )
    outcome = _outcome(domain, world, seen_record, seen_host, instead)
    return Report(
        domain,
        tuple(stages),
        _answers(domain, world, outcome, dane_facts),
        outcome,
        seen_record,
        seen_host,
        policy.policy,
        policy.body,
        seen_mail,
        seen_tlsrpt,
        time.monotonic() - begun,
    )


def _late(name: str, rules: Rules) -> Told:
    late = Seen(Fault.DNS_TIMEOUT, name, f"{name}: no answer within the time for the domain")
    return Told((), (find("dns-failed", name, late, domain=rules.domain),))


def _unchanged(
    domain: Domain, held: Held | None, seen: RecordSeen | None, policy: Policy | None
) -> tuple[Finding, ...]:
    """Whether the policy was changed without its id, by what the local daemon holds."""
    if held is None or policy is None or seen is None or held.text == policy.text:
        return ()
    try:
        found = select_record(seen.record.texts)
    except RecordError:
        return ()
    if found is None or found.id != held.record_id:
        return ()
    text = f"the policy has changed, and its id is {found.id} as before: senders will notice at their next refresh only"
    return (find("id-unchanged", f"_mta-sts.{domain}", text, domain=domain),)


def _outcome(
    domain: Domain, world: World, record: RecordSeen | None, host: HostSeen | None, instead: bytes | None
) -> Outcome | None:
    """What the daemon's own lookup ends in, by what was seen."""
    if record is None or host is None:
        return None
    outcome = gather.outcome(domain, world, host)
    if instead is None or not isinstance(outcome, Found):
        return outcome
    try:
        return Found(outcome.record_id, parse_policy(instead), outcome.fetched_at)
    except PolicySyntaxError:
        return outcome


def _answers(domain: Domain, world: World, outcome: Outcome | None, facts: DaneFacts | None) -> dict[str, str]:
    """What Postfix gets from a daemon that knows this alone."""
    if outcome is None or isinstance(outcome, Unchanged):
        return {}
    facts = facts or DaneFacts(DaneStatus.UNKNOWN, Seen(Fault.OWN, value="DANE is not known in time"), (), 0.0)
    answers = {}
    for name, options in world.maps.items():
        if isinstance(outcome, Found):
            judged = dane.judge(facts) if options.dane else None
            told = of_policy(outcome.policy, outcome.policy.max_age, judged)
        else:
            told = of_failure(outcome, world.lookup)
        answer = reply_text(told, domain, options.tlsrpt)
        answers[name] = f"{answer} ({told.reason})" if told.kind is Kind.NOTFOUND else answer
    return answers
