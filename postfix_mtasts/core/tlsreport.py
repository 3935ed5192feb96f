"""TLS reports (RFC 8460): a liberal reader into frozen values, with strict sums.

Bytes of one JSON document in, reports out. JSON itself is reportjson.py's
work, mails, gzip and zip adapters/mailbox.py's; what a report means is for
reports/ to say.

Rule 1: reading is liberal. Whatever senders were seen to write is read: times
        without a zone, text where a list belongs, lists where text belongs,
        members that are missing, null or misspelt. Unknown members are passed over.
Rule 2: counting is strict. A count that cannot be believed is 0, a policy's
        own total wins over its details, sessions told both as sts and as tlsa
        count once. Whatever does not add up is named in Report.odd.
Rule 3: all text is harmless to store: no lone surrogate, no NUL, bounded.

Source: RFC 8460 section 4.4 with erratum 6241.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from ..errors import DomainError, ReportError
from .names import parse_domain
from .reportjson import json_values
from .reporttimes import parse_time

POLICY_LIMIT = 100_000  # policies of one mail
DETAIL_LIMIT = 200_000  # failure details of one mail
REPORT_LIMIT = 1_000  # reports of one mail
COUNT_LIMIT = 10**12  # sessions; nobody has more in one report
UNSPECIFIED = "unspecified"  # the result of failures that no detail explains

_TEXT_LIMIT, _REASON_LIMIT, _LINES = 1_000, 2_000, 100  # characters, characters, lines of a policy
_ODD_LIMIT = 20  # reasons told of one report
_MEMBERS = ("organization-name", "date-range", "report-id", "policies")
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_ADDRESS_PREFIX = re.compile(r"^\[?(?:IPv6:)?", re.IGNORECASE)
_DIGITS = re.compile(r"[0-9]{1,15}", re.ASCII)
_ID_IN_SUBJECT = re.compile(r"Report-ID:\s*<?([^<>\s]+)>?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Hints:
    """What the mail or the file name tells of a report; it counts only where the report itself is silent."""

    submitter: str = ""
    domain: str = ""
    report_id: str = ""
    begin: float | None = None  # UTC seconds since 1970
    end: float | None = None

    def or_else(self, other: Hints) -> Hints:
        """These, and those of *other* where these tell nothing."""
        return Hints(
            submitter=self.submitter or other.submitter,
            domain=self.domain or other.domain,
            report_id=self.report_id or other.report_id,
            begin=other.begin if self.begin is None else self.begin,
            end=other.end if self.end is None else self.end,
        )


@dataclass(frozen=True, slots=True)
class Failure:
    """One failure detail."""

    result: str  # result type as it stands; "" where none is named
    said: int  # sessions as the detail says
    failed: int  # of them those that the policy's total leaves room for
    sender: str  # the sending address
    mx: str  # the receiving host
    receiver: str  # the receiving address
    reason: str  # what the sender says of it, free text


@dataclass(frozen=True, slots=True)
class PolicyReport:
    """What happened under one policy.

    Invariant: failed == the sum of failures' *failed* and *unexplained*.
    """

    type: str  # sts, tlsa, no-policy-found, or what the report says
    domain: str  # lower-case A-labels; what is not a domain stays as it came
    policy: tuple[str, ...]  # its lines
    mx: tuple[str, ...]
    successful: int
    failed: int
    unexplained: int  # failures that no detail explains
    counted: bool  # False: the same sessions are told under the other policy type
    failures: tuple[Failure, ...]

    @property
    def sessions(self) -> int:
        return self.successful + self.failed


class Sums:
    """The sessions of a report's policies, as far as they count (rule 2)."""

    __slots__ = ()
    policies: tuple[Any, ...]

    @property
    def successful(self) -> int:
        return sum(policy.successful for policy in self.policies if policy.counted)

    @property
    def failed(self) -> int:
        return sum(policy.failed for policy in self.policies if policy.counted)


@dataclass(frozen=True, slots=True)
class Report(Sums):
    """One report, complete: what is absent is "" or None."""

    organization: str
    submitter: str  # a domain, from the mail or the file name; not part of the report itself
    report_id: str
    begin: float | None  # UTC seconds since 1970
    end: float | None
    contact: str
    policies: tuple[PolicyReport, ...]
    odd: tuple[str, ...]  # what does not add up, a sentence each

    @property
    def source(self) -> str:
        """Who sends the report."""
        return self.organization or self.submitter

    def fingerprint(self) -> bytes:
        """Two reports are one if, and only if, this agrees: source, id, period and content as parsed."""
        content: list[object] = [self.source, self.report_id, self.begin, self.end]
        for p in self.policies:
            content.append([p.type, p.domain, p.policy, p.mx, p.successful, p.failed, p.unexplained])
            content += [[f.result, f.said, f.failed, f.sender, f.mx, f.receiver, f.reason] for f in p.failures]
        return hashlib.sha256(json.dumps(content).encode()).digest()


