"""Whether DANE, and not MTA-STS, governs a domain (RFC 8461 section 2, RFC 7672).

What DNS said of the MX hosts in, one status out. Asking DNS is
resolving/dane.py's work; Postfix itself checks certificates against TLSA.

Rule 1: an answer that is not secure can be forged, so it never switches
        MTA-STS off.
Rule 2: "there is none" and "it cannot be read" are different answers. Only an
        answer that was read makes mail go on without DANE.
Rule 3: what Postfix would find unusable (its src/tls/tls_dane.c) is unusable
        here: "dane-only" with no usable record left would hold mail up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum, StrEnum

from ..faults import Fault, Seen
from .dnsdata import Tlsa

TTL_LEAST, TTL_MOST = 60.0, 3_600.0  # seconds a status is believed, whatever the TTLs
UNKNOWN_KEPT = 30.0  # seconds, then DNS is asked again
EARLIER_MOST = 86_400.0  # seconds: the oldest answer that serves while DNS is asked again, and that counts if it fails

_DIGESTS = {1: ("SHA2-256", 32), 2: ("SHA2-512", 64)}  # bytes
_SEQUENCE, _BIT_STRING = 0x30, 0x03
_FULL = {  # by selector: what it is, and the DER elements inside its outer SEQUENCE
    0: ("certificate", [_SEQUENCE, _SEQUENCE, _BIT_STRING]),  # RFC 5280 section 4.1
    1: ("public key", [_SEQUENCE, _BIT_STRING]),  # RFC 5280 section 4.1, SubjectPublicKeyInfo
}


class DaneStatus(StrEnum):
    """What DNS says of DANE: for one MX host, and for a domain."""

    USABLE = "usable"  # dane-only
    UNUSABLE = "unusable"  # MTA-STS, as without DANE
    UNKNOWN = "unknown"  # what an earlier answer said, else TEMP


@dataclass(frozen=True, slots=True)
class HostFacts:
    """What DNS says of one MX host."""

    name: str
    state: DaneStatus
    seen: Seen  # why, as the end of a sentence that begins with the name
    records: tuple[Tlsa, ...] = ()  # the secure ones, usable or not

    @property
    def detail(self) -> str:
        return str(self.seen)


@dataclass(frozen=True, slots=True)
class DaneFacts:
    """What DNS says of a domain's MX hosts."""

    mx: DaneStatus  # USABLE: the MX set is secure, and its hosts decide; else what it decides by itself
    seen: Seen  # of the MX set
    hosts: tuple[HostFacts, ...]  # by preference; empty unless mx is USABLE
    ttl: float  # seconds: the smallest TTL seen
    complete: bool = True  # False: a host is usable, and others are still being asked about

    @property
    def detail(self) -> str:
        return str(self.seen)


@dataclass(frozen=True, slots=True)
class DaneReading:
    """A domain's status as last told by DNS, and how long it is fresh; times by one clock that never jumps."""

    status: DaneStatus
    reason: str
    read_at: float  # seconds: when DNS said so, which a failed reading never moves
    fresh_until: float  # seconds


class Freshness(Enum):
    """What a lookup does with a reading."""

    FRESH = "fresh"  # goes by it
    STALE = "stale"  # goes by it, and has DNS asked again in the background
    GONE = "gone"  # waits until DNS was asked again


def unusable(tlsa: Tlsa) -> Seen | None:
    """Tell why Postfix could not go by this record; None: it can.

    Source: RFC 7672 section 3.1 (3.1.3 for the PKIX usages), RFC 6698 section 2.1.
    """
    if tlsa.usage in (0, 1):
        return Seen(Fault.TLSA_PKIX, value=str(tlsa.usage))
    if tlsa.usage not in (2, 3):
        return Seen(Fault.TLSA_USAGE, value=str(tlsa.usage))
    if tlsa.selector not in _FULL:
        return Seen(Fault.TLSA_SELECTOR, value=str(tlsa.selector))
    if tlsa.matching == 0:
        what, elements = _FULL[tlsa.selector]
        return None if _elements(tlsa.data) == elements else Seen(Fault.TLSA_DER, what, str(len(tlsa.data)))
    if tlsa.matching not in _DIGESTS:
        return Seen(Fault.TLSA_MATCHING, value=str(tlsa.matching))
    digest, length = _DIGESTS[tlsa.matching]
    if len(tlsa.data) == length:
        return None
    return Seen(Fault.TLSA_LENGTH, f"{digest} digest, which has {length}", str(len(tlsa.data)))


