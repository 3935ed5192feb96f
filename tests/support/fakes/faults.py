"""Failures of the outside, for tests that care little how it failed."""

from __future__ import annotations

from postfix_mtasts.core.outcome import DnsFailed, Failed, Stage
from postfix_mtasts.errors import DnsError, FetchError
from postfix_mtasts.faults import Fault, ResultType, Seen

_FAULTS = {  # one of each result type, whose sentence is its value or ends with it
    ResultType.FETCH_ERROR: Fault.GIVEN_UP,
    ResultType.WEBPKI_INVALID: Fault.CERTIFICATE_OTHER,
    ResultType.INVALID: Fault.POLICY_MODE,
}


def servfail(said: str = "SERVFAIL") -> DnsError:
    return DnsError(Fault.DNS_SERVFAIL, value=said)


def dns_failed(said: str = "SERVFAIL") -> DnsFailed:
    return DnsFailed(Seen(Fault.DNS_SERVFAIL, value=said))


def fetch_error(stage: Stage, said: str, result_type: ResultType = ResultType.FETCH_ERROR) -> FetchError:
    return FetchError(stage, _FAULTS[result_type], value=said)


def failed(record_id: str, stage: Stage, said: str, result_type: ResultType = ResultType.FETCH_ERROR) -> Failed:
    return Failed(record_id, stage, Seen(_FAULTS[result_type], value=said))


def proxy_failed(fault: Fault = Fault.PROXY_AWAY) -> Failed:
    """What lies with our own proxy."""
    return Failed("1", Stage.ADDRESS, Seen(fault, "proxy.example:3128", "connection refused"))


def seen(said: str) -> Seen:
    """Of which *said* is the whole sentence."""
    return Seen(Fault.OWN, value=said)
