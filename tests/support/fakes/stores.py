"""A store that stands still."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

from postfix_mtasts.adapters.store.disk import DiskStore
from postfix_mtasts.core.entry import Entry

PATIENCE = 30.0  # seconds


class StuckStore(DiskStore):
    """A disk that does not come back from a write until it is told to."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.release = threading.Event()

    def put(self, entries: Sequence[Entry]) -> None:
        self.release.wait(PATIENCE)
        super().put(entries)
