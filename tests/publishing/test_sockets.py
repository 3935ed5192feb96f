"""publishing/sockets.py: what systemd passes is used by its port, whatever certificates are."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from postfix_mtasts.config.file import read
from postfix_mtasts.errors import ListenError
from postfix_mtasts.process import systemd
from postfix_mtasts.publishing.sockets import Use, open_sockets


def pass_sockets(monkeypatch: pytest.MonkeyPatch, number: int) -> list[socket.socket]:
    """Pass sockets of free ports, as a socket unit does."""
    passed = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    by_address = {f"inet:127.0.0.1:{sock.getsockname()[1]}": sock for sock in passed}
    monkeypatch.setattr(systemd, "passed_sockets", lambda: by_address)
    return passed


@pytest.mark.parametrize("certificates", ["acme", "files", "none"])
def test_the_socket_of_port_80_is_taken(certificates: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without ACME as well: the unit that is installed passes it."""
    tls, plain = passed = pass_sockets(monkeypatch, 2)
    ports = [sock.getsockname()[1] for sock in passed]
    config = tmp_path / "config.yml"
    config.write_text(
        f"publish:\n  listen: ['inet:[::]:{ports[0]}']\n  http_listen: ['inet:[::]:{ports[1]}']\n"
        f"  certificates: {certificates}\n"
    )
    found = open_sockets(read(str(config)).settings)
    assert found == {tls: Use.POLICIES, plain: Use.CHALLENGES}
    for sock in found:
        sock.close()


def test_a_socket_that_nothing_names_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """By its address."""
    (sock,) = pass_sockets(monkeypatch, 1)
    config = tmp_path / "config.yml"
    config.write_text("publish:\n  certificates: files\n")
    with pytest.raises(ListenError, match=f"{sock.getsockname()[1]}: systemd passed this socket"):
        open_sockets(read(str(config)).settings)
    sock.close()
