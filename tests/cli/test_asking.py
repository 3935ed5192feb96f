"""cli/asking.py: a running daemon answers if there is one, else this process does."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from postfix_mtasts.cli import asking
from postfix_mtasts.config.file import Loaded, load
from postfix_mtasts.core.names import Domain
from postfix_mtasts.daemon.operating.messages import Fetch, Fetched, List
from postfix_mtasts.errors import StoreError
from tests.support.fakes.control import FakeControl


def loaded(directory: Path) -> Loaded:
    return load("c.yml", f"cache: {{directory: {directory}}}")


def test_a_running_daemon_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what takes its place is not even imported."""
    monkeypatch.delitem(sys.modules, "postfix_mtasts.cli.offline", raising=False)
    with (
        FakeControl(tmp_path, lambda request: [{"domain": str(request["domains"]), "result": "x", "reason": ""}]),
        asking.connected(loaded(tmp_path)) as ask,
    ):
        assert list(ask(Fetch([Domain("a.example")]))) == [Fetched("['a.example']", "x", "")]
        assert list(ask(Fetch([]))) == [Fetched("[]", "x", "")]
    assert "postfix_mtasts.cli.offline" not in sys.modules


def test_without_a_daemon_this_process_answers(tmp_path: Path) -> None:
    """From a store that is made if there is none."""
    with asking.connected(loaded(tmp_path / "store")) as ask:
        assert list(ask(List())) == []
    assert (tmp_path / "store/cache.db").exists()


def test_who_only_looks_makes_no_store(tmp_path: Path) -> None:
    """Root's directory would keep the daemon of an ordinary user from starting."""
    with asking.connected(loaded(tmp_path / "store"), make=False) as ask:
        assert list(ask(List())) == []
    assert list(tmp_path.iterdir()) == []


def test_a_socket_that_nobody_serves_is_no_daemon(tmp_path: Path) -> None:
    """A daemon that was killed leaves it behind."""
    with FakeControl(tmp_path, lambda request: []):
        pass
    assert (tmp_path / "control").exists()
    with asking.connected(loaded(tmp_path)) as ask:
        assert list(ask(List())) == []


@pytest.mark.parametrize("there", [False, True], ids=["no daemon", "a daemon"])
def test_root_first_becomes_the_owner_of_the_directory(
    there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files that root creates would be unreadable to the daemon; groups go first, while that is still allowed."""
    done: list[tuple[str, Any]] = []
    owner = SimpleNamespace(st_uid=4711, st_gid=4712)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(Path, "stat", lambda path, **options: owner if path == tmp_path else os.stat(path))
    for name in ("setgroups", "setgid", "setuid"):
        monkeypatch.setattr(os, name, lambda value, name=name: done.append((name, value)))

    def connect(directory: Path, seconds: float | None = None) -> Any:
        done.append(("connect", None))
        raise StoreError("enough")

    monkeypatch.setattr(asking.client, "connect", connect)
    if there:
        (tmp_path / "control").touch()
    with pytest.raises(StoreError, match="enough"), asking.connected(loaded(tmp_path)):
        pass
    assert done == [("setgroups", []), ("setgid", 4712), ("setuid", 4711), ("connect", None)]
