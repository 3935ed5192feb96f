"""DNS messages: a question put on the wire, and an answer read record by record.

dnspython reads and writes the names, and no other module imports it. Its
message layer takes five times the CPU, and drops a whole answer for one
malformed TLSA record (2.9).

Rule 1: names are absolute; search lists never apply.
Rule 2: an answer without records counts only if the server recurses (RA) or is
        authoritative (AA). Any other server does not know, and refers us to
        others: a failure, as libresolv sees it too.
Rule 3: the response code is the whole one, of which EDNS holds the upper bits.

What the records mean is not decided here.

Source: RFC 1035, RFC 2308 section 5, RFC 6891 section 6.1.3, RFC 8914.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import dns.exception
import dns.name
import dns.rcode

from ...core.dnsdata import DnsAnswer, DnsResult, Mx, Tlsa
from ...errors import DnsError
from ...faults import Fault, clip
from .absence import IN, OPT, SOA, seconds
from .transport import NoAnswer

T = TypeVar("T")

MAX_ALIASES = 16  # in one chain

_HEADER, _RECORD = struct.Struct("!6H"), struct.Struct("!HHIH")
_AA, _TC, _RA, _AD, _RCODE = 0x0400, 0x0200, 0x0080, 0x0020, 0x000F
_NOERROR, _NXDOMAIN = 0, 3
_ASKED = b"\xc0\x0c"  # a pointer to the question's name, as nearly all owners are written

_FAILURES = {
    1: DnsResult.FORMERR,
    2: DnsResult.SERVFAIL,
    4: DnsResult.NOTIMP,
    5: DnsResult.REFUSED,
    16: DnsResult.BADVERS,
}
_EXTENDED_ERROR = 15  # the EDNS option of RFC 8914
_BOGUS = range(5, 13)  # its codes from "DNSSEC Indeterminate" to "NSEC Missing"

_UNREADABLE = (dns.exception.DNSException, struct.error, ValueError, IndexError)


@dataclass(frozen=True, slots=True)
class RecordType(Generic[T]):
    number: int
    name: str
    read: Callable[[bytes, int, int], T | None]  # of message[start:stop]; None leaves the record out


def _read_name(message: bytes, start: int, stop: int) -> str:
    name, used = dns.name.from_wire(message, start)
    if start + used != stop:
        raise ValueError("a name is longer or shorter than its record")
    return _text(name)


def _read_txt(message: bytes, start: int, stop: int) -> bytes:
    strings = []
    while start < stop:
        end = start + 1 + message[start]
        strings.append(message[start + 1 : end])
        start = end
    if start != stop:
        raise ValueError("a string goes beyond its record")
    return b"".join(strings)


def _read_mx(message: bytes, start: int, stop: int) -> Mx:
    (preference,) = struct.unpack_from("!H", message, start)
    return Mx(preference, _read_name(message, start + 2, stop))


def _read_tlsa(message: bytes, start: int, stop: int) -> Tlsa | None:
    """Leave out a record too short to name a matching type; core.dane judges the length of the others."""
    data = message[start:stop]
    return Tlsa(data[0], data[1], data[2], data[3:]) if len(data) >= 3 else None


A = RecordType(1, "A", lambda message, start, stop: socket.inet_ntop(socket.AF_INET, message[start:stop]))
CNAME = RecordType(5, "CNAME", _read_name)
MX = RecordType(15, "MX", _read_mx)
TXT = RecordType(16, "TXT", _read_txt)
AAAA = RecordType(28, "AAAA", lambda message, start, stop: socket.inet_ntop(socket.AF_INET6, message[start:stop]))
DNSKEY = RecordType(48, "DNSKEY", lambda message, start, stop: message[start:stop])
TLSA = RecordType(52, "TLSA", _read_tlsa)


class Question(Generic[T]):
    """A name and a type; *wire* is how they stand in a message."""

    def __init__(self, name: str, rdtype: RecordType[T]) -> None:
        """Raises: DnsError if DNS cannot hold *name*."""
        try:
            if not name.isascii():
                raise ValueError("not ASCII")
            self.name = dns.name.from_text(name)
        except _UNREADABLE as error:
            raise DnsError(Fault.DNS_NAME, clip(name, 100), str(error)) from None
        self.rdtype = rdtype
        self.wire = (self.name.to_wire() or b"") + struct.pack("!HH", rdtype.number, IN)

    def __str__(self) -> str:
        return _text(self.name) or "."


@dataclass(frozen=True, slots=True)
class _Record:
    owner: dns.name.Name
    rdtype: int
    rdclass: int
    ttl: int  # as it stands there: EDNS keeps other things in it
    start: int  # of its data in the message
    stop: int


def read_answer(message: bytes, question: Question[T]) -> DnsAnswer[T]:
    """Read a response to *question*; `secure` is its AD bit, whoever set it. Raises: NoAnswer."""
    try:
        (flags,) = struct.unpack_from("!H", message, 2)
        code, bogus = flags & _RCODE, False
        try:
            answers, authority, additional = _read_sections(message, question)
            extended, bogus = _read_edns(message, additional)
            code |= extended << 4
        except _UNREADABLE:  # an error may come without a question, or cut short
            if code in (_NOERROR, _NXDOMAIN):
                raise
        if code not in (_NOERROR, _NXDOMAIN):
            raise _failure(code, bogus)
        if flags & _TC:
            raise ValueError("truncated")
        return _make_answer(message, question, flags, answers, authority)
    except _UNREADABLE as error:
        raise NoAnswer(DnsResult.BROKEN, f"a broken answer ({error})") from None


def _make_answer(
    message: bytes, question: Question[T], flags: int, answers: list[_Record], authority: list[_Record]
) -> DnsAnswer[T]:
    """Make the answer of a message without errors. Raises: NoAnswer, _UNREADABLE."""
    rdtype = question.rdtype
    owner, ttls = _final_owner(message, question.name, answers, rdtype.number)
    wanted = [record for record in answers if record.owner == owner and record.rdtype == rdtype.number]
    if not wanted and not flags & (_RA | _AA):
        raise NoAnswer(DnsResult.LAME, "neither an answer nor recursion")
    ttls += [seconds(record.ttl) for record in wanted] or [_negative_ttl(message, authority)]
    values = (rdtype.read(message, record.start, record.stop) for record in wanted)
    exists = flags & _RCODE == _NOERROR
    return DnsAnswer(
        records=tuple(value for value in values if value is not None) if exists else (),
        secure=bool(flags & _AD),
        ttl=float(min(ttls)),
        name=_text(owner),
        exists=exists,
    )


def _failure(code: int, bogus: bool) -> NoAnswer:
    said = dns.rcode.to_text(dns.rcode.Rcode.make(code))
    if bogus:
        return NoAnswer(DnsResult.BOGUS, f"{said} (DNSSEC validation failed)")
    return NoAnswer(_FAILURES.get(code, DnsResult.OTHER), said)


def _read_sections(message: bytes, question: Question[T]) -> tuple[list[_Record], list[_Record], list[_Record]]:
    """Read the answer, the authority (both of class IN) and the additional section. Raises: _UNREADABLE."""
    _, _, questions, answers, authority, additional = _HEADER.unpack_from(message)
    at = _HEADER.size + len(question.wire)
    # types and class hold no letters, so the whole may be compared in lower case
    if questions != 1 or message[_HEADER.size : at].lower() != question.wire.lower():
        raise ValueError("another question")
    first, at = _read_records(message, at, answers, question.name)
    second, at = _read_records(message, at, authority, question.name)
    third, at = _read_records(message, at, additional, question.name)
    return [each for each in first if each.rdclass == IN], [each for each in second if each.rdclass == IN], third


def _read_records(message: bytes, at: int, number: int, asked: dns.name.Name) -> tuple[list[_Record], int]:
    """Read *number* records from *at* on, and return also where they end. Raises: _UNREADABLE."""
    records = []
    for _ in range(number):
        if message.startswith(_ASKED, at):
            owner, used = asked, len(_ASKED)
        else:
            owner, used = dns.name.from_wire(message, at)
        rdtype, rdclass, ttl, length = _RECORD.unpack_from(message, at + used)
        start = at + used + _RECORD.size
        at = start + length
        if at > len(message):
            raise ValueError("a record goes beyond the message")
        records.append(_Record(owner, rdtype, rdclass, ttl, start, at))
    return records, at


def _read_edns(message: bytes, additional: list[_Record]) -> tuple[int, bool]:
    """Return the upper bits of the response code, and whether the resolver says that DNSSEC validation failed."""
    extended, bogus = 0, False
    for opt in (record for record in additional if record.rdtype == OPT):
        extended |= opt.ttl >> 24
        at = opt.start
        while at < opt.stop:
            option, length = struct.unpack_from("!HH", message, at)
            if option == _EXTENDED_ERROR and length >= 2:
                bogus |= int.from_bytes(message[at + 4 : at + 6], "big") in _BOGUS
            at += 4 + length
    return extended, bogus


def _final_owner(
    message: bytes, name: dns.name.Name, records: list[_Record], rdtype: int
) -> tuple[dns.name.Name, list[int]]:
    """Follow the aliases that the answer holds, and return the last name and the aliases' TTLs."""
    aliases = {record.owner: record for record in records if record.rdtype == CNAME.number}
    holders = {record.owner for record in records if record.rdtype == rdtype}
    ttls: list[int] = []
    while name in aliases and name not in holders:
        alias = aliases[name]
        ttls.append(seconds(alias.ttl))
        if len(ttls) > MAX_ALIASES:
            raise ValueError(f"more than {MAX_ALIASES} aliases in a chain")
        name, _ = dns.name.from_wire(message, alias.start)
    return name, ttls


def _negative_ttl(message: bytes, authority: list[_Record]) -> int:
    """Say how long absence may be remembered: the SOA's TTL or minimum, or 0 (RFC 2308 section 5)."""
    soa = next((record for record in authority if record.rdtype == SOA and record.stop - record.start >= 22), None)
    if soa is None:
        return 0
    (minimum,) = struct.unpack_from("!I", message, soa.stop - 4)
    return min(seconds(soa.ttl), seconds(minimum))


def _text(name: dns.name.Name) -> str:
    """Write a name in lower case without the final dot, odd bytes as \\DDD."""
    return name.to_text(omit_final_dot=True).lower() if name != dns.name.root else ""
