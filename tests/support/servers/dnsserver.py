"""A scripted recursive resolver on 127.0.0.1, or another *host* of this machine, UDP and TCP.

    with DnsServer({("_mta-sts.example.com", "TXT"): ['"v=STSv1; id=1"']}) as server:
        DnsClient([server.address], timeout=1.0).txt("_mta-sts.example.com")
        assert server.asked["_mta-sts.example.com", "TXT"] == 1

records     {(name, type): [data, ...]}: names lower case without final dot, the
            root is "."; data as in a zone file with absolute names, or bytes,
            put on the wire as they are. A CNAME is followed. A name without
            records is NXDOMAIN, unless a longer one has some. May be changed
            at any time.
behaviours  {(name, type): behaviour}; ("*", "*") is for whatever has none of
            its own. May be changed at any time. A behaviour is

            an rcode       "SERVFAIL", "REFUSED", "FORMERR" ...
            "no-edns R"    the rcode R for a question with EDNS, the answer for one without
            "silence"      no answer at all
            "truncated"    TC without records by UDP, the whole by TCP
            "wrong-id"     an answer with another identifier first, then the right one
            "wrong-name"   an answer to another question first, then the right one
            "garbage"      a header that promises a record, then nothing
            a list         the first element for the first query, and so on; the last stays
            an Event       the answer waits until it is set (10 s at most)
            a function     (reply: bytes, tcp: bool) -> the messages to send instead

secure      True sets AD on every answer; a set of names: only if the name asked for is in it.
ttl         of all records; `soa` is (TTL, minimum) of the SOA of answers without
            records, None for no SOA.
asked       how often each (name, type) was asked, UDP and TCP together;
            asked_by_tcp only TCP; `queries` holds the messages themselves.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Self, TypeAlias

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset

Key: TypeAlias = tuple[str, str]
Behaviour: TypeAlias = "str | threading.Event | list[Any] | Callable[[bytes, bool], Iterable[bytes]]"


class DnsServer:
    def __init__(
        self,
        records: Mapping[Key, Iterable[str | bytes]] | None = None,
        behaviours: Mapping[Key, Behaviour] | None = None,
        *,
        secure: bool | set[str] = False,
        ttl: int = 300,
        soa: tuple[int, int] | None = (900, 60),
        port: int = 0,
        host: str = "127.0.0.1",
    ) -> None:
        self.records, self.behaviours = dict(records or {}), dict(behaviours or {})
        self.secure, self.ttl, self.soa = secure, ttl, soa
        self.port, self._host = port, host  # port 0: any that is free
        self.asked: Counter[Key] = Counter()
        self.asked_by_tcp: Counter[Key] = Counter()
        self.queries: list[dns.message.Message] = []
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        self._udp, self._tcp = _bind(self._host, self.port)
        self.port = self._udp.getsockname()[1]
        self.address = f"{self._host}:{self.port}"
        self._threads = [threading.Thread(target=loop, daemon=True) for loop in (self._serve_udp, self._serve_tcp)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        for sock in (self._udp, self._tcp):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits in it
        for thread in self._threads:
            thread.join(5)
        self._udp.close()
        self._tcp.close()

    def _serve_udp(self) -> None:
        while True:
            try:
                query, sender = self._udp.recvfrom(4096)
            except OSError:
                return
            if not sender:
                return

            def send(message: bytes, sender: Any = sender) -> None:
                with contextlib.suppress(OSError):
                    self._udp.sendto(message, sender)

            threading.Thread(target=self._answer, args=(query, False, send), daemon=True).start()

    def _serve_tcp(self) -> None:
        while True:
            try:
                sock, _ = self._tcp.accept()
            except OSError:
                return
            threading.Thread(target=self._serve_connection, args=(sock,), daemon=True).start()

    def _serve_connection(self, sock: socket.socket) -> None:
        with sock, sock.makefile("rb") as stream, contextlib.suppress(OSError):
            while size := int.from_bytes(stream.read(2), "big"):
                query = stream.read(size)
                self._answer(query, True, lambda message: sock.sendall(len(message).to_bytes(2, "big") + message))

    def _answer(self, wire: bytes, tcp: bool, send: Callable[[bytes], None]) -> None:
        query = dns.message.from_wire(wire)
        question = query.question[0]
        key = (_text(question.name), dns.rdatatype.to_text(question.rdtype))
        with self._lock:
            self.asked[key] += 1
            self.asked_by_tcp[key] += tcp
            self.queries.append(query)
            behaviour = self.behaviours.get(key, self.behaviours.get(("*", "*")))
            if isinstance(behaviour, list):
                behaviour = behaviour.pop(0) if len(behaviour) > 1 else behaviour[0]
        for message in self._behave(behaviour, query, key, tcp):
            send(message)

    def _behave(self, behaviour: Behaviour | None, query: dns.message.Message, key: Key, tcp: bool) -> Iterable[bytes]:
        if behaviour == "silence":
            return []
        if isinstance(behaviour, threading.Event):
            behaviour.wait(10)
        reply = self._reply(query, key)
        if behaviour == "truncated" and not tcp:
            for section in (reply.answer, reply.authority):
                section.clear()
            reply.flags |= dns.flags.TC
        wire = reply.to_wire(max_size=65535)
        if callable(behaviour):
            return behaviour(wire, tcp)
        if behaviour == "wrong-id":
            return [bytes([wire[0] ^ 1]) + wire[1:], wire]
        if behaviour == "wrong-name":
            return [wire[:13] + bytes([wire[13] ^ 1]) + wire[14:], wire]
        if behaviour == "garbage":
            return [wire[:6] + b"\0\1" + b"\0\0\0\0" + query.to_wire()[12:-11]]
        if isinstance(behaviour, str) and behaviour.startswith("no-edns "):
            behaviour = behaviour.partition(" ")[2] if query.edns >= 0 else None
        if isinstance(behaviour, str) and behaviour.isupper():
            failure = dns.message.make_response(query)
            failure.set_rcode(dns.rcode.from_text(behaviour))
            return [failure.to_wire()]
        return [wire]

    def _reply(self, query: dns.message.Message, key: Key) -> dns.message.Message:
        reply = dns.message.make_response(query, recursion_available=True)
        name, rdtype = key
        for _ in range(32):
            if (name, rdtype) in self.records:
                reply.answer.append(self._rrset(name, rdtype))
            elif (name, "CNAME") in self.records:
                reply.answer.append(self._rrset(name, "CNAME"))
                name = _text(reply.answer[-1][0].target)
                continue
            break
        else:
            rdtype = "CNAME"  # a chain without end is an answer too
        if (name, rdtype) not in self.records:
            if not any(known == name or known.endswith(f".{name}") or name == "." for known, _ in self.records):
                reply.set_rcode(dns.rcode.NXDOMAIN)
            if self.soa is not None:
                soa = f"ns.invalid. admin.invalid. 1 3600 600 86400 {self.soa[1]}"
                reply.authority.append(dns.rrset.from_text(".", self.soa[0], "IN", "SOA", soa))
        if self.secure is True or (isinstance(self.secure, set) and key[0] in self.secure):
            reply.flags |= dns.flags.AD
        return reply

    def _rrset(self, name: str, rdtype: str) -> dns.rrset.RRset:
        number = dns.rdatatype.from_text(rdtype)
        rrset = dns.rrset.RRset(dns.name.from_text(name), dns.rdataclass.IN, number)
        for data in self.records[name, rdtype]:
            if isinstance(data, bytes):
                rrset.add(dns.rdata.GenericRdata(dns.rdataclass.IN, number, data), self.ttl)
            else:
                rrset.add(dns.rdata.from_text(dns.rdataclass.IN, number, data), self.ttl)
        return rrset


def _text(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True).lower()


def _bind(host: str, port: int) -> tuple[socket.socket, socket.socket]:
    """One port for both, any if it is 0."""
    for _ in range(20):
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind((host, port))
        tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tcp.bind(udp.getsockname())
            tcp.listen()
        except OSError:
            udp.close()
            tcp.close()
            continue
        return udp, tcp
    raise RuntimeError("no port is free for both UDP and TCP")
