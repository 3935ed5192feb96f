"""Cold lookups, mostly of records that do not exist, answered on the loop.

Stands before the pool and speaks the same Resolver. The probe asks for the
TXT record; where there is none, that is the answer, for a fiftieth of what a
worker costs. Where there is a record, the probe asks for the policy host's
addresses too, and all answers go to the worker with the job: it reads them,
and does not ask again. What the probe does not understand, or does not hear,
the worker asks in full.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ...adapters.dns.absence import Absence, Result
from ...adapters.dns.probe import Probe
from ...adapters.dns.transport import Nameservers
from ...config.settings import DnsSettings
from ...core.dane import DaneFacts
from ...core.names import Domain
from ...core.outcome import Outcome, OwnFault
from ...core.ports import ResolverFacts, Urgency
from ...resolving.discovery import NAME_LIMIT, absent, policy_host, record_name
from .pool import Pool

RECORD_BEGINS = b"v=STSv1"
PROBE_SHARE = 5  # the probe may take this part of dns.timeout; then the worker asks


class FastPath:
    """A Resolver that needs the *pool* only where there is a record, or doubt."""

    def __init__(
        self,
        pool: Pool,
        settings: DnsSettings,
        count_dns: Callable[[str, str, int], None],
        monotonic: Callable[[], float],
        by_name: bool = False,
    ) -> None:
        self._pool, self._count_dns, self._monotonic = pool, count_dns, monotonic
        self._probe: Probe | None = None
        self.configure(settings, by_name)

    def configure(self, settings: DnsSettings, by_name: bool) -> None:
        """Ask the resolvers of *settings* from now on; *by_name*: not for the addresses of policy hosts."""
        self.close()
        self._by_name = by_name
        self._probe = Probe(Nameservers(settings.servers), settings.timeout / PROBE_SHARE)

    def close(self) -> None:
        """Let what is under way go the full path."""
        if self._probe is not None:
            self._probe.close()

    def discover(
        self,
        domain: Domain,
        avoid: Sequence[str],
        refetch_as: str | None,
        done: Callable[[Outcome | OwnFault], None],
        urgency: Urgency = Urgency.LOOKUP,
    ) -> None:
        name, probe = record_name(domain), self._probe
        if probe is None or refetch_as is not None or len(name) > NAME_LIMIT:
            self._pool.discover(domain, avoid, refetch_as, done, urgency)
            return

        begun = self._monotonic()

        def probed(found: Result) -> None:
            if isinstance(found, Absence):
                self._count_dns("TXT", "nodata" if found.exists else "nxdomain", 1)
                done(absent(name, found.exists, found.ttl))
            elif found is None:
                spent = self._monotonic() - begun
                self._pool.discover(domain, avoid, refetch_as, done, urgency, spent=spent)
            elif avoid or RECORD_BEGINS not in found or self._by_name:  # no fetch seems to follow, or no address helps
                self._pool.discover(domain, avoid, refetch_as, done, urgency, heard={"TXT": found})
            else:
                probe.addresses(policy_host(domain), lambda heard: located({"TXT": found, **heard}))

        def located(heard: dict[str, bytes]) -> None:
            self._pool.discover(domain, avoid, refetch_as, done, urgency, heard=heard)

        probe.absent(name, probed)

    def dane(self, domain: Domain, port: int, done: Callable[[DaneFacts | OwnFault], None]) -> None:
        self._pool.dane(domain, port, done)

    def tlsrpt(self, domain: Domain, done: Callable[[str | OwnFault | None], None]) -> None:
        self._pool.tlsrpt(domain, done)

    def resolver(self, done: Callable[[ResolverFacts | OwnFault], None]) -> None:
        self._pool.resolver(done)
