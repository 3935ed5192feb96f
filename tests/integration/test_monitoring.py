"""The dashboard of docs/monitoring in front of a real Prometheus, which scrapes a daemon and a `serve`."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from tests.support.servers.daemon import ENVIRONMENT, Daemon
from tests.support.servers.internet import Internet, Site, policy
from tests.support.servers.prometheus import Prometheus
from tests.support.servers.redis import RedisServer
from tests.support.servers.serve import Serve, fetch
from tests.support.waiting import wait_until

DASHBOARD = json.loads((Path(__file__).parents[2] / "docs/monitoring/grafana.json").read_text())
GOOD, BROKEN, OWN = "good.graph.test", "broken.graph.test", "own.graph.test"
POLICIES = ("127.0.0.9", 443)
CA = trustme.CA()
TARGETS = {"postfix-mtasts": "127.0.0.1:9462", "postfix-mtasts-serve": "127.0.0.1:8463"}
REPORT = {
    "organization-name": "Sender",
    "report-id": "1",
    "contact-info": "a@sender.test",
    "date-range": {"start-datetime": "2026-01-01T00:00:00Z", "end-datetime": "2026-01-01T23:59:59Z"},
    "policies": [
        {
            "policy": {"policy-type": "sts", "policy-domain": OWN, "policy-string": ["version: STSv1"]},
            "summary": {"total-successful-session-count": 5, "total-failure-session-count": 2},
            "failure-details": [{"result-type": "certificate-expired", "failed-session-count": 2}],
        }
    ],
}


@pytest.fixture(scope="module")
def prometheus(internet: Internet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """Has scraped a daemon that shares, reports and was asked, and a `serve` that was asked and has a report."""
    directory = tmp_path_factory.mktemp("graph")
    reports_to = f'_smtp._tls.{BROKEN}. 60 IN TXT "v=TLSRPTv1; rua=mailto:a@{BROKEN}"'
    internet.publish_all({GOOD: Site(policy("mx.example.net")), BROKEN: Site(b"nonsense")}, reports_to)
    collector = directory / "collector"
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams,
        RedisServer(directory / "redis") as redis,
    ):
        datagrams.bind(str(collector))
        config = internet.config(
            metrics={"listen": f"inet:{TARGETS['postfix-mtasts']}"},
            shared={"url": redis.url},
            tlsrpt={"socket": str(collector)},
        )
        with Daemon(directory / "daemon", config) as daemon, _serve(directory) as serve:
            for domain in (GOOD, BROKEN, "absent.graph.test"):
                daemon.ask("postfix", domain)
            _report(serve)
            with Prometheus(directory / "prometheus", TARGETS) as prometheus:
                yield prometheus


def _serve(directory: Path) -> Serve:
    folder = directory / "live" / f"mta-sts.{OWN}"
    folder.mkdir(parents=True)
    issued = CA.issue_cert(f"mta-sts.{OWN}")
    issued.private_key_pem.write_to_path(str(folder / "privkey.pem"))
    (folder / "fullchain.pem").write_bytes(issued.cert_chain_pems[0].bytes())
    publish = {
        "listen": [f"inet:{POLICIES[0]}:{POLICIES[1]}"],
        "certificates": "files",
        "certificate_directory": str(directory / "live"),
    }
    serve = Serve(
        directory / "serve",
        publish,
        dns={"servers": ["127.0.0.1:53"], "timeout": "1s"},
        admin={"listen": f"inet:{TARGETS['postfix-mtasts-serve']}"},
        reports={"directory": str(directory / "reports")},
    )
    serve.publish(OWN, policy("mx.example.net", mode="testing"))
    return serve


def _report(serve: Serve) -> None:
    """Have one report taken in, and one request answered."""
    file = serve.config_file.parent / "sender.test!own.graph.test!1767225600!1767311999.json"
    file.write_text(json.dumps(REPORT))
    command = [sys.executable, "-m", "postfix_mtasts", "report", "import", str(file)]
    subprocess.run([*command, "--config", str(serve.config_file)], env=ENVIRONMENT, check=True, timeout=60)
    serve.wait_for("certificate-read")
    assert fetch(f"mta-sts.{OWN}", CA.cert_pem.bytes(), POLICIES)[0] == 200


PANELS = [
    (panel["title"], target) for panel in DASHBOARD["panels"] if panel["type"] != "row" for target in panel["targets"]
]


ABSENT = {"Proxy"}  # this world fetches without one, so that there is nothing to show


@pytest.mark.parametrize(("title", "target"), PANELS, ids=[f"{title} {target['refId']}" for title, target in PANELS])
def test_each_panel_has_data(title: str, target: dict[str, str], prometheus: Prometheus) -> None:
    """Its query is understood, finds series, and each has the labels that the legend shows."""
    if title in ABSENT:
        assert prometheus.query(filled(prometheus, target["expr"])) == []
        return
    wait_until(lambda: prometheus.query(filled(prometheus, target["expr"])) != [], f"{title}: {target['expr']}", 60)
    shown = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
    for labels in prometheus.query(filled(prometheus, target["expr"])):
        assert shown <= labels.keys()


def filled(prometheus: Prometheus, text: str) -> str:
    """*text* with its variables as Grafana fills them in for "All"."""
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query" and f"${variable['name']}" in text:
            series, _, label = variable["query"]["query"].removeprefix("label_values(").rstrip(")").rpartition(", ")
            values = prometheus.label_values(label, filled(prometheus, series))
            text = text.replace(f"${variable['name']}", "|".join(values))
    return text.replace("$__rate_interval", "10s")
