"""The real outside world of an audit: our DNS client, policy hosts by HTTPS, mail hosts by SMTP."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache

from ...adapters.reach import has_route
from ...adapters.smtp import SmtpMailHosts
from ...config.settings import Settings
from ...core.dnsdata import Validation
from ...core.names import Domain
from ..world import dns_client, policy_hosts
from .world import Held, MemoDns, SharedLooks, World


def outside(
    settings: Settings,
    mail: bool,
    expiry_days: int,
    held: Callable[[Domain], Held | None] = lambda domain: None,
) -> World:
    """Return the outside world by *settings*.

    Args:
        mail: connect to mail hosts.
        expiry_days: fewer days left of a certificate are a warning.
        held: the policy that the local daemon holds.
    """
    client = dns_client(settings.dns)
    return World(
        dns=MemoDns(client),
        hosts=policy_hosts(settings.fetch),
        looks=SharedLooks(SmtpMailHosts(settings.fetch.ca_file)) if mail else None,
        maps=settings.maps,
        lookup=settings.lookup,
        clock=time.time,
        has_route=has_route,
        allow_private_addresses=settings.fetch.allow_private_addresses,
        by_name=settings.fetch.by_name,
        expiry_days=expiry_days,
        resolver_validates=cache(lambda: client.judge_resolvers().validation is Validation.VALIDATES),
        held=held,
    )
