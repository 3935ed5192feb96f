"""A report of `check` for programs: JSON lines, the Monitoring Plugins format, a node_exporter textfile.

Keys, metrics and the order of the performance data do not change; keys may be added.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ...core.certificate import Presented
from ...core.findings.owner import Finding, Severity, Verdict
from ...core.outcome import Found
from ...core.quoting import escape
from ...resolving.audit.audit import Report
from ..text import shown

_STATES = {Verdict.OK: "OK", Verdict.WARNING: "WARNING", Verdict.ERROR: "CRITICAL", Verdict.UNKNOWN: "UNKNOWN"}
GRAVITY = (Verdict.OK, Verdict.WARNING, Verdict.UNKNOWN, Verdict.ERROR)  # the gravest last
CODES = {Verdict.OK: 0, Verdict.WARNING: 1, Verdict.ERROR: 2, Verdict.UNKNOWN: 3}
DAY = 86_400.0


def gravest(verdicts: Iterable[Verdict]) -> Verdict:
    return max(verdicts, key=GRAVITY.index, default=Verdict.OK)


def of_finding(found: Finding) -> dict[str, str]:
    return {
        "code": found.code,
        "severity": found.severity,
        "subject": found.subject,
        "text": found.text,
        "advice": found.advice,
        "reference": found.reference,
    }


def of_report(report: Report) -> dict[str, Any]:
    """One JSON object for a domain; what is not known is null."""
    outcome, policy = report.outcome, report.policy
    return {
        "domain": report.domain,
        "verdict": report.verdict,
        "seconds": round(report.seconds, 3),
        "answers": report.answers,
        "record": _record(report),
        "host": _host(report),
        "policy": None
        if policy is None
        else {
            "mode": policy.mode,
            "max_age": policy.max_age,
            "mx": list(policy.mx),
            "text": policy.text,
            "id": outcome.record_id if isinstance(outcome, Found) else None,
        },
        "mx": _mx(report),
        "tlsrpt": [text.decode("latin-1") for text in report.tlsrpt.texts] if report.tlsrpt is not None else None,
        "stages": [{"stage": stage.section, "seconds": round(stage.seconds, 6)} for stage in report.stages],
        "findings": [of_finding(each) for each in report.findings],
    }


def _record(report: Report) -> dict[str, Any] | None:
    if report.record is None:
        return None
    record = report.record.record
    return {
        "name": record.name,
        "texts": [text.decode("latin-1") for text in record.texts],
        "aliases": list(record.aliases),
    }


def _host(report: Report) -> dict[str, Any] | None:
    if report.host is None:
        return None
    looks = [
        {
            "address": address,
            "ok": look is not None and look.refused is None,
            "said": str(look.refused) if look is not None and look.refused is not None else None,
            **_certificate(look.presented if look is not None else None),
        }
        for address, look in report.host.looks.items()
    ]
    return {"name": report.host.addresses.name, "addresses": looks}


def _mx(report: Report) -> list[dict[str, Any]] | None:
    if report.mail is None:
        return None
    preferences = {each.host: each.preference for each in report.mail.mx.records}
    return [
        {
            "host": host,
            "preference": preferences.get(host),
            "addresses": [
                {
                    "address": address,
                    "ok": look is not None and look.refused is None,
                    "said": str(look.refused) if look is not None and look.refused is not None else None,
                    **_certificate(look.presented if look is not None else None),
                }
                for (name, address), look in report.mail.looks.items()
                if name == host
            ],
        }
        for host in report.mail.mx.hosts
    ]


def _certificate(presented: Presented | None) -> dict[str, Any]:
    leaf = presented.leaf if presented is not None else None
    return {
        "tls": presented.version if presented is not None else None,
        "certificate": None
        if leaf is None
        else {"names": list(leaf.names[:20]), "issuer": leaf.issuer, "not_after": leaf.not_after},
    }


def expiries(report: Report) -> dict[str, float]:
    """By host, the nearest end of its certificates, UTC seconds since 1970."""
    found: dict[str, float] = {}

    def note(host: str, presented: Presented | None) -> None:
        if presented is not None and presented.leaf is not None:
            found[host] = min(found.get(host, float("inf")), presented.leaf.not_after)

    if report.host is not None:
        for look in report.host.looks.values():
            note(report.host.addresses.name, look.presented if look is not None else None)
    if report.mail is not None:
        for (host, _), mail_look in report.mail.looks.items():
            note(host, mail_look.presented if mail_look is not None else None)
    return found


def monitor(reports: Sequence[Report], now: float) -> Iterator[str]:
    """One status line for the gravest, then details; "|" begins performance data, so no text holds one."""
    report = max(reports, key=lambda each: GRAVITY.index(each.verdict))
    yield f"MTASTS {_STATES[report.verdict]} - {report.domain}: {_told(report)}{_performance(report, now)}"
    for other in reports:
        if other is not report:
            yield f"{_STATES[other.verdict]} - {other.domain}: {_told(other)}"
        for each in other.findings:
            if each.severity is not Severity.INFO:
                yield _plain(f"{other.domain}: {each.severity} {_short(each)}")


def _told(report: Report) -> str:
    grave = [each for each in report.findings if each.severity is not Severity.INFO]
    order = (Severity.ERROR, Severity.UNKNOWN, Severity.WARNING)
    if not grave:
        return "everything is as it should be"
    first = min(grave, key=lambda each: order.index(each.severity))
    more = f" (and {len(grave) - 1} more)" if len(grave) > 1 else ""
    return _plain(f"{_short(first)}{more}")


def _short(found: Finding) -> str:
    place = "" if found.subject in found.text else f"{found.subject}: "
    return f"{found.code}: {place}{shown(found.text)}"


def _plain(text: str) -> str:
    return escape(text).replace("|", "/")


def _performance(report: Report, now: float) -> str:
    ends = expiries(report)
    host = report.host.addresses.name if report.host is not None else ""
    policy = [ends[host]] if host in ends else []
    mail = [end for name, end in ends.items() if name != host]
    data = []
    if policy:
        data.append(f"policy_cert_days={(policy[0] - now) / DAY:.1f}")
    if mail:
        data.append(f"mx_cert_days={(min(mail) - now) / DAY:.1f}")
    if report.policy is not None:
        data.append(f"max_age={report.policy.max_age}s")
    return f" | {' '.join(data)}" if data else ""


def metrics(reports: Iterable[Report], now: float) -> str:
    """A node_exporter textfile."""
    verdicts: list[str] = []
    counts: list[str] = []
    ends: list[str] = []
    for report in reports:
        domain = _label(report.domain)
        verdicts += [
            f'mtasts_check_verdict{{domain="{domain}",verdict="{each}"}} {int(each is report.verdict)}'
            for each in Verdict
        ]
        numbers = Counter(found.code for found in report.findings)
        counts += [
            f'mtasts_check_findings{{domain="{domain}",code="{code}"}} {numbers[code]}' for code in sorted(numbers)
        ]
        ends += [
            f'mtasts_check_certificate_expiry_timestamp_seconds{{domain="{domain}",host="{_label(host)}"}} {end:.0f}'
            for host, end in sorted(expiries(report).items())
        ]
    families = (
        ("mtasts_check_verdict", "The verdict on a domain is 1, the others are 0.", verdicts),
        ("mtasts_check_findings", "Findings of a domain.", counts),
        ("mtasts_check_certificate_expiry_timestamp_seconds", "When a host's certificate expires.", ends),
        ("mtasts_check_timestamp_seconds", "When the check ended.", [f"mtasts_check_timestamp_seconds {now:.0f}"]),
    )
    lines = [
        line
        for name, about, samples in families
        if samples
        for line in (f"# HELP {name} {about}", f"# TYPE {name} gauge", *samples)
    ]
    return "\n".join(lines) + "\n"


def _label(text: str) -> str:
    return escape(text).replace('"', '\\"')
