"""Turn a request into its reply: map, key, verdict, text.

Only this module puts replies into the reply cache. Everything here costs
microseconds; what has to wait for the network waits in the keeper.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Mapping

from ...config.settings import MapSettings
from ...core import netstring, socketmap
from ...core.names import Domain, NextHop, NoDomain, parse_key
from ...core.quoting import KV
from ...core.reply import reply_frame
from ...core.verdict import Kind, Verdict
from ..counters import Counts
from ..policies.keeper import Keeper
from .reply_cache import ReplyCache

log = logging.getLogger(__name__)

NO_MAP = "no-map"  # label for requests on maps that are not configured: the name they give could be any text


class Handler:
    def __init__(self, keeper: Keeper, reply_cache: ReplyCache, counts: Counts, monotonic: Callable[[], float]) -> None:
        self._keeper, self._reply_cache, self._counts, self._monotonic = keeper, reply_cache, counts, monotonic
        self.maps: Mapping[str, MapSettings] = {}

    def configure(self, maps: Mapping[str, MapSettings]) -> None:
        """Answer requests on *maps* from now on."""
        self.maps = maps

    def answer(self, payload: bytes, later: Callable[[bytes], None]) -> bytes | None:
        """Return the reply frame, or None and call *later* with it once it is known. Never raises."""
        try:
            return self._answer(payload, later)
        except Exception:  # noqa: BLE001 -- _failed logs it
            return self._failed(payload)

    def _answer(self, payload: bytes, later: Callable[[bytes], None]) -> bytes | None:
        request = socketmap.parse_request(payload)
        settings = self.maps.get(request.map) if request is not None else None
        if request is None or settings is None:
            what = "the request names no map" if request is None else f"no map {request.map[:60]!r} is configured"
            self._counts.lookups(NO_MAP, Kind.PERM)[0] += 1
            return socketmap.perm(f"{what}; configured are {', '.join(self.maps)}")
        hop = parse_key(request.key)
        if isinstance(hop, NoDomain):
            nothing = Verdict(Kind.NOTFOUND, hop.reason, float("inf"))
            return self._reply(payload, request.map, settings, Domain(""), nothing)
        begun = self._monotonic()

        def told(found: Verdict) -> None:
            self._counts.cold(self._monotonic() - begun)
            try:
                reply = self._reply(payload, request.map, settings, hop.domain, found)
            except Exception:  # noqa: BLE001 -- _failed logs it
                reply = self._failed(payload)
            later(reply)

        verdict = self._keeper.lookup(hop, settings.dane, told)
        if verdict is None:
            return None
        return self._reply(payload, request.map, settings, hop.domain, verdict)

    def _failed(self, payload: bytes) -> bytes:
        """Answer despite a bug of ours: TEMP if an enforced policy is held, else NOTFOUND, so that mail goes on."""
        domain = None
        with contextlib.suppress(Exception):  # the same error may come again
            request = socketmap.parse_request(payload)
            hop = parse_key(request.key) if request is not None else None
            domain = hop.domain if isinstance(hop, NextHop) else None
        verdict = self._keeper.failed_to_answer(domain)
        return socketmap.temp(verdict.reason) if verdict.kind is Kind.TEMP else socketmap.notfound()

    def _reply(self, payload: bytes, map_name: str, settings: MapSettings, domain: Domain, verdict: Verdict) -> bytes:
        reply = reply_frame(verdict, domain, settings.tlsrpt)
        counter = self._counts.lookups(map_name, verdict.kind)
        counter[0] += 1
        if log.isEnabledFor(logging.DEBUG):
            log.debug("lookup %s", KV(map=map_name, domain=domain, answer=verdict.kind, reason=verdict.reason))
        if self.maps.get(map_name) is settings:  # else there was a reload while the lookup was under way
            self._reply_cache.add(netstring.encode(payload), reply, counter, verdict.lasts)
        return reply
