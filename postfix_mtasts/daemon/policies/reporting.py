"""Failed policy fetches, told to a TLSRPT collector: Postfix sees handshakes, we see what came before.

Once for each domain, kind of failure and failure_ttl, and only for domains
that ask for reports. A collector that is away costs a count.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from ...adapters import collector
from ...config.settings import Settings
from ...core import tlsrpt
from ...core.entry import Entry
from ...core.names import Domain
from ...core.outcome import Failed, OwnFault
from ...core.ports import Resolver
from ..counters import Counts

REMEMBERED = 10_000  # domains and failures reported lately; beyond that the oldest may be reported again


class Reporter:
    def __init__(self, settings: Settings, resolver: Resolver, counts: Counts, monotonic: Callable[[], float]) -> None:
        self._resolver, self._counts, self._monotonic = resolver, counts, monotonic
        self._reported: OrderedDict[tuple[Domain, str], float] = OrderedDict()
        self.configure(settings)

    def configure(self, settings: Settings) -> None:
        """Report to tlsrpt.socket from now on, or nowhere."""
        self._path, self._pause = settings.tlsrpt.socket, settings.lookup.failure_ttl

    def report(self, failed: Failed, held: Entry | None, domain: Domain) -> None:
        """Report a failed fetch; *held* is the policy that stays in force, if there is one."""
        if self._path is None:
            return
        key, now = (domain, str(failed.result_type)), self._monotonic()
        if now < self._reported.get(key, float("-inf")) + self._pause:
            return
        self._reported[key] = now
        self._reported.move_to_end(key)
        if len(self._reported) > REMEMBERED:
            self._reported.popitem(last=False)
        policy = held.policy if held is not None else None

        def told(record: str | OwnFault | None) -> None:
            if isinstance(record, str) and self._path is not None:
                sent = tlsrpt.datagram(domain, record, policy, failed.result_type, failed.seen.to_strangers())
                self._counts.reports["sent" if collector.send(self._path, sent) else "unsent"] += 1

        self._resolver.tlsrpt(domain, told)
