"""Policies through fetch.proxy: Debian's tinyproxy and microsocks, and proxies that do not do their work."""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from tests.support.fakes.datagrams import Datagrams
from tests.support.servers.daemon import ENVIRONMENT, Daemon, refused
from tests.support.servers.debian import NGINX
from tests.support.servers.hostile_https import PolicyHost, Reply, answer, says
from tests.support.servers.internet import Internet, policy
from tests.support.servers.proxies import PASSWORD, USER, Microsocks, Tinyproxy, asked, silent, tunnels

GOOD = policy("mx.example.net")
ENFORCED = "OK secure match=mx.example.net servername=hostname"
NOTFOUND = "NOTFOUND "
WORKS = tunnels(443, address=NGINX)
LOGIN = f"{USER}:{PASSWORD}"
_names = (f"d{number}.proxy.test" for number in itertools.count())


@pytest.fixture
def login(tmp_path: Path) -> str:
    path = tmp_path / "login"
    path.write_text(f"{LOGIN}\n")
    return str(path)


@pytest.fixture
def domain(internet: Internet) -> str:
    """A domain with a policy, that nobody has asked about."""
    name = next(_names)
    internet.publish(name, GOOD)
    return name


def through(internet: Internet, url: str, **changes: Any) -> dict[str, Any]:
    """A configuration with the proxy at *url*; *changes*: more of fetch, and whole sections."""
    fetch = {key: changes.pop(key) for key in list(changes) if key.startswith("proxy_")}
    timeout = changes.pop("timeout", "20s")
    return internet.config(fetch={"proxy": url, "timeout": timeout, **fetch}, **changes)


def url_of(middle: PolicyHost) -> str:
    return f"http://127.0.0.1:{middle.port}"


def numbers(daemon: Daemon) -> str:
    """What /metrics says."""
    with urlopen(f"http://{daemon.config['metrics']['listen'].removeprefix('inet:')}/metrics", timeout=10) as page:
        return str(page.read().decode())


def explained(daemon: Daemon, domain: str) -> str:
    command = [
        sys.executable,
        "-m",
        "postfix_mtasts",
        "query",
        "--explain",
        "--config",
        str(daemon.config_file),
        domain,
    ]
    return subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=60).stdout


@pytest.fixture(params=["name", "address"])
def connect(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["tinyproxy", "microsocks"])
def proxy(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Tinyproxy | Microsocks]:
    """A real one that wants a login."""
    made: Tinyproxy | Microsocks
    if request.param == "tinyproxy":
        made = Tinyproxy(tmp_path / "proxy", f"BasicAuth {USER} {PASSWORD}", "ConnectPort 443")
    else:
        made = Microsocks(tmp_path / "proxy", "-u", USER, "-P", PASSWORD)
    with made:
        yield made


