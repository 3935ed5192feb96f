"""All stages of one domain, in their order, each told as soon as it is known and the ones before it are told.

The gathering runs side by side; the telling waits for it in order, because
how grave a mail host's fault is depends on the policy's mode.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeVar

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
from .judge import PolicyTold, Rules, Told
from .world import Held, Task, World

T = TypeVar("T")


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
    return _Audit(domain, world, told).report(instead)


class _Audit:
    """All that is asked about one domain, under way, and the stages told so far."""

    def __init__(self, domain: Domain, world: World, told: Callable[[Stage], None]) -> None:
        self._domain, self._world, self._told = domain, world, told
        self._begun = time.monotonic()
        self._until = until = self._begun + world.seconds
        self._rules = Rules(domain, world.clock(), world.expiry_days)
        self._stages: list[Stage] = []
        self._record = Task(lambda: gather.record(domain, world.dns))
        self._host = Task(lambda: gather.host(domain, world, until - 5))
        self._mx = Task(lambda: gather.mx(domain, world.dns))
        self._mail = Task(lambda: gather.mail(domain, world, until - 2))
        self._dane = Task(lambda: gather.dane_facts(domain, world))
        self._tlsrpt = Task(lambda: gather.texts(f"_smtp._tls.{domain}", world.dns))
        self._held = Task(lambda: world.held(domain))
        self._validates = Task(world.resolver_validates)

    def report(self, instead: bytes | None) -> Report:
        """Tell every stage in its order."""
        domain, world = self._domain, self._world
        record = self._tell(Section.RECORD, self._record, judge.judge_record, f"_mta-sts.{domain}")
        host = self._tell(Section.HOST, self._host, judge.judge_host, f"mta-sts.{domain}")
        policy = self._tell_policy(record, host, instead)
        self._tell(Section.MX, self._mx, lambda seen, rules: mail.judge_mx(seen, policy.policy, rules), domain)
        connected = world.looks is not None
        seen_mail = self._tell(
            Section.MAIL, self._mail, lambda seen, rules: mail.judge_mail(seen, rules, connected), domain
        )
        facts = self._tell(Section.DANE, self._dane, lambda seen, rules: self._judge_dane(seen, seen_mail), domain)
        tlsrpt = self._tell(Section.TLSRPT, self._tlsrpt, judge.judge_tlsrpt, f"_smtp._tls.{domain}")
        outcome = _outcome(domain, world, record, host, instead)
        return Report(
            domain=domain,
            stages=tuple(self._stages),
            answers=_answers(domain, world, outcome, facts),
            outcome=outcome,
            record=record,
            host=host,
            policy=policy.policy,
            body=policy.body,
            mail=seen_mail,
            tlsrpt=tlsrpt,
            seconds=time.monotonic() - self._begun,
        )

    def _tell(self, section: Section, task: Task[T], judge: Callable[[T, Rules], Told], name: str) -> T | None:
        """Judge and tell what *task* brings; where it brings nothing in time, nothing is known of *name*."""
        seen = task.wait(self._until)
        if seen is not None:
            self._add(section, task.seconds, judge(seen, self._rules))
            return seen
        late = Seen(Fault.DNS_TIMEOUT, name, f"{name}: no answer within the time for the domain")
        finding = find("dns-failed", name, late, domain=self._domain)
        self._add(section, time.monotonic() - self._begun, Told((), (finding,)))
        return None

    def _add(self, section: Section, seconds: float, told: Told) -> None:
        self._stages.append(Stage(section, seconds, told.lines, tuple(capped(told.findings))))
        self._told(self._stages[-1])

    def _tell_policy(self, record: RecordSeen | None, host: HostSeen | None, instead: bytes | None) -> PolicyTold:
        """Whether it is enforced says how grave the faults of mail hosts are."""
        policy = judge.judge_policy(host) if instead is None else judge.judge_body(instead)
        self._rules = replace(self._rules, enforced=policy.policy is not None and policy.policy.mode is Mode.ENFORCE)
        unchanged = _unchanged(self._domain, self._held.wait(self._until), record, policy.policy)
        self._add(Section.POLICY, 0.0, Told(policy.told.lines, (*policy.told.findings, *unchanged)))
        return policy

    def _judge_dane(self, facts: DaneFacts, seen: MailSeen | None) -> Told:
        validates = self._validates.wait(self._until) is not False
        return mail.judge_dane(facts, seen, self._rules, validates)


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
