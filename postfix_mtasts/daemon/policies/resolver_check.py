"""Warn of a resolver that DANE cannot rest on (RFC 7672 section 1.3.1).

It is asked once for the root's keys: at the start and at a reload if the
configuration file names a map with dane, else when such a map is first asked.
A site without DANE hears nothing of it.
"""

from __future__ import annotations

import logging

from ...config.settings import DEFAULT_MAPS, Settings
from ...core.dnsdata import Validation
from ...core.outcome import OwnFault
from ...core.ports import Resolver, ResolverFacts
from ...core.quoting import KV

log = logging.getLogger(__name__)


class ResolverCheck:
    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver
        self._matters = False  # this site uses DANE, as far as is known

    def begin(self, settings: Settings) -> None:
        """Check under *settings*, which are new, if they or earlier lookups show that it matters."""
        named = settings.maps is not DEFAULT_MAPS and any(each.dane for each in settings.maps.values())
        if self._matters or named:
            self._matters = True
            self._resolver.resolver(judge)

    def dane_asked(self) -> None:
        """A map with dane was asked; the first time, check."""
        if not self._matters:
            self._matters = True
            self._resolver.resolver(judge)


def judge(found: ResolverFacts | OwnFault) -> None:
    """Warn of a resolver whose word on DNSSEC is worth nothing."""
    if isinstance(found, OwnFault):
        return  # it says nothing of the resolver, and is told elsewhere
    servers = " ".join(found.servers)
    advice = "domains count as without DANE on maps with dane"
    if found.validation is Validation.NO_ANSWER:
        log.warning("resolver-not-answering %s", KV(servers=servers, reason=found.reason))
    if found.validation is Validation.NO_AD:
        log.warning("resolver-not-validating %s", KV(servers=servers, reason=f"no AD for the root; {advice}"))
    if found.untrusted:
        reason = "its AD bit does not count: not on loopback, no options trust-ad, dns.trust_ad is auto"
        log.warning("resolver-not-trusted %s", KV(servers=" ".join(found.untrusted), reason=reason))
