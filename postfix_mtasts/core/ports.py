"""What upper rooms need of lower ones and of the outside world, as Protocols; tests put literal values here.

Clock is both clocks. Store keeps policies on disk, for the one thread that uses it.
Shared keeps policies for several daemons; it blocks, and is used in threads.
Dns, PolicyHosts and Sources are what discovery and DANE ask, and they block.
Resolver is how the daemon has discovery and DANE done without blocking.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol, TypeAlias

from ..faults import Fault, Seen
from .certificate import Presented, Shown
from .dane import DaneFacts
from .dnsdata import DnsAnswer, Mx, Tlsa, Validation
from .entry import Entry
from .names import Domain
from .outcome import Note, Outcome, OwnFault


class Clock(Protocol):
    """Both clocks of the machine. Who needs only one is given that one's function."""

    def wall(self) -> float:
        """UTC seconds since 1970, by a clock that somebody may set."""

    def monotonic(self) -> float:
        """Seconds by a clock that nobody can set."""


class Store(Protocol):
    """Policies on disk. One thread uses it, the one that opened it.

    Every call raises StoreError, with a sentence that names the place and
    the cause, where the store cannot be read or written now, and
    StoreDamagedError where only set_aside() helps.
    """

    damage: str  # a sentence, where a damaged store was found at the opening

    def get(self, domain: Domain) -> Entry | None:
        """What is stored for *domain*; a row that cannot be read is none."""

    def put(self, entries: Sequence[Entry]) -> None:
        """Store all of *entries* in one transaction; once it returns, no crash loses them."""

    def delete(self, domains: Sequence[Domain]) -> None:
        """Remove *domains* in one transaction; one that is not there is removed already."""

    def load(self, skipped: Callable[[str], None]) -> Iterator[Entry]:
        """All entries, those of a damaged store that was set aside last; calls in between are fine.

        *skipped* is told of each row passed over, in a sentence.
        """

    def count(self) -> int:
        """The number of rows, those that load() passes over included."""

    def check(self) -> None:
        """See that the store is where it was and can be written, as far as is known without writing."""

    def renew(self, salvaged: bool) -> str:
        """After StoreDamagedError: use what came in place of the store, or move it out of the way and begin anew.

        Args:
            salvaged: a later load() gives what can be read of the damaged store.

        Returns where the damaged store is, or "" where there is none or where it cannot be moved yet.
        """

    def close(self) -> None:
        """Give the store back. Never raises; further calls do nothing."""


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """What the shared store has of a domain that an operator had the fleet forget."""

    domain: Domain
    at: float  # UTC seconds since 1970: a policy fetched later counts


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row of the shared store that is not believed."""

    key: str  # the domain, as far as it is one
    reason: str  # a sentence


SharedRow: TypeAlias = Entry | Withdrawn | BadRow


class Lease(Enum):
    """What becomes of asking to be the one daemon that fetches a domain."""

    GRANTED = "granted"
    TAKEN = "taken"  # another daemon has it
    NEWER = "newer"  # the shared store has a later fetch


class Shared(Protocol):
    """Policies that several daemons share; any thread may use it.

    Every call blocks for shared.timeout at most for each exchange, and raises
    SharedError, with a sentence that holds no credentials.
    """

    def check(self) -> str:
        """See that it can be read and written; return the name of its content, which changes when that is lost."""

    def get(self, domains: Sequence[Domain]) -> list[SharedRow]:
        """Return what there is of *domains*; nothing for one without a row."""

    def offer(self, rows: Sequence[tuple[Entry | Withdrawn, float]]) -> None:
        """Have rows kept, each until a UTC time; where a fetch as late is there, that stays, decided by the server."""

    def lease(self, domain: Domain, seconds: float, fetched_at: float) -> Lease:
        """Ask to be the one that fetches *domain*, of which one at *fetched_at* is held; or to stay it for longer."""

    def release(self, domain: Domain) -> None:
        """Give a lease back before it ends by itself."""

    def changes(self, seconds: float) -> list[Domain]:
        """Wait *seconds* at most for others' changes, and return their domains; one thread calls it."""

    def rows(self) -> Iterator[list[SharedRow]]:
        """Yield all rows, in pieces; what changes meanwhile may be there or not."""

    def close(self) -> None:
        """Let the connections go, for new ones; for the thread that waits for changes. Never raises."""


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

    def for_dane(self) -> Dns:
        """The same for DANE: where a validating resolver fails, no other is asked."""


