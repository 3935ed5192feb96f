"""The outside world by a configuration: the one place where DNS client and policy hosts are made.

So that what a command finds is found as the daemon's worker finds it.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable

from ..adapters.dns.client import DnsClient
from ..adapters.https.fetch import HttpsPolicyHosts
from ..adapters.https.proxy import Proxy
from ..adapters.https.tls import connect
from ..config.settings import DnsSettings, FetchSettings
from ..core.dnsdata import DnsResult
from ..core.ports import Sources


def dns_client(settings: DnsSettings, count: Callable[[str, DnsResult], None] | None = None) -> DnsClient:
    """Return a client by *settings*; *count* is told the type and the result of each query."""
    if count is None:
        return DnsClient(settings.servers, settings.timeout, trust_ad=settings.trust_ad)
    return DnsClient(settings.servers, settings.timeout, trust_ad=settings.trust_ad, count=count)


def make_sources(dns: DnsClient, settings: FetchSettings, context: ssl.SSLContext | None = None) -> Sources:
    """Return what a discovery needs; *context*: TLS with the trust store loaded already. Raises: ConfigError."""
    return Sources(
        dns=dns,
        hosts=policy_hosts(settings, context),
        clock=time.time,
        allow_private_addresses=settings.allow_private_addresses,
        by_name=settings.by_name,
    )


def policy_hosts(settings: FetchSettings, context: ssl.SSLContext | None = None) -> HttpsPolicyHosts:
    """Return the policy hosts, straight or through fetch.proxy. Raises: ConfigError."""
    way = Proxy(settings).connect if settings.proxy is not None else connect
    return HttpsPolicyHosts(settings.timeout, settings.ca_file, context=context, connect=way)
