"""What comes from other daemons and goes to them, as the event loop sees it (SharedLink has the threads).

Rule 1: nothing here is waited for by who asks for a held policy. A first
        lookup waits for shared.timeout at most.
Rule 2: while the shared store is away, each daemon works as if it were
        alone: nothing is asked, every lease is granted, and what was not
        offered is found by the next reconciliation.
Rule 3: a row is believed after its checks alone. A bad one is counted, and
        told of once in lookup.failure_ttl.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from ...config.settings import Settings, SharedSettings
from ...core import entry as rules
from ...core.entry import Entry, Timing
from ...core.names import Domain
from ...core.ports import BadRow, Clock, Lease, Shared, SharedRow, Withdrawn
from ...core.quoting import KV
from ...errors import SharedError
from ..counters import Counts
from .shared_link import Row, SharedLink

log = logging.getLogger(__name__)

KEPT = rules.DAY  # seconds that the shared store keeps a row whose policy has ended
WITHDRAWN_KEPT = 7 * rules.DAY  # seconds that a daemon may be away and still hear what was forgotten
LOADING = 0.05  # seconds between two looks whether the local store is loaded
ANSWER = 5.0  # seconds that an operator waits for the others to be told

T = TypeVar("T")
Open = Callable[[SharedSettings], Shared]


@dataclass(frozen=True, slots=True)
class Member:
    """The daemon's part of the fleet: what it does with what comes, and what it has."""

    receive: Callable[[Entry], Awaitable[bool]]  # store and hold a policy; whether it is newer
    withdraw: Callable[[Withdrawn], None]  # forget what was fetched no later
    contents: Callable[[], Iterator[Entry]]  # all that is held
    loaded: Callable[[], bool]  # all that is stored is held