def host_status(name: str, records: Sequence[Tlsa]) -> tuple[DaneStatus, Seen]:
    """Return the state of a host with these secure TLSA records at *name*, one or more, and why."""
    faults = [unusable(record) for record in records]
    if None in faults:
        record = records[faults.index(None)]
        return DaneStatus.USABLE, Seen(
            Fault.DANE_TLSA_USABLE, name, f"{record.usage} {record.selector} {record.matching}"
        )
    return DaneStatus.UNUSABLE, Seen(Fault.DANE_TLSA_UNUSABLE, name, str(faults[0]))


def judge(facts: DaneFacts) -> tuple[DaneStatus, str]:
    """Return the domain's status and why: one usable host is enough, and unknown ones count only without it."""
    if facts.mx is not DaneStatus.USABLE:
        return facts.mx, facts.detail
    for state in (DaneStatus.USABLE, DaneStatus.UNKNOWN):
        for host in facts.hosts:
            if host.state is state:
                return state, f"{host.name}: {host.detail}"
    first = f": {facts.hosts[0].name}: {facts.hosts[0].detail}" if facts.hosts else ""
    return DaneStatus.UNUSABLE, f"no MX host has usable TLSA records{first}"


def without_tlsa(facts: DaneFacts) -> tuple[str, ...]:
    """Return the MX hosts that have no usable TLSA records where others have: Postfix will pass them over."""
    if judge(facts)[0] is not DaneStatus.USABLE:
        return ()
    return tuple(host.name for host in facts.hosts if host.state is DaneStatus.UNUSABLE)


def take(facts: DaneFacts, earlier: DaneReading | None, now: float) -> DaneReading:
    """Return the reading to go by from *now* on, *earlier* being the one before.

    Where DNS does not answer, an earlier answer counts for a day from when
    it was given, and DNS is asked again as after any failure.
    """
    status, reason = judge(facts)
    if status is not DaneStatus.UNKNOWN:
        return DaneReading(status, reason, now, now + min(max(facts.ttl, TTL_LEAST), TTL_MOST))
    if earlier is not None and earlier.status is not DaneStatus.UNKNOWN and now < earlier.read_at + EARLIER_MOST:
        return replace(earlier, fresh_until=now + UNKNOWN_KEPT)
    return DaneReading(status, reason, now, now + UNKNOWN_KEPT)


def freshness(reading: DaneReading, now: float) -> Freshness:
    """Tell what a lookup at *now* does with *reading*: a known status serves for a day, an unknown one for its 30 s."""
    if now >= reading.read_at + EARLIER_MOST:
        return Freshness.GONE
    if now < reading.fresh_until:
        return Freshness.FRESH
    return Freshness.GONE if reading.status is DaneStatus.UNKNOWN else Freshness.STALE


def _elements(der: bytes) -> list[int] | None:
    """Return the tags inside the one SEQUENCE that *der* is; None where it is anything else."""
    if der[:1] != bytes([_SEQUENCE]):
        return None
    at, end = _contents(der, 0)
    if end != len(der):
        return None
    tags = []
    while at < end:
        tags.append(der[at])
        at = _contents(der, at)[1]
    return tags if at == end else None


def _contents(der: bytes, at: int) -> tuple[int, int]:
    """Tell where the contents of the element at *at* begin and end; the end lies beyond *der* where it is cut off."""
    if at + 1 >= len(der):
        return at, len(der) + 1
    length, at = der[at + 1], at + 2
    if length < 0x80:
        return at, at + length
    size = length & 0x7F  # bytes of the length
    return at + size, at + size + int.from_bytes(der[at : at + size], "big")
