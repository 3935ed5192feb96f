"""adapters/reach.py: whether there is a way to an address."""

from __future__ import annotations

from postfix_mtasts.adapters.reach import has_route


def test_the_routing_table_is_asked() -> None:
    """Loopback is always there; what is no address has no way."""
    assert has_route("127.0.0.1")
    assert not has_route("no address")
