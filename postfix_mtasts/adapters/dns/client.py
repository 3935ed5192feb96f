"""DNS answers from a recursive resolver: TXT, A, AAAA, MX, TLSA, CNAME.

Messages travel over sockets of our own and are read record by record, with
dnspython for names. Its message layer takes five times the CPU, drops a whole
answer for one malformed TLSA record (2.9), and ends a query at the first
forged datagram (before 2.6).

Rule 1: a resolver that fails is not asked again for the same name, one that
        is silent is, until dns.timeout is over.
Rule 2: a datagram that is not the response to our question is passed over.
Rule 3: names are absolute; search lists never apply.

Whether AD can be believed, and what the records mean, is not decided here.

Source: RFC 1035, RFC 2308 section 5, RFC 5452 section 9, RFC 6840 section 5.7.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from secrets import token_bytes
from typing import Generic, TypeVar

import dns.exception
import dns.name
import dns.rcode

from ...core.dnsdata import DnsAnswer, Mx, Tlsa
from ...errors import DnsError
from ...faults import Fault
from .probe import query, seconds, sockaddr
from .resolvconf import ResolvConf

T = TypeVar("T")

MAX_ALIASES = 16  # in one chain
FIRST_TRY = 5  # a fifth of the timeout, for each server; the next round waits twice as long

_HEADER, _RECORD = struct.Struct("!6H"), struct.Struct("!HHIH")
_AD, _TC, _RCODE = 0x0020, 0x0200, 0x000F
_NOERROR, _SERVFAIL, _NXDOMAIN = 0, 2, 3
_IN, _SOA = 1, 6
_ASKED = b"\xc0\x0c"  # a pointer to the question's name, as nearly all owners are written

_FAULTS = {"servfail": Fault.DNS_SERVFAIL, "timeout": Fault.DNS_TIMEOUT, "other": Fault.DNS_OTHER}  # the gravest first

_UNREADABLE = (dns.exception.DNSException, struct.error, ValueError, IndexError)


class _Fault(Exception):
    """Why one server's answer is of no use; *result* is what is counted."""

    def __init__(self, result: str, text: str) -> None:
        super().__init__(text)
        self.result = result


# Reading one record's data, which is message[start:stop]; None leaves the record out.


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
    """Whether the length suits the matching type is for core.dane to say; too short to hold one: left out."""
    data = message[start:stop]
    return Tlsa(data[0], data[1], data[2], data[3:]) if len(data) >= 3 else None


@dataclass(frozen=True, slots=True)
class _Type(Generic[T]):
    number: int
    name: str
    read: Callable[[bytes, int, int], T | None]


_A = _Type(1, "A", lambda message, start, stop: socket.inet_ntop(socket.AF_INET, message[start:stop]))
_CNAME = _Type(5, "CNAME", _read_name)
_MX = _Type(15, "MX", _read_mx)
_TXT = _Type(16, "TXT", _read_txt)
_AAAA = _Type(28, "AAAA", lambda message, start, stop: socket.inet_ntop(socket.AF_INET6, message[start:stop]))
_DNSKEY = _Type(48, "DNSKEY", lambda message, start, stop: message[start:stop])
_TLSA = _Type(52, "TLSA", _read_tlsa)


@dataclass(frozen=True, slots=True)
class _Record:
    owner: dns.name.Name
    rdtype: int
    ttl: int
    start: int  # of its data in the message
    stop: int


def _no_count(rdtype: str, result: str) -> None:
    """The count of those who do not ask."""


