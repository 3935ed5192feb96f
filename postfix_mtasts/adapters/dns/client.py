"""DNS answers from recursive resolvers: TXT, A, AAAA, MX, TLSA, CNAME.

Messages travel over sockets of our own: dnspython ends a query at the first
forged datagram (before 2.6).

Rule 1: a resolver that fails is not asked again for the same name, one that
        is silent is, until dns.timeout is over.
Rule 2: for DANE, the SERVFAIL of a server whose AD counts is the last word:
        it has refused to vouch, and another's answer could be forged.

What the records mean is not decided here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import replace
from typing import TypeVar

from ...core.dnsdata import DnsAnswer, DnsResult, Mx, Tlsa, Validation
from ...core.ports import ResolverFacts
from ...errors import DnsError
from ...faults import Fault
from .message import AAAA, CNAME, DNSKEY, MX, TLSA, TXT, A, Question, RecordType, read_answer
from .transport import RESOLV_CONF, Nameservers, NoAnswer, exchange

T = TypeVar("T")

FIRST_TRY = 5  # a fifth of the timeout, for each server; the next round waits twice as long


def _no_count(rdtype: str, result: DnsResult) -> None:
    """Count nothing."""


class DnsClient:
    """Asks recursive resolvers (a core.ports.Dns); for any number of threads.

    Args:
        servers: resolvers as "127.0.0.1:53" or "[::1]:53"; empty means those of *resolv_conf*.
        timeout: seconds for one name: every server, retry and TCP included.
        trust_ad: dns.trust_ad, "auto" or "yes".
        count: told the type and the result of each name asked for, in the asking thread.
    """

    def __init__(
        self,
        servers: Sequence[str],
        timeout: float,
        *,
        trust_ad: str = "auto",
        count: Callable[[str, DnsResult], None] = _no_count,
        resolv_conf: str = RESOLV_CONF,
    ) -> None:
        self._nameservers = Nameservers(servers, trust_ad, resolv_conf=resolv_conf)
        self._timeout, self._count = timeout, count
        self._dane = False

    def for_dane(self) -> DnsClient:
        """Return this client with rule 2 in force."""
        client = copy(self)
        client._dane = True
        return client

    def txt(self, name: str, spent: float = 0.0) -> DnsAnswer[bytes]:
        """Read TXT records, each one's strings joined; *spent* seconds of the timeout, at most half of it, are over.

        Raises: DnsError, as do all below.
        """
        return self._ask(name, TXT, spent)

    def a(self, name: str) -> DnsAnswer[str]:
        return self._ask(name, A)

    def aaaa(self, name: str) -> DnsAnswer[str]:
        return self._ask(name, AAAA)

    def mx(self, name: str) -> DnsAnswer[Mx]:
        return self._ask(name, MX)

    def tlsa(self, name: str) -> DnsAnswer[Tlsa]:
        """Read TLSA records; one of the wrong length comes as it is, since it must not hide the others."""
        return self._ask(name, TLSA)

    def cname(self, name: str) -> DnsAnswer[str]:
        """Read the alias at *name* itself, without following it."""
        return self._ask(name, CNAME)

    def judge_resolvers(self) -> ResolverFacts:
        """Ask for the root's keys, to see whether DANE can rest on the resolver. Never raises."""
        servers = self._nameservers.servers
        untrusted = tuple(server for server in servers if not self._nameservers.ad_counts(server))
        try:
            answer, server = self._hear(Question(".", DNSKEY), 0.0)
        except DnsError as error:
            return ResolverFacts(servers, Validation.NO_ANSWER, untrusted, str(error))
        if not (answer.secure and answer.records):
            state = Validation.NO_AD
        else:
            state = Validation.NOT_TRUSTED if server in untrusted else Validation.VALIDATES
        return ResolverFacts(servers, state, untrusted)

    def txt_from_wire(self, name: str, wire: bytes) -> DnsAnswer[bytes] | None:
        """Read an answer that adapters.dns.probe handed over; None if it is of no use."""
        return self._from_wire(name, TXT, wire)

    def a_from_wire(self, name: str, wire: bytes) -> DnsAnswer[str] | None:
        return self._from_wire(name, A, wire)

    def aaaa_from_wire(self, name: str, wire: bytes) -> DnsAnswer[str] | None:
        return self._from_wire(name, AAAA, wire)

    def _from_wire(self, name: str, rdtype: RecordType[T], wire: bytes) -> DnsAnswer[T] | None:
        try:
            answer = read_answer(wire, Question(name, rdtype))
        except (NoAnswer, DnsError):
            return None
        self._count_answer(rdtype, answer)
        return replace(answer, secure=False)  # which server gave it is not known here

    def _ask(self, name: str, rdtype: RecordType[T], spent: float = 0.0) -> DnsAnswer[T]:
        answer, server = self._hear(Question(name, rdtype), spent)
        return replace(answer, secure=answer.secure and self._nameservers.ad_counts(server))

    def _hear(self, question: Question[T], spent: float) -> tuple[DnsAnswer[T], str]:
        """Ask until a server answers; return its answer as it came, and the server. Raises: DnsError."""
        deadline = time.monotonic() + self._timeout - min(spent, self._timeout / 2)
        servers, failures = list(self._nameservers.in_order(dane=self._dane)), dict[str, NoAnswer]()
        patience = self._timeout / max(FIRST_TRY, len(servers))
        while servers and time.monotonic() < deadline:
            for server in servers.copy():
                try:
                    answer = self._hear_from(server, question, min(deadline, time.monotonic() + patience))
                except NoAnswer as failure:
                    failures[server] = failure
                    if failure.result is not DnsResult.TIMEOUT:
                        servers.remove(server)
                    if self._is_last_word(server, failure):
                        servers.clear()
                        break
                else:
                    self._count_answer(question.rdtype, answer)
                    return answer, server
            patience *= 2
        raise self._failure(question, failures)

    def _hear_from(self, server: str, question: Question[T], until: float) -> DnsAnswer[T]:
        """Ask one server, and remember whether it spoke. Raises: NoAnswer."""
        begun = time.monotonic()
        try:
            message = exchange(server, question.wire, until)
        except NoAnswer as failure:
            if not failure.result.answered:
                self._nameservers.silent(server, time.monotonic() - begun)
            if failure.result is DnsResult.TIMEOUT:
                raise NoAnswer(DnsResult.TIMEOUT, f"no answer within {self._timeout:g} s") from None
            raise
        self._nameservers.heard(server)
        return read_answer(message, question)

    def _is_last_word(self, server: str, failure: NoAnswer) -> bool:
        failed = failure.result in (DnsResult.SERVFAIL, DnsResult.BOGUS)
        return self._dane and failed and self._nameservers.ad_counts(server)

    def _failure(self, question: Question[T], failures: dict[str, NoAnswer]) -> DnsError:
        results = {failure.result for failure in failures.values()}
        result = next((each for each in DnsResult if each in results), DnsResult.TIMEOUT)
        self._count(question.rdtype.name, result)
        said = "; ".join(f"{failure} from {server}" for server, failure in failures.items())
        sentence = f"no {question.rdtype.name} answer for {question}: {said}"
        return DnsError(Fault(f"dns-{result}"), str(question), sentence)

    def _count_answer(self, rdtype: RecordType[T], answer: DnsAnswer[T]) -> None:
        if answer.records:
            self._count(rdtype.name, DnsResult.NOERROR)
        else:
            self._count(rdtype.name, DnsResult.NODATA if answer.exists else DnsResult.NXDOMAIN)
