"""What the daemon and its worker processes say to each other: one JSON object a line.

    orders  {"dns": {...}, "fetch": {...}, "wait": 15.0}: the first line to a worker, its settings
    ready   {"ready": 4711}: the worker's first line, with its process id; or {"unable": why}, and its end
    ping    {"ping": 3}, answered by the thread that reads jobs: {"pong": 3}
    job     {"n": 7, "job": "discover", "domain": D, "avoid": [id, ...], "refetch_as": id or null,
             "urgency": "lookup", "heard": the probe's answers in hex by type, "spent": seconds it waited}
            {"n": 8, "job": "dane", "domain": D, "port": 25}
    answer  {"n": 7, "found": {...}} and so on, one of the outcomes' names
            {"n": 8, "dane": {...}}, and before it the same with "complete": false once a host is usable
            {"n": 9, "fault": {"cause": "bug", "reason": "TypeError at discovery.py:40: ..."}}
    counts  {"counts": [["TXT", "noerror", 3], ...]}: DNS queries since the last line

Nothing outside this folder knows any of it. The worker parses hostile bytes,
so the daemon takes nothing from it unread: a policy comes as text and is
parsed again here, in microseconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, TypeAlias

from ...config.settings import DnsSettings, FetchSettings
from ...core.dane import DaneFacts, DaneStatus, HostFacts
from ...core.dnsdata import DnsResult, Validation
from ...core.names import Domain, parse_domain
from ...core.outcome import Absent, Cause, DnsFailed, Failed, Found, Outcome, OwnFault, Stage, Unchanged
from ...core.policy import parse_policy
from ...core.ports import ResolverFacts, Urgency
from ...errors import InputError
from ...faults import Fault, Seen


@dataclass(frozen=True, slots=True)
class Orders:
    """The settings that a worker goes by."""

    dns: DnsSettings
    fetch: FetchSettings  # parallel is this worker's share
    wait: float  # lookup.wait


@dataclass(frozen=True, slots=True)
class Discover:
    """Find a domain's policy."""

    domain: Domain
    avoid: tuple[str, ...] = ()
    refetch_as: str | None = None
    urgency: Urgency = Urgency.LOOKUP
    heard: Mapping[str, bytes] = field(default_factory=dict)  # DNS answers that the probe heard, by type
    spent: float = 0.0  # seconds that the probe waited in vain


@dataclass(frozen=True, slots=True)
class Dane:
    """Read what DNS says of DANE for a domain's mail hosts."""

    domain: Domain
    port: int


@dataclass(frozen=True, slots=True)
class Tlsrpt:
    """Read the record by which a domain asks for reports."""

    domain: Domain


@dataclass(frozen=True, slots=True)
class JudgeResolver:
    """Find out what the resolvers are worth for DANE."""


@dataclass(frozen=True, slots=True)
class TlsrptRecord:
    """The record by which a domain asks for reports, if it does."""

    text: str | None


Job: TypeAlias = Discover | Dane | Tlsrpt | JudgeResolver
Answer: TypeAlias = Outcome | DaneFacts | TlsrptRecord | ResolverFacts | OwnFault
Counted: TypeAlias = tuple[str, str, int]  # type and result of DNS queries, and how many there were

_ANSWERS: dict[type[Job], tuple[type, ...]] = {
    Discover: (Found, Unchanged, Absent, Failed, DnsFailed),
    Dane: (DaneFacts,),
    Tlsrpt: (TlsrptRecord,),
    JudgeResolver: (ResolverFacts,),
}
UNREADABLE = (KeyError, TypeError, ValueError, OverflowError, RecursionError, InputError)


def orders_to_json(orders: Orders) -> dict[str, Any]:
    return asdict(orders)


def orders_from_json(line: dict[str, Any]) -> Orders:
    """Read what orders_to_json wrote; the daemon is believed."""
    dns = {**line["dns"], "servers": tuple(line["dns"]["servers"])}
    return Orders(DnsSettings(**dns), FetchSettings(**line["fetch"]), line["wait"])


def job_to_json(number: int, job: Job) -> dict[str, Any]:
    match job:
        case Discover():
            return {
                "n": number,
                "job": "discover",
                "domain": job.domain,
                "avoid": job.avoid,
                "refetch_as": job.refetch_as,
                "urgency": job.urgency.value,
                "heard": {rdtype: answer.hex() for rdtype, answer in job.heard.items()},
                "spent": job.spent,
            }
        case Dane():
            return {"n": number, "job": "dane", "domain": job.domain, "port": job.port}
        case Tlsrpt():
            return {"n": number, "job": "tlsrpt", "domain": job.domain}
        case JudgeResolver():
            return {"n": number, "job": "resolver"}


