"""A real Prometheus that scrapes what a test gives it, and answers queries."""

from __future__ import annotations

import json
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.support.servers.debian import Program

ADDRESS = "127.0.0.1:9090"
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Prometheus(Program):
    """`with Prometheus(directory, {job: "HOST:PORT"}) as prometheus:` asks each of them once a second."""

    def __init__(self, directory: Path, targets: Mapping[str, str]) -> None:
        super().__init__(directory)
        self._targets = targets

    def command(self) -> Sequence[str]:
        jobs = [
            {"job_name": job, "scrape_interval": "1s", "static_configs": [{"targets": [address]}]}
            for job, address in self._targets.items()
        ]
        (self.directory / "prometheus.yml").write_text(yaml.safe_dump({"scrape_configs": jobs}))
        return [
            "prometheus",
            f"--config.file={self.directory}/prometheus.yml",
            f"--storage.tsdb.path={self.directory}/data",
            f"--web.listen-address={ADDRESS}",
        ]

    def is_ready(self) -> bool:
        try:
            return bool(DIRECT.open(f"http://{ADDRESS}/-/ready", timeout=10).status == 200)
        except OSError:
            return False

    def ask(self, path: str, **fields: str) -> Any:
        """Return the data of an answer of its API. Raises: HTTPError for a query that it does not understand."""
        url = f"http://{ADDRESS}/api/v1/{path}?{urllib.parse.urlencode(fields)}"
        with DIRECT.open(url, timeout=30) as answer:
            return json.load(answer)["data"]

    def query(self, text: str) -> list[dict[str, str]]:
        """Return the labels of each series in the result of *text*."""
        return [series["metric"] for series in self.ask("query", query=text)["result"]]

    def label_values(self, label: str, series: str) -> list[str]:
        """What Grafana's label_values(series, label) gives."""
        return list(self.ask(f"label/{label}/values", **{"match[]": series}))
