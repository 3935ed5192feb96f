"""Tell once that fetch.proxy fails, and once that it works again: not for every domain that it keeps us from.

That the proxy refuses one policy host does not mean that it is away; it is
told on its own, each REFUSALS seconds at most. Who asks whether the proxy is up
hears of an outage once it has lasted DOWN_AFTER, as of resolvers (core.silence).
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from ...config.settings import FetchSettings
from ...core.names import Domain
from ...core.outcome import Failed, Found, Stage
from ...core.quoting import KV
from ...core.silence import DOWN_AFTER
from ...faults import Fault

log = logging.getLogger(__name__)

REFUSALS = 60.0  # seconds between two warnings


class ProxyWatch:
    """What became of fetches shows how the proxy is; lives on the event loop."""

    def __init__(self, settings: FetchSettings, monotonic: Callable[[], float]) -> None:
        self._monotonic, self._refused_at = monotonic, float("-inf")
        self.configure(settings)

    def configure(self, settings: FetchSettings) -> None:
        """Watch the proxy of *settings*, of which nothing is known yet."""
        self.wanted = settings.proxy is not None
        self.reason = ""  # why the last fetch did not get through, in a sentence; empty if it did
        self._first = self._last = 0.0  # when the first and the last in a row did not

    @property
    def seconds(self) -> float:
        """How long no fetch has got through; 0 while any does."""
        return self._last - self._first if self.reason else 0.0

    @property
    def up(self) -> bool | None:
        """Whether fetches get through, as far as anybody tried; None: there is no proxy."""
        return self.seconds < DOWN_AFTER if self.wanted else None

    def note(self, domain: Domain, outcome: object) -> None:
        """Take in what a discovery of *domain* ended in."""
        if not self.wanted:
            return
        if isinstance(outcome, Failed) and outcome.ours:
            if outcome.seen.fault is Fault.PROXY_DENIED:
                self._answered()
                self._refused(domain, outcome.reason)
            else:
                self._failed(outcome.reason)
        elif isinstance(outcome, Found) or (isinstance(outcome, Failed) and _came_through(outcome)):
            self._answered()

    def _failed(self, reason: str) -> None:
        self._last = self._monotonic()
        if not self.reason:
            self._first = self._last
            log.warning("proxy-away %s", KV(reason=reason))
        self.reason = reason

    def _answered(self) -> None:
        if self.reason:
            log.info("proxy-back %s", KV(away_s=round(self._monotonic() - self._first)))
            self.reason = ""

    def _refused(self, domain: Domain, reason: str) -> None:
        now = self._monotonic()
        if now >= self._refused_at + REFUSALS:
            self._refused_at = now
            log.warning("proxy-refuses %s", KV(domain=domain, reason=reason))


def _came_through(failed: Failed) -> bool:
    """Whether the proxy answered: then what failed lay behind it."""
    return failed.seen.fault is Fault.UNREACHED or failed.stage in (Stage.TLS, Stage.HTTP, Stage.POLICY)
