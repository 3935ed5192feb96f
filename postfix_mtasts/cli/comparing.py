"""Put what a running daemon holds beside what was found afresh, and find where the two differ.

A daemon that is away, busy or somebody else's costs `query` PATIENCE at most,
and never its answer. How it looks is explain.py's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from ..adapters.services import port_number
from ..config.file import Loaded
from ..core.names import NoDomain
from ..core.outcome import Found
from ..daemon.operating.messages import Show, ShownNegative, ShownPolicy
from ..errors import StoreError
from ..resolving.tracing import Inquiry
from .client import ask_daemon

Shown: TypeAlias = ShownPolicy | ShownNegative

PATIENCE = 2.0  # seconds that the daemon may take


@dataclass(frozen=True, slots=True)
class Holding:
    """What the daemon told of a domain, remote text as it came."""

    shown: Shown | None  # None: it holds nothing
    reply: str | None  # what Postfix gets from it on the map asked for; None: a lookup would have to ask first
    differs: tuple[str, ...]  # in what it is not as resolved afresh: "answer", "record id", "policy"
    problem: str = ""  # why it did not tell

    @property
    def has_policy(self) -> bool:
        return isinstance(self.shown, ShownPolicy)


class Neighbour:
    """Asks the daemon of a configuration; after it has failed to answer once, never again."""

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded
        self._problem = ""

    def holding(self, inquiry: Inquiry) -> Holding | None:
        """Return what the daemon holds of the inquiry's domain; None if no daemon runs, or if it is not a domain."""
        if isinstance(inquiry.hop, NoDomain):
            return None
        request = Show(inquiry.hop.domain, port_number(inquiry.hop.port))
        answers: list[Shown] | None = []
        try:
            if not self._problem:
                answers = ask_daemon(self._loaded, request, PATIENCE)
        except StoreError as error:
            self._problem = str(error)
        if self._problem:
            return Holding(None, None, (), self._problem)
        return None if answers is None else compared(inquiry, answers[0] if answers else None)


def compared(inquiry: Inquiry, shown: Shown | None) -> Holding:
    """Compare what the daemon told with what was found afresh."""
    if shown is None:
        return Holding(None, None, ())
    reply: str | None = shown.replies.get(inquiry.map_name)
    fresh, differs = inquiry.outcome, []
    if reply is not None and reply != inquiry.answer:
        differs.append("answer")
    if isinstance(fresh, Found) and isinstance(shown, ShownPolicy) and shown.record_id != fresh.record_id:
        differs.append("record id")
    held = shown.policy if isinstance(shown, ShownPolicy) else None
    if held != (fresh.policy.text if isinstance(fresh, Found) else None):
        differs.append("policy")
    return Holding(shown, reply, tuple(differs))
