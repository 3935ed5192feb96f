"""What `status` shows: a running daemon at one moment, as one object.

Numbers are those of numbers.py, as /metrics has them. Beside them stand the
domains whose last fetch failed, by kind, those in most need first. How it
looks is cli/commands/status.py's.
"""

from __future__ import annotations

import os
from collections import Counter

from ...core.outcome import Failed, OwnFault
from ...core.policy import Mode
from ...core.quoting import LIMIT
from ..counters import Counts
from ..policies.known import Holding, Known, NoPolicy
from .messages import Failures, StatusShown, Worst
from .survey import Running, gather, in_turns

DAY = 86_400.0  # seconds that a failure is shown
WORST = 5  # domains named of each kind
DNS, PROXY = "dns", "proxy"  # kinds of failure that RFC 8460 has no result types for
_SORTED_OUT = 100  # domains of a kind kept before only the worst are


def _need(failing: Worst) -> tuple[int, float, str]:
    """The smallest needs most: enforced policies by their end, then others, then the latest failure."""
    if failing.mode is None:
        return 2, failing.ago or 0.0, failing.domain
    return int(failing.mode != Mode.ENFORCE), failing.left or 0.0, failing.domain


async def overview(known: Known, counts: Counts, now: float, uptime: float, running: Running) -> StatusShown:
    """All of it; yields to the loop on the way. Times are in seconds."""
    kinds: dict[str, list[Worst]] = {}
    numbers: Counter[str] = Counter()

    def meet(holding: Holding) -> None:
        if (trouble := holding.trouble) is not None:
            entry, ends = holding.entry, max(holding.left, 0.0)
            failing = Worst(entry.domain, str(entry.policy.mode), ends, trouble.failures, None, trouble.reason[:LIMIT])
            _note(kinds, numbers, trouble.result_type, failing)

    counted = await gather(known, counts, running, meet)
    async for domain, negative in in_turns(known.all_negatives()):
        if negative.failed and negative.age < DAY:
            kind, reason = _kind(negative)
            _note(kinds, numbers, kind, Worst(domain, None, None, None, negative.age, reason[:LIMIT]))
    return StatusShown(
        pid=os.getpid(),
        started_at=now - uptime,
        uptime=uptime,
        loaded=known.loaded,
        faults=running.faults,
        directory=running.directory,
        listen=running.listen,
        metrics=running.metrics,
        failures=[Failures(kind, number, _worst(kinds[kind])) for kind, number in numbers.most_common()],
        numbers=counted,
        shared_away=running.shared_reason,
    )


def _note(kinds: dict[str, list[Worst]], numbers: Counter[str], kind: str, failing: Worst) -> None:
    numbers[kind] += 1
    named = kinds.setdefault(kind, [])
    named.append(failing)
    if len(named) > _SORTED_OUT:
        named[:] = _worst(named)


def _worst(failing: list[Worst]) -> list[Worst]:
    return sorted(failing, key=_need)[:WORST]


def _kind(negative: NoPolicy) -> tuple[str, str]:
    """The kind of failure, and the reason."""
    match negative.why:
        case Failed() if negative.why.ours:
            return PROXY, negative.why.reason
        case Failed():
            return negative.why.result_type, negative.why.reason
        case OwnFault():
            return negative.why.cause, negative.why.reason
    return DNS, negative.why.reason
