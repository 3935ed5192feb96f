"""cli/offline.py: the daemon's operations on the store itself, in this process."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from postfix_mtasts.adapters.store.disk import DiskStore
from postfix_mtasts.cli.offline import alone
from postfix_mtasts.config.file import load
from postfix_mtasts.daemon.operating.messages import Export, Import, List
from postfix_mtasts.daemon.policies.store_thread import StoreKeeper
from postfix_mtasts.errors import StoreBusyError, StoreError
from tests.support.fakes.entries import entry, policy

LOADED = load("c.yml", "")


def test_what_is_stored_is_known_before_the_first_answer(tmp_path: Path) -> None:
    """Nobody is told "nothing" because the store is still being read."""
    store = DiskStore(tmp_path)
    store.put([entry(f"d{number}.example", fetched_at=time.time()) for number in range(500)])
    store.close()
    with alone(LOADED, tmp_path) as ask:
        assert len(list(ask(List()))) == 500


def test_what_is_changed_is_on_the_disk_at_the_end(tmp_path: Path) -> None:
    """And the lock is free again."""
    row = {"domain": "a.example", "record_id": "1", "fetched_at": time.time(), "used_at": 0.0, "policy": policy().text}
    with alone(LOADED, tmp_path) as ask:
        assert [answer.result for answer in ask(Import([row]))] == ["taken"]
    with alone(LOADED, tmp_path) as ask:
        assert [answer.domain for answer in ask(Export())] == ["a.example"]


def test_a_store_in_use_is_not_touched(tmp_path: Path) -> None:
    """A daemon holds its lock."""
    store = DiskStore(tmp_path)
    with pytest.raises(StoreBusyError, match="in use by process"), alone(LOADED, tmp_path):
        pass
    store.close()


def test_what_could_not_be_written_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 69, and not a success that lost something."""

    async def stuck(self: StoreKeeper, seconds: float) -> bool:
        await closed(self, seconds)
        return False

    closed = StoreKeeper.close
    monkeypatch.setattr(StoreKeeper, "close", stuck)
    with pytest.raises(StoreError, match=f"{tmp_path}: not all could be written: "), alone(LOADED, tmp_path) as ask:
        list(ask(List()))
