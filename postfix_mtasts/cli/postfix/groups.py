"""Services of master.cf that are set alike, and what is said of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from .postconf import Postfix, Service


@dataclass(frozen=True, slots=True)
class Misfit:
    """Something that would defeat our answers."""

    place: str  # "main.cf", "master.cf: relay", or empty
    wrong: str
    right: str

    def __str__(self) -> str:
        place = f"{self.place}: " if self.place else ""
        return f"{place}{self.wrong}; {self.right}"


@dataclass(frozen=True, slots=True)
class Group:
    """Services that have the parameters in question in common."""

    place: str
    parameters: Mapping[str, str]
    services: Sequence[Service]

    @property
    def chrooted(self) -> list[str]:
        return [service.name for service in self.services if service.chrooted]

    @property
    def unchrooted(self) -> list[str]:
        return [service.name for service in self.services if not service.chrooted]


def groups(postfix: Postfix, services: Sequence[Service], *names: str) -> Iterator[Group]:
    """Put together the *services* that have the same values of these parameters."""
    groups: dict[tuple[str, ...], list[Service]] = {}
    for service in services or [Service("smtp", False, postfix.parameters)]:
        groups.setdefault(tuple(service.parameters[name] for name in names), []).append(service)
    main = tuple(postfix.parameters[name] for name in names)
    for values, members in groups.items():
        place = "main.cf" if values == main else f"master.cf: {', '.join(member.name for member in members)}"
        yield Group(place, members[0].parameters, members)
