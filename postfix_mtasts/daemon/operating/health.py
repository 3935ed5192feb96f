"""Whether the daemon is well: loop, refresher, store and workers, and whether resolvers and the proxy answer.

The watchdog looks at the loop and the refresher alone: a stuck disk, or DNS,
or the proxy, must not end a daemon that still answers. /healthz and `status` look at all.
"""

from __future__ import annotations

from collections.abc import Callable

from ...core.silence import Silence
from ..policies.refresher import Refresher
from ..policies.store_thread import StoreKeeper
from ..workers.pool import Pool
from ..workers.proxy import ProxyWatch

PATIENCE = 10.0  # seconds without a sign of life


class Health:
    def __init__(
        self,
        refresher: Refresher,
        store: StoreKeeper,
        silence: Silence,
        proxy: ProxyWatch,
        pool: Pool,
        monotonic: Callable[[], float],
    ) -> None:
        self._monotonic = monotonic
        self._refresher, self._store, self._pool = refresher, store, pool
        self._silence, self._proxy = silence, proxy

    def refresher_fault(self) -> str:
        """Why the refresher is not well, in a sentence; else empty."""
        still = self._monotonic() - self._refresher.moved_at
        return f"the refresher has not moved for {still:.0f} s" if still > PATIENCE else ""

    def store_fault(self) -> str:
        """Why the store is not well, in a sentence; else empty."""
        if not self._store.healthy:
            return f"the store cannot be used: {self._store.failure}"
        busy = self._store.busy_since
        still = self._monotonic() - busy if busy is not None else 0.0
        return f"the store has not moved for {still:.0f} s" if still > PATIENCE else ""

    def faults(self) -> list[str]:
        """Return what is not well, a sentence each. Called on the loop, which is well if this is answered."""
        return self.stuck() + self.silent()

    def silent(self) -> list[str]:
        """Return what is not well around the daemon, which does its work all the same."""
        found = [] if self._silence.up else [f"no DNS server has answered for {self._silence.seconds:.0f} s"]
        if self._proxy.up is False:
            found.append(f"no policy could be fetched for {self._proxy.seconds:.0f} s: {self._proxy.reason}")
        return found

    def stuck(self) -> list[str]:
        """Return what of the daemon itself does not move."""
        found = [self.refresher_fault(), self.store_fault()]
        if self._pool.fault:
            found.append(f"no worker process can be started: {self._pool.fault}")
        return [fault for fault in found if fault]
