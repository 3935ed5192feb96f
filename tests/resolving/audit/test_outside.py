"""resolving/audit/outside.py: the real world of an audit, as the settings have it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from postfix_mtasts.config.settings import FetchSettings, Settings
from postfix_mtasts.errors import ConfigError
from postfix_mtasts.resolving.audit.outside import outside


def test_the_settings_of_the_daemon_count() -> None:
    """Maps, private addresses, and whether mail hosts are connected to."""
    settings = replace(Settings(), fetch=FetchSettings(allow_private_addresses=True))
    world = outside(settings, True, 21)
    assert (world.maps, world.allow_private_addresses, world.expiry_days) == (settings.maps, True, 21)
    assert world.looks is not None
    assert outside(settings, False, 14).looks is None


def test_a_trust_store_that_cannot_be_read_is_a_fault_of_the_configuration() -> None:
    """Exit code 78, before anything is asked."""
    with pytest.raises(ConfigError, match=r"fetch\.ca_file"):
        outside(replace(Settings(), fetch=FetchSettings(ca_file="/nonexistent")), True, 14)
