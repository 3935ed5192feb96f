"""Started by systemd: sockets passed in, and what the service manager is told."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support.servers.daemon import ENVIRONMENT, PATIENCE, Daemon, refused
from tests.support.servers.internet import Internet, policy
from tests.support.servers.socketmap_client import SocketmapClient

ENFORCED = "OK secure match=mx.example.net servername=hostname"

# What systemd does between fork and exec (sd_listen_fds(3)); arguments: addresses, "--", the command.
ACTIVATE = """
import fcntl, os, socket, sys
cut = sys.argv.index("--")
socks = []
for address in sys.argv[1:cut]:
    kind, _, place = address.partition(":")
    if kind == "unix":
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(place)
    else:
        host, _, port = place.rpartition(":")
        sock = socket.socket(socket.AF_INET6 if host[0] == "[" else socket.AF_INET)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host.strip("[]"), int(port)))
    sock.listen()
    socks.append(fcntl.fcntl(sock.fileno(), fcntl.F_DUPFD, 100))
for number, fd in enumerate(socks):
    os.dup2(fd, 3 + number)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(socks)), LISTEN_FDNAMES="postfix-mtasts.socket")
os.execv(sys.argv[cut + 1], sys.argv[cut + 1:])
"""

PORTS = ("inet:127.0.0.1:18470", "inet:[::1]:18470")


@pytest.fixture
def notices(tmp_path: Path) -> Iterator[socket.socket]:
    """What the service manager hears."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(30)
        yield sock


def hear(notices: socket.socket, start: str) -> str:
    """The first notice that begins with *start*; those before it are passed over."""
    while not (notice := notices.recv(4096).decode()).startswith(start):
        pass
    return notice


class Activated(Daemon):
    """A daemon that systemd gave sockets at *passed*, and that tells it how it is."""

    def __init__(self, directory: Path, config: dict[str, Any], passed: Sequence[str]) -> None:
        super().__init__(directory, config)
        self._passed, self._notices = passed, directory / "notify"

    def command(self) -> list[str]:
        activate = [sys.executable, "-c", ACTIVATE, *self._passed, "--"]
        return ["env", f"NOTIFY_SOCKET={self._notices}", *activate, *super().command()]


def test_each_passed_socket_is_served(internet: Internet, tmp_path: Path) -> None:
    """IPv4, IPv6 and unix; what `listen` names beside them is bound, and what they hold is not bound again."""
    internet.publish("passed.systemd.test", policy("mx.example.net"))
    unix, own = f"unix:{tmp_path}/socketmap", "inet:127.0.0.1:18471"
    config = internet.config(listen=[PORTS[0], own])
    with Activated(tmp_path, config, [*PORTS, unix]) as daemon:
        for address in (*PORTS, unix, own):
            with SocketmapClient(address, 30) as client:
                assert client.ask("postfix", "passed.systemd.test") == ENFORCED, address
        daemon.reload()
        for address in (*PORTS, unix, own):
            with SocketmapClient(address, 30) as client:
                assert client.ask("postfix", "passed.systemd.test") == ENFORCED, address
    assert (tmp_path / "socketmap").exists()  # it is systemd's to remove


def test_listen_may_be_empty_where_a_socket_is_passed(internet: Internet, tmp_path: Path) -> None:
    """And without one there is nothing to do: exit 69."""
    config = internet.config(listen=[])
    with Activated(tmp_path / "passed", config, PORTS[:1]), SocketmapClient(PORTS[0], 30) as client:
        assert client.ask("postfix", "[198.51.100.1]") == "NOTFOUND "
    code, said = refused(tmp_path / "none", config)
    assert code == 69
    assert "listen is empty and systemd passed no socket" in said


def test_what_a_passed_socket_holds_under_another_name_is_not_bound_again(internet: Internet, tmp_path: Path) -> None:
    """ListenStream=8470 takes every address, and so the one that `listen` names by itself."""
    config = internet.config(listen=["inet:127.0.0.1:18474", "inet:localhost:18474"])
    with Activated(tmp_path, config, ["inet:[::]:18474"]) as daemon:
        assert "listen=inet:[::]:18474" in daemon.events("ready")[0]
        with SocketmapClient("inet:127.0.0.1:18474", 30) as client:
            assert client.ask("postfix", "[198.51.100.1]") == "NOTFOUND "
        daemon.reload()


def test_a_passed_descriptor_that_is_not_a_socket_is_one_line(internet: Internet, tmp_path: Path) -> None:
    """Exit 69, with what to write in the socket unit."""
    daemon = Daemon(tmp_path, internet.config())
    passed = 'exec env LISTEN_PID=$$ LISTEN_FDS=1 "$@" 3</dev/null'
    command = ["sh", "-c", passed, "sh", *daemon.command()]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, timeout=PATIENCE)
    assert done.returncode == 69
    [line] = done.stderr.decode().splitlines()
    assert line.startswith("postfix-mtasts: systemd passed descriptor 3, which is not a socket")


def test_sockets_meant_for_another_process_are_left_alone(internet: Internet, tmp_path: Path) -> None:
    """LISTEN_PID names somebody else, say a wrapper that forgot to clear its environment."""

    class Inherited(Activated):
        def command(self) -> list[str]:
            command = super().command()
            cut = command.index("--") + 1
            return [*command[:cut], "/usr/bin/env", "LISTEN_PID=1", *command[cut:]]

    with Inherited(tmp_path, internet.config(listen=["inet:127.0.0.1:18472"]), PORTS[:1]) as daemon:
        assert "listen=inet:127.0.0.1:18472" in daemon.events("ready")[0]
        assert PORTS[0] not in daemon.events("ready")[0]


def test_the_service_manager_is_told(internet: Internet, tmp_path: Path, notices: socket.socket) -> None:
    """Readiness, a reload and its end, counts, and the stop."""
    internet.publish("told.systemd.test", policy("mx.example.net"))
    with Activated(tmp_path, internet.config(), PORTS[:1]) as daemon:
        hear(notices, "READY=1")
        assert daemon.ask("postfix", "told.systemd.test") == ENFORCED
        daemon.hang_up()
        assert "MONOTONIC_USEC=" in hear(notices, "RELOADING=1")
        hear(notices, "READY=1")
        assert hear(notices, "STATUS=").startswith("STATUS=1 policies, ")
    hear(notices, "STOPPING=1")
