"""Decide which fetch may begin and which one gives way; no threads or clocks here.

Hosts that hang, however many they are, must shut out neither lookups of
healthy domains nor refreshes, and an overload of ours is not their failure.

Rule 1: lookups leave a quarter of the places free. Of that, half is for
        refreshes in good time, half for policies that expire soon.
Rule 2: one address has a quarter of the places at most (an IPv6 /64 counts
        as one).
Rule 3: of lookups that wait, the newest begins first: it is still waited for.
        One that waited longer than that is dropped. Whose address had a fetch
        give way lately comes after all others.
Rule 4: while others wait, the fetch that has run longest gives way once it
        has had PATIENCE; the more wait, the less. Who gave way earlier than
        PATIENCE was given up for our own sake (Ticket.early).
"""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum

from ...core.ports import Urgency

PATIENCE = 10.0  # seconds that any fetch may run before it gives way
LEAST_PATIENCE = 2.0  # seconds: the same where very many wait
LOOKUP_WAIT = 5.0  # seconds that a lookup may wait at least, however short lookup.wait is
UPKEEP_WAIT = 60.0  # seconds that a refresh may wait
WAITING_MOST = 10_000  # tickets; beyond that the oldest lookups are dropped
SUSPECT = 60.0  # seconds since a fetch gave way: others at its address come last
SUSPECTS = 10_000  # addresses; the longest unseen are forgotten
FEW = 4  # places that one address may have in any case


class _State(Enum):
    READY = "ready"  # waits for a place
    BLOCKED = "blocked"  # waits for its address
    RUNNING = "running"
    GONE = "gone"


@dataclass(eq=False, slots=True)
class Ticket:
    """One fetch, from its asking for a place to its end."""

    urgency: Urgency
    place: str  # the network it connects to first (core.addresses), or the host where only its name is known
    asked_at: float  # seconds of a clock that nobody can set, like all times here
    began_at: float = 0.0
    early: bool = False  # it gave way before it had its PATIENCE
    state: _State = field(default=_State.READY, repr=False)


