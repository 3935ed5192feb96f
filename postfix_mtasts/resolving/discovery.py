"""From a policy domain to its policy: TXT record, policy host, policy file.

`discover` is the whole way; `locate` and `fetch` are its two halves, for a
worker, where fetches wait for their turn in between. Lookups, rechecks, the
refresher and `query` all go it. The functions block, keep nothing, and never
raise one of our errors: what went wrong is an outcome with its fault.

Source: RFC 8461 sections 3.1 to 3.3; result types from RFC 8460 4.3.2.2.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from ..core.addresses import connect_order, forbidden
from ..core.names import Domain
from ..core.outcome import Absent, DnsFailed, Failed, Found, Note, Outcome, Stage, Unchanged, no_note
from ..core.policy import parse_policy
from ..core.ports import Sources, Transfer
from ..core.record import Record, select_record
from ..errors import DnsError, FetchError, PolicySyntaxError, RecordError
from ..faults import Fault, Seen, clip

NAME_LIMIT = 253  # characters of a domain name without its final dot


@dataclass(frozen=True, slots=True)
class Located:
    """A policy that is to be fetched, and where."""

    record_id: str
    host: str
    addresses: tuple[str, ...]  # in the order they are tried; none where a proxy goes by the host's name


def discover(
    domain: Domain,
    sources: Sources,
    *,
    avoid: Collection[str] = (),
    refetch_as: str | None = None,
    note: Note = no_note,
) -> Outcome:
    """Locate the policy of *domain* and, where there is one to fetch, fetch it."""
    located = locate(domain, sources, avoid=avoid, refetch_as=refetch_as, note=note)
    return fetch(located, sources, note) if isinstance(located, Located) else located


def locate(
    domain: Domain,
    sources: Sources,
    *,
    avoid: Collection[str] = (),
    refetch_as: str | None = None,
    note: Note = no_note,
) -> Located | Outcome:
    """Read the record of *domain* and, where it asks for a fetch, the policy host's addresses: DNS alone.

    Args:
        avoid: record ids that ask for no fetch now (known, or tried a moment ago): Unchanged.
        refetch_as: a known record id; the policy is then fetched whatever
            the record says, lost or not (RFC 8461 section 10.2).
    """
    record, missing = _read_record(domain, sources, note)
    if record is None and refetch_as is None:
        return missing
    if refetch_as is None and record is not None and record.id in avoid:
        return Unchanged(record.id)
    record_id, host = record.id if record is not None else str(refetch_as), policy_host(domain)
    if sources.by_name:
        return Located(record_id, host, ())
    try:
        return Located(record_id, host, tuple(policy_host_addresses(host, sources)))
    except DnsError as error:
        return Failed(record_id, Stage.ADDRESS, error.seen)
    except FetchError as error:
        return Failed(record_id, Stage(error.stage), error.seen)


def fetch(located: Located, sources: Sources, note: Note = no_note, transfer: Transfer | None = None) -> Found | Failed:
    """Fetch and parse the policy; another thread may give the *transfer* up."""
    fetched_at = sources.clock()
    try:
        policy = parse_policy(sources.hosts.get(located.host, located.addresses, note, transfer))
    except FetchError as error:
        return Failed(located.record_id, Stage(error.stage), error.seen)
    except PolicySyntaxError as error:
        return Failed(located.record_id, Stage.POLICY, error.seen)
    note(Stage.POLICY, f"mode {policy.mode}, max_age {policy.max_age}, {len(policy.mx)} mx patterns")
    return Found(located.record_id, policy, fetched_at)


def record_name(domain: str) -> str:
    """Where the record of a policy domain is."""
    return f"_mta-sts.{domain}"


def policy_host(domain: str) -> str:
    """Where the policy of a policy domain is."""
    return f"mta-sts.{domain}"


def absent(name: str, exists: bool, ttl: float) -> Absent:
    """What it means that DNS has no MTA-STS record at *name*."""
    return Absent(Seen(Fault.RECORD_NONE if exists else Fault.RECORD_NO_NAME, name), ttl)


def _read_record(domain: Domain, sources: Sources, note: Note) -> tuple[Record | None, Absent | DnsFailed]:
    """The record, or what its absence is."""
    name = record_name(domain)
    if len(name) > NAME_LIMIT:  # no such name can be asked for, so there is no such record
        return None, Absent(Seen(Fault.RECORD_NAME_TOO_LONG, clip(name)), float("inf"))
    try:
        answer = sources.dns.txt(name)
    except DnsError as error:
        return None, DnsFailed(error.seen)
    missing = absent(name, answer.exists, answer.ttl)
    try:
        record = select_record(answer.records)
    except RecordError as error:
        return None, Absent(error.seen, answer.ttl)
    if record is not None:
        note(Stage.RECORD, f"{name} has id {record.id}")
    return record, missing


def policy_host_addresses(host: str, sources: Sources) -> Sequence[str]:
    """Where to connect: at most two addresses of each family. Raises: DnsError, FetchError.

    One family's DNS failure does not matter while the other has an address.
    """
    families: list[Sequence[str]] = []
    failure: DnsError | None = None
    for ask in (sources.dns.aaaa, sources.dns.a):
        try:
            families.append(ask(host).records)
        except DnsError as error:
            failure = error
            families.append(())
    found = [address for family in families for address in family]
    if not found:
        if failure is not None:
            raise failure
        raise FetchError(Stage.ADDRESS, Fault.NO_ADDRESS, host)
    reasons = {address: forbidden(address) for address in found} if not sources.allow_private_addresses else {}
    v6, v4 = ([address for address in family if not reasons.get(address)] for family in families)
    if not v6 and not v4:
        named = ", ".join(f"{address} is {reason}" for address, reason in list(reasons.items())[:4])
        raise FetchError(Stage.ADDRESS, Fault.PRIVATE_ADDRESS, host, named)
    return connect_order(v6, v4)
