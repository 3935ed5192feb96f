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
from postfix_mtasts.publishing.reportviews import ReportViews
from tests.publishing.test_dashboard import get
from tests.support.fakes.told import NUMBERS

MONITORING = Path(__file__).parents[2] / "docs/monitoring"
METRIC = r"\b(?:mtasts|process)_\w+"


DASHBOARD = json.loads((MONITORING / "grafana.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def exported() -> set[str]:
    """The names of all samples of the daemon and of `serve`, a histogram's and a counter's suffixes included."""
    daemon = {sample.name for metric in Collector(NUMBERS).collect() for sample in metric.samples}
    _, text, _ = get("/metrics", more=ReportViews("/nonexistent", dict, lambda: 0.0).metrics)
    serve = set(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE))
    return daemon | {name for name in serve if not name.endswith("_created")}


def expressions(file: Path) -> list[str]:
    if file.suffix == ".json":
        return [target["expr"] for panel in PANELS for target in panel["targets"]]
    return [rule["expr"] for group in yaml.safe_load(file.read_text())["groups"] for rule in group["rules"]]


@pytest.mark.parametrize("name", ["alerts.yml", "grafana.json"])
def test_every_metric_named_exists(name: str) -> None:
    """A renamed metric must not leave an alert that never fires."""
    named = {metric for text in expressions(MONITORING / name) for metric in re.findall(METRIC, text)}
    assert named
    assert named <= exported()


def test_every_metric_has_a_panel() -> None:
    """What is counted can be seen; of the histogram, its buckets and its count."""
    named = set(re.findall(METRIC, " ".join(expressions(MONITORING / "grafana.json"))))
    assert exported() - named == {"mtasts_lookup_seconds_sum"}


def test_every_panel_shows_the_jobs_and_instances_that_were_chosen() -> None:
    """Each series of each query, and the two choices are made of what Prometheus knows."""
    for text in expressions(MONITORING / "grafana.json"):
        selectors = re.findall(rf"(?:{METRIC}|\bup\b){{(.*?)}}", text)
        assert selectors
        assert all(each.startswith('job=~"$job", instance=~"$instance"') for each in selectors)
        assert len(selectors) == len(re.findall(rf"{METRIC}|\bup\b", text))
    variables = {each["name"]: each["query"] for each in DASHBOARD["templating"]["list"]}
    assert variables["datasource"] == "prometheus"
    assert variables["job"]["query"] == "label_values(mtasts_build_info, job)"
    assert variables["instance"]["query"] == 'label_values(mtasts_build_info{job=~"$job"}, instance)'


def test_no_panel_covers_another() -> None:
    """Grafana would move one of them; ids are one each."""
    squares = [
        (x, y)
        for place in (panel["gridPos"] for panel in DASHBOARD["panels"])
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(squares)) == len(squares)
    assert max(x for x, _ in squares) < 24
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


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
    daemons, serve = example["scrape_configs"]
    assert f'job="{daemons["job_name"]}"' in (MONITORING / "alerts.yml").read_text()
    assert f'job="{serve["job_name"]}"' not in (MONITORING / "alerts.yml").read_text()


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
@pytest.mark.timeout(300)  # seconds; it computes a few days of alerts
@pytest.mark.parametrize("words", [["check", "config", "prometheus.yml"], ["test", "rules", "alerts.test.yml"]])
def test_promtool_is_content(words: list[str]) -> None:
    """Prometheus's own tool for rules."""
    done = subprocess.run(["promtool", *words], cwd=MONITORING, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_understands_every_query_of_the_dashboard(tmp_path: Path) -> None:
    """As the rules of a file, which it parses."""
    filled = [text.replace("$__rate_interval", "5m") for text in expressions(MONITORING / "grafana.json")]
    rules = [{"record": f"panel:{number}", "expr": text} for number, text in enumerate(filled)]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    done = subprocess.run(
        ["promtool", "check", "rules", str(tmp_path / "rules.yml")], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(rules)} rules found" in done.stdout
