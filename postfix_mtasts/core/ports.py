"""What the rest needs from the outside world; tests put literal records, and a clock that stands still, here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from .dnsdata import DnsAnswer, Mx, Tlsa
from .outcome import Note


class Clock(Protocol):
    """Both clocks of the machine. Who needs only one is given that one's function."""

    def wall(self) -> float:
        """UTC seconds since 1970, by a clock that somebody may set."""

    def monotonic(self) -> float:
        """Seconds by a clock that nobody can set."""


class Dns(Protocol):
    """Each call blocks for dns.timeout at most and raises errors.DnsError."""

    def txt(self, name: str) -> DnsAnswer[bytes]:
        """Each record's strings joined without blanks."""

    def a(self, name: str) -> DnsAnswer[str]: ...

    def aaaa(self, name: str) -> DnsAnswer[str]: ...

    def mx(self, name: str) -> DnsAnswer[Mx]: ...

    def tlsa(self, name: str) -> DnsAnswer[Tlsa]: ...

    def cname(self, name: str) -> DnsAnswer[str]:
        """The alias at *name* itself, not followed."""


class Transfer(Protocol):
    """A fetch under way that another thread may give up."""

    def abort(self, reason: str) -> None:
        """End it at once: get() raises errors.FetchError with *reason*."""


class PolicyHosts(Protocol):
    def get(self, host: str, addresses: Sequence[str], note: Note, transfer: Transfer | None = None) -> bytes:
        """The body of https://HOST/.well-known/mta-sts.txt. Raises: errors.FetchError."""


@dataclass(frozen=True, slots=True)
class Sources:
    """The outside world, whole."""

    dns: Dns
    hosts: PolicyHosts
    clock: Callable[[], float]  # UTC seconds since 1970
    slot: Callable[[], AbstractContextManager[Transfer | None]]  # a place among the fetches under way
    allow_private_addresses: bool
