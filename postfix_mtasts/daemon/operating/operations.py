"""What operators ask of the keeper: a request of messages.py in, its answers out.

The same for a daemon's control socket and for a command that holds the store
itself.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, TypeVar

from ...adapters.store.rows import VERSION, decode
from ...config.settings import MapSettings
from ...core.names import Domain
from ...core.outcome import Absent, DnsFailed, Failed, Found, OwnFault, Unchanged
from ...core.ports import Clock
from ...errors import InputError, StoreError
from ..counters import Counts
from ..policies.intake import Ending
from ..policies.keeper import Keeper
from . import messages as m
from . import showing
from .numbers import Numbers
from .status import overview
from .survey import ALONE, Running, gather, in_turns

AT_ONCE = 32  # fetches of one request under way
LOADING = 0.05  # seconds between two looks whether the store is loaded
DISK_WAIT = 30.0  # seconds for the store to forget

A = TypeVar("A")


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

    async def answers(self, request: m.Request[A]) -> AsyncIterator[A]:
        """Yield what comes of *request*, once all that is stored is known. Raises: InputError."""
        while not self._known.loaded and not isinstance(request, m.Status):  # which says so
            await asyncio.sleep(LOADING)
        answers: AsyncIterator[Any] = self._begin(request)
        async for answer in answers:
            yield answer

    def _begin(self, request: m.Request[Any]) -> AsyncIterator[Any]:
        match request:
            case m.List():
                return self._list()
            case m.Show():
                return self._show(request)
            case m.Stats():
                return self._stats()
            case m.Status():
                return self._status()
            case m.Fetch():
                return self._fetch(request)
            case m.Forget():
                return self._forget(request)
            case m.Export():
                return self._export()
            case m.Import():
                return self._import(request)
        raise InputError(f"no such request: {type(request).__name__}")

    # -- looking ------------------------------------------------------------------

    async def numbers(self) -> Numbers:
        """Return what is counted, as it is now."""
        return await gather(self._known, self._counts, self.running() if self.running is not None else ALONE)

    async def _list(self) -> AsyncIterator[m.Row]:
        async for holding in in_turns(self._known.holdings()):
            yield showing.row(holding)

    async def _show(self, request: m.Show) -> AsyncIterator[m.ShownPolicy | m.ShownNegative]:
        shown = showing.show(self._known, self.maps, request.domain, request.port)
        if shown is not None:
            yield shown

    async def _stats(self) -> AsyncIterator[m.StatsShown]:
        yield m.StatsShown(self._clock.monotonic() - self._began, await self.numbers())

    async def _status(self) -> AsyncIterator[m.StatusShown]:
        if self.running is None:
            raise InputError("no daemon runs")
        uptime = self._clock.monotonic() - self._began
        yield await overview(self._known, self._counts, self._clock.wall(), uptime, self.running())

    async def _export(self) -> AsyncIterator[m.Exported]:
        async for entry in in_turns(self._known.contents()):
            yield showing.exported(entry)

    # -- steering -----------------------------------------------------------------

    async def _fetch(self, request: m.Fetch) -> AsyncIterator[m.Fetched]:
        """Fetch AT_ONCE domains at a time, and without `again` only those of which nothing is known."""
        waiting = request.domains[::-1]
        under_way: dict[asyncio.Task[Ending], Domain] = {}
        while waiting or under_way:
            while waiting and len(under_way) < AT_ONCE:
                domain = waiting.pop()
                holding = self._known.holding(domain)
                if not request.again and holding is not None and holding.left > 0:
                    yield m.Fetched(domain, "known", f"mode {holding.entry.policy.mode}")
                    continue
                under_way[self._keeper.refresh(domain, request.local)] = domain
            if under_way:
                ended, _ = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
                for task in ended:
                    yield self._landed(under_way.pop(task), task.result())

    def _landed(self, domain: Domain, outcome: Ending) -> m.Fetched:
        """Tell how a fetch ended."""
        holding = self._known.holding(domain)
        in_force = holding is not None and holding.left > 0
        match outcome:
            case Found():
                return m.Fetched(domain, "fetched", f"mode {outcome.policy.mode}")
            case Failed() | DnsFailed() | OwnFault():
                reason = f"{outcome.reason}; the old policy stays" if in_force else _reason(outcome)
                return m.Fetched(domain, "failed", reason)
            case Absent():
                return m.Fetched(domain, "none", outcome.reason)
            case Unchanged():  # the daemon ends, and had no more time to fetch
                return m.Fetched(domain, "failed", "not fetched again")

    async def _forget(self, request: m.Forget) -> AsyncIterator[m.Forgotten]:
        """Say that a domain is forgotten only once it is gone from the disk: else a restart would remember it."""
        forgotten = [(domain, *self._keeper.forget(domain)) for domain in request.domains]
        for domain, known, deleted in forgotten:
            try:
                async with asyncio.timeout(DISK_WAIT):
                    await asyncio.shield(deleted)
            except TimeoutError:
                yield m.Forgotten(domain, "failed", "forgotten in memory, but the disk does not answer")
            except StoreError as error:
                yield m.Forgotten(domain, "failed", f"forgotten in memory, but not on the disk yet: {error}")
            else:
                untold = "" if request.local else await self._keeper.tell_forgotten(domain)
                if untold:
                    yield m.Forgotten(domain, "failed", f"forgotten here; others are told later: {untold}")
                else:
                    yield m.Forgotten(domain, "forgotten" if known else "unknown")

    async def _import(self, request: m.Import) -> AsyncIterator[m.Imported]:
        for imported in await asyncio.gather(*map(self._judged, request.rows)):
            yield imported

    async def _judged(self, row: object) -> m.Imported:
        try:
            return await self._import_row(row)
        except InputError as error:
            return m.Imported("refused", str(error))

    async def _import_row(self, row: object) -> m.Imported:
        """Raises: InputError."""
        if not isinstance(row, dict):
            raise InputError("not a JSON object")
        names = {"id": "record_id", "fetched": "fetched_at", "used": "used_at", "policy": "policy"}
        text = json.dumps({"v": VERSION} | {ours: row.get(theirs) for ours, theirs in names.items()})
        entry = self._known.judged(decode(str(row.get("domain")), text))
        if entry is None:
            raise InputError("the policy has expired")
        if await self._keeper.import_entry(entry):
            return m.Imported("taken", "")
        return m.Imported("kept", "a fetch as new is held")


def _reason(failure: Failed | DnsFailed | OwnFault) -> str:
    return f"{failure.result_type}: {failure.reason}" if isinstance(failure, Failed) else failure.reason
