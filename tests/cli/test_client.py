"""cli/client.py: asking a daemon that refuses, breaks off, is slow, or is not ours to ask."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from postfix_mtasts.cli import client
from postfix_mtasts.config.file import load
from postfix_mtasts.daemon.operating.messages import Import, Imported, List, Status
from postfix_mtasts.errors import InputError, StoreError
from tests.support.fakes.control import FakeControl


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Our end of a connection, and the daemon's."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


TAKEN, KEPT = b'{"result": "taken", "reason": ""}\n', b'{"result": "kept", "reason": "r", "newer": 1}\n'
LONG = json.dumps({"result": "refused", "reason": "x" * 500_000}).encode() + b"\n"
SAID: list[tuple[str, bytes, list[Imported]]] = [
    ("no answer", b'{"done": true}\n', []),
    ("two answers", TAKEN + KEPT + b'{"done": true}\n', [Imported("taken", ""), Imported("kept", "r")]),
    ("what comes after the end is not read", b'{"done": true}\n' + TAKEN, []),
    ("a long answer", LONG + b'{"done": true}\n', [Imported("refused", "x" * 500_000)]),
]


@pytest.mark.parametrize(("title", "said", "want"), SAID, ids=[case[0] for case in SAID])
def test_answers_are_read_up_to_the_last(
    title: str, said: bytes, want: list[Imported], pair: tuple[socket.socket, socket.socket]
) -> None:
    """However they are cut into pieces."""
    ours, theirs = pair
    sender = threading.Thread(target=lambda: [theirs.sendall(said[i : i + 3_000]) for i in range(0, len(said), 3_000)])
    sender.start()
    assert list(client.answers(ours, Import([]))) == want
    sender.join()
    assert theirs.recv(100) == b'{"do": "import", "rows": []}\n'


BROKEN: list[tuple[str, bytes, type[Exception], str]] = [
    ("a refusal", b'{"error": "no such request"}\n', InputError, "no such request"),
    ("the end before the last answer", TAKEN, StoreError, "the daemon ended"),
    ("an answer of another shape", b'{"result": "taken"}\n', StoreError, r"runs another version \(reason is missing\)"),
    ("half a line", b'{"a": ', StoreError, "the daemon ended"),
    ("something else than JSON", b"hello\n", StoreError, "broke off"),
]


@pytest.mark.parametrize(("title", "said", "kind", "reason"), BROKEN, ids=[case[0] for case in BROKEN])
def test_what_goes_wrong_is_told(
    title: str, said: bytes, kind: type[Exception], reason: str, pair: tuple[socket.socket, socket.socket]
) -> None:
    """A refusal is the user's mistake; all else is the daemon's."""
    ours, theirs = pair
    theirs.sendall(said)
    theirs.shutdown(socket.SHUT_WR)
    with pytest.raises(kind, match=reason):
        list(client.answers(ours, Import([])))


def test_a_silent_daemon_is_given_up(pair: tuple[socket.socket, socket.socket]) -> None:
    """After the time that the socket has."""
    ours, _ = pair
    ours.settimeout(0.01)
    with pytest.raises(StoreError, match="does not answer"):
        list(client.answers(ours, Import([])))


def test_an_interrupt_that_comes_just_before_the_system_call_counts(tmp_path: Path) -> None:
    """Another thread gets the signal here: as in that moment, the call that waits is not interrupted."""
    asked, main = threading.Event(), threading.main_thread()

    def silent(request: dict[str, Any]) -> Iterator[dict[str, Any]]:
        asked.set()
        while main.is_alive() and not told.wait(0.01):
            pass
        yield from ()

    def interrupt() -> None:
        asked.wait()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        os.kill(os.getpid(), signal.SIGINT)

    told = threading.Event()
    with FakeControl(tmp_path, silent):
        sock = client.connect(tmp_path)
        assert sock is not None
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        thread = threading.Thread(target=interrupt)
        try:
            thread.start()
            with sock, pytest.raises(KeyboardInterrupt):
                list(client.answers(sock, List()))
        finally:
            told.set()
            thread.join()
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


OWNERS = [  # of the directory, with the user database's name for them
    ("a user with a name", 4711, "postfix-mtasts", "only root and postfix-mtasts may"),
    ("a user without a name", 4711, None, "only root and user 4711 may"),
    ("root", 0, "root", "only root may"),
]


@pytest.mark.parametrize(("title", "uid", "name", "may"), OWNERS, ids=[owner[0] for owner in OWNERS])
def test_without_permission_it_says_who_may(
    title: str, uid: int, name: str | None, may: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By name, where the user database has one."""

    class Refused(socket.socket):
        def connect(self, address: Any) -> None:
            raise PermissionError(13, "Permission denied")

    def user(asked: int) -> Any:
        assert asked == uid
        if name is None:
            raise KeyError(asked)
        return SimpleNamespace(pw_name=name)

    loaded = load("c.yml", f"cache: {{directory: {tmp_path}}}")
    monkeypatch.setattr(socket, "socket", Refused)
    monkeypatch.setattr(client.pwd, "getpwuid", user)
    monkeypatch.setattr(Path, "stat", lambda path: SimpleNamespace(st_uid=uid))
    with pytest.raises(StoreError) as caught:
        client.ask_daemon(loaded, Status(), 1.0)
    assert str(caught.value) == f"{tmp_path}/control: Permission denied; {may}; run this with sudo"
