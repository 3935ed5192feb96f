"""What an operator reads in the log of domains and their policies (RFC 8461 section 3.3).

No line for a lookup: a policy that is new or changed, a fetch that failed, a
refresh that goes on failing, the first time that mail is held up.
"""

from __future__ import annotations

import logging

from ...core.entry import Entry, Trouble, Warned
from ...core.names import Domain
from ...core.outcome import Absent, DnsFailed, Failed, OwnFault
from ...core.quoting import KV
from .held import Missing

log = logging.getLogger(__name__)

DNS_COMPLAINTS = 60.0  # seconds between two warnings: where a resolver is down, every domain fails


class Announcer:
    """Writes the lines that must not come too often."""

    def __init__(self) -> None:
        self._complained_at = float("-inf")

    def missing(self, domain: Domain, why: Missing, now: float) -> None:
        """Log why a domain has no policy, if that is a failure; where DNS fails, not for every domain."""
        match why:
            case Failed() if not why.ours:
                fields = {"domain": domain, "result": why.result_type, "reason": why.reason}
                log.warning("fetch-failed %s", KV(**fields, id=why.record_id))
            case DnsFailed():
                often = now < self._complained_at + DNS_COMPLAINTS
                if not often:
                    self._complained_at = now
                log.log(
                    logging.DEBUG if often else logging.WARNING, "dns-failed %s", KV(domain=domain, reason=why.reason)
                )
            case Absent() | Failed() | OwnFault():
                pass  # no failure, or said where it happened


def policy(entry: Entry, new: bool) -> None:
    """Log a policy that is new or changed."""
    fields = {"domain": entry.domain, "mode": entry.policy.mode, "max_age": entry.policy.max_age}
    event = "policy-new %s" if new else "policy-changed %s"
    log.info(event, KV(**fields, id=entry.record_id, mx=",".join(entry.policy.mx)))
    if entry.policy.unusable:
        log.warning("mx-pattern-unusable %s", KV(domain=entry.domain, mx=", ".join(entry.policy.unusable)))


def refresh_failing(domain: Domain, trouble: Trouble, warning: Warned, left: float) -> None:
    """Log what *warning* asks for of a policy that is in force for *left* seconds more."""
    if warning is Warned.NOTHING:
        return
    event = "policy-expired %s" if warning is Warned.ENDED else "refresh-failing %s"
    fields = {"domain": domain, "result": trouble.result_type, "reason": trouble.reason}
    log.warning(event, KV(**fields, failures=trouble.failures, policy_left_s=int(left)))


def held_up(domain: Domain, reason: str) -> None:
    """Log that Postfix is told TEMP."""
    log.warning("temp %s", KV(domain=domain, reason=reason))


def policy_gone(domain: Domain) -> None:
    """Log that nothing is held any more of a policy that expired a day ago."""
    log.info("policy-gone %s", KV(domain=domain))