def test_a_policy_through_a_real_proxy(
    internet: Internet, proxy: Tinyproxy | Microsocks, connect: str, login: str, domain: str, tmp_path: Path
) -> None:
    """Fetched once, by the proxy; `query --explain` says so; the password stands nowhere."""
    config = through(internet, proxy.url, proxy_password_file=login, proxy_connect=connect)
    target = f"mta-sts.{domain}" if connect == "name" else NGINX
    with Daemon(tmp_path / "daemon", config) as daemon:
        assert daemon.ask("postfix", domain) == ENFORCED
        told = explained(daemon, domain)
        assert f"connected to {target} through the proxy 127.0.0.1:{proxy.port}" in " ".join(told.split())
        shown = subprocess.run(
            [sys.executable, "-m", "postfix_mtasts", "config", "show", "--config", str(daemon.config_file)],
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    assert internet.gets(domain) == 2  # the daemon's and the query's
    assert f"{target}:443" in proxy.log or f":{target}:" in proxy.log or target in proxy.log
    assert PASSWORD not in "\n".join([told, shown, *daemon.lines])


def test_a_wrong_password_is_told_once_and_a_right_one_needs_no_reload(
    internet: Internet, proxy: Tinyproxy | Microsocks, login: str, tmp_path: Path
) -> None:
    """All domains fail alike, and none of them is named; the file is read anew for each connection."""
    Path(login).write_text(f"{USER}:wrong\n")
    domains = [next(_names) for _ in range(4)]
    for name in domains:
        internet.publish(name, GOOD)
    config = through(internet, proxy.url, proxy_password_file=login)
    with Daemon(tmp_path / "daemon", config) as daemon:
        assert [daemon.ask("postfix", name) for name in domains[:3]] == [NOTFOUND] * 3
        assert "does not take the credentials" in daemon.wait_for("proxy-away")
        Path(login).write_text(f"{LOGIN}\n")
        assert daemon.ask("postfix", domains[3]) == ENFORCED
        daemon.wait_for("proxy-back")
        assert len(daemon.events("proxy-away")) == 1
        assert daemon.events("fetch-failed") == []


def test_by_name_no_address_is_asked_for(internet: Internet, domain: str, tmp_path: Path) -> None:
    """Not by the probe either; and where there is none the proxy may know one all the same."""
    hidden = next(_names)
    internet.publish(hidden, GOOD, address=None)
    with PolicyHost(asked(WORKS)) as middle, Daemon(tmp_path / "daemon", through(internet, url_of(middle))) as daemon:
        assert [daemon.ask("postfix", name) for name in (domain, hidden)] == [ENFORCED] * 2
    for name in (domain, hidden):
        assert internet.txt_queries(name) == 1
        assert internet.dns.count(f"mta-sts.{name}", "A") == internet.dns.count(f"mta-sts.{name}", "AAAA") == 0


def test_the_environment_is_not_asked(
    internet: Internet, domain: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither for a proxy where none is configured, nor for an exception where one is."""
    other = next(_names)
    internet.publish(other, GOOD)
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setitem(ENVIRONMENT, name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setitem(ENVIRONMENT, name, "*")
    with Daemon(tmp_path / "straight", internet.config()) as daemon:
        assert daemon.ask("postfix", domain) == ENFORCED
    with PolicyHost(asked(WORKS)) as middle, Daemon(tmp_path / "through", through(internet, url_of(middle))) as daemon:
        assert daemon.ask("postfix", other) == ENFORCED
    assert [head.split()[1] for head in middle.requests] == [f"mta-sts.{other}:443".encode()]


AWAY, REFUSES, HOSTS = "proxy-away", "proxy-refuses", "fetch-failed"
FAILURES: list[tuple[str, Reply | None, str]] = [  # what the proxy does, and the line of the log
    ("takes no connection", None, AWAY),
    ("says nothing", silent, AWAY),
    ("wants a login", says(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"), AWAY),
    ("talks of something else", says(b"SSH-2.0-OpenSSH\r\n"), AWAY),
    ("speaks before the host does", says(b"HTTP/1.1 200 OK\r\n\r\n\x15"), AWAY),
    ("forbids it", says(answer(b"<h1>Forbidden", "403 Filtered")), REFUSES),
    ("leads to a portal", says(b"HTTP/1.1 302 Found\r\nLocation: https://login/\r\n\r\n"), REFUSES),
    ("does not get there", says(b"HTTP/1.1 503 Service Unavailable\r\n\r\n"), HOSTS),
    ("waits for the host too long", says(b"HTTP/1.1 504 Gateway Timeout\r\n\r\n"), HOSTS),
    ("breaks off after its answer", says(b"HTTP/1.1 200 OK\r\n\r\n"), HOSTS),
]


@pytest.mark.parametrize("rule", ["skip", "defer"])
@pytest.mark.parametrize(("title", "reply", "event"), FAILURES, ids=[row[0] for row in FAILURES])
def test_a_proxy_that_does_not_do_its_work(
    internet: Internet, domain: str, tmp_path: Path, title: str, reply: Reply | None, event: str, rule: str
) -> None:
    """A policy held stays; another domain goes by on_dns_failure if it is ours, and hears of its own failures only.

    The policy was fetched under a configuration without the proxy: the reload makes the workers go through it.
    """
    held = next(_names)
    internet.publish(held, GOOD)
    internet.add(*(f'_smtp._tls.{name}. 60 IN TXT "v=TLSRPTv1; rua=mailto:r@example.net"' for name in (domain, held)))
    sections = {
        "lookup": {"on_dns_failure": rule},
        "refresh": {"recheck": "100ms"},
        "tlsrpt": {"socket": str(tmp_path / "reports")},
        "metrics": {"listen": "inet:127.0.0.1:9462"},
    }
    with PolicyHost(asked(reply or silent)) as middle, Datagrams(tmp_path / "reports") as reports:
        port = middle.port if reply is not None else 9
        with Daemon(tmp_path / "daemon", internet.config(**sections)) as daemon:
            assert daemon.ask("postfix", held) == ENFORCED
            daemon.configure(
                {**daemon.config, **through(internet, f"http://127.0.0.1:{port}", timeout="2s", **sections)}
            )
            daemon.reload()
            got = daemon.ask("postfix", domain)
            line = daemon.wait_for(event)
            refresh = [sys.executable, "-m", "postfix_mtasts", "cache", "refresh", held]
            done = subprocess.run(
                [*refresh, "--config", str(daemon.config_file)], env=ENVIRONMENT, capture_output=True, text=True
            )
            assert daemon.ask("postfix", held) == ENFORCED
            counted = numbers(daemon)
        told = reports.about(domain)
    assert done.returncode != 0, done.stdout
    if event == HOSTS:
        assert got == NOTFOUND
        assert f"domain={domain} result=sts-policy-fetch-error" in line
        assert len(told) == 1
        assert "127.0.0.1" not in json.dumps(told)
    else:
        assert got == NOTFOUND if rule == "skip" else got.startswith("TEMP ")
        assert daemon.events(HOSTS) == []
        assert told == []
        assert re.search(r'^mtasts_fetches_total\{result="proxy"\} 2\.0$', counted, re.MULTILINE)
    assert "mtasts_proxy_up 1.0" in counted  # it takes a minute to count as away


def test_another_proxy_after_a_reload(internet: Internet, tmp_path: Path) -> None:
    """The next fetch goes through it; and through none once there is none."""
    names = [next(_names) for _ in range(3)]
    for name in names:
        internet.publish(name, GOOD)
    with PolicyHost(asked(WORKS)) as first, PolicyHost(asked(WORKS)) as second:
        config = through(internet, url_of(first))
        with Daemon(tmp_path / "daemon", config) as daemon:
            assert daemon.ask("postfix", names[0]) == ENFORCED
            for name, url in ((names[1], url_of(second)), (names[2], None)):
                daemon.configure({**daemon.config, "fetch": {**config["fetch"], "proxy": url}})
                daemon.reload()
                assert daemon.ask("postfix", name) == ENFORCED
    assert [len(each.requests) for each in (first, second)] == [1, 1]


def test_credentials_in_the_url_start_nothing(internet: Internet, tmp_path: Path) -> None:
    """Exit code 78, with what to write instead and without the password."""
    code, said = refused(tmp_path / "daemon", through(internet, f"http://{LOGIN}@127.0.0.1:3128"))
    assert code == os.EX_CONFIG
    assert (
        "fetch.proxy: holds credentials; write USER:PASSWORD into a file, name it in fetch.proxy_password_file" in said
    )
    assert PASSWORD not in said
