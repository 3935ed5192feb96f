"""The dashboard and the alert rules name metrics and labels that exist, and each rule is tested."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from postfix_mtasts.core.dnsdata import DnsResult
from postfix_mtasts.daemon.operating.metrics import Collector
from tests.support.fakes.told import NUMBERS

MONITORING = Path(__file__).parents[2] / "docs/monitoring"


def exported() -> set[str]:
    """The names of all samples, a histogram's and a counter's suffixes included."""
    return {sample.name for metric in Collector(NUMBERS).collect() for sample in metric.samples}


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


RULES = [
    rule["alert"]
    for group in yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"]
    for rule in group["rules"]
]
TESTS = yaml.safe_load((MONITORING / "alerts.test.yml").read_text())["tests"]


@pytest.mark.parametrize("rule", RULES)
def test_each_alert_fires_in_a_test_of_promtool_and_stays_quiet_in_another(rule: str) -> None:
    """One that never fires is worth as little as one that always does."""
    moments = [moment for test in TESTS for moment in test["alert_rule_test"] if moment["alertname"] == rule]
    assert [moment for moment in moments if moment.get("exp_alerts")]
    assert [moment for moment in moments if not moment.get("exp_alerts")]


def test_the_results_that_alerts_leave_out_are_answers() -> None:
    """A result that matches nothing was a resolver that failed unseen."""
    (left_out,) = set(re.findall(r'result!~"([a-z|]+)"', " ".join(expressions(MONITORING / "alerts.yml"))))
    assert set(left_out.split("|")) == {DnsResult.NOERROR, DnsResult.NODATA, DnsResult.NXDOMAIN}


def test_the_example_scrapes_the_job_that_the_alerts_are_about() -> None:
    """And loads them."""
    example = yaml.safe_load((MONITORING / "prometheus.yml").read_text())
    assert example["rule_files"] == ["alerts.yml"]
    assert f'job="{example["scrape_configs"][0]["job_name"]}"' in (MONITORING / "alerts.yml").read_text()


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
@pytest.mark.parametrize("words", [["check", "config", "prometheus.yml"], ["test", "rules", "alerts.test.yml"]])
def test_promtool_is_content(words: list[str]) -> None:
    """Prometheus's own tool for rules."""
    done = subprocess.run(["promtool", *words], cwd=MONITORING, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
