"""What `status` shows: a running daemon at one moment, as one object.

Numbers are those of numbers.py, as /metrics has them. Beside them stand the
domains whose last fetch failed, by kind, those in most need first. How it
looks is cli/commands/status.py's.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

from ...core.names import Domain
from ...core.outcome import Failed, OwnFault
from ...core.policy import Mode
from ...core.quoting import LIMIT
from ..counters import Counts
from ..policies.known import Holding, Known, NoPolicy
from .survey import Running, gather, in_turns

DAY = 86_400.0  # seconds that a failure is shown
WORST = 5  # domains named of each kind
DNS = "dns"  # the kind of failure that RFC 8460 has no result type for
_SORTED_OUT = 100  # domains of a kind kept before only the worst are


@dataclass(frozen=True, slots=True)
class _Failing:
    """A domain whose last fetch failed."""

    domain: Domain
    mode: str | None  # of the policy held, which stays in force; None: none is held
    left: float | None  # seconds that it does
    failures: int | None  # in a row
    ago: float | None  # seconds since the last, where no policy is held
    reason: str

    @property
    def need(self) -> tuple[int, float, str]:
        """The smallest needs most: enforced policies by their end, then others, then the latest failure."""
        if self.mode is None:
            return 2, self.ago or 0.0, self.domain
        return int(self.mode != Mode.ENFORCE), self.left or 0.0, self.domain


async def overview(known: Known, counts: Counts, now: float, uptime: float, running: Running) -> dict[str, Any]:
    """All of it; yields to the loop on the way. Times are in seconds."""
    kinds: dict[str, list[_Failing]] = {}
    numbers: Counter[str] = Counter()

    def meet(holding: Holding) -> None:
        if (trouble := holding.trouble) is not None:
            entry, ends = holding.entry, max(holding.left, 0.0)
            failing = _Failing(entry.domain, entry.policy.mode, ends, trouble.failures, None, trouble.reason)
            _note(kinds, numbers, trouble.result_type, failing)

    counted = await gather(known, counts, running, meet)
    async for domain, negative in in_turns(known.all_negatives()):
        if negative.failed and negative.age < DAY:
            kind, reason = _kind(negative)
            _note(kinds, numbers, kind, _Failing(domain, None, None, None, negative.age, reason))
    return asdict(counted) | {
        "pid": os.getpid(),
        "started_at": now - uptime,
        "uptime": uptime,
        "loaded": known.loaded,
        "faults": running.faults,
        "directory": running.directory,
        "listen": running.listen,
        "metrics": running.metrics,
        "failures": [
            {"kind": kind, "domains": number, "worst": [_shown(each) for each in _worst(kinds[kind])]}
            for kind, number in numbers.most_common()
        ],
    }


def _note(kinds: dict[str, list[_Failing]], numbers: Counter[str], kind: str, failing: _Failing) -> None:
    numbers[kind] += 1
    named = kinds.setdefault(kind, [])
    named.append(failing)
    if len(named) > _SORTED_OUT:
        named[:] = _worst(named)


def _worst(failing: list[_Failing]) -> list[_Failing]:
    return sorted(failing, key=lambda each: each.need)[:WORST]


def _kind(negative: NoPolicy) -> tuple[str, str]:
    """The kind of failure, and the reason."""
    match negative.why:
        case Failed():
            return negative.why.result_type, negative.why.reason
        case OwnFault():
            return negative.why.cause, negative.why.reason
    return DNS, negative.why.reason


def _shown(failing: _Failing) -> dict[str, Any]:
    return {
        "domain": failing.domain,
        "mode": failing.mode,
        "left": failing.left,
        "failures": failing.failures,
        "ago": failing.ago,
        "reason": failing.reason[:LIMIT],
    }
