"""Datagrams for a collector: taken, or not, and never an error."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from postfix_mtasts.adapters.collector import send


def test_a_collector_that_is_there_takes_it(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as collector:
        collector.bind(str(tmp_path / "socket"))
        assert send(str(tmp_path / "socket"), b"report")
        assert collector.recv(100) == b"report"


def test_nobody_there(tmp_path: Path) -> None:
    assert not send(str(tmp_path / "socket"), b"report")


def test_a_full_collector_makes_nobody_wait(tmp_path: Path) -> None:
    """The kernel holds a few datagrams for it; then they are lost at once."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as collector:
        collector.bind(str(tmp_path / "socket"))
        taken = 0
        while send(str(tmp_path / "socket"), b"report"):
            taken += 1
        assert taken > 0


def test_no_descriptor_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon short of descriptors loses a report, not a lookup."""

    def refuse(*_: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(socket, "socket", refuse)
    assert not send(str(tmp_path / "socket"), b"report")