class Transfer(Protocol):
    """A fetch under way that another thread may give up."""

    def abort(self, reason: str) -> None:
        """End it at once: get() raises errors.FetchError with *reason*."""


class PolicyHosts(Protocol):
    def get(self, host: str, addresses: Sequence[str], note: Note, transfer: Transfer | None = None) -> bytes:
        """The body of https://HOST/.well-known/mta-sts.txt. Raises: errors.FetchError."""


class CuriousHosts(PolicyHosts, Protocol):
    def peek(self, host: str, address: str) -> Shown | None:
        """The certificate that a policy host shows, whatever it is worth."""


@dataclass(frozen=True, slots=True)
class Look:
    """What one address of a host showed; a look that failed may have shown a certificate all the same."""

    refused: Seen | None  # why it failed
    presented: Presented | None = None

    @property
    def answered(self) -> bool:
        """Whether somebody took the connection."""
        return self.refused is None or self.refused.fault is not Fault.MAIL_NOT_CONNECTED


class MailHosts(Protocol):
    def look(self, host: str, address: str, seconds: float) -> Look:
        """Greet the mail host as a sender does, up to a verified handshake. Never raises one of our errors."""


@dataclass(frozen=True, slots=True)
class Sources:
    """The outside world, whole."""

    dns: Dns
    hosts: PolicyHosts
    clock: Callable[[], float]  # UTC seconds since 1970
    allow_private_addresses: bool
    by_name: bool = False  # a proxy resolves policy hosts: their addresses are not asked for


class Urgency(Enum):
    """Who is served first where not all can be served at once."""

    LOOKUP = "lookup"  # somebody waits for the answer, for lookup.wait
    EXPIRING = "expiring"  # a policy in force ends soon
    UPKEEP = "upkeep"  # nobody waits: a recheck, a refresh in good time


@dataclass(frozen=True, slots=True)
class ResolverFacts:
    """What a site at level dane has to know of the resolvers in use."""

    servers: tuple[str, ...]  # in the order they are asked, as "127.0.0.1:53"
    validation: Validation
    untrusted: tuple[str, ...] = ()  # those whose AD bit does not count (dns.trust_ad)
    reason: str = ""  # of Validation.NO_ANSWER


class Resolver(Protocol):
    """Finds things out in the network for the daemon, without blocking.

    Each *done* is called once, later, on the event loop, and must not raise;
    dane()'s also before, with facts that are not complete, as soon as a host
    is usable. OwnFault means that we failed, not the domain.
    """

    def discover(
        self,
        domain: Domain,
        avoid: Sequence[str],
        refetch_as: str | None,
        done: Callable[[Outcome | OwnFault], None],
        urgency: Urgency = Urgency.LOOKUP,
    ) -> None:
        """Read the record and, where it asks for that, fetch the policy: resolving.discovery.discover."""

    def dane(self, domain: Domain, port: int, done: Callable[[DaneFacts | OwnFault], None]) -> None:
        """Ask what DNS says of DANE for the domain's MX hosts: resolving.dane.facts."""

    def tlsrpt(self, domain: Domain, done: Callable[[str | OwnFault | None], None]) -> None:
        """Read the record by which a domain asks for reports; None: it asks for none, or DNS failed."""

    def resolver(self, done: Callable[[ResolverFacts | OwnFault], None]) -> None:
        """Ask what the resolvers in use are worth for DANE."""