class DnsClient:
    """resolving.sources.Dns by recursive resolvers; for any number of threads.

    Args:
        servers: resolvers as "127.0.0.1:53" or "[::1]:53"; empty means those of
            *resolv_conf*, which is read again when it changes.
        timeout: seconds for one name: every server, retry and TCP included.
        count: told the type and, of "noerror", "nodata", "nxdomain", "servfail",
            "timeout" and "other", the result of each name asked for; called in
            the asking thread.
    """

    def __init__(
        self,
        servers: Sequence[str],
        timeout: float,
        *,
        count: Callable[[str, str], None] = _no_count,
        resolv_conf: str = "/etc/resolv.conf",
    ) -> None:
        self._fixed, self._timeout, self._count = tuple(servers), timeout, count
        self._resolv_conf = ResolvConf(resolv_conf)

    @property
    def servers(self) -> tuple[str, ...]:
        """The resolvers in use now, one at least, in the order they are asked."""
        return self._fixed or self._resolv_conf.servers()

    @property
    def servers_text(self) -> str:
        """The resolvers in use and where they come from, for people."""
        return ", ".join(self.servers) + ("" if self._fixed else f" (from {self._resolv_conf.path})")

    def txt(self, name: str, spent: float = 0.0) -> DnsAnswer[bytes]:
        """Each record's strings joined; *spent* seconds of the timeout, up to half of it, are over already.

        Raises: DnsError, as do all below.
        """
        return self._ask(name, _TXT, spent)

    def a(self, name: str) -> DnsAnswer[str]:
        return self._ask(name, _A)

    def aaaa(self, name: str) -> DnsAnswer[str]:
        return self._ask(name, _AAAA)

    def mx(self, name: str) -> DnsAnswer[Mx]:
        return self._ask(name, _MX)

    def tlsa(self, name: str) -> DnsAnswer[Tlsa]:
        """A record of the wrong length comes as it is: it must not hide the others."""
        return self._ask(name, _TLSA)

    def cname(self, name: str) -> DnsAnswer[str]:
        """The alias at *name* itself, not followed."""
        return self._ask(name, _CNAME)

    def root_dnskey_secure(self) -> bool:
        """Whether the resolver says that it has validated the root's keys. Raises: DnsError."""
        answer = self._ask(".", _DNSKEY)
        return answer.secure and bool(answer.records)

    def txt_from_wire(self, name: str, wire: bytes) -> DnsAnswer[bytes] | None:
        """Read an answer that adapters.dns.probe handed over; None if it is of no use."""
        try:
            answer = _read_answer(wire, _absolute(name), _TXT)
        except (_Fault, DnsError):
            return None
        self._count_answer(_TXT, answer)
        return answer

    def _ask(self, name: str, rdtype: _Type[T], spent: float = 0.0) -> DnsAnswer[T]:
        wanted = _absolute(name)
        deadline = time.monotonic() + self._timeout - min(spent, self._timeout / 2)
        patience = self._timeout / max(FIRST_TRY, len(self.servers))
        servers, faults = list(self.servers), dict[str, _Fault]()
        while servers and time.monotonic() < deadline:
            for server in servers.copy():
                until = min(deadline, time.monotonic() + patience)
                try:
                    answer = _read_answer(self._hear(server, wanted, rdtype.number, until), wanted, rdtype)
                except _Fault as fault:
                    faults[server] = fault
                    if fault.result != "timeout":
                        servers.remove(server)
                else:
                    self._count_answer(rdtype, answer)
                    return answer
            patience *= 2
        results = {fault.result for fault in faults.values()}
        result = next(result for result in _FAULTS if result in results)
        self._count(rdtype.name, result)
        said = "; ".join(f"{fault} from {server}" for server, fault in faults.items())
        raise DnsError(_FAULTS[result], name, f"no {rdtype.name} answer for {_text(wanted) or '.'}: {said}")

    def _hear(self, server: str, name: dns.name.Name, rdtype: int, until: float) -> bytes:
        """What *server* says. Raises: _Fault."""
        try:
            return _exchange(server, name, rdtype, until)
        except TimeoutError:
            raise _Fault("timeout", f"no answer within {self._timeout:g} s") from None
        except OSError as error:
            raise _Fault("other", f"no answer ({error.strerror or error})") from None

    def _count_answer(self, rdtype: _Type[T], answer: DnsAnswer[T]) -> None:
        self._count(rdtype.name, "noerror" if answer.records else "nodata" if answer.exists else "nxdomain")


def _absolute(name: str) -> dns.name.Name:
    """Raises: DnsError."""
    try:
        if not name.isascii():
            raise ValueError("not ASCII")
        return dns.name.from_text(name)
    except _UNREADABLE as error:
        raise DnsError(Fault.DNS_NAME, name[:100], str(error)) from None


def _text(name: dns.name.Name) -> str:
    """Lower case, without the final dot; odd bytes as \\DDD."""
    return name.to_text(omit_final_dot=True).lower() if name != dns.name.root else ""


def _question(name: dns.name.Name, rdtype: int) -> bytes:
    """As it stands in a message; types and class hold no letters, so it may be compared in lower case."""
    return (name.to_wire() or b"") + struct.pack("!HH", rdtype, _IN)


