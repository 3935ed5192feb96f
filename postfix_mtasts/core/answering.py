"""From what is known of a domain to the verdict: the same for the daemon and for `query`.

Source: RFC 8461 section 5; section 2 for DANE, which MTA-STS never overrides.
"""

from __future__ import annotations

from typing import Protocol

from .dane import DaneStatus
from .outcome import Absent, DnsFailed, Failed, OwnFault
from .policy import Mode, Policy
from .verdict import Kind, Verdict

DNS_FAILURE_LASTS = 30.0  # seconds, then DNS is asked again, or the proxy
OWN_FAULT_LASTS = 5.0  # seconds that a failure of our own is told, and then tried anew
NEGATIVE_LEAST = 60.0  # seconds, however small the SOA minimum


class Lasting(Protocol):
    """How long it counts that there is no policy: config.settings.LookupSettings, as far as it is about that."""

    @property
    def negative_ttl(self) -> float: ...

    @property
    def failure_ttl(self) -> float: ...

    @property
    def on_dns_failure(self) -> str: ...


def of_policy(policy: Policy, lasts: float, dane: tuple[DaneStatus, str] | None) -> Verdict:
    """The verdict for a policy in force for *lasts* seconds.

    Args:
        dane: status and reason on a map with dane, else None.
    """
    if policy.mode is not Mode.ENFORCE:
        return Verdict(Kind.NOTFOUND, f"the policy's mode is {policy.mode}", lasts)
    if dane is not None and dane[0] is DaneStatus.USABLE:
        return Verdict(Kind.DANE_ONLY, dane[1], lasts)
    if dane is not None and dane[0] is DaneStatus.UNKNOWN:
        return Verdict(Kind.TEMP, dane[1], lasts)
    return Verdict(Kind.SECURE, "the policy's mode is enforce", lasts, policy)


def of_failure(outcome: Absent | Failed | DnsFailed | OwnFault, settings: Lasting) -> Verdict:
    """Return the verdict where no policy is known; it lasts as long as it is to be remembered."""
    match outcome:
        case Absent():
            lasts = min(settings.negative_ttl, max(NEGATIVE_LEAST, outcome.ttl))
            return Verdict(Kind.NOTFOUND, outcome.reason, lasts)
        case Failed() if not outcome.ours:
            reason = f"{outcome.result_type}: {outcome.reason}"
            return Verdict(Kind.NOTFOUND, reason, settings.failure_ttl)
        case DnsFailed() | Failed():  # a resolver or a proxy stands between us and every domain
            kind = Kind.TEMP if settings.on_dns_failure == "defer" else Kind.NOTFOUND
            return Verdict(kind, outcome.reason, DNS_FAILURE_LASTS)
        case OwnFault():  # it says nothing of the domain
            return Verdict(Kind.TEMP, outcome.reason, OWN_FAULT_LASTS)
