"""resolving/world.py: a command asks as the daemon's worker does."""

from __future__ import annotations

from collections import Counter

from postfix_mtasts.config.settings import DnsSettings, FetchSettings
from postfix_mtasts.core.dnsdata import DnsResult
from postfix_mtasts.resolving.world import dns_client, make_sources
from tests.support.servers.dnsserver import DnsServer


def test_a_client_asks_the_configured_resolvers_and_tells_of_each_query() -> None:
    """Where somebody counts them."""
    counted: Counter[tuple[str, DnsResult]] = Counter()
    with DnsServer({("example.com", "TXT"): ['"hello"']}) as server:
        settings = DnsSettings(servers=(server.address,), timeout=2.0)

        def count(rdtype: str, result: DnsResult) -> None:
            counted[rdtype, result] += 1

        assert list(dns_client(settings, count).txt("example.com").records) == [b"hello"]
        assert list(dns_client(settings).txt("example.com").records) == [b"hello"]
    assert counted == {("TXT", DnsResult.NOERROR): 1}


def test_sources_go_by_the_settings_of_fetches() -> None:
    """Private addresses are refused unless they are allowed."""
    client = dns_client(DnsSettings())
    assert make_sources(client, FetchSettings()).allow_private_addresses is False
    assert make_sources(client, FetchSettings(allow_private_addresses=True)).allow_private_addresses is True
