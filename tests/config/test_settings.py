"""The defaults: what a daemon without a configuration file runs under."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields, is_dataclass

import pytest

from postfix_mtasts.config.file import leaves
from postfix_mtasts.config.settings import MapSettings, Settings

KINDS = {"bool", "int", "duration", "choice", "path", "ca_file", "group", "mode", "inet", "listen", "servers", "maps"}
KINDS |= {"host", "https_url", "mail_address", "rua"}  # of the domain owner's settings
KINDS |= {"shared_url", "secret_file", "prefix", "proxy_url", "login_file"}


def every_field(settings: object) -> list[object]:
    found: list[object] = []
    for field in fields(settings):  # type: ignore[arg-type]
        value = getattr(settings, field.name)
        found += every_field(value) if is_dataclass(value) else [(field, value)]
    return found


FIELDS = every_field(Settings()) + every_field(MapSettings())


def test_the_defaults_are_those_of_the_specification() -> None:
    """An installation without a file relies on each of these."""
    given = leaves(Settings())
    assert dict(given.pop("maps")) == {
        "postfix": MapSettings(dane=False, tlsrpt=False),
        "postfix-tlsrpt": MapSettings(dane=False, tlsrpt=True),
        "postfix-dane": MapSettings(dane=True, tlsrpt=False),
        "postfix-dane-tlsrpt": MapSettings(dane=True, tlsrpt=True),
        "QUERY": MapSettings(dane=True, tlsrpt=False),
        "QUERYwithTLSRPT": MapSettings(dane=True, tlsrpt=True),
    }
    assert given == {
        "listen": ("inet:127.0.0.1:8462",),
        "socket_mode": 0o660,
        "socket_group": None,
        "cache.directory": "/var/lib/postfix-mtasts",
        "cache.negative_limit": 100_000,
        "dns.servers": (),
        "dns.timeout": 5.0,
        "dns.trust_ad": "auto",
        "fetch.timeout": 60.0,
        "fetch.parallel": 256,
        "fetch.ca_file": None,
        "fetch.allow_private_addresses": False,
        "fetch.proxy": None,
        "fetch.proxy_password_file": None,
        "fetch.proxy_connect": "name",
        "lookup.wait": 15.0,
        "lookup.negative_ttl": 600.0,
        "lookup.failure_ttl": 300.0,
        "lookup.on_dns_failure": "skip",
        "refresh.recheck": 300.0,
        "refresh.interval": 86400.0,
        "metrics.listen": None,
        "log.level": "info",
        "log.format": "text",
        "tlsrpt.socket": None,
        "shared.url": None,
        "shared.password_file": None,
        "shared.prefix": "mtasts:",
        "shared.timeout": 0.2,
        "shared.key_file": None,
        "publish.directory": "/etc/postfix-mtasts/policies",
        "publish.state_directory": "/var/lib/postfix-mtasts-serve",
        "publish.listen": ("inet:[::]:443",),
        "publish.http_listen": ("inet:[::]:80",),
        "publish.certificates": "acme",
        "publish.certificate_directory": None,
        "publish.acme.directory_url": "https://acme-v02.api.letsencrypt.org/directory",
        "publish.acme.contact": None,
        "publish.acme.agree_to_terms": False,
        "publish.acme.ca_file": None,
        "publish.dns_update.server": None,
        "publish.dns_update.key_file": None,
        "publish.dns_update.ttl": 300.0,
        "publish.rua": (),
        "publish.report_host": None,
        "admin.listen": None,
        "reports.directory": "/var/lib/postfix-mtasts-reports",
        "reports.keep": 400 * 86400.0,
        "reports.dkim": True,
        "reports.require_dkim": False,
    }


@pytest.mark.parametrize(("field", "default"), FIELDS, ids=[field.name for field, _ in FIELDS])
def test_each_setting_says_what_it_is_and_its_default_is_permitted(field: object, default: object) -> None:
    """config/file.py reads by this metadata, and the manual repeats it."""
    about = field.metadata  # type: ignore[attr-defined]
    assert about["kind"] in KINDS
    assert about["help"]
    if about["kind"] in ("int", "duration"):
        assert about["low"] <= default <= about["high"]
    if about["kind"] == "choice":
        assert default in about["choices"]


def test_settings_cannot_be_changed() -> None:
    """They are shared by the loop and its threads; a reload swaps them whole."""
    with pytest.raises(FrozenInstanceError):
        Settings().socket_mode = 0  # type: ignore[misc]
    with pytest.raises(TypeError):
        Settings().maps["x"] = MapSettings()  # type: ignore[index]
