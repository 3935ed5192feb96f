"""process/systemd.py: sockets that are passed in, and notices (sd_listen_fds(3), sd_notify(3))."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from postfix_mtasts.errors import ListenError
from postfix_mtasts.process import systemd
from postfix_mtasts.process.systemd import address_of, notify, passed_sockets

SCRIPT = """
import json, os, sys
os.environ["LISTEN_PID"] = sys.argv[1].replace("ours", str(os.getpid()))
os.environ["LISTEN_FDS"] = sys.argv[2]
os.environ["LISTEN_FDNAMES"] = "a:b"
from postfix_mtasts.process.systemd import passed_sockets
passed = passed_sockets()
left = [name for name in os.environ if name.startswith("LISTEN_")]
json.dump([list(passed), [os.get_inheritable(sock.fileno()) for sock in passed.values()], left], sys.stdout)
"""


def start(pid: str, number: str, *socks: socket.socket) -> list[list[object]]:
    """Addresses, inheritable or not, and variables left, in a process that has *socks* from descriptor 3 on."""
    fds = [sock.fileno() for sock in socks]

    def place() -> None:
        high = [os.dup2(fd, 100 + position) for position, fd in enumerate(fds)]
        for position, fd in enumerate(high):
            os.dup2(fd, 3 + position)

    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, pid, number],
        close_fds=False,
        preexec_fn=place if fds else None,
        stdout=subprocess.PIPE,
        check=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    found = json.loads(done.stdout)
    assert isinstance(found, list)
    return found


def test_sockets_are_taken_by_their_addresses(tmp_path: Path) -> None:
    """As `listen` writes them; no child inherits them, and none thinks they are its own."""
    with socket.create_server(("127.0.0.1", 0)) as inet, socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(tmp_path / "socketmap"))
        unix.listen()
        addresses = [f"inet:127.0.0.1:{inet.getsockname()[1]}", f"unix:{tmp_path}/socketmap"]
        assert start("ours", "2", inet, unix) == [addresses, [False, False], []]


@pytest.mark.parametrize(
    ("pid", "number"),
    [("1", "1"), ("ours", ""), ("ours", "one"), ("ours", "-1"), ("ours", "²"), ("", "1")],
    ids=["another process's", "no number", "a word", "less than none", "no ASCII", "nobody's"],
)
def test_what_is_not_for_us_is_left_alone(pid: str, number: str) -> None:
    """The variables go all the same."""
    assert start(pid, number) == [[], [], []]


ODD = [
    ("a file", lambda path: os.open(path / "file", os.O_RDWR | os.O_CREAT), "is not a socket"),
    ("a datagram socket", lambda path: bound(path, socket.SOCK_DGRAM), "is not an internet or unix stream socket"),
    ("a pipe in packets", lambda path: bound(path, socket.SOCK_SEQPACKET), "is not an internet or unix stream socket"),
    ("one that does not listen", lambda path: bound(path, socket.SOCK_STREAM), "does not listen"),
]


def bound(path: Path, kind: int) -> int:
    sock = socket.socket(socket.AF_UNIX, kind)
    sock.bind(str(path / "socketmap"))
    return sock.detach()


@pytest.mark.parametrize(("title", "make", "wrong"), ODD, ids=[case[0] for case in ODD])
def test_what_cannot_be_served_is_one_line(
    title: str, make: Callable[[Path], int], wrong: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It names the descriptor, and what to write in the socket unit; nothing is left open."""
    descriptor = make(tmp_path)
    monkeypatch.setattr(systemd, "FIRST_FD", descriptor)
    monkeypatch.setenv("LISTEN_FDS", "1")
    monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
    with pytest.raises(ListenError, match=f"systemd passed descriptor {descriptor}, which {wrong}.*socket unit"):
        passed_sockets()
    if title == "a file":
        os.close(descriptor)
    else:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(descriptor)


def test_a_number_without_sockets_behind_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line, however large the number is."""
    monkeypatch.setattr(systemd, "FIRST_FD", 900)
    monkeypatch.setenv("LISTEN_FDS", "1000000000")
    monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
    with pytest.raises(ListenError, match=r"descriptor 900, which is not a socket \(Bad file descriptor\)"):
        passed_sockets()


def test_without_systemd_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables are not set."""
    monkeypatch.delenv("LISTEN_FDS", raising=False)
    monkeypatch.delenv("LISTEN_PID", raising=False)
    assert passed_sockets() == {}


def test_an_ipv6_address_has_brackets() -> None:
    """As in main.cf."""
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as sock:
        assert address_of(sock) == f"inet:[::1]:{sock.getsockname()[1]}"


@pytest.mark.parametrize("abstract", [False, True], ids=["a path", "an abstract name"])
def test_a_notice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, abstract: bool) -> None:
    """systemd's socket may have no file."""
    path = f"@mtasts-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + path[1:] if abstract else path)
        monkeypatch.setenv("NOTIFY_SOCKET", path)
        assert notify("READY=1")
        assert manager.recv(100) == b"READY=1"


@pytest.mark.parametrize("path", [None, "", "/nowhere/notify"])
def test_nobody_listens(monkeypatch: pytest.MonkeyPatch, path: str | None) -> None:
    """A notice lost is a notice lost."""
    if path is None:
        monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    else:
        monkeypatch.setenv("NOTIFY_SOCKET", path)
    assert notify("WATCHDOG=1")


def test_a_manager_without_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller is told, and may try again; nobody waits."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        told = 0
        while notify("WATCHDOG=1"):
            told += 1
        for _ in range(told):
            manager.recv(100)
        assert notify("READY=1")