@dataclass(slots=True)
class Room:
    """What the reports of one mail may still hold."""

    reports: int = REPORT_LIMIT
    policies: int = POLICY_LIMIT
    details: int = DETAIL_LIMIT

    def take(self, policies: int, details: int) -> None:
        """Make room for one report. Raises: ReportError."""
        self.reports -= 1
        self.policies -= policies
        self.details -= details
        for left, what in ((self.reports, "reports"), (self.policies, "policies"), (self.details, "failure details")):
            if left < 0:
                raise ReportError(f"too many {what}")


def read_reports(document: bytes | bytearray, hints: Hints = Hints(), room: Room | None = None) -> tuple[Report, ...]:
    """Read the reports in one JSON document: one, a list of them, or several documents one after the other.

    Raises: ReportError.
    """
    found = [value for value in json_values(document) if isinstance(value, dict) and _is_report(value)]
    if not found:
        raise ReportError("not a report")
    room = room or Room()
    return tuple(_Reader(hints).report(value, room) for value in found)


def hints_of_name(name: str) -> Hints:
    """Read SENDER!DOMAIN!BEGIN!END[!UNIQUE].json.gz, from the last component of a path (RFC 8460 section 5.1)."""
    words = clean(re.split(r"[/\\]", name)[-1]).split("!")
    if len(words) < 4:
        return Hints()
    begin, end = (parse_time(int(match[0])) if (match := _DIGITS.match(word)) else None for word in words[2:4])
    return Hints(submitter=normal_domain(words[0]), domain=normal_domain(words[1]), begin=begin, end=end)


def id_of_subject(subject: str) -> str:
    """The report id in a mail's subject, or "" (RFC 8460 section 5.3)."""
    match = _ID_IN_SUBJECT.search(subject)
    return clean(match[1]) if match else ""


def clean(text: str, limit: int = _TEXT_LIMIT) -> str:
    """Return *text* as it can be stored: bounded, without NUL and half surrogate pairs."""
    return _UNSTORABLE.sub("\ufffd", text[:limit])


@lru_cache(4096)
def normal_domain(text: str) -> str:
    """Return a domain as lower-case A-labels without a final dot; what is not a domain stays as it came."""
    try:
        return parse_domain(text)
    except DomainError:
        return text


def _is_report(value: dict[str, Any]) -> bool:
    """Two members of a report at least."""
    return sum(member in value for member in _MEMBERS) >= 2


# From JSON values to a report.


def _text(value: Any, limit: int = _TEXT_LIMIT) -> str:
    """Text, a number as text, the first of a list; "" for all else."""
    while isinstance(value, list) and value:
        value = value[0]
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        value = str(value)
    return clean(value, limit).strip() if isinstance(value, str) else ""


def _first(value: dict[str, Any], *names: str) -> Any:
    """The first of several spellings that is there."""
    return next((value[name] for name in names if value.get(name) not in (None, "")), None)


def _dicts(value: Any) -> list[dict[str, Any]]:
    """The objects of a list; an object by itself is a list of one."""
    if isinstance(value, dict):
        return [value]
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _lines(value: Any) -> tuple[str, ...]:
    """A policy's lines or MX hosts: a list, one text of many lines, or one text that holds a list as JSON."""
    texts = [value] if isinstance(value, str) else value if isinstance(value, list) else []
    if len(texts) == 1 and isinstance(texts[0], str) and texts[0].lstrip().startswith("["):
        with contextlib.suppress(ReportError):
            texts = list(json_values(clean(texts[0], _LINES * _TEXT_LIMIT).encode()))
    lines = [line for text in texts[:_LINES] if isinstance(text, str) for line in clean(text).splitlines()]
    return tuple(line.strip() for line in lines if line.strip())[:_LINES]


def _host(value: Any) -> str:
    """A host name in its normal form, without the "mx: " that some senders put in front."""
    return normal_domain(_text(value).removeprefix("mx:").strip())


def _address(value: Any) -> str:
    """An address without brackets and "IPv6:"; a host name where a sender writes one."""
    return _ADDRESS_PREFIX.sub("", _text(value)).removesuffix("]")


def _failure(detail: dict[str, Any], said: int, failed: int) -> Failure:
    reason = _text(_first(detail, "failure-reason-code", "failure-error-code"), _REASON_LIMIT)
    return Failure(
        result=_text(detail.get("result-type")),
        said=said,
        failed=failed,
        sender=_address(detail.get("sending-mta-ip")),
        mx=_host(_first(detail, "receiving-mx-hostname", "receiving-mx-host-name")),
        receiver=_address(detail.get("receiving-ip")),
        reason=reason or _text(_first(detail, "additional-information", "additional-info-uri"), _REASON_LIMIT),
    )


