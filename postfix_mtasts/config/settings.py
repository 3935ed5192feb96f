"""Every setting with its default and its help text (postfix-mtasts.yml(5)).

Frozen values only: reading YAML is file.py's work. Durations are
seconds (float) here; in the file they are 250ms, 30s, 5m, 12h, 7d or plain
seconds. `setting(...)` holds default, kind, help text and permitted range in
one place: file.py reads by it, and the manual is checked against it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar

DEFAULT_CONFIG_FILE = "/etc/postfix-mtasts/config.yml"
DEFAULT_DIRECTORY = "/var/lib/postfix-mtasts"
DEFAULT_REPORTS = "/var/lib/postfix-mtasts-reports"

SECOND, MINUTE, HOUR, DAY = 1.0, 60.0, 3600.0, 86400.0


def setting(default: Any, help: str, *, kind: str, **limits: Any) -> Any:
    """A dataclass field; its kind, help text and limits (low, high, choices) are its metadata.

    kind is one of bool, int, duration, choice, path, ca_file, group, mode, inet,
    listen (a list of addresses), servers (a list of resolvers), maps, host,
    https_url, mail_address, rua (a list of report URIs), shared_url, secret_file, prefix,
    proxy_url, login_file.
    """
    metadata = {"help": help, "kind": kind, "null": default is None, **limits}
    if isinstance(default, Mapping):  # Python 3.11 takes no mapping proxy for an immutable default
        return field(default_factory=lambda: default, metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True)
class MapSettings:
    """How one map's answers look; the map is the last word of the main.cf line."""

    dane: bool = setting(False, "leave domains with usable DANE to DANE; for sites at level dane", kind="bool")
    tlsrpt: bool = setting(
        False, "add the STS attributes that Postfix 3.10 and later report and enforce by", kind="bool"
    )


DEFAULT_MAPS: Mapping[str, MapSettings] = MappingProxyType(
    {
        "postfix": MapSettings(),
        "postfix-tlsrpt": MapSettings(tlsrpt=True),
        "postfix-dane": MapSettings(dane=True),
        "postfix-dane-tlsrpt": MapSettings(dane=True, tlsrpt=True),
        "QUERY": MapSettings(dane=True),
        "QUERYwithTLSRPT": MapSettings(dane=True, tlsrpt=True),
    }
)


@dataclass(frozen=True, slots=True)
class CacheSettings:
    directory: str = setting(DEFAULT_DIRECTORY, "the store's directory, mode 0700", kind="path")
    negative_limit: int = setting(
        100_000, "domains without a policy that are remembered, in memory only", kind="int", low=0, high=10_000_000
    )


@dataclass(frozen=True, slots=True)
class DnsSettings:
    servers: tuple[str, ...] = setting(
        (), "resolvers as ADDRESS:PORT; empty means /etc/resolv.conf, read again when it changes", kind="servers"
    )
    timeout: float = setting(5 * SECOND, "for one name, retries included", kind="duration", low=0.1, high=60.0)
    trust_ad: str = setting(
        "auto",
        "whose AD bit counts; auto: resolvers on loopback, and those of a resolv.conf with options trust-ad; yes: all",
        kind="choice",
        choices=("auto", "yes"),
    )


@dataclass(frozen=True, slots=True)
class FetchSettings:
    timeout: float = setting(
        60 * SECOND, "for one policy, from connect to the last byte", kind="duration", low=0.1, high=600.0
    )
    parallel: int = setting(256, "fetches under way at once", kind="int", low=1, high=4096)
    ca_file: str | None = setting(None, "trusted CA certificates (PEM); null means the system's", kind="ca_file")
    allow_private_addresses: bool = setting(
        False, "let a policy host be at a loopback, private or link-local address", kind="bool"
    )
    proxy: str | None = setting(
        None, "policies are fetched through it: http://HOST:PORT or socks5h://HOST:PORT", kind="proxy_url"
    )
    proxy_password_file: str | None = setting(None, "holds USER:PASSWORD for the proxy", kind="login_file")
    proxy_connect: str = setting(
        "name",
        "name: the proxy is told the policy host's name; address: it is told an address that was judged here",
        kind="choice",
        choices=("name", "address"),
    )

    @property
    def by_name(self) -> bool:
        """Whether a proxy resolves the names of policy hosts, so that nobody here need."""
        return self.proxy is not None and self.proxy_connect == "name"


@dataclass(frozen=True, slots=True)
class LookupSettings:
    wait: float = setting(
        15 * SECOND, "the longest that Postfix waits for an unknown domain", kind="duration", low=0.0, high=90.0
    )
    negative_ttl: float = setting(
        10 * MINUTE,
        "how long the absence of a record is remembered at most; a shorter SOA minimum wins, but never under 60s",
        kind="duration",
        low=0.0,
        high=7 * DAY,
    )
    failure_ttl: float = setting(
        5 * MINUTE, "a failed fetch is not repeated earlier", kind="duration", low=0.0, high=7 * DAY
    )
    on_dns_failure: str = setting(
        "skip",
        "where DNS or fetch.proxy fails; skip: answer as if there were no policy; defer: TEMP",
        kind="choice",
        choices=("skip", "defer"),
    )


@dataclass(frozen=True, slots=True)
class RefreshSettings:
    recheck: float = setting(5 * MINUTE, "how long a record id is believed", kind="duration", low=0.1, high=7 * DAY)
    interval: float = setting(
        1 * DAY, "every stored policy is fetched again this often", kind="duration", low=1.0, high=31 * DAY
    )