class Slots:
    """The places for *limit* fetches; a lookup waits for one as long as *lookup_wait* seconds."""

    def __init__(self, limit: int, lookup_wait: float) -> None:
        self.limit = limit
        self._most = {
            Urgency.EXPIRING: max(1, limit // 2),
            Urgency.LOOKUP: max(1, limit - limit // 4),
            Urgency.UPKEEP: max(1, limit // 4),
        }
        self._all_but_expiring = max(1, limit - limit // 8)
        self._each = max(min(limit, FEW), limit // 4)
        upkeep = max(UPKEEP_WAIT, lookup_wait)
        self._waits = {
            Urgency.EXPIRING: upkeep,
            Urgency.LOOKUP: max(LOOKUP_WAIT, lookup_wait),
            Urgency.UPKEEP: upkeep,
        }
        self.waiting = 0
        self._ready: dict[Urgency, deque[Ticket]] = {urgency: deque() for urgency in self._most}  # served in this order
        self._last: dict[Urgency, deque[Ticket]] = {urgency: deque() for urgency in self._most}  # at a suspect address
        self._suspects: OrderedDict[str, float] = OrderedDict()  # when a fetch there gave way
        self._blocked: defaultdict[str, list[Ticket]] = defaultdict(list)  # by network
        self._arrived: dict[Urgency, deque[Ticket]] = {urgency: deque() for urgency in self._most}  # oldest first
        self._running: dict[Ticket, None] = {}  # longest first
        self._urgencies: Counter[Urgency] = Counter()  # of those that run
        self._networks: Counter[str] = Counter()  # of those that run

    @property
    def running(self) -> int:
        return len(self._running)

    def add(self, ticket: Ticket) -> None:
        """Let *ticket* wait for its turn."""
        self.waiting += 1
        (self._last if ticket.place in self._suspects else self._ready)[ticket.urgency].append(ticket)
        self._arrived[ticket.urgency].append(ticket)

    def begin(self, now: float) -> list[Ticket]:
        """Begin and return the tickets whose turn has come."""
        begun = []
        for urgency in self._ready:
            while self._has_room(urgency) and (ticket := self._next(urgency)) is not None:
                ticket.state, ticket.began_at = _State.RUNNING, now
                self.waiting -= 1
                self._running[ticket] = None
                self._urgencies[urgency] += 1
                self._networks[ticket.place] += 1
                begun.append(ticket)
        return begun

    def leave(self, ticket: Ticket) -> None:
        """Let others have the place of *ticket*, if it has one."""
        if self._running.pop(ticket, ticket) is ticket:
            return
        place, ticket.state = ticket.place, _State.GONE
        self._urgencies[ticket.urgency] -= 1
        self._networks[place] -= 1
        if not self._networks[place]:
            del self._networks[place]
        self._unblock(place)

    def give_way(self, now: float) -> list[Ticket]:
        """Free the places of tickets that ran for long enough while others wait, and return those tickets."""
        given: dict[Ticket, None] = {}
        for urgency in self._ready:
            ready = (*self._ready[urgency], *self._last[urgency])
            wanted = sum(ticket.state is _State.READY for ticket in ready)
            if wanted and not (self._has_room(urgency)):
                full = self._urgencies[urgency] >= self._most[urgency]
                rivals = (each for each in self._running if not full or each.urgency is urgency)
                given |= self._longest(rivals, wanted, now - self._patience(wanted))
        for place, tickets in self._blocked.items():
            wanted = sum(ticket.state is _State.BLOCKED for ticket in tickets)
            if wanted and self._networks[place] >= self._each:
                rivals = (each for each in self._running if each.place == place)
                given |= self._longest(rivals, wanted, now - PATIENCE)
        for ticket in given:
            ticket.early = now - ticket.began_at < PATIENCE
            self._suspects[ticket.place] = now
            self._suspects.move_to_end(ticket.place)
            self.leave(ticket)
        while self._suspects and (
            len(self._suspects) > SUSPECTS or now - next(iter(self._suspects.values())) > SUSPECT
        ):
            self._suspects.popitem(last=False)
        return list(given)

    def drop(self, now: float) -> list[Ticket]:
        """Take out and return the tickets that waited too long for a place."""
        dropped = []
        for urgency, arrived in self._arrived.items():
            while arrived and (
                arrived[0].state in (_State.RUNNING, _State.GONE)
                or now - arrived[0].asked_at >= self._waits[urgency]
                or (self.waiting > WAITING_MOST and urgency is Urgency.LOOKUP)
            ):
                ticket = arrived.popleft()
                if ticket.state in (_State.READY, _State.BLOCKED):
                    ticket.state = _State.GONE
                    self.waiting -= 1
                    self._unblock(ticket.place)
                    dropped.append(ticket)
        return dropped

    def _has_room(self, urgency: Urgency) -> bool:
        if len(self._running) >= self.limit or self._urgencies[urgency] >= self._most[urgency]:
            return False
        others = len(self._running) - self._urgencies[Urgency.EXPIRING]
        return urgency is Urgency.EXPIRING or others < self._all_but_expiring

    def _next(self, urgency: Urgency) -> Ticket | None:
        """Take the next that is ready: the newest lookup, the oldest refresh."""
        ready, last = self._ready[urgency], self._last[urgency]
        while ready or last:
            first = ready or last
            ticket = first.pop() if urgency is Urgency.LOOKUP else first.popleft()
            if ticket.state is not _State.READY:
                continue
            place = ticket.place
            if first is ready and place in self._suspects:
                (last.appendleft if urgency is Urgency.LOOKUP else last.append)(ticket)  # behind those that came later
                continue
            if self._networks[place] < self._each:
                return ticket
            ticket.state = _State.BLOCKED
            self._blocked[place].append(ticket)
        return None

    def _unblock(self, place: str) -> None:
        """Let the newest that waits for its address be looked at again."""
        blocked = self._blocked.get(place, [])
        while blocked:
            ticket = blocked.pop()
            if ticket.state is _State.BLOCKED:
                ticket.state = _State.READY
                self._ready[ticket.urgency].append(ticket)
                return
        self._blocked.pop(place, None)

    def _patience(self, wanted: int) -> float:
        return max(LEAST_PATIENCE, min(PATIENCE, PATIENCE * self.limit / wanted))

    @staticmethod
    def _longest(rivals: Iterable[Ticket], wanted: int, before: float) -> dict[Ticket, None]:
        """At most *wanted* of *rivals*, the longest running first, of those that began *before* then."""
        found: dict[Ticket, None] = {}
        for ticket in rivals:
            if len(found) >= wanted or ticket.began_at > before:
                break
            found[ticket] = None
        return found