class Fleet:
    """Lives on the event loop; without shared.url it does nothing."""

    def __init__(self, open_shared: Open, clock: Clock, counts: Counts) -> None:
        self._open, self._clock, self._counts = open_shared, clock, counts
        self._settings, self._timing = SharedSettings(), Timing(0.0, 0.0, 0.0)
        self._member: Member | None = None
        self._link: SharedLink | None = None
        self._withdrawn: dict[Domain, float] = {}  # what the others have not been told yet
        self._refused_at = float("-inf")
        self._warned = False
        self.reason = ""  # why the shared store is away
        self.up = False

    @property
    def wanted(self) -> bool:
        """Whether there is to be a shared store."""
        return self._settings.url is not None

    def start(self, settings: Settings, member: Member) -> None:
        """Begin to take part, if a shared store is configured."""
        self._member = member
        self.configure(settings)

    def configure(self, settings: Settings) -> None:
        """Go by *settings*; with another shared store, or key, begin anew."""
        self._timing = Timing(settings.refresh.recheck, settings.refresh.interval, settings.lookup.failure_ttl)
        if settings.shared == self._settings or self._member is None:
            return
        self.stop()
        self._settings, self.reason, self._warned = settings.shared, "", False
        if settings.shared.url is not None:
            self.reason = "not reached yet"
            self._link = SharedLink(
                self._open(settings.shared), self, asyncio.get_running_loop(), self._clock.monotonic
            )
            self._link.start()

    def stop(self) -> None:
        """Take part no more."""
        self.up = False
        if self._link is not None:
            self._link.stop()
            self._link = None

    # -- what the keeper and the finder ask --------------------------------------

    async def get(self, domain: Domain) -> Entry | None:
        """Return the policy in force that the others have, within shared.timeout."""
        try:
            row = await asyncio.wait_for(self._asking().get(domain), self._settings.timeout)
        except (SharedError, TimeoutError):
            self._failed("get")
            return None
        if row is None:
            self.count("get", "ok")
            return None
        return self.judged(row)

    async def lease(self, domain: Domain, seconds: float, fetched_at: float) -> Lease:
        """Ask to be the one that fetches *domain*; while the shared store is away, everybody may."""
        if not self.up:
            return Lease.GRANTED
        try:
            leasing = self._asking().ask(lambda shared: shared.lease(domain, seconds, fetched_at))
            lease = await asyncio.wait_for(leasing, self._settings.timeout)
        except (SharedError, TimeoutError):
            self._failed("lease")
            return Lease.GRANTED
        self.count("lease", "ok")
        return lease

    def keep_lease(self, domain: Domain, seconds: float, fetched_at: float) -> None:
        """Let nobody try a domain again, whose fetch failed, for *seconds*."""
        if self.up:
            self._tell("lease", lambda shared: shared.lease(domain, seconds, fetched_at))

    def release(self, domain: Domain) -> None:
        """Give a lease back, after what was offered before."""
        if self.up:
            self._tell("lease", lambda shared: shared.release(domain))

    def offer(self, entry: Entry) -> None:
        """Let the others have what was fetched."""
        if self.up:
            row = self._lasting(entry)
            self._tell("offer", lambda shared: shared.offer([row]))

    async def withdraw(self, domain: Domain, at: float) -> str:
        """Have the others forget *domain*; return why they were not told yet, else ""."""
        self._withdrawn[domain] = at
        if not self.up:
            return self.reason
        row = self._lasting(Withdrawn(domain, at))
        try:
            await asyncio.wait_for(self._asking().tell(lambda shared: shared.offer([row])), ANSWER)
        except (SharedError, TimeoutError) as error:
            self._failed("withdraw")
            return str(error) or "no answer in time"
        self.count("withdraw", "ok")
        self._withdrawn.pop(domain, None)
        return ""

    def _asking(self) -> SharedLink:
        if self._link is None or not self.up:
            raise SharedError(self.reason)
        return self._link

    def _tell(self, command: str, what: Callable[[Shared], object]) -> None:
        """Have *what* done, and wait for nothing."""
        self._asking().tell(what).add_done_callback(lambda told: self._told(command, told))

    def _told(self, command: str, told: asyncio.Future[object]) -> None:
        if told.cancelled():
            return
        if told.exception() is None:
            self.count(command, "ok")
        else:
            self._failed(command)

    def _lasting(self, row: Entry | Withdrawn) -> Row:
        """Return *row* with the UTC time until which it is kept."""
        if isinstance(row, Withdrawn):
            return row, self._clock.wall() + WITHDRAWN_KEPT
        return row, rules.ends_at(row, self._timing) + KEPT

    # -- what the link tells ---------------------------------------------------------

    def count(self, command: str, result: str) -> None:
        self._counts.shared[command, result] += 1

    def _failed(self, command: str) -> None:
        """Count a failure; the link says itself when the shared store is away: we may have been slow."""
        self.count(command, "failed")

    def away(self, reason: str) -> None:
        """Take in that the shared store is away, and say so once."""
        if self._link is None:
            return
        self.up, self.reason = False, reason
        self._link.broken.set()
        if not self._warned:
            self._warned = True
            log.warning("shared-away %s", KV(reason=reason))

    def reached(self) -> None:
        """Ask and offer from now on."""
        self.up, self.reason = True, ""

    def reconciled(self, rows: int, offered: int, seconds: float) -> None:
        """Say that both sides have what they are to have, at the first time and after an outage."""
        log.info("shared-reconciled %s", KV(rows=rows, offered=offered, seconds=seconds))
        if self._warned and self.up:
            self._warned = False
            log.info("shared-back")

    def judged(self, row: SharedRow) -> Entry | None:
        """Return the policy of *row* if it is in force; count what came of it."""
        if isinstance(row, BadRow):
            self._refuse(row)
            return None
        self.count("get", "ok")
        if isinstance(row, Withdrawn):
            return None
        entry = rules.clamped(row, self._clock.wall())
        return entry if rules.in_force(entry, self._clock.wall(), self._timing) else None

    def _refuse(self, row: BadRow) -> None:
        self.count("get", "bad")
        now = self._clock.monotonic()
        if now >= self._refused_at + self._timing.failure_ttl:
            self._refused_at = now
            log.warning("shared-row-refused %s", KV(domain=row.key, reason=row.reason))

    async def take(self, rows: Iterable[SharedRow]) -> None:
        """Hold what others fetched later, and forget what they forgot."""
        member = await self._loaded_member()
        entries = []
        for row in rows:
            if isinstance(row, Withdrawn):
                self.count("get", "ok")
                member.withdraw(row)
            elif (entry := self.judged(row)) is not None:
                entries.append(entry)
        await asyncio.gather(*map(member.receive, entries))

    async def unknown_to_others(self, seen: dict[Domain, float]) -> list[Row]:
        """Return what the others have not, or have older, by the times *seen* of their rows."""
        member, rows = await self._loaded_member(), []
        for number, entry in enumerate(member.contents()):
            if number % 200 == 0:
                await asyncio.sleep(0)
            if entry.fetched_at > seen.get(entry.domain, -1.0) and self.judged_own(entry):
                rows.append(self._lasting(entry))
        rows += [self._lasting(Withdrawn(domain, at)) for domain, at in self._withdrawn.items()]
        return rows

    def judged_own(self, entry: Entry) -> bool:
        """Whether *entry* is worth offering: in force, and not of a wrong clock."""
        wall = self._clock.wall()
        return entry.fetched_at <= wall and rules.in_force(entry, wall, self._timing)

    def all_offered(self, rows: Iterable[Row]) -> None:
        """Take in that the others were told of *rows*."""
        for row, _ in rows:
            if isinstance(row, Withdrawn) and self._withdrawn.get(row.domain) == row.at:
                del self._withdrawn[row.domain]

    async def _loaded_member(self) -> Member:
        while self._member is None or not self._member.loaded():
            await asyncio.sleep(LOADING)
        return self._member
