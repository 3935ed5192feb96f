"""The one table of what is counted: /metrics, `status` and `cache stats` all render it.

A field of Numbers is a metric: its name here is its key in `status --json`,
and what Prometheus needs stands beside it. To add one: a field here, its value
in survey.gather(), its sentence in the manual.

Every label value comes from a fixed set: configured maps, answers, modes,
result types, DNS types and results.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Annotated, Any, get_origin, get_type_hints


class MetricKind(Enum):
    """How Prometheus takes a number."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"
    INFO = "info"


@dataclass(frozen=True, slots=True)
class Metric:
    """A number's name and meaning for Prometheus."""

    name: str  # without the _total of a counter
    kind: MetricKind
    text: str
    labels: tuple[str, ...] = ()  # a value has a dict within a dict for each


_COUNTER, _GAUGE = MetricKind.COUNTER, MetricKind.GAUGE


@dataclass(frozen=True, slots=True)
class Cold:
    """How long lookups took that had to wait for the network."""

    number: int
    seconds: float  # all of them together
    within: dict[str, int]  # by upper bound in seconds: lookups that took no longer


@dataclass(frozen=True, slots=True)
class RefreshNumbers:
    """How the refresher keeps up."""

    due: Annotated[int, Metric("mtasts_refresh_due", _GAUGE, "Policies that are due for the refresher.")]
    lag: Annotated[float, Metric("mtasts_refresh_lag_seconds", _GAUGE, "How long the first has been due.")]
    failing: Annotated[int, Metric("mtasts_refresh_failing", _GAUGE, "Policies whose last fetch failed.")]


@dataclass(frozen=True, slots=True)
class WorkerNumbers:
    """The processes that fetch."""

    up: Annotated[bool, Metric("mtasts_workers_up", _GAUGE, "Whether worker processes can be started.")]
    running: Annotated[int, Metric("mtasts_workers", _GAUGE, "Worker processes.")]
    deaths: Annotated[
        int, Metric("mtasts_worker_deaths", _COUNTER, "Worker processes that ended by themselves or stood still.")
    ]


@dataclass(frozen=True, slots=True)
class ProcessNumbers:
    """What the daemon's process takes, without its workers; the names are those of every client of Prometheus."""

    memory: Annotated[int | None, Metric("process_resident_memory_bytes", _GAUGE, "Memory of this process in RAM.")] = (
        None
    )
    cpu: Annotated[float | None, Metric("process_cpu_seconds", _COUNTER, "Processor time that this process took.")] = (
        None
    )


@dataclass(frozen=True, slots=True)
class SharedNumbers:
    """What other daemons are told and tell; nothing of it without shared.url."""

    up: Annotated[bool | None, Metric("mtasts_shared_up", _GAUGE, "Whether the shared store is in use.")] = None
    policies: Annotated[
        int | None, Metric("mtasts_shared_policies", _GAUGE, "Policies held that other daemons fetched.")
    ] = None
    requests: Annotated[
        dict[str, dict[str, int]],
        Metric("mtasts_shared_requests", _COUNTER, "What was asked of the shared store.", ("command", "result")),
    ] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Numbers:
    """All that is counted, as it was at one moment on the loop. Times are in seconds."""

    version: Annotated[str, Metric("mtasts_build", MetricKind.INFO, "Which daemon this is.", ("version",))]
    lookups: Annotated[
        dict[str, dict[str, int]], Metric("mtasts_lookups", _COUNTER, "Lookups answered.", ("map", "answer"))
    ]
    cold: Annotated[Cold, Metric("mtasts_lookup_seconds", MetricKind.HISTOGRAM, "Time that cold lookups took.")]
    policies: Annotated[dict[str, int], Metric("mtasts_policies", _GAUGE, "Policies held, by mode.", ("mode",))]
    negatives: Annotated[int, Metric("mtasts_negative_entries", _GAUGE, "Domains remembered to have no policy.")]
    nearest_expiry: Annotated[
        float | None, Metric("mtasts_policy_expiry_seconds", _GAUGE, "Seconds until the first policy expires.")
    ]
    fetches: Annotated[dict[str, int], Metric("mtasts_fetches", _COUNTER, "Policy fetches, by result.", ("result",))]
    dns_queries: Annotated[
        dict[str, dict[str, int]], Metric("mtasts_dns_queries", _COUNTER, "Names asked of DNS.", ("type", "result"))
    ]
    dns_up: Annotated[bool, Metric("mtasts_dns_up", _GAUGE, "Whether any resolver answers.")]
    store_up: Annotated[bool, Metric("mtasts_store_up", _GAUGE, "Whether policies can be written to the store.")]
    reports: Annotated[
        dict[str, int], Metric("mtasts_reports", _COUNTER, "Failed fetches told to a TLSRPT collector.", ("result",))
    ]
    refresh: RefreshNumbers
    connections: Annotated[int, Metric("mtasts_connections", _GAUGE, "Connections open.")]
    errors: Annotated[int, Metric("mtasts_errors", _COUNTER, "Errors of the daemon's own.")]
    workers: WorkerNumbers
    proxy_up: Annotated[bool | None, Metric("mtasts_proxy_up", _GAUGE, "Whether fetch.proxy works.")] = None
    shared: SharedNumbers = SharedNumbers()
    process: ProcessNumbers = ProcessNumbers()


def metrics(
    numbers: Numbers | RefreshNumbers | WorkerNumbers | SharedNumbers | ProcessNumbers,
) -> Iterator[tuple[Metric, Any]]:
    """Yield each metric of Numbers, or of a part of it, with its value."""
    for name, hint in get_type_hints(type(numbers), include_extras=True).items():
        value = getattr(numbers, name)
        if get_origin(hint) is Annotated:
            yield hint.__metadata__[0], value
        else:
            yield from metrics(value)


def leaves(value: object) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield the numbers of a value with their label values; nothing for None."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            for names, number in leaves(inner):
                yield (str(name), *names), number
    elif value is not None:
        yield (), value
