"""Reports as senders write them, and hostile ones: tests/reports/corpus/README.md."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import pytest

from postfix_mtasts.core.reporttimes import time_text
from postfix_mtasts.core.tlsreport import COUNT_LIMIT, Report, normal_domain
from postfix_mtasts.reports.reading import Reading, read_file, read_mail

CORPUS = Path(__file__).parent / "corpus"
READ_BY_RULE = {"syn-zip-bomb.zip"}
NO_REPORTS = {".gitattributes", "README.md", "LICENSES.md", "expected.tsv", "txt-records.tsv"}
SHOWN = 120  # characters of a value in expected.tsv

with (CORPUS / "expected.tsv").open(encoding="utf-8", newline="") as table:
    ROWS = list(csv.DictReader(table, delimiter="\t", quoting=csv.QUOTE_NONE))
FILES = sorted({row["file"] for row in ROWS})

# Where the rules say otherwise than the table: a count over 10^12 is 0, and 60 MiB are read.
BY_RULE = {"syn-count-huge.json": {"successful": 0, "failed": 0, "by-result-type": "certificate-expired=0"}}


def read(name: str) -> Reading:
    data = (CORPUS / name).read_bytes()
    if name.endswith(".mbox"):
        parts = (b"\n" + data).split(b"\nFrom ")[1:]
        mails = [read_mail(part.partition(b"\n")[2]) for part in parts]
        return Reading(
            tuple(document for mail in mails for document in mail.documents),
            tuple(fault for mail in mails for fault in mail.faults),
        )
    return read_mail(data) if name.endswith(".eml") else read_file(data, name)


def shown(value: str) -> str:
    """As expected.tsv writes text."""
    text = "".join(c if " " <= c <= "~" else f"\\u{ord(c):04x}" for c in value) or "-"
    return text if len(text) <= SHOWN else text[: SHOWN - 3] + "..."


def told(report: Report) -> dict[str, object]:
    """A report in the words of expected.tsv; sums are plain there."""
    results: Counter[str] = Counter()
    for policy in report.policies:
        for failure in policy.failures:
            results[failure.result] += failure.said
    return {
        "submitter": report.submitter or "-",
        "domains": {policy.domain for policy in report.policies} - {""},
        "organization": shown(report.organization),
        "report-id": shown(report.report_id),
        "begin": time_text(report.begin or 0),
        "end": time_text(report.end or 0),
        "policies": len(report.policies),
        "successful": sum(policy.successful for policy in report.policies),
        "failed": sum(policy.failed for policy in report.policies),
        "by-result-type": ",".join(f"{name}={number}" for name, number in sorted(results.items())) or "-",
    }


def expected(row: dict[str, str]) -> dict[str, object]:
    domains = row["domains"].encode("latin-1").decode("unicode_escape").split(",")
    want: dict[str, object] = {
        **{key: row[key] for key in ("submitter", "organization", "report-id", "begin", "end", "by-result-type")},
        **{key: int(row[key]) for key in ("policies", "successful", "failed")},
        "domains": {normal_domain(domain) for domain in domains} - {"", "-"},
    }
    if "no-summary" in row["oddities"]:  # the details count then
        want["failed"] = sum(int(part.partition("=")[2]) for part in row["by-result-type"].split(","))
    return want | BY_RULE.get(row["file"], {})


def test_every_file_of_the_corpus_is_expected_to_say_something() -> None:
    """No file without a row."""
    assert sorted({path.name for path in CORPUS.iterdir()} - NO_REPORTS) == FILES
    assert len(ROWS) == 111


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_read_as_expected(name: str) -> None:
    """Read, refused with the reason, or left as other mail; nothing else can happen."""
    rows = [row for row in ROWS if row["file"] == name]
    if name in READ_BY_RULE:
        assert [report.report_id for report in read(name).reports] == ["zipbomb"]
        return
    reading = read(name)
    want = [expected(row) for row in rows if row["verdict"] in ("read", "either (read)")]
    got = [told(report) for report in reading.reports]
    if rows[0]["domains"] == "400 domains":
        assert len(got[0].pop("domains")) == 400  # type: ignore[arg-type]
        want[0].pop("domains")
    assert got == want
    refused = [row["verdict"] for row in rows if "refuse" in row["verdict"]]
    assert bool(reading.faults) == bool(refused), reading.faults
    if refused:
        assert reading.faults[0] == refused[0].partition(": ")[2].rstrip(")")


@pytest.mark.parametrize("row", [row for row in ROWS if "read" in row["verdict"]], ids=lambda row: row["file"])
def test_sums_add_up(row: dict[str, str]) -> None:
    """Each failure is attributed once, and no count is absurd."""
    for report in read(row["file"]).reports:
        for policy in report.policies:
            assert policy.failed == policy.unexplained + sum(failure.failed for failure in policy.failures)
            assert 0 <= policy.successful <= COUNT_LIMIT
        assert report.failed <= sum(policy.failed for policy in report.policies)
