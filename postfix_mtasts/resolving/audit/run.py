"""Many domains examined side by side, told in the order given.

Rule: whether this network blocks port 25 is known only when a mail host has
      answered, or when all domains are done. Until then a report that blames a
      mail host is held back; if none ever answers, it is a warning and a hint.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from ...core.findings.owner import Finding, Severity
from ...core.names import Domain
from .audit import Report, Stage, audit
from .world import World

AT_ONCE = 8  # domains examined side by side


def examine(
    domains: Sequence[Domain],
    world: World,
    *,
    told: Callable[[Stage], None] = lambda stage: None,
    progress: Callable[[int], None] = lambda done: None,
) -> Iterator[Report]:
    """Yield the report of each domain, in their order.

    Args:
        told: called with each stage as soon as it is over, if there is one domain only.
        progress: told how many domains are done.
    """
    if len(domains) == 1:
        yield examine_one(domains[0], world, told)
        return
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    for number in range(len(domains)):
        waiting.put(number)
    done: queue.SimpleQueue[tuple[int, Report | BaseException]] = queue.SimpleQueue()

    def work() -> None:
        while True:
            try:
                number = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                done.put((number, audit(domains[number], world)))
            except BaseException as error:  # noqa: BLE001 -- raised again below
                done.put((number, error))

    for _ in range(min(AT_ONCE, len(domains))):
        threading.Thread(target=work, daemon=True).start()
    yield from _in_order(len(domains), done, world, progress)


def examine_one(
    domain: Domain,
    world: World,
    told: Callable[[Stage], None] = lambda stage: None,
    instead: bytes | None = None,
) -> Report:
    """Examine one domain; *instead*: a policy to judge it by, in place of the one that is served."""
    return _softened(audit(domain, world, lambda stage: told(_soften(stage, world)), instead), world)


def _in_order(
    number: int,
    done: queue.SimpleQueue[tuple[int, Report | BaseException]],
    world: World,
    progress: Callable[[int], None],
) -> Iterator[Report]:
    held: dict[int, Report] = {}
    first = 0
    for count in range(1, number + 1):
        at, report = done.get()
        if isinstance(report, BaseException):
            raise report
        held[at] = report
        progress(count)
        while first in held and (count == number or not _undecided(held[first], world)):
            yield _softened(held.pop(first), world)
            first += 1
    while first in held:
        yield _softened(held.pop(first), world)
        first += 1


def blocked(world: World) -> bool:
    """Whether mail hosts were tried and none of them answered."""
    return world.looks is not None and world.looks.tried > 0 and not world.looks.reached.is_set()


def _undecided(report: Report, world: World) -> bool:
    return blocked(world) and any(_blames(each) for each in report.findings)


def _blames(found: Finding) -> bool:
    return found.code == "mail-unreachable" and found.severity is Severity.ERROR


def _softened(report: Report, world: World) -> Report:
    return replace(report, stages=tuple(_soften(stage, world) for stage in report.stages))


def _soften(stage: Stage, world: World) -> Stage:
    """Where port 25 seems to be blocked, no mail host is to blame."""
    if not blocked(world) or not any(_blames(each) for each in stage.findings):
        return stage
    found = tuple(replace(each, severity=Severity.WARNING) if _blames(each) else each for each in stage.findings)
    return replace(stage, findings=found)
