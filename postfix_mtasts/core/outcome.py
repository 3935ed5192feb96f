"""What a discovery ends in: the values that flow from the network to the keeper.

Source: RFC 8461 section 3 (discovery), RFC 8460 section 4.3.2 (result types).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from ..faults import ResultType as ResultType
from ..faults import Seen
from .policy import Policy


class Stage(StrEnum):
    """One step on the way from a domain to the answer, in their order."""

    RECORD = "record"
    ADDRESS = "address"
    TLS = "tls"
    SMTP = "smtp"  # before TLS, with a mail host
    HTTP = "http"
    POLICY = "policy"
    DANE = "dane"
    ANSWER = "answer"


@dataclass(frozen=True, slots=True)
class Found:
    """A valid policy, fetched over verified HTTPS."""

    record_id: str  # the id of the TXT record, or the known one if it could not be read
    policy: Policy
    fetched_at: float  # UTC seconds since 1970: when the fetch began


@dataclass(frozen=True, slots=True)
class Unchanged:
    """The TXT record was read and its id asks for no fetch now; it proves nothing more."""

    record_id: str


@dataclass(frozen=True, slots=True)
class Absent:
    """The domain has no usable TXT record: none, more than one, or an invalid one."""

    seen: Seen
    ttl: float  # seconds DNS lets us remember it: the SOA minimum, or the records' TTL

    @property
    def reason(self) -> str:
        return str(self.seen)


@dataclass(frozen=True, slots=True)
class Failed:
    """A record, but no valid policy behind it."""

    record_id: str  # the id that was tried
    stage: Stage
    seen: Seen

    @property
    def result_type(self) -> ResultType:
        return self.seen.fault.result_type

    @property
    def ours(self) -> bool:
        """Whether it is our proxy's failure, which says nothing of the domain."""
        return self.seen.fault.ours

    @property
    def reason(self) -> str:
        return str(self.seen)


@dataclass(frozen=True, slots=True)
class DnsFailed:
    """DNS did not say whether there is a record."""

    seen: Seen

    @property
    def reason(self) -> str:
        return str(self.seen)


Outcome: TypeAlias = Found | Unchanged | Absent | Failed | DnsFailed


class Cause(StrEnum):
    """Why we ourselves could not find something out."""

    DIED = "worker-died"  # the process that was at it ended, and so did the one after it
    NO_WORKER = "no-worker"  # no process could be started, or none answers
    OVERLOAD = "overload"  # others were before it for too long
    STORE = "store"  # the policy store cannot tell whether a policy is there
    BUG = "bug"  # an exception of our own: it would come again


@dataclass(frozen=True, slots=True)
class OwnFault:
    """Our own failure, in place of an outcome: it says nothing of the domain."""

    cause: Cause
    reason: str  # one sentence

    @property
    def passing(self) -> bool:
        """Whether it makes sense to try again soon."""
        return self.cause is not Cause.BUG


Note: TypeAlias = Callable[[Stage, str], None]  # told what was seen at a stage; the receiver takes the time


def no_note(stage: Stage, seen: str) -> None:
    """The Note of those who do not ask."""
