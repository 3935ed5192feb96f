"""What commands ask of the daemon and what it answers: the values at both ends of the control socket.

A Request knows the kinds of its answers. On the socket each value is one JSON
object a line (codec.py): a request has its name under "do", a field left out
has its default. Text may be remote, and is quoted where it is shown.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, TypeVar

from ...core.names import Domain
from .numbers import Numbers

A_co = TypeVar("A_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Row:
    """A policy that is held, in a list. Seconds, also below."""

    domain: str
    mode: str
    age: float  # since the fetch
    left: float  # in force; 0 or less: expired
    mx: list[str]
    failures: int  # fetches in a row that failed
    shared: bool = field(default=False, kw_only=True)  # another daemon fetched it


@dataclass(frozen=True, slots=True)
class ShownPolicy(Row):
    """All that is known of a domain whose policy is held. Times are UTC seconds since 1970."""

    record_id: str
    policy: str  # its text
    fetched_at: float
    used_at: float
    checked_at: float
    expires_at: float
    next_due_at: float | None
    failure: str | None
    dane: str | None  # status and reason
    answers: dict[str, str]  # in words, by map
    replies: dict[str, str | None]  # as Postfix gets them; None: a lookup would have to ask first


@dataclass(frozen=True, slots=True)
class ShownNegative:
    """All that is known of a domain without a policy."""

    domain: str
    reason: str
    until: float  # UTC seconds since 1970
    left: float
    answers: dict[str, str]
    replies: dict[str, str | None]


@dataclass(frozen=True, slots=True)
class StatsShown:
    """What is counted."""

    uptime: float
    numbers: Numbers


@dataclass(frozen=True, slots=True)
class Worst:
    """A domain whose last fetch failed."""

    domain: str
    mode: str | None  # of the policy that stays in force; None: none is held
    left: float | None  # seconds that it does
    failures: int | None  # in a row
    ago: float | None  # seconds since the last, where no policy is held
    reason: str


@dataclass(frozen=True, slots=True)
class Failures:
    """Domains that fail in one way, by name those that need most."""

    kind: str
    domains: int
    worst: list[Worst]


@dataclass(frozen=True, slots=True)
class StatusShown:
    """A running daemon at one moment."""

    pid: int
    started_at: float
    uptime: float
    loaded: bool  # all that is stored is known
    faults: list[str]  # a sentence each
    directory: str
    listen: list[str]
    metrics: str | None  # where monitoring asks
    failures: list[Failures]
    numbers: Numbers
    shared_away: str = ""  # why the shared store is away


@dataclass(frozen=True, slots=True)
class Fetched:
    """What came of a fetch."""

    domain: str
    result: str  # fetched, known, none or failed
    reason: str


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What came of forgetting; told once the store has it."""

    domain: str
    result: str  # forgotten, unknown or failed
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Exported:
    """A policy as `cache export` prints it and `cache import` reads it."""

    domain: str
    record_id: str
    fetched_at: float
    used_at: float
    policy: str


@dataclass(frozen=True, slots=True)
class Imported:
    """What came of a row."""

    result: str  # taken, kept or refused
    reason: str


class Request(Generic[A_co]):
    """A question; *A_co* is what each of its answers is."""

    __slots__ = ()
    do: ClassVar[str]
    answers: ClassVar[tuple[type[Any], ...]]


@dataclass(frozen=True, slots=True)
class List(Request[Row]):
    """Every policy held."""

    do: ClassVar[str] = "list"
    answers: ClassVar[tuple[type[Any], ...]] = (Row,)


@dataclass(frozen=True, slots=True)
class Show(Request["ShownPolicy | ShownNegative"]):
    """One domain: one answer, or none if nothing is known. DANE is that of the port."""

    do: ClassVar[str] = "show"
    answers: ClassVar[tuple[type[Any], ...]] = (ShownPolicy, ShownNegative)
    domain: Domain
    port: int = 25


@dataclass(frozen=True, slots=True)
class Stats(Request[StatsShown]):
    """One answer."""

    do: ClassVar[str] = "stats"
    answers: ClassVar[tuple[type[Any], ...]] = (StatsShown,)


@dataclass(frozen=True, slots=True)
class Status(Request[StatusShown]):
    """One answer, of a daemon only."""

    do: ClassVar[str] = "status"
    answers: ClassVar[tuple[type[Any], ...]] = (StatusShown,)


@dataclass(frozen=True, slots=True)
class Fetch(Request[Fetched]):
    """Fetch the policies of domains, those that are known only with *again*; an answer for each as it ends."""

    do: ClassVar[str] = "fetch"
    answers: ClassVar[tuple[type[Any], ...]] = (Fetched,)
    domains: list[Domain]
    again: bool = False
    local: bool = False  # offer them to no other daemon


@dataclass(frozen=True, slots=True)
class Forget(Request[Forgotten]):
    """Know nothing more of domains; an answer for each."""

    do: ClassVar[str] = "forget"
    answers: ClassVar[tuple[type[Any], ...]] = (Forgotten,)
    domains: list[Domain]
    local: bool = False  # have no other daemon forget them


@dataclass(frozen=True, slots=True)
class Export(Request[Exported]):
    """Every policy held, whole."""

    do: ClassVar[str] = "export"
    answers: ClassVar[tuple[type[Any], ...]] = (Exported,)


@dataclass(frozen=True, slots=True)
class Import(Request[Imported]):
    """Take in rows of somebody's file, whatever they are; an answer for each, in their order."""

    do: ClassVar[str] = "import"
    answers: ClassVar[tuple[type[Any], ...]] = (Imported,)
    rows: list[object] = field(default_factory=list)


REQUESTS: dict[str, type[Request[Any]]] = {
    kind.do: kind for kind in (List, Show, Stats, Status, Fetch, Forget, Export, Import)
}