def job_from_json(line: dict[str, Any]) -> Job:
    """Read what job_to_json wrote; the daemon is believed."""
    match line["job"]:
        case "discover":
            return Discover(
                parse_domain(line["domain"]),
                tuple(line["avoid"]),
                line["refetch_as"],
                Urgency(line["urgency"]),
                {rdtype: bytes.fromhex(answer) for rdtype, answer in line["heard"].items()},
                line["spent"],
            )
        case "dane":
            return Dane(parse_domain(line["domain"]), line["port"])
        case "tlsrpt":
            return Tlsrpt(parse_domain(line["domain"]))
        case _:
            return JudgeResolver()


def answer_to_json(answer: Answer) -> dict[str, Any]:
    match answer:
        case Found():
            text, fetched_at = answer.policy.text, answer.fetched_at
            return {"found": {"record_id": answer.record_id, "text": text, "fetched_at": fetched_at}}
        case Unchanged():
            return {"unchanged": asdict(answer)}
        case Absent():
            return {"absent": asdict(answer)}
        case Failed():
            return {"failed": asdict(answer)}
        case DnsFailed():
            return {"dnsfailed": asdict(answer)}
        case DaneFacts():
            hosts = tuple(replace(host, records=()) for host in answer.hosts)  # nobody asks the daemon for them
            return {"dane": asdict(replace(answer, hosts=hosts))}
        case TlsrptRecord():
            return {"tlsrpt": answer.text}
        case ResolverFacts():
            return {"resolver": asdict(answer)}
        case OwnFault():
            return {"fault": {"cause": answer.cause.value, "reason": answer.reason}}


def answer_from_json(job: Job, line: dict[str, Any]) -> Answer:
    """What the worker said to *job*; a bug of ours where that cannot be read. Never raises."""
    try:
        answer = _read_answer(line)
        if isinstance(answer, (OwnFault, *_ANSWERS[type(job)])):
            return answer
        problem = f"{type(answer).__name__} to a {type(job).__name__}"
    except UNREADABLE as error:
        problem = f"{type(error).__name__}: {error}"
    return OwnFault(Cause.BUG, f"unreadable answer of the worker process: {problem}")


def counts_from_json(line: dict[str, Any]) -> list[Counted]:
    """The DNS queries that a line tells of; none where it cannot be read. Never raises."""
    try:
        return [(str(rdtype), DnsResult(result), int(number)) for rdtype, result, number in line.get("counts", ())]
    except UNREADABLE:
        return []


def _read_answer(line: dict[str, Any]) -> Answer:
    """Raises: one of UNREADABLE where the worker is not to be believed."""
    if (found := line.get("found")) is not None:
        return Found(str(found["record_id"]), parse_policy(str(found["text"]).encode()), float(found["fetched_at"]))
    if (absent := line.get("absent")) is not None:
        return Absent(_seen(absent["seen"]), float(absent["ttl"]))
    if (failed := line.get("failed")) is not None:
        return Failed(str(failed["record_id"]), Stage(failed["stage"]), _seen(failed["seen"]))
    if (unchanged := line.get("unchanged")) is not None:
        return Unchanged(str(unchanged["record_id"]))
    if (dns_failed := line.get("dnsfailed")) is not None:
        return DnsFailed(_seen(dns_failed["seen"]))
    if (facts := line.get("dane")) is not None:
        hosts = tuple(HostFacts(str(h["name"]), DaneStatus(h["state"]), _seen(h["seen"])) for h in facts["hosts"])
        return DaneFacts(
            DaneStatus(facts["mx"]), _seen(facts["seen"]), hosts, float(facts["ttl"]), bool(facts["complete"])
        )
    if (resolver := line.get("resolver")) is not None:
        servers, untrusted = (tuple(str(each) for each in resolver[key]) for key in ("servers", "untrusted"))
        return ResolverFacts(servers, Validation(resolver["validation"]), untrusted, str(resolver["reason"]))
    if (fault := line.get("fault")) is not None:
        return OwnFault(Cause(fault["cause"]), str(fault["reason"]))
    record = line["tlsrpt"]
    return TlsrptRecord(None if record is None else str(record))


def _seen(seen: dict[str, Any]) -> Seen:
    """Raises: one of UNREADABLE."""
    return Seen(Fault(seen["fault"]), str(seen["subject"]), str(seen["value"]), int(seen["line"]))
