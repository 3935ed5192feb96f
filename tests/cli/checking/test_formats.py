"""cli/checking/formats.py: JSON, the Monitoring Plugins format and a node_exporter textfile."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from postfix_mtasts.cli.checking.formats import CODES, gravest, metrics, monitor, of_report
from postfix_mtasts.core.findings.owner import Verdict
from postfix_mtasts.core.names import Domain
from postfix_mtasts.core.quoting import json_line
from postfix_mtasts.resolving.audit.audit import Report
from tests.cli.checking.test_text import hostile
from tests.support.fakes.faults import servfail
from tests.support.fakes.owned import DAY, HOST, MX, NOW, D, Owned


def bad(**records: object) -> Report:
    owned = Owned()
    owned.records["txt", f"_mta-sts.{D}"] = ()
    return owned.audit()


def unknown() -> Report:
    owned = Owned()
    owned.records["txt", f"_mta-sts.{D}"] = servfail()
    return owned.audit()


def test_the_shape_of_json() -> None:
    """Scripts go by these keys; more may come."""
    shape = json.loads(json_line(of_report(Owned().audit())))
    assert {"domain", "verdict", "answers", "record", "host", "policy", "mx", "tlsrpt", "findings"} <= set(shape)
    assert (shape["domain"], shape["verdict"]) == (D, "ok")
    assert shape["answers"]["postfix"].startswith("OK secure ")
    assert shape["record"]["texts"] == ["v=STSv1; id=1;"]
    assert shape["host"]["addresses"][0]["ok"] is True
    assert (shape["policy"]["mode"], shape["policy"]["mx"], shape["policy"]["id"]) == ("enforce", [MX], "1")
    certificate = shape["mx"][0]["addresses"][0]["certificate"]
    assert (certificate["names"], certificate["issuer"]) == ([MX], "Test CA")
    (found,) = shape["findings"]
    assert set(found) == {"code", "severity", "subject", "text", "advice", "reference"}


def test_hostile_text_makes_one_harmless_line() -> None:
    """Of JSON, of metrics, and of each line for a monitor."""
    report = hostile().audit()
    for line in [json_line(of_report(report)), *monitor([report], NOW), *metrics([report], NOW).splitlines()]:
        assert re.fullmatch(r"[ -~]*", line)
    list(text_string_to_metric_families(metrics([report], NOW)))


MONITOR = [
    (Owned().audit(), "OK", r"everything is as it should be \| mx_cert_days=90.0 max_age=1209600s"),
    (bad(), "CRITICAL", r"record-absent: no TXT record at _mta-sts.example.com .*"),
    (unknown(), "UNKNOWN", r"dns-failed: .*"),
]


@pytest.mark.parametrize(("report", "state", "words"), MONITOR, ids=["fine", "errors", "unknown"])
def test_a_status_line(report: Report, state: str, words: str) -> None:
    """MTASTS STATE - DOMAIN: text | performance data; one "|" at most."""
    first, *rest = monitor([report], NOW)
    assert re.fullmatch(rf"MTASTS {state} - example\.com: {words}", first), first
    assert first.count("|") <= 1
    assert not any("|" in line for line in rest)


def test_of_several_domains_the_gravest_has_the_status_line() -> None:
    """The others are details."""
    fine = replace(Owned().audit(), domain=Domain("fine.example"))
    lines = list(monitor([fine, bad()], NOW))
    assert lines[0].startswith("MTASTS CRITICAL - example.com: record-absent")
    assert "OK - fine.example: everything is as it should be" in lines


def test_the_gravest_verdict_and_its_exit_code() -> None:
    """2 over 3 over 1."""
    order = [Verdict.OK, Verdict.WARNING, Verdict.UNKNOWN, Verdict.ERROR]
    for number, verdict in enumerate(order):
        assert gravest(order[: number + 1]) is verdict
    assert [CODES[verdict] for verdict in order] == [0, 1, 3, 2]
    assert gravest([]) is Verdict.OK


def test_the_textfile() -> None:
    """One verdict of four is 1; findings by code; certificates by host; the time."""
    text = metrics([Owned().audit(), replace(bad(), domain=Domain("bad.example"))], NOW)
    samples = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert samples["mtasts_check_verdict", ("domain", D), ("verdict", "ok")] == 1
    assert samples["mtasts_check_verdict", ("domain", D), ("verdict", "error")] == 0
    assert samples["mtasts_check_verdict", ("domain", "bad.example"), ("verdict", "error")] == 1
    assert samples["mtasts_check_findings", ("code", "record-absent"), ("domain", "bad.example")] == 1
    name = "mtasts_check_certificate_expiry_timestamp_seconds"
    assert samples[name, ("domain", D), ("host", MX)] == NOW + 90 * DAY
    assert (name, ("domain", D), ("host", HOST)) not in samples
    assert samples["mtasts_check_timestamp_seconds",] == NOW
