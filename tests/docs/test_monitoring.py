"""The dashboard and the alert rules name metrics that exist."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from postfix_mtasts.daemon.operating.metrics import Collector
from tests.daemon.operating.test_http import SNAPSHOT

MONITORING = Path(__file__).parents[2] / "docs/monitoring"


def exported() -> set[str]:
    """The names of all samples, a histogram's and a counter's suffixes included."""
    return {sample.name for metric in Collector(lambda: SNAPSHOT).collect() for sample in metric.samples}


def expressions(file: Path) -> list[str]:
    if file.suffix == ".json":
        return [target["expr"] for panel in json.loads(file.read_text())["panels"] for target in panel["targets"]]
    return [rule["expr"] for group in yaml.safe_load(file.read_text())["groups"] for rule in group["rules"]]


@pytest.mark.parametrize("name", ["alerts.yml", "grafana.json"])
def test_every_metric_named_exists(name: str) -> None:
    """A renamed metric must not leave an alert that never fires."""
    named = {metric for text in expressions(MONITORING / name) for metric in re.findall(r"\bmtasts_\w+", text)}
    assert named
    assert named <= exported()
