"""daemon/directory.py: where the store lives when nobody said so."""

from __future__ import annotations

import logging
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from postfix_mtasts.config.file import DEFAULT, Loaded
from postfix_mtasts.config.settings import CacheSettings, Settings
from postfix_mtasts.daemon.directory import store_directory
from postfix_mtasts.errors import StoreError


def loaded(directory: Path, origin: str = DEFAULT) -> Loaded:
    settings = replace(Settings(), cache=CacheSettings(directory=str(directory)))
    return Loaded(settings, None, {"cache.directory": origin})


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's own directory, in which nothing is yet."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    return tmp_path / "home"


@pytest.fixture
def barred(tmp_path: Path) -> Path:
    """A directory that nobody, not even root, can make: a file is in the way."""
    (tmp_path / "file").write_text("")
    return tmp_path / "file" / "store"


def test_the_default_is_made(tmp_path: Path, home: Path) -> None:
    """For its owner alone."""
    assert store_directory(loaded(tmp_path / "var" / "store")) == tmp_path / "var" / "store"
    assert stat.S_IMODE((tmp_path / "var" / "store").stat().st_mode) == 0o700
    assert not home.exists()


def test_the_default_that_is_there_is_taken_as_it_is(tmp_path: Path, home: Path) -> None:
    """Its mode is the store's to check."""
    (tmp_path / "store").mkdir(mode=0o755)
    assert store_directory(loaded(tmp_path / "store")) == tmp_path / "store"


def test_a_directory_that_was_asked_for_is_not_replaced(barred: Path, home: Path) -> None:
    """Not even where it cannot be made: whoever named it hears of it from the store."""
    assert store_directory(loaded(barred, "config.yml:3")) == barred
    assert not home.exists()


def test_without_the_right_to_make_it_the_user_has_his_own(
    barred: Path, home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As when somebody tries the daemon without being root; the log says where, and why."""
    caplog.set_level(logging.INFO)
    assert store_directory(loaded(barred)) == home / ".cache" / "postfix-mtasts"
    assert (home / ".cache").is_dir()
    (line,) = [record.getMessage() for record in caplog.records]
    assert line == (
        f'store-directory directory={home}/.cache/postfix-mtasts instead_of={barred} reason="Not a directory"'
    )


def test_the_users_own_choice_of_a_cache_directory(
    barred: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """XDG_CACHE_HOME."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "mine"))
    assert store_directory(loaded(barred)) == tmp_path / "mine" / "postfix-mtasts"
    assert not home.exists()


HOMELESS = [
    ("no home at all", None, None),
    ("a home that is not a path", "", None),
    ("a relative cache", None, "caches"),
]


@pytest.mark.parametrize("make", [True, False], ids=["to run", "to look"])
@pytest.mark.parametrize(("title", "home", "caches"), HOMELESS, ids=[case[0] for case in HOMELESS])
def test_without_a_home_nothing_is_made(
    title: str, home: str | None, caches: str | None, make: bool, barred: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for a user whom no password database knows: one line tells what to set, and no folder called ~ appears."""
    for name, value in (("HOME", home), ("XDG_CACHE_HOME", caches)):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    monkeypatch.setattr("os.path.expanduser", lambda path: path)  # what it does without HOME and password entry
    monkeypatch.chdir(barred.parent.parent)
    with pytest.raises(StoreError, match=r"there is no home directory to use instead; set cache\.directory"):
        store_directory(loaded(barred), make)
    assert not (barred.parent.parent / "~").exists()


def test_a_home_that_cannot_be_written(barred: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line, with the directory and what to set."""
    monkeypatch.setenv("HOME", str(barred))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    with pytest.raises(StoreError, match=r"\.cache: cannot be made: Not a directory; set cache\.directory"):
        store_directory(loaded(barred))