def _exchange(server: str, name: dns.name.Name, rdtype: int, until: float) -> bytes:
    """Ask one server, by UDP, and by TCP where that was not enough. Raises: OSError, TimeoutError, _Fault."""
    _left(until)
    family, address = sockaddr(server)
    question = _question(name, rdtype)
    message = query(token_bytes(2), question)
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.connect(address)  # a new source port for each question; the kernel drops other senders
        sock.send(message)
        while True:
            sock.settimeout(_left(until))
            reply = sock.recv(4096)
            if _responds(reply, message, question):
                break
    if not int.from_bytes(reply[2:4], "big") & _TC:
        return reply
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.settimeout(_left(until))
        sock.connect(address)
        sock.sendall(len(message).to_bytes(2, "big") + message)
        reply = _receive(sock, int.from_bytes(_receive(sock, 2, until), "big"), until)
    if not _responds(reply, message, question):
        raise _Fault("other", "the answer to another question")
    return reply


def _left(until: float) -> float:
    """Raises: TimeoutError."""
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _receive(sock: socket.socket, size: int, until: float) -> bytes:
    data = b""
    while len(data) < size:
        sock.settimeout(_left(until))
        part = sock.recv(size - len(data))
        if not part:
            raise _Fault("other", "half an answer")
        data += part
    return data


def _responds(reply: bytes, message: bytes, question: bytes) -> bool:
    """Whether *reply* is a response to *message*; one that is an error may leave out the question."""
    if len(reply) < _HEADER.size or reply[:2] != message[:2] or reply[2] & 0xF8 != 0x80:
        return False
    if reply[4:6] == b"\0\0":
        return reply[3] & _RCODE not in (_NOERROR, _NXDOMAIN)
    asked = reply[_HEADER.size : _HEADER.size + len(question)]
    return reply[4:6] == b"\0\1" and asked.lower() == question.lower()


def _read_answer(message: bytes, name: dns.name.Name, rdtype: _Type[T]) -> DnsAnswer[T]:
    """Raises: _Fault."""
    try:
        _, flags, questions, answers, authority, _ = _HEADER.unpack_from(message)
        rcode = flags & _RCODE
        if rcode not in (_NOERROR, _NXDOMAIN):
            raise _Fault("servfail" if rcode == _SERVFAIL else "other", dns.rcode.to_text(dns.rcode.Rcode.make(rcode)))
        question = _question(name, rdtype.number)
        at = _HEADER.size + len(question)
        if questions != 1 or message[_HEADER.size : at].lower() != question.lower():
            raise ValueError("another question")
        if flags & _TC:
            raise ValueError("truncated")
        records, at = _read_records(message, at, answers, name)
        owner, ttls = _final_owner(message, name, records, rdtype.number)
        wanted = [record for record in records if record.owner == owner and record.rdtype == rdtype.number]
        ttls += [record.ttl for record in wanted] or [_negative_ttl(message, at, authority, name)]
        values = (rdtype.read(message, record.start, record.stop) for record in wanted)
        return DnsAnswer(
            records=tuple(value for value in values if value is not None) if rcode == _NOERROR else (),
            secure=bool(flags & _AD),
            ttl=float(min(ttls)),
            name=_text(owner),
            exists=rcode == _NOERROR,
        )
    except _UNREADABLE as error:
        raise _Fault("other", f"a broken answer ({error})") from None


def _read_records(message: bytes, at: int, number: int, asked: dns.name.Name) -> tuple[list[_Record], int]:
    """Read *number* records from *at* on; also returns where they end."""
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
        if rdclass == _IN:
            records.append(_Record(owner, rdtype, seconds(ttl), start, at))
    return records, at


def _final_owner(
    message: bytes, name: dns.name.Name, records: list[_Record], rdtype: int
) -> tuple[dns.name.Name, list[int]]:
    """Follow the aliases that the answer holds; returns the last name and the aliases' TTLs."""
    aliases = {record.owner: record for record in records if record.rdtype == _CNAME.number}
    holders = {record.owner for record in records if record.rdtype == rdtype}
    ttls: list[int] = []
    while name in aliases and name not in holders:
        alias = aliases[name]
        ttls.append(alias.ttl)
        if len(ttls) > MAX_ALIASES:
            raise ValueError(f"more than {MAX_ALIASES} aliases in a chain")
        name, _ = dns.name.from_wire(message, alias.start)
    return name, ttls


def _negative_ttl(message: bytes, at: int, number: int, asked: dns.name.Name) -> int:
    """How long absence may be remembered: the SOA's TTL or minimum, or 0 (RFC 2308 section 5)."""
    records, _ = _read_records(message, at, number, asked)
    soa = next((record for record in records if record.rdtype == _SOA and record.stop - record.start >= 22), None)
    if soa is None:
        return 0
    (minimum,) = struct.unpack_from("!I", message, soa.stop - 4)
    return min(soa.ttl, seconds(minimum))