@dataclass(frozen=True, slots=True)
class MetricsSettings:
    listen: str | None = setting(
        None, "inet:ADDRESS:PORT that serves /metrics and /healthz; null means none", kind="inet"
    )


@dataclass(frozen=True, slots=True)
class LogSettings:
    level: str = setting(
        "info", "the least severe lines written", kind="choice", choices=("debug", "info", "warning", "error")
    )
    format: str = setting("text", "text: key=value; json: one object a line", kind="choice", choices=("text", "json"))


@dataclass(frozen=True, slots=True)
class TlsrptSettings:
    socket: str | None = setting(
        None, "datagram socket of a libtlsrpt collector; failed policy fetches are reported there", kind="path"
    )


@dataclass(frozen=True, slots=True)
class SharedSettings:
    url: str | None = setting(
        None, "a Valkey or Redis that daemons share: redis://, rediss:// or unix://; null means none", kind="shared_url"
    )
    password_file: str | None = setting(None, "holds the password, in place of the URL", kind="secret_file")
    prefix: str = setting("mtasts:", "what each key there begins with", kind="prefix")
    timeout: float = setting(
        0.2 * SECOND, "the longest that a first lookup waits for it", kind="duration", low=0.01, high=10.0
    )
    key_file: str | None = setting(
        None, "rows are signed with this key, and others are not believed", kind="secret_file"
    )


@dataclass(frozen=True, slots=True)
class AcmeSettings:
    directory_url: str = setting(
        "https://acme-v02.api.letsencrypt.org/directory", "the ACME server (RFC 8555)", kind="https_url"
    )
    contact: str | None = setting(None, "a mail address that the ACME server may write to", kind="mail_address")
    agree_to_terms: bool = setting(False, "agree to the ACME server's terms of service; must be true", kind="bool")
    ca_file: str | None = setting(None, "trusted CA certificates (PEM) for the ACME server itself", kind="ca_file")


@dataclass(frozen=True, slots=True)
class DnsUpdateSettings:
    NULL_IS_NONE: ClassVar[bool] = True  # the section itself may be null

    server: str | None = setting(None, "inet:ADDRESS:PORT of the primary name server; null means none", kind="inet")
    key_file: str | None = setting(None, "the TSIG key, as BIND writes it", kind="path")
    ttl: float = setting(5 * MINUTE, "of the records that are written", kind="duration", low=1.0, high=7 * DAY)


@dataclass(frozen=True, slots=True)
class PublishSettings:
    directory: str = setting("/etc/postfix-mtasts/policies", "the policies, DOMAIN.txt each", kind="path")
    state_directory: str = setting(
        "/var/lib/postfix-mtasts-serve", "history, account key and certificates, mode 0700", kind="path"
    )
    listen: tuple[str, ...] = setting(("inet:[::]:443",), "addresses of the policy host", kind="listen")
    http_listen: tuple[str, ...] = setting(("inet:[::]:80",), "addresses for ACME challenges only", kind="listen")
    certificates: str = setting(
        "acme",
        "acme: ordered by itself; files: from certificate_directory; none: plain HTTP behind a proxy",
        kind="choice",
        choices=("acme", "files", "none"),
    )
    certificate_directory: str | None = setting(
        None, "NAME/fullchain.pem and NAME/privkey.pem, as certbot lays them out", kind="path"
    )
    acme: AcmeSettings = AcmeSettings()
    dns_update: DnsUpdateSettings = DnsUpdateSettings()
    rua: tuple[str, ...] = setting((), "where TLS reports are to be sent: mailto: and https: URIs", kind="rua")
    report_host: str | None = setting(None, "a host name at which POST /tlsrpt takes reports", kind="host")


@dataclass(frozen=True, slots=True)
class AdminSettings:
    listen: str | None = setting(
        None, "inet:ADDRESS:PORT of the dashboard, /metrics and /healthz, without authentication", kind="inet"
    )


@dataclass(frozen=True, slots=True)
class ReportsSettings:
    directory: str = setting(DEFAULT_REPORTS, "where received TLS reports are kept, mode 0700", kind="path")
    keep: float = setting(400 * DAY, "how long reports are kept", kind="duration", low=DAY, high=36500 * DAY)
    dkim: bool = setting(True, "verify the DKIM signatures of report mails", kind="bool")
    require_dkim: bool = setting(False, "set report mails aside that pass no DKIM check", kind="bool")


@dataclass(frozen=True, slots=True)
class Settings:
    """The whole configuration; complete and valid, or not made at all."""

    listen: tuple[str, ...] = setting(
        ("inet:127.0.0.1:8462",), "addresses Postfix connects to: inet:HOST:PORT or unix:PATH", kind="listen"
    )
    socket_mode: int = setting(0o660, "permissions of unix sockets, octal in quotes", kind="mode")
    socket_group: str | None = setting(None, "group that owns the unix sockets", kind="group")
    maps: Mapping[str, MapSettings] = setting(
        DEFAULT_MAPS, "map names, the last word of the main.cf line, and how their answers look", kind="maps"
    )
    cache: CacheSettings = CacheSettings()
    dns: DnsSettings = DnsSettings()
    fetch: FetchSettings = FetchSettings()
    lookup: LookupSettings = LookupSettings()
    refresh: RefreshSettings = RefreshSettings()
    metrics: MetricsSettings = MetricsSettings()
    log: LogSettings = LogSettings()
    tlsrpt: TlsrptSettings = TlsrptSettings()
    shared: SharedSettings = SharedSettings()
    publish: PublishSettings = PublishSettings()
    admin: AdminSettings = AdminSettings()
    reports: ReportsSettings = ReportsSettings()
