"""What operators ask of the keeper: a request object in, answer objects out.

    {"do": "list"}                                {"domain": D, "mode": M, ...} each
    {"do": "show", "domain": D, "port": 25}       one object, or none; DANE is that of the port
    {"do": "stats"}                               one object
    {"do": "status"}                              one object, of a daemon only (status.py)
    {"do": "fetch", "domains": [D, ...], "again": true or false}
                                                  {"domain": D, "result": R, "reason": TEXT} each, as they land
    {"do": "forget", "domains": [D, ...]}         {"domain": D, "result": "forgotten" or "unknown"} each
    {"do": "export"}                              {"domain", "record_id", "fetched_at", "used_at", "policy"} each
    {"do": "import", "rows": [ROW, ...]}          {"result": "taken", "kept" or "refused", "reason": TEXT} each

The same for a daemon's control socket and for a command that holds the store
itself. Raises: InputError for a request that is none of these.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from ... import __version__
from ...adapters.store.rows import VERSION, decode
from ...config.settings import MapSettings
from ...core import entry as rules
from ...core.answering import of_policy
from ...core.dane import Freshness, freshness
from ...core.names import Domain, parse_domain
from ...core.policy import Mode
from ...core.quoting import LIMIT
from ...core.reply import answer_text, reply_text
from ...core.verdict import Kind, Verdict
from ...errors import DomainError, InputError
from ..counters import Counts
from ..policies.held import Held
from ..policies.keeper import Keeper
from .status import Running, overview
from .survey import in_turns, survey

AT_ONCE = 32  # fetches of one request under way
SMTP = 25
LOADING = 0.05  # seconds between two looks whether the store is loaded

Answer = dict[str, Any]


class Operations:
    def __init__(self, keeper: Keeper, counts: Counts) -> None:
        self._keeper, self._counts = keeper, counts
        self.maps: Mapping[str, MapSettings] = {}
        self.running: Callable[[], Running] | None = None  # only a daemon runs
        self._began = time.monotonic()

    def configure(self, maps: Mapping[str, MapSettings]) -> None:
        """Show the answers on *maps* from now on."""
        self.maps = maps

    async def answers(self, request: dict[str, Any]) -> AsyncIterator[Answer]:
        """What comes of *request*, once all that is stored is known."""
        kinds = {
            "list": self._list,
            "show": self._show,
            "stats": self._stats,
            "status": self._status,
            "fetch": self._fetch,
            "forget": self._forget,
            "export": self._export,
            "import": self._import,
        }
        kind = kinds.get(str(request.get("do")))
        if kind is None:
            raise InputError(f"no such request; there are {', '.join(kinds)}")
        while not self._keeper.loaded and kind != self._status:  # which says so
            await asyncio.sleep(LOADING)
        async for answer in kind(request):
            yield answer

    async def _list(self, request: dict[str, Any]) -> AsyncIterator[Answer]:
        async for held in in_turns(list(self._keeper.held.values())):
            yield self._row(held)

    def _row(self, held: Held) -> Answer:
        entry, trouble = held.entry, held.trouble
        return {
            "domain": entry.domain,
            "mode": entry.policy.mode,
            "age": self._keeper.upkeep.wall() - entry.fetched_at,
            "left": self._keeper.upkeep.expires_in(held),
            "mx": list(entry.policy.mx),
            "failures": trouble.failures if trouble is not None else 0,
        }

    async def _show(self, request: dict[str, Any]) -> AsyncIterator[Answer]:
        domain, port = _domain(request.get("domain")), request.get("port", SMTP)
        if not isinstance(port, int):
            raise InputError("a port is a number")
        held, negative = self._keeper.held.get(domain), self._keeper.negatives.get(domain)
        if held is not None:
            verdicts = {name: self._verdict(domain, port, held, options) for name, options in self.maps.items()}
            yield self._shown(domain, port, held) | self._answers(domain, verdicts)
        elif negative is not None:
            left = negative.until - self._keeper.upkeep.monotonic()
            verdict = negative.verdict if left > 0 else "none: this is over, the next lookup asks again"
            until = self._keeper.upkeep.wall() + left
            shown = {"domain": domain, "reason": negative.verdict.reason, "until": until, "left": left}
            yield shown | self._answers(domain, dict.fromkeys(self.maps, verdict))

    def _shown(self, domain: Domain, port: int, held: Held) -> Answer:
        upkeep, entry, trouble = self._keeper.upkeep, held.entry, held.trouble
        wall, now = upkeep.wall(), upkeep.monotonic()
        dane = self._keeper.dane.reading(domain, port)
        return self._row(held) | {
            "record_id": entry.record_id,
            "policy": entry.policy.text,
            "fetched_at": entry.fetched_at,
            "used_at": entry.used_at,
            "checked_at": wall - (now - held.checked_at),
            "expires_at": wall + upkeep.expires_in(held),
            "next_due_at": wall + (held.due_at - now) if held.due_at < float("inf") else None,
            "failure": f"{trouble.result_type}: {trouble.reason}"[:LIMIT] if trouble is not None else None,
            "dane": f"{dane.status}: {dane.reason}" if dane is not None else None,
        }

    def _verdict(self, domain: Domain, port: int, held: Held, options: MapSettings) -> Verdict | str:
        """What a map tells now, or why that is not known: nothing is asked of the network for it."""
        left, policy = self._keeper.upkeep.expires_in(held), held.entry.policy
        if left <= 0:
            return "none: the policy has ended, the next lookup fetches it again"
        dane = None
        if options.dane and policy.mode is Mode.ENFORCE:
            reading = self._keeper.dane.reading(domain, port)
            if reading is None or freshness(reading, self._keeper.upkeep.monotonic()) is Freshness.GONE:
                return "not known before a lookup has read the DANE status"
            dane = reading.status, reading.reason
        return of_policy(policy, left, dane)

    def _answers(self, domain: Domain, verdicts: Mapping[str, Verdict | str]) -> Answer:
        """Each map's answer in words, and its reply as Postfix gets it, null where that is not known."""
        answers, replies = {}, {}
        for name, verdict in verdicts.items():
            tlsrpt = self.maps[name].tlsrpt
            answers[name] = _words(verdict, domain, tlsrpt)
            replies[name] = reply_text(verdict, domain, tlsrpt) if isinstance(verdict, Verdict) else None
        return {"answers": answers, "replies": replies}

    async def _stats(self, request: dict[str, Any]) -> AsyncIterator[Answer]:
        ends: list[float] = []
        policies = await survey(self._keeper, lambda held, left: ends.append(left))
        lookups = self._counts.all_lookups()
        yield {
            "version": __version__,
            "uptime": time.monotonic() - self._began,
            "policies": {mode: number for mode, number in policies.modes.items() if number},
            "negatives": len(self._keeper.negatives),
            "lookups": {f"{name} {answer}": number for (name, answer), number in lookups.items()},
            "fetches": dict(self._counts.fetches),
            "nearest_expiry": min(ends, default=None),
        }

    async def _status(self, request: dict[str, Any]) -> AsyncIterator[Answer]:
        if self.running is None:
            raise InputError("no daemon runs")
        yield await overview(self._keeper, self._counts, time.monotonic() - self._began, self.running())

    async def _fetch(self, request: dict[str, Any]) -> AsyncIterator[Answer]:
        """Each domain fetched, AT_ONCE at a time; without "again" only those of which nothing is known."""
        waiting = [_domain(domain) for domain in reversed(_list_of(request, "domains"))]
        again = request.get("again") is True
        landed: asyncio.Queue[Domain] = asyncio.Queue()
        under_way = 0
        while waiting or under_way:
            while waiting and under_way < AT_ONCE:
                domain = waiting.pop()
                held = self._keeper.held.get(domain)
                if not again and held is not None and self._keeper.upkeep.expires_in(held) > 0:
                    yield {"domain": domain, "result": "known", "reason": f"mode {held.entry.policy.mode}"}
                    continue
                under_way += 1
                self._keeper.refresh(domain, lambda domain=domain: landed.put_nowait(domain))  # type: ignore[misc]
            if under_way:
                domain = await landed.get()
                under_way -= 1
                yield self._landed(domain)

    def _landed(self, domain: Domain) -> Answer:
        held, negative = self._keeper.held.get(domain), self._keeper.negatives.get(domain)
        if held is None or self._keeper.upkeep.expires_in(held) <= 0:
            reason = negative.verdict.reason if negative is not None else "no policy"
            failed = negative is not None and negative.failed_at is not None
            return {"domain": domain, "result": "failed" if failed else "none", "reason": reason}
        if held.trouble is not None:
            return {"domain": domain, "result": "failed", "reason": f"{held.trouble.reason}; the old policy stays"}
        return {"domain": domain, "result": "fetched", "reason": f"mode {held.entry.policy.mode}"}

    async def _forget(self, request: dict[str, Any]) -> AsyncIterator[Answer]:
        for domain in map(_domain, _list_of(request, "domains")):
            yield {"domain": domain, "result": "forgotten" if self._keeper.forget(domain) else "unknown"}

    async def _export(self, request: dict[str, Any]) -> AsyncIterator[Answer]:
        async for entry in in_turns(list(self._keeper.contents())):
            yield {
                "domain": entry.domain,
                "record_id": entry.record_id,
                "fetched_at": entry.fetched_at,
                "used_at": entry.used_at,
                "policy": entry.policy.text,
            }

    async def _import(self, request: dict[str, Any]) -> AsyncIterator[Answer]:
        for result, reason in await asyncio.gather(*map(self._judged, _list_of(request, "rows"))):
            yield {"result": result, "reason": reason}

    async def _judged(self, row: object) -> tuple[str, str]:
        try:
            return await self._import_row(row)
        except InputError as error:
            return "refused", str(error)

    async def _import_row(self, row: object) -> tuple[str, str]:
        if not isinstance(row, dict):
            raise InputError("not a JSON object")
        names = {"id": "record_id", "fetched": "fetched_at", "used": "used_at", "policy": "policy"}
        text = json.dumps({"v": VERSION} | {ours: row.get(theirs) for ours, theirs in names.items()})
        upkeep = self._keeper.upkeep
        entry = rules.clamped(decode(str(row.get("domain")), text), upkeep.wall())
        if not rules.in_force(entry, upkeep.wall(), upkeep.timing):
            raise InputError("the policy has ended")
        told: asyncio.Queue[bool] = asyncio.Queue()
        self._keeper.take_imported(entry, told.put_nowait)
        return ("taken", "") if await told.get() else ("kept", "a fetch as new is held")


def _words(verdict: Verdict | str, domain: Domain, tlsrpt: bool) -> str:
    if isinstance(verdict, str):
        return verdict
    if verdict.kind is Kind.NOTFOUND:
        return f"NOTFOUND ({verdict.reason})"
    return answer_text(verdict, domain, tlsrpt)


def _domain(value: object) -> Domain:
    if not isinstance(value, str):
        raise DomainError("a domain is text")
    return parse_domain(value)


def _list_of(request: dict[str, Any], key: str) -> list[Any]:
    value = request.get(key)
    if not isinstance(value, list):
        raise InputError(f"{key} is not a list")
    return value