class _Reader:
    """Reads one report, and collects what is odd about it."""

    def __init__(self, hints: Hints) -> None:
        self._hints = hints
        self._odd: dict[str, None] = {}

    def report(self, value: dict[str, Any], room: Room) -> Report:
        """Raises: ReportError."""
        items = [
            item for item in _dicts(value.get("policies")) if item.keys() & {"policy", "summary", "failure-details"}
        ]
        room.take(len(items), sum(len(_dicts(item.get("failure-details"))) for item in items))
        begin, end = self._period(value.get("date-range"))
        policies = self._counted([self._policy(item) for item in items])
        return Report(
            organization=_text(value.get("organization-name")),
            submitter=self._hints.submitter,
            report_id=_text(value.get("report-id")) or self._hints.report_id,
            begin=begin,
            end=end,
            contact=_text(value.get("contact-info")),
            policies=policies,
            odd=tuple(self._odd)[:_ODD_LIMIT],
        )

    def _note(self, odd: str) -> None:
        if len(self._odd) < _ODD_LIMIT:
            self._odd[odd] = None

    def _period(self, value: Any) -> tuple[float | None, float | None]:
        times = _dict(value)
        begin, end = parse_time(times.get("start-datetime")), parse_time(times.get("end-datetime"))
        if begin is None:
            begin = end if end is not None else self._hints.begin
            self._note("the report does not say when its period begins")
        if end is None:
            end = self._hints.end if self._hints.end is not None else begin
            self._note("the report does not say when its period ends")
        if begin is not None and end is not None and end < begin:
            self._note("the period ends before it begins")
        return begin, end

    def _count(self, value: Any, what: str) -> int:
        """A believable count, else 0."""
        number = int(value) if isinstance(value, str) and _DIGITS.fullmatch(value.strip()) else value
        if isinstance(number, bool) or not isinstance(number, (int, float)):
            self._note(f"{what} is not a number" if value is not None else f"{what} is missing")
        elif number != number or number in (float("inf"), float("-inf")) or number != int(number):
            self._note(f"{what} is not a whole number")
        elif number < 0:
            self._note(f"{what} is negative")
        elif number > COUNT_LIMIT:
            self._note(f"{what} is over 10^12")
        else:
            return int(number)
        return 0

    def _policy(self, item: dict[str, Any]) -> PolicyReport:
        policy, summary = _dict(item.get("policy")), _dict(item.get("summary"))
        details = _dicts(item.get("failure-details"))
        said = [
            self._count(each.get("failed-session-count"), "a detail's count of failed sessions") for each in details
        ]
        explained = sum(said)
        successful, failed = 0, explained
        if summary:
            successful = self._count(summary.get("total-successful-session-count"), "a count of successful sessions")
            if "total-failure-session-count" in summary or not details:
                failed = self._count(summary.get("total-failure-session-count"), "a count of failed sessions")
        else:
            self._note("a policy has no summary: its failure details are counted")
        if explained != failed:
            self._note(f"a policy counts {failed} failed sessions, its details {explained}")
        room, failures = failed, []
        for detail, number in zip(details, said, strict=True):
            failures.append(_failure(detail, number, min(number, room)))
            room -= failures[-1].failed
        domain = normal_domain(_text(policy.get("policy-domain"))) or self._hints.domain
        return PolicyReport(
            type=_text(policy.get("policy-type")),
            domain=domain,
            policy=_lines(policy.get("policy-string")),
            mx=tuple(_host(host) for host in _lines(policy.get("mx-host"))),
            successful=successful,
            failed=failed,
            unexplained=room,
            counted=True,
            failures=tuple(failures),
        )

    def _counted(self, policies: Sequence[PolicyReport]) -> tuple[PolicyReport, ...]:
        """Of sessions told both as sts and as tlsa, count the type with more of them (then more failures, then sts)."""
        sums: dict[str, dict[str, tuple[int, int]]] = {}
        for policy in policies:
            if policy.type in ("sts", "tlsa"):
                of_domain = sums.setdefault(policy.domain, {})
                sessions, failed = of_domain.get(policy.type, (0, 0))
                of_domain[policy.type] = (sessions + policy.sessions, failed + policy.failed)
        left_out = {}
        for domain, of_domain in sums.items():
            if len(of_domain) == 2:
                left_out[domain] = "sts" if of_domain["tlsa"] > of_domain["sts"] else "tlsa"
                self._note("a domain's sessions are told both as sts and as tlsa: the type with more of them counts")
        return tuple(
            replace(policy, counted=False) if left_out.get(policy.domain) == policy.type else policy
            for policy in policies
        )
