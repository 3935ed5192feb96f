"""The store's directory and its lock: who may hold it, and where it cannot be written."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from postfix_mtasts.adapters.store.place import Place
from postfix_mtasts.errors import StoreBusyError, StoreError


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def place(directory: Path) -> Iterator[Place]:
    place = Place(directory)
    place.hold()
    yield place
    place.release()


def test_it_is_held_by_one_at_a_time(place: Place, directory: Path) -> None:
    """The kernel decides, and the other is told who it is."""
    place.hold()
    with pytest.raises(StoreBusyError, match=f"in use by process {os.getpid()}"):
        Place(directory).hold()
    place.release()
    other = Place(directory)
    other.hold()
    other.release()


@pytest.mark.parametrize("said", [None, b"", b"not a number\n", b"1\n"])
def test_the_lock_needs_no_file(place: Place, directory: Path, said: bytes | None) -> None:
    """The kernel says who holds it; the file may be older, or missing."""
    (directory / "lock").unlink()
    if said is not None:
        (directory / "lock").write_bytes(said)
    with pytest.raises(StoreBusyError, match=f"in use by process {os.getpid()};"):
        Place(directory).hold()


@pytest.mark.parametrize(
    ("said", "who"), [(None, "another process"), (b"no number\n", "another process"), (b"7\n", "process 7")]
)
def test_where_the_kernel_does_not_say_the_file_does(
    place: Place, directory: Path, said: bytes | None, who: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A holder in another container."""
    monkeypatch.setattr("postfix_mtasts.adapters.store.place.holder", lambda directory: None)
    (directory / "lock").unlink()
    if said is not None:
        (directory / "lock").write_bytes(said)
    with pytest.raises(StoreBusyError, match=f"in use by {who};"):
        Place(directory).hold()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EDQUOT])
def test_a_full_disk_or_a_read_only_mount_is_held(
    directory: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither its mode nor the file of its holder can be written there now."""
    directory.mkdir(mode=0o755)
    opened = os.open

    def refuse(*_: object, **__: object) -> Any:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "chmod", refuse)
    monkeypatch.setattr(os, "open", lambda path, flags, *rest: (refuse if flags & os.O_CREAT else opened)(path, flags))
    place = Place(directory)
    place.hold()
    assert not (directory / "lock").exists()
    place.release()


def test_a_mode_that_may_not_be_changed_is_an_error(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others could read it, and that does not pass."""
    directory.mkdir(mode=0o755)

    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(Path, "chmod", refuse)
    with pytest.raises(StoreError, match="Operation not permitted"):
        Place(directory).hold()


def test_where_the_path_leads_is_told(place: Place, directory: Path) -> None:
    """Removed, replaced, back again, and held anew."""
    assert not place.moved()
    directory.rename(directory.with_name("old"))
    assert place.moved()
    directory.touch()
    assert place.moved()
    directory.unlink()
    directory.with_name("old").rename(directory)
    assert not place.moved()
    directory.rename(directory.with_name("old"))
    place.hold()
    assert not place.moved()
    assert directory.is_dir()
