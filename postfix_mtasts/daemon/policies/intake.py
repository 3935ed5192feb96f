"""What an outcome without a policy changes: who is to blame for it, what is remembered, counted, reported and logged.

Rule 1: a policy in force stays, whatever comes, until it expires.
Rule 2: an overload of ours, the death of a worker, or a proxy that fails is
        never the domain's failure. A bug of ours would come again: it counts as
        a failed fetch.

Source: RFC 8461 sections 3.1 and 3.3.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeAlias

from ...config.settings import LookupSettings
from ...core.entry import Entry
from ...core.names import Domain
from ...core.outcome import Absent, DnsFailed, Failed, Outcome, OwnFault, Stage, Unchanged
from ...core.quoting import KV
from ...faults import Fault, Seen
from ..counters import Counts
from .holdings import Holdings

log = logging.getLogger(__name__)

Ending: TypeAlias = Outcome | OwnFault
Lacking: TypeAlias = Unchanged | Absent | Failed | DnsFailed | OwnFault

PROXY = "proxy"  # a result of fetches that RFC 8460 has no type for
INTERNAL_ERROR = "an internal error, see the log"


class Intake:
    def __init__(
        self, holdings: Holdings, counts: Counts, report: Callable[[Failed, Entry | None, Domain], None]
    ) -> None:
        self._holdings, self._counts, self._report = holdings, counts, report

    def configure(self, settings: LookupSettings) -> None:
        self._defers = settings.on_dns_failure == "defer"

    def take(self, domain: Domain, outcome: Lacking, late: bool) -> Ending:
        """Take in *outcome*, and return it, or the failed fetch that it counts as.

        Args:
            late: whether those who waited for it were told so.
        """
        held = self._holdings.in_force(domain)
        if isinstance(outcome, OwnFault) and not outcome.passing:
            self._counts.errors += 1
            log.error("internal-error %s", KV(domain=domain, reason=outcome.reason))
            outcome = self._failed(domain, outcome.reason)
        elif isinstance(outcome, Failed) and not outcome.ours:
            self._report(outcome, held.entry if held is not None else None, domain)
        if isinstance(outcome, Failed):
            self._counts.fetches[PROXY if outcome.ours else outcome.result_type] += 1
        match outcome:
            case Unchanged():
                log.debug("record-unchanged %s", KV(domain=domain))
            case missing if held is None:
                self._holdings.note_missing(domain, missing)
            case Failed() if not outcome.ours:
                self._holdings.fetch_failed(held, outcome)
            case Failed() | OwnFault():
                self._holdings.put_off(held)
            case missing:
                log.debug("record-missing %s", KV(domain=domain, reason=missing.reason))
        if late and self._not_the_hosts(outcome):
            self._holdings.not_late(domain)
        return outcome

    def bug(self, domain: Domain) -> Failed:
        """Count and log the exception of our own that is being handled; return the failed fetch that it counts as."""
        self._counts.errors += 1
        log.exception("internal-error %s", KV(domain=domain))
        return self._failed(domain, INTERNAL_ERROR)

    def _not_the_hosts(self, outcome: Ending) -> bool:
        """Tell whether a lateness that ended so was not the host's: DNS or the proxy failed, and defers, or we did."""
        between = isinstance(outcome, DnsFailed) or (isinstance(outcome, Failed) and outcome.ours)
        return isinstance(outcome, OwnFault) or (between and self._defers)

    def _failed(self, domain: Domain, reason: str) -> Failed:
        held = self._holdings.policies.get(domain)
        record_id = held.entry.record_id if held is not None else ""
        return Failed(record_id, Stage.HTTP, Seen(Fault.INTERNAL, value=reason))
