"""Reports and report mails made for tests."""

from __future__ import annotations

import base64
import gzip
import json
from typing import Any

DAY = 86400
JUNE = 1780272000  # 2026-06-01T00:00:00Z


def policy(successful: Any = 0, failed: Any = 0, *details: dict[str, Any], **more: Any) -> dict[str, Any]:
    """One element of `policies`; type and domain may be given."""
    about = {"policy-type": more.get("type", "sts"), "policy-domain": more.get("domain", "example.org")}
    about["policy-string"] = more.get("lines", ["version: STSv1", "mode: enforce"])
    counts = {"total-successful-session-count": successful, "total-failure-session-count": failed}
    return {"policy": about, "summary": counts, "failure-details": list(details)}


def detail(count: int, result: str = "certificate-expired", mx: str = "mx1.example.org", **more: Any) -> dict[str, Any]:
    """One element of `failure-details`."""
    about = {"result-type": result, "failed-session-count": count, "receiving-mx-hostname": mx}
    return about | {"sending-mta-ip": more.get("sender", "192.0.2.1"), "failure-reason-code": more.get("reason", "")}


def document(*policies: dict[str, Any], day: float = JUNE, id: Any = "1", organization: str = "Sender Inc.") -> bytes:
    """The JSON of a report about the day that begins at *day*."""
    from postfix_mtasts.core.reporttimes import time_text

    period = {"start-datetime": time_text(day), "end-datetime": time_text(day + DAY - 1)}
    report = {
        "organization-name": organization,
        "date-range": period,
        "contact-info": "tls@sender.example",
        "report-id": id,
    }
    return json.dumps(report | {"policies": list(policies)}).encode()


def mail(document: bytes, submitter: str = "sender.example", domain: str = "example.org") -> bytes:
    """A report mail as most senders make it, with LF at the end of lines."""
    head = (
        f"From: tlsrpt@{submitter}\nTo: tlsrpt@{domain}\nSubject: Report Domain: {domain} Submitter: {submitter}\n"
        f"Date: Tue, 02 Jun 2026 03:00:00 +0000\nMessage-ID: <1@{submitter}>\n"
        f"TLS-Report-Domain: {domain}\nTLS-Report-Submitter: {submitter}\nMIME-Version: 1.0\n"
        'Content-Type: multipart/report; report-type="tlsrpt"; boundary="b"\n\n'
        "--b\nContent-Type: text/plain\n\nA TLS report\n--b\n"
        "Content-Type: application/tlsrpt+gzip\nContent-Transfer-Encoding: base64\n\n"
    )
    return head.encode() + base64.encodebytes(gzip.compress(document, mtime=0)) + b"--b--\n"
