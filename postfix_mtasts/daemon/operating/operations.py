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
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import asdict
from typing import Any

from ...adapters.store.rows import VERSION, decode
from ...config.settings import MapSettings
from ...core.answering import of_policy
from ...core.names import Domain, parse_domain
from ...core.outcome import Absent, DnsFailed, Failed, Found, OwnFault, Unchanged
from ...core.policy import Mode
from ...core.ports import Clock
from ...core.quoting import LIMIT
from ...core.reply import answer_text, reply_text
from ...core.verdict import Kind, Verdict
from ...errors import DomainError, InputError
from ..counters import Counts
from ..policies.finder import Ending
from ..policies.keeper import Keeper
from ..policies.known import Holding
from .numbers import Numbers
from .status import overview
from .survey import ALONE, Running, gather, in_turns

AT_ONCE = 32  # fetches of one request under way
SMTP = 25
LOADING = 0.05  # seconds between two looks whether the store is loaded

Answer = dict[str, Any]


class Operations:
    def __init__(self, keeper: Keeper, counts: Counts, clock: Clock) -> None:
        self._clock = clock
        self._keeper, self._known, self._counts = keeper, keeper.known, counts
        self.maps: Mapping[str, MapSettings] = {}
        self.running: Callable[[], Running] | None = None  # only a daemon runs
        self._began = self._clock.monotonic()

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
        while not self._known.loaded and kind != self._status:  # which says so
            await asyncio.sleep(LOADING)
        async for answer in kind(request):
            yield answer

    async def _list(self, request: dict[str, Any]) -> AsyncIterator[Answer]:
        async for holding in in_turns(self._known.holdings()):
            yield self._row(holding)

    def _row(self, holding: Holding) -> Answer:
        entry, trouble = holding.entry, holding.trouble
        return {
            "domain": entry.domain,
            "mode": entry.policy.mode,
            "age": holding.age,
            "left": holding.left,
            "mx": list(entry.policy.mx),
            "failures": trouble.failures if trouble is not None else 0,
        }

    async def _show(self, request: dict[str, Any]) -> AsyncIterator[Answer]:
        domain, port = _domain(request.get("domain")), request.get("port", SMTP)
        if not isinstance(port, int):
            raise InputError("a port is a number")
        holding, negative = self._known.holding(domain), self._known.negative(domain)
        if holding is not None:
            verdicts = {name: self._verdict(domain, port, holding, options) for name, options in self.maps.items()}
            yield self._shown(domain, port, holding) | self._answers(domain, verdicts)
        elif negative is not None:
            verdict = negative.verdict if negative.left > 0 else "none: this has expired, the next lookup asks again"
            shown = {
                "domain": domain,
                "reason": negative.verdict.reason,
                "until": negative.until,
                "left": negative.left,
            }
            yield shown | self._answers(domain, dict.fromkeys(self.maps, verdict))

    def _shown(self, domain: Domain, port: int, holding: Holding) -> Answer:
        entry, trouble, dane = holding.entry, holding.trouble, self._known.dane(domain, port)
        return self._row(holding) | {
            "record_id": entry.record_id,
            "policy": entry.policy.text,
            "fetched_at": entry.fetched_at,
            "used_at": entry.used_at,
            "checked_at": holding.checked_at,
            "expires_at": holding.expires_at,
            "next_due_at": holding.next_due_at,
            "failure": f"{trouble.result_type}: {trouble.reason}"[:LIMIT] if trouble is not None else None,
            "dane": f"{dane.status}: {dane.reason}" if dane is not None else None,
        }

    def _verdict(self, domain: Domain, port: int, holding: Holding, options: MapSettings) -> Verdict | str:
        """What a map tells now, or why that is not known: nothing is asked of the network for it."""
        policy = holding.entry.policy
        if holding.left <= 0:
            return "none: the policy has expired, the next lookup fetches it again"
        dane = None
        if options.dane and policy.mode is Mode.ENFORCE:
            reading = self._known.serving_dane(domain, port)
            if reading is None:
                return "not known before a lookup has read the DANE status"
            dane = reading.status, reading.reason
        return of_policy(policy, holding.left, dane)

    def _answers(self, domain: Domain, verdicts: Mapping[str, Verdict | str]) -> Answer:
        """Each map's answer in words, and its reply as Postfix gets it, null where that is not known."""
        answers, replies = {}, {}
        for name, verdict in verdicts.items():
            tlsrpt = self.maps[name].tlsrpt
            answers[name] = _words(verdict, domain, tlsrpt)
            replies[name] = reply_text(verdict, domain, tlsrpt) if isinstance(verdict, Verdict) else None
        return {"answers": answers, "replies": replies}

    async def _stats(self, request: dict[str, Any]) -> AsyncIterator[Answer]:
        yield {"uptime": self._clock.monotonic() - self._began} | asdict(await self.numbers())

    async def numbers(self) -> Numbers:
        """What is counted, as it is now."""
        return await gather(self._known, self._counts, self.running() if self.running is not None else ALONE)

    async def _status(self, request: dict[str, Any]) -> AsyncIterator[Answer]:
        if self.running is None:
            raise InputError("no daemon runs")
        uptime = self._clock.monotonic() - self._began
        yield await overview(self._known, self._counts, self._clock.wall(), uptime, self.running())

    async def _fetch(self, request: dict[str, Any]) -> AsyncIterator[Answer]:
        """Each domain fetched, AT_ONCE at a time; without "again" only those of which nothing is known."""
        waiting = [_domain(domain) for domain in reversed(_list_of(request, "domains"))]
        again = request.get("again") is True
        under_way: dict[asyncio.Task[Ending], Domain] = {}
        while waiting or under_way:
            while waiting and len(under_way) < AT_ONCE:
                domain = waiting.pop()
                holding = self._known.holding(domain)
                if not again and holding is not None and holding.left > 0:
                    yield {"domain": domain, "result": "known", "reason": f"mode {holding.entry.policy.mode}"}
                    continue
                under_way[self._keeper.refresh(domain)] = domain
            if under_way:
                ended, _ = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
                for task in ended:
                    yield self._landed(under_way.pop(task), task.result())

    def _landed(self, domain: Domain, outcome: Ending) -> Answer:
        """How a fetch ended."""
        holding = self._known.holding(domain)
        in_force = holding is not None and holding.left > 0
        match outcome:
            case Found():
                return {"domain": domain, "result": "fetched", "reason": f"mode {outcome.policy.mode}"}
            case Failed() | DnsFailed() | OwnFault():
                reason = f"{outcome.reason}; the old policy stays" if in_force else _reason(outcome)
                return {"domain": domain, "result": "failed", "reason": reason}
            case Absent():
                return {"domain": domain, "result": "none", "reason": outcome.reason}
            case Unchanged():  # the daemon ends, and had no more time to fetch
                return {"domain": domain, "result": "failed", "reason": "not fetched again"}

    async def _forget(self, request: dict[str, Any]) -> AsyncIterator[Answer]:
        for domain in map(_domain, _list_of(request, "domains")):
            known, _ = self._keeper.forget(domain)
            yield {"domain": domain, "result": "forgotten" if known else "unknown"}

    async def _export(self, request: dict[str, Any]) -> AsyncIterator[Answer]:
        async for entry in in_turns(self._known.contents()):
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
        entry = self._known.judged(decode(str(row.get("domain")), text))
        if entry is None:
            raise InputError("the policy has expired")
        return ("taken", "") if await self._keeper.import_entry(entry) else ("kept", "a fetch as new is held")


def _words(verdict: Verdict | str, domain: Domain, tlsrpt: bool) -> str:
    if isinstance(verdict, str):
        return verdict
    if verdict.kind is Kind.NOTFOUND:
        return f"NOTFOUND ({verdict.reason})"
    return answer_text(verdict, domain, tlsrpt)


def _reason(failure: Failed | DnsFailed | OwnFault) -> str:
    return f"{failure.result_type}: {failure.reason}" if isinstance(failure, Failed) else failure.reason


def _domain(value: object) -> Domain:
    if not isinstance(value, str):
        raise DomainError("a domain is text")
    return parse_domain(value)


def _list_of(request: dict[str, Any], key: str) -> list[Any]:
    value = request.get(key)
    if not isinstance(value, list):
        raise InputError(f"{key} is not a list")
    return value
