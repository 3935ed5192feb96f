"""What the daemon and its worker processes say to each other: one JSON object a line.

    job     {"n": 7, "job": "discover", "domain": D, "avoid": [id, ...], "refetch_as": id or null}
            and, where the daemon's probe asked first, "record": the answer in hex, or "spent": seconds
            {"n": 8, "job": "dane", "domain": D, "port": 25}
    answer  {"n": 7, "found": {...}} and so on, one of the outcomes' names
            {"n": 8, "dane": {...}}
            {"n": 9, "bug": "TypeError at discovery.py:40: ..."}
    counts  {"counts": [["TXT", "noerror", 3], ...]}: DNS queries since the last line

The worker parses hostile bytes, so the daemon takes nothing from it unread:
a policy comes as text and is parsed again here, in microseconds.
"""

from __future__ import annotations

import logging
from dataclasses import asdict
from typing import Any

from ...core.dane import DaneFacts, DaneStatus, HostFacts
from ...core.outcome import Absent, DnsFailed, Failed, Found, Outcome, ResultType, Stage, Unchanged
from ...core.policy import parse_policy
from ...core.quoting import KV
from ...errors import InputError
from ..counters import Counts

log = logging.getLogger(__name__)


def outcome_to_json(outcome: Outcome) -> dict[str, Any]:
    match outcome:
        case Found():
            return {
                "found": {
                    "record_id": outcome.record_id,
                    "text": outcome.policy.text,
                    "fetched_at": outcome.fetched_at,
                }
            }
        case Unchanged():
            return {"unchanged": asdict(outcome)}
        case Absent():
            return {"absent": asdict(outcome)}
        case Failed():
            return {"failed": asdict(outcome)}
        case DnsFailed():
            return {"dnsfailed": asdict(outcome)}


def outcome_from_json(answer: dict[str, Any]) -> Outcome:
    """Raises: KeyError, TypeError, ValueError or InputError where the worker is not to be believed."""
    if (found := answer.get("found")) is not None:
        return Found(str(found["record_id"]), parse_policy(str(found["text"]).encode()), float(found["fetched_at"]))
    if (absent := answer.get("absent")) is not None:
        return Absent(str(absent["reason"]), float(absent["ttl"]))
    if (failed := answer.get("failed")) is not None:
        return Failed(
            str(failed["record_id"]), Stage(failed["stage"]), ResultType(failed["result_type"]), str(failed["reason"])
        )
    if (unchanged := answer.get("unchanged")) is not None:
        return Unchanged(str(unchanged["record_id"]))
    return DnsFailed(str(answer["dnsfailed"]["reason"]))


def read_outcome(answer: dict[str, Any], domain: str, known_id: str, counts: Counts) -> Outcome:
    """What the worker said; its death, and a bug of ours, count as a failed fetch of *known_id*."""
    if (died := answer.get("died")) is not None:
        return Failed(known_id, Stage.HTTP, ResultType.FETCH_ERROR, died)
    if isinstance(probed := answer.get("probed"), Absent):  # found by the daemon itself: nothing to read
        return probed
    try:
        if "bug" not in answer:
            return outcome_from_json(answer)
        reason = str(answer["bug"])
    except (KeyError, TypeError, ValueError, InputError) as error:
        reason = f"unreadable answer of the worker process: {type(error).__name__}: {error}"
    counts.errors += 1
    log.error("internal-error %s", KV(domain=domain, reason=reason))
    return Failed(known_id, Stage.HTTP, ResultType.FETCH_ERROR, f"internal error: {reason}")


def dane_to_json(facts: DaneFacts) -> dict[str, Any]:
    return {"dane": asdict(facts)}


def dane_from_json(answer: dict[str, Any]) -> DaneFacts:
    """Where the worker is not to be believed, or died, nothing is known."""
    try:
        facts = answer["dane"]
        hosts = tuple(HostFacts(str(h["name"]), DaneStatus(h["state"]), str(h["detail"])) for h in facts["hosts"])
        return DaneFacts(DaneStatus(facts["mx"]), str(facts["detail"]), hosts, float(facts["ttl"]))
    except (KeyError, TypeError, ValueError):
        reason = answer.get("died") or answer.get("bug") or "unreadable answer of the worker process"
        return DaneFacts(DaneStatus.UNKNOWN, str(reason), (), 0.0)
