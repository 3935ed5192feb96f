"""One key resolved afresh, as the daemon would, with what was seen on the way.

The very functions of the daemon do the work (discover, facts, of_policy,
of_failure, reply_text); here they are only listened to. How an inquiry
looks on a terminal is cli/explain.py's, what the daemon holds of it cli/comparing.py's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..adapters.services import port_number
from ..config.settings import LookupSettings, MapSettings
from ..core import dane
from ..core.answering import of_failure, of_policy
from ..core.dane import DaneFacts, DaneStatus
from ..core.names import Domain, NextHop, NoDomain, parse_key
from ..core.outcome import Absent, DnsFailed, Failed, Found, Outcome, Stage, Unchanged
from ..core.policy import Mode
from ..core.ports import Sources
from ..core.reply import reply_text
from ..core.verdict import Kind, Verdict
from .dane import facts as ask_dane
from .dane import in_a_thread
from .discovery import discover

_NEXT = {  # what a stage that is over is followed by
    Stage.RECORD: Stage.ADDRESS,
    Stage.ADDRESS: Stage.TLS,
    Stage.TLS: Stage.HTTP,
    Stage.HTTP: Stage.POLICY,
}


@dataclass(frozen=True, slots=True)
class Step:
    """What was seen at one stage."""

    stage: Stage
    seconds: float  # since the step before
    seen: str  # may hold remote text, as it came
    ok: bool  # whether the way goes on from here; of the answer: whether Postfix gets a policy


@dataclass(frozen=True, slots=True)
class Inquiry:
    """A key, its answer, and the way there."""

    key: str  # as given
    hop: NextHop | NoDomain
    map_name: str
    outcome: Outcome | None  # None: no domain, so nothing was asked
    facts: DaneFacts | None  # None: DANE was not asked about
    verdict: Verdict
    answer: str  # the reply's payload, without the blank after NOTFOUND
    steps: tuple[Step, ...]

    @property
    def seconds(self) -> float:
        return sum(step.seconds for step in self.steps)


class _Steps:
    """Takes the time of each note, and tells what is waited for next."""

    def __init__(self, tick: Callable[[], float], waiting: Callable[[Stage], None]) -> None:
        self.made: list[Step] = []
        self._tick, self._waiting = tick, waiting
        self._last = tick()

    def add(self, stage: Stage, seen: str, ok: bool = True) -> None:
        now = self._tick()
        self.made.append(Step(stage, now - self._last, seen, ok))
        self._last = now

    def note(self, stage: Stage, seen: str) -> None:
        """A core.outcome.Note."""
        self.add(stage, seen)
        if stage in _NEXT:
            self._waiting(_NEXT[stage])

    def wait(self, stage: Stage) -> None:
        self._waiting(stage)


def inquire(
    key: str,
    raw: bytes,
    map_name: str,
    options: MapSettings,
    settings: LookupSettings,
    sources: Sources,
    *,
    tick: Callable[[], float],
    waiting: Callable[[Stage], None],
) -> Inquiry:
    """Resolve one key as Postfix would send it. Blocks as long as DNS and the policy host may take.

    Args:
        raw: the bytes of *key*.
        tick: seconds by a clock that never jumps.
        waiting: told the stage that is being waited for.
    """
    steps = _Steps(tick, waiting)
    hop = parse_key(raw)
    outcome: Outcome | None = None
    facts: DaneFacts | None = None
    if isinstance(hop, NoDomain):
        domain, verdict = Domain(""), Verdict(Kind.NOTFOUND, hop.reason, float("inf"))
    else:
        domain = hop.domain
        steps.wait(Stage.RECORD)
        outcome = discover(domain, sources, note=steps.note)
        if isinstance(outcome, Found):
            if options.dane and outcome.policy.mode is Mode.ENFORCE:
                facts = _ask_dane(hop, sources, steps)
            verdict = of_policy(outcome.policy, outcome.policy.max_age, dane.judge(facts) if facts else None)
        else:
            assert not isinstance(outcome, Unchanged)  # noqa: S101 -- only ids to avoid make it, and none are given
            steps.add(_failed_at(outcome), outcome.reason, ok=False)
            verdict = of_failure(outcome, settings)
    steps.add(Stage.ANSWER, verdict.reason, ok=verdict.kind in (Kind.SECURE, Kind.DANE_ONLY))
    answer = reply_text(verdict, domain, options.tlsrpt)
    return Inquiry(key, hop, map_name, outcome, facts, verdict, answer, tuple(steps.made))


def _failed_at(outcome: Absent | Failed | DnsFailed) -> Stage:
    return outcome.stage if isinstance(outcome, Failed) else Stage.RECORD


def _ask_dane(hop: NextHop, sources: Sources, steps: _Steps) -> DaneFacts:
    """Ask about all hosts side by side; the first step has the time of all."""
    steps.wait(Stage.DANE)
    facts = ask_dane(hop.domain, port_number(hop.port), sources.dns, beside=in_a_thread)
    for host in facts.hosts:
        steps.add(Stage.DANE, f"{host.name}: {host.state}, {host.seen}", ok=host.state is not DaneStatus.UNKNOWN)
    if not facts.hosts:
        steps.add(Stage.DANE, str(facts.seen), ok=facts.mx is not DaneStatus.UNKNOWN)
    return facts
