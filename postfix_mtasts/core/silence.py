"""Whether any resolver still answers, judged by what became of the questions.

Rule: silence begins with a question that no server answered, and ends with any
      answer, an error too. It counts as an outage once questions have gone
      unanswered for DOWN_AFTER: one lost datagram in a quiet night is none.
"""

from __future__ import annotations

from .dnsdata import DnsResult

DOWN_AFTER = 60.0  # seconds
_UNANSWERED = frozenset(result.value for result in DnsResult if not result.answered)


class Silence:
    """What the resolvers leave unanswered; mtasts_dns_up shows `up`."""

    def __init__(self) -> None:
        self._first: float | None = None  # when the first question of this silence was given up
        self._last = 0.0

    def note(self, result: str, now: float) -> None:
        """Take in what became of a question, a DnsResult; *now* is seconds by a clock that never jumps."""
        if result not in _UNANSWERED:
            self._first = None
        else:
            self._first = now if self._first is None else self._first
            self._last = now

    @property
    def seconds(self) -> float:
        """How long questions have gone unanswered; 0 while any is answered."""
        return 0.0 if self._first is None else self._last - self._first

    @property
    def up(self) -> bool:
        """Whether a resolver answers, as far as anybody asked."""
        return self.seconds < DOWN_AFTER
