"""A shared store in memory, in place of a server: it fails where a test says so."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from postfix_mtasts.core.entry import Entry
from postfix_mtasts.core.names import Domain
from postfix_mtasts.core.ports import BadRow, Lease, SharedRow, Withdrawn
from postfix_mtasts.errors import SharedError


class FakeShared:
    """Implements core.ports.Shared."""

    def __init__(self) -> None:
        self.content: dict[Domain, SharedRow] = {}
        self.until: dict[Domain, float] = {}  # when what was offered is to go
        self.leases: dict[Domain, float] = {}  # granted to us, by their seconds
        self.lease_is = Lease.GRANTED
        self.fault = ""
        self.calls: list[str] = []
        self.named: list[Domain] = []  # what changes() is to tell

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if self.fault:
            raise SharedError(self.fault)

    def check(self) -> str:
        self._call("check")
        return "content"

    def get(self, domains: Sequence[Domain]) -> list[SharedRow]:
        self._call("get")
        return [self.content[domain] for domain in domains if domain in self.content]

    def offer(self, rows: Sequence[tuple[Entry | Withdrawn, float]]) -> None:
        self._call("offer")
        self.content.update((row.domain, row) for row, _ in rows)
        self.until.update((row.domain, until) for row, until in rows)

    def lease(self, domain: Domain, seconds: float, fetched_at: float) -> Lease:
        self._call("lease")
        self.leases[domain] = seconds
        return self.lease_is

    def release(self, domain: Domain) -> None:
        self._call("release")
        self.leases.pop(domain, None)

    def changes(self, seconds: float) -> list[Domain]:
        self._call("changes")
        named, self.named = self.named, []
        return named

    def rows(self) -> Iterator[list[SharedRow]]:
        self._call("rows")
        yield list(self.content.values())

    def close(self) -> None:
        pass


BAD = BadRow("example.com", "the signature is missing or wrong")
