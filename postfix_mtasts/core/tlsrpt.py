"""TLS reporting: who wants reports, and what a failed policy fetch looks like in one.

A domain asks for reports with exactly one TXT record at _smtp._tls.DOMAIN;
the datagram is the one that libtlsrpt sends for Postfix, version 1, which
tlsrpt-collectd reads.

Source: RFC 8460 sections 3 (record) and 4.3.2.2 (result types); RFC 8461 section 6.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from .names import Domain
from .outcome import ResultType
from .policy import Policy

RECORD_LIMIT = 2_000  # characters; a record that is longer asks for nothing sensible
REASON_LIMIT = 200  # characters
DATAGRAM_LIMIT = 60_000  # bytes; beyond that policy lines are left out

_VERSION = re.compile(rb"v=TLSRPTv1[ \t]*;")
_RECORD = re.compile(
    r"v=TLSRPTv1[ \t]*;[ \t]*rua=[!-+\--:<-~]+(?:[ \t]*,[ \t]*[!-+\--:<-~]+)*"  # one URI or more
    r"(?:[ \t]*;[ \t]*[A-Za-z0-9][A-Za-z0-9_.-]{0,31}=[!-:<-~]+)*[ \t]*;?[ \t]*"
)
_CODES = {ResultType.FETCH_ERROR: 301, ResultType.INVALID: 302, ResultType.WEBPKI_INVALID: 303}
_STS, _FAILURE = 2, 1  # policy-type; final result


def select_record(texts: Sequence[bytes]) -> str | None:
    """The one valid record among TXT records, or None: the domain wants no reports (RFC 8460 section 3)."""
    ours = [text for text in texts if _VERSION.match(text)]
    if len(ours) != 1 or len(ours[0]) > RECORD_LIMIT or not ours[0].isascii():
        return None
    text = ours[0].decode("ascii")
    return text if _RECORD.fullmatch(text) else None


def datagram(domain: Domain, record: str, policy: Policy | None, result_type: ResultType, reason: str) -> bytes:
    """The failed fetch of a policy, for a collector.

    Args:
        record: the domain's TLSRPT record.
        policy: the cached policy that stays in force, if there is one.
    """
    lines = policy.text.split("\n") if policy is not None else []
    patterns = list(policy.mx) if policy is not None else []
    while True:
        report = {
            "policy-type": _STS,
            "policy-domain": domain,
            "policy-string": lines,
            "mx-host": patterns,
            "t": 1,
            "failure-details": [{"c": _CODES[result_type], "f": reason[:REASON_LIMIT]}],
            "f": _FAILURE,
        }
        sent = json.dumps({"dpv": "1", "d": domain, "pr": record, "policies": [report]}).encode()
        if len(sent) <= DATAGRAM_LIMIT or not lines:
            return sent
        lines, patterns = lines[: len(lines) // 2], patterns[: len(patterns) // 2]
