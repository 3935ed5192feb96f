"""Answers read cheaply, above all for what most lookups end in: there is no TXT record.

Most first lookups are of `_mta-sts` names that do not exist, and dnspython
takes ten times the CPU of what is needed to see that.

Rule: only two answers count as absence, NXDOMAIN and NOERROR without records,
      in a message that is whole, simple and well formed to its last byte, from
      a server that recurses or is authoritative. A TXT answer is handed over as
      it came, for `DnsClient.txt_from_wire`, and so is any whole answer about
      addresses. Anything else is None: ask again, in full.

Source: RFC 1035 section 4, RFC 2308 section 5 (TTL of absence), RFC 6891.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TypeAlias

IN, A, SOA, TXT, AAAA, OPT = 1, 1, 6, 16, 28, 41
_HEADER, _RECORD = struct.Struct("!6H"), struct.Struct("!HHIH")
_OPT, _TYPE_AND_CLASS = struct.Struct("!BHHIH"), struct.Struct("!HH")
_NAME_LIMIT, _LABEL_LIMIT = 253, 63  # characters; on the wire a name takes two more
_AA_OR_RA, _TC, _RCODE = 0x0480, 0x0200, 0x000F
_TXT_OF_QUESTION = b"\xc0\x0c\x00\x10"  # how a TXT record begins whose owner is the question's name


@dataclass(frozen=True, slots=True)
class Absence:
    """There is no TXT record at the name."""

    ttl: float  # seconds, by RFC 2308 section 5; 0 if the answer does not say
    exists: bool  # False: NXDOMAIN


Result: TypeAlias = Absence | bytes | None  # bytes: a whole answer with TXT records; None: ask in full


def make_question(name: str, rdtype: int) -> bytes | None:
    """Put *name* (plain labels, no escapes) and a type on the wire; None if DNS cannot hold the name."""
    if not name.isascii() or len(name) > _NAME_LIMIT:
        return None
    wire, at = bytearray(b".%b\0" % name.encode()), 0
    for label in name.split("."):
        size = len(label)
        if not 0 < size <= _LABEL_LIMIT:
            return None
        wire[at] = size  # in the place of the dot before it
        at += size + 1
    return bytes(wire) + _TYPE_AND_CLASS.pack(rdtype, IN)


def answers(datagram: bytes, question: bytes) -> bool:
    """Tell whether *datagram* is a response to a standard query for just *question*, byte for byte."""
    return (
        datagram[2:3] >= b"\x80"  # QR
        and not datagram[2] & 0x78  # opcode
        and datagram[4:6] == b"\0\1"
        and datagram.startswith(question, _HEADER.size)
    )


def whole(datagram: bytes, question: bytes) -> bytes | None:
    """Return a *datagram* that `answers` the *question* if it holds all that the server knows. Never raises."""
    complete = not datagram[2] & _TC >> 8 and datagram[3] & _RCODE in (0, 3)
    return datagram if complete else None


def understand(datagram: bytes, question: bytes) -> Result:
    """Read a *datagram* that `answers` the *question*. Never raises."""
    try:
        _, flags, _, records, authority, additional = _HEADER.unpack_from(datagram)
        rcode = flags & _RCODE
        after = _HEADER.size + len(question)
        if flags & _TC or rcode not in (0, 3):
            return None
        if records:
            return datagram if rcode == 0 and datagram.startswith(_TXT_OF_QUESTION, after) else None
        if not flags & _AA_OR_RA:
            return None  # a lame server, or one that refers us to others
        return Absence(_negative_ttl(datagram, after, authority, additional), exists=rcode == 0)
    except (ValueError, IndexError, struct.error):
        return None


def _negative_ttl(datagram: bytes, at: int, authority: int, additional: int) -> float:
    """Read one SOA or none and one OPT without options or none, up to the very end.

    Raises: ValueError, IndexError, struct.error for anything else.
    """
    ttl = 0
    if authority > 1 or additional > 1:
        raise ValueError("more records than a plain answer has")
    if authority:
        at = _skip_name(datagram, at, len(datagram))
        rdtype, rdclass, ttl, length = _RECORD.unpack_from(datagram, at)
        at += _RECORD.size
        stop = at + length
        numbers = _skip_name(datagram, _skip_name(datagram, at, stop), stop)
        if (rdtype, rdclass) != (SOA, IN) or numbers + 20 != stop or stop > len(datagram):
            raise ValueError("no SOA")
        (minimum,) = struct.unpack_from("!I", datagram, stop - 4)
        ttl = min(seconds(ttl), seconds(minimum))
        at = stop
    if additional:
        name, rdtype, _, extended, length = _OPT.unpack_from(datagram, at)
        if name or rdtype != OPT or length or extended >> 24:
            raise ValueError("no plain OPT")
        at += _OPT.size
    if at != len(datagram):
        raise ValueError("trailing bytes")
    return float(ttl)


def seconds(ttl: int) -> int:
    """Take a TTL with the highest bit set for 0 (RFC 2181 section 8)."""
    return ttl if ttl < 1 << 31 else 0


def _skip_name(message: bytes, at: int, stop: int) -> int:
    """Return where the name at *at* ends; pointers must lead to bytes before all of it.

    Raises: ValueError, IndexError.
    """
    after, start, size, hops = 0, at, 1, 0
    while at < stop and size <= 255 and hops <= 8:
        count = message[at]
        if count == 0:
            return after or at + 1
        if count < 64:
            at, size = at + 1 + count, size + 1 + count
            continue
        target = (count & 63) << 8 | message[at + 1]
        if count < 192 or target >= start or at + 1 >= stop:
            break
        after, hops = after or at + 2, hops + 1
        stop, start, at = start, target, target
    raise ValueError("no name")
