"""`daemon`: it hands the configuration to the daemon; what that does is tests/daemon and tests/integration."""

from __future__ import annotations

from pathlib import Path

import pytest

from postfix_mtasts.cli.commands import daemon
from postfix_mtasts.cli.main import main
from postfix_mtasts.config.file import Loaded
from postfix_mtasts.process import signals


@pytest.fixture(autouse=True)
def _own_signals(monkeypatch: pytest.MonkeyPatch) -> None:
    """The signals of this process are pytest's."""
    monkeypatch.setattr(signals, "guard", lambda: None)


def test_the_daemon_gets_the_configuration_and_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is read again at a reload."""
    got: list[tuple[Loaded, str | None]] = []
    monkeypatch.setattr(daemon, "run", lambda loaded, file: got.append((loaded, file)))
    (tmp_path / "c.yml").write_text("lookup: {wait: 3s}\n")
    assert main(["daemon", "--config", str(tmp_path / "c.yml")]) == 0
    [(loaded, file)] = got
    assert (loaded.settings.lookup.wait, file) == (3.0, str(tmp_path / "c.yml"))


def test_a_faulty_configuration_starts_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 78, and the faults."""
    monkeypatch.setattr(daemon, "run", lambda loaded, file: pytest.fail("it was started"))
    (tmp_path / "c.yml").write_text("lookup: {wait: never}\n")
    assert main(["daemon", "--config", str(tmp_path / "c.yml")]) == 78
    assert "lookup.wait" in capsys.readouterr().err
