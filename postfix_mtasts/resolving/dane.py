"""What DNS says of DANE for a domain's MX hosts (RFC 7672 sections 2.1 and 2.2).

Questions in their order, and which of them need not be asked; what the
answers mean together is core/dane.py's. It blocks, keeps nothing, and never
raises one of our errors: that DNS does not answer is a fact too.

An insecure MX set costs one query, a host with an insecure address no TLSA
query: name servers of unsigned zones are known to fail on those (2.2.2).
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TypeAlias, TypeVar

from ..core.dane import DaneFacts, DaneStatus, HostFacts, host_status
from ..core.dnsdata import DnsAnswer
from ..core.names import Domain
from ..core.ports import Dns
from ..errors import DnsError
from ..faults import Fault, Seen, clip

HOST_LIMIT = 16  # MX hosts asked about, by preference; a domain must not make us ask without end
NAME_LIMIT = 253  # characters of a domain name without its final dot

T = TypeVar("T")

Beside: TypeAlias = Callable[[Callable[[], None]], None]  # has a function run in another thread, soon or never


def in_a_thread(work: Callable[[], None]) -> None:
    """Have *work* run in a thread of its own, if there is one to be had."""
    with suppress(RuntimeError):  # no more threads: whoever asks goes on alone
        threading.Thread(target=work, daemon=True).start()


def nobody(work: Callable[[], None]) -> None:
    """A Beside without threads: hosts are asked about one after the other."""


def facts(
    domain: Domain,
    port: int,
    dns: Dns,
    *,
    beside: Beside = nobody,
    early: Callable[[DaneFacts], None] = lambda found: None,
) -> DaneFacts:
    """Ask for the MX set of *domain*, its hosts' addresses and their TLSA records at *port*.

    Args:
        beside: has a function run in another thread, soon or never. Hosts are asked about side by side in these.
        early: called once, if a host is usable while others are still being asked about, with what is known then.
            The verdict stands (core.dane.judge); what is returned in the end only names further hosts.

    At most 1 + 4 * HOST_LIMIT queries.
    """
    dns = dns.for_dane()
    reading = _Reading(port, dns)
    try:
        mx, seen, names = reading.mx(domain)
    except DnsError as error:
        mx, seen, names = DaneStatus.UNKNOWN, Seen(Fault.DANE_MX_UNKNOWN, domain, str(error)), ()
    return _Hosts(DaneFacts(mx, seen, (), reading.ttl), names, port, dns, early).read(beside)


class _Hosts:
    """The hosts of one MX set, asked about side by side: each thread that has time takes the next."""

    def __init__(
        self,
        facts: DaneFacts,
        names: Sequence[str],
        port: int,
        dns: Dns,
        early: Callable[[DaneFacts], None],
    ) -> None:
        self._facts, self._port, self._dns = facts, port, dns
        self._early: Callable[[DaneFacts], None] | None = early
        self._waiting = deque(enumerate(names))
        self._unread = len(names)
        self._found: dict[int, HostFacts] = {}
        self._ttl = facts.ttl
        self._bug: BaseException | None = None
        self._changed = threading.Condition()

    def read(self, beside: Beside) -> DaneFacts:
        """Ask about all hosts; a thread that never comes costs time only, since this one goes on without it."""
        for _ in range(self._unread - 1):
            beside(self._work)
        self._work()
        with self._changed:
            self._changed.wait_for(lambda: not self._unread)
            if self._bug is not None:
                raise self._bug
            return self._known()

    def _work(self) -> None:
        while True:
            with self._changed:
                if not self._waiting:
                    return
                number, name = self._waiting.popleft()
            reading = _Reading(self._port, self._dns)
            try:
                host = reading.host(name)
            except BaseException as error:  # noqa: BLE001 -- raised again in read()
                with self._changed:
                    self._bug, self._unread = error, 0
                    self._waiting.clear()
                    self._changed.notify()
                return
            with self._changed:
                self._take(number, host, reading.ttl)

    def _take(self, number: int, host: HostFacts, ttl: float) -> None:
        self._found[number] = host
        self._ttl = min(self._ttl, ttl)
        self._unread = max(0, self._unread - 1)
        if self._unread and host.state is DaneStatus.USABLE and self._early is not None:
            self._early(self._known())
            self._early = None
        self._changed.notify()

    def _known(self) -> DaneFacts:
        hosts = tuple(self._found[number] for number in sorted(self._found))
        return replace(self._facts, hosts=hosts, ttl=self._ttl, complete=not self._unread)


class _Reading:
    """The questions for one domain, and the smallest TTL seen. Each method raises DnsError unless it says otherwise."""

    def __init__(self, port: int, dns: Dns) -> None:
        self.port, self.dns = port, dns
        self.ttl = float("inf")

    def ask(self, question: Callable[[str], DnsAnswer[T]], name: str) -> DnsAnswer[T]:
        answer = question(name)
        self.ttl = min(self.ttl, answer.ttl)
        return answer

    def mx(self, domain: Domain) -> tuple[DaneStatus, Seen, Sequence[str]]:
        """Return what the MX set decides by itself, why, and the hosts to ask about where it decides nothing."""
        answer = self.ask(self.dns.mx, domain)
        if not answer.secure:
            return DaneStatus.UNUSABLE, Seen(Fault.DANE_MX_INSECURE, domain), ()
        if not answer.exists:
            return DaneStatus.UNUSABLE, Seen(Fault.DANE_NO_DOMAIN, domain), ()
        if not answer.records:
            return DaneStatus.USABLE, Seen(Fault.DANE_OWN_MX, domain), (domain,)
        ordered = sorted(answer.records, key=lambda mx: (mx.preference, mx.host))
        names = list(dict.fromkeys(mx.host for mx in ordered if mx.host))
        if not names:
            return DaneStatus.UNUSABLE, Seen(Fault.DANE_NULL_MX, domain), ()
        return DaneStatus.USABLE, Seen(Fault.DANE_MX_SECURE, domain), names[:HOST_LIMIT]

    def host(self, name: str) -> HostFacts:
        """Never raises."""
        try:
            bases, fault = self._bases(name)
            host = HostFacts(name, DaneStatus.UNUSABLE, Seen(fault, name))
            for base in bases:
                host = self._tlsa(name, base)
                if host.records:  # secure ones are final, usable or not (2.2.3); else the next base domain is asked
                    break
        except DnsError as error:
            return HostFacts(name, DaneStatus.UNKNOWN, error.seen)
        return host

    def _bases(self, name: str) -> tuple[Sequence[str], Fault]:
        """Return the TLSA base domains of a host in their order (2.2.2), or none and why."""
        address = self._address(name)
        if not address.records:
            return (), Fault.DANE_NO_ADDRESS
        if address.secure:
            return list(dict.fromkeys((address.name, name))), Fault.DANE_NO_TLSA
        if address.name == name:
            return (), Fault.DANE_ADDRESS_INSECURE
        alias = self.ask(self.dns.cname, name)
        if not alias.secure:
            return (), Fault.DANE_ALIAS_INSECURE
        if not alias.records:
            raise DnsError(Fault.DNS_CONTRADICTION, name)
        return (name,), Fault.DANE_NO_TLSA

    def _address(self, name: str) -> DnsAnswer[str]:
        """Return the A answer if it settles the host, by addresses or NXDOMAIN (RFC 8020), else the AAAA answer."""
        failure: DnsError | None = None
        try:
            answer = self.ask(self.dns.a, name)
            if answer.records or not answer.exists:
                return answer
        except DnsError as error:
            failure = error
        answer = self.ask(self.dns.aaaa, name)
        if failure is not None and not answer.records:
            raise failure
        return answer

    def _tlsa(self, host: str, base: str) -> HostFacts:
        """Return what the TLSA records at *base* say of *host*."""
        name = f"_{self.port}._tcp.{base}"
        if len(name) > NAME_LIMIT:
            return HostFacts(host, DaneStatus.UNUSABLE, Seen(Fault.DANE_NAME_TOO_LONG, clip(name)))
        answer = self.ask(self.dns.tlsa, name)
        if not answer.records:
            return HostFacts(host, DaneStatus.UNUSABLE, Seen(Fault.DANE_NO_TLSA, name))
        if not answer.secure:
            return HostFacts(host, DaneStatus.UNUSABLE, Seen(Fault.DANE_TLSA_INSECURE, name))
        return HostFacts(host, *host_status(name, answer.records), answer.records)
