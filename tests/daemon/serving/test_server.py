"""serving/server.py: which connections are closed where there are too many, and addresses that come and go whole."""

from __future__ import annotations

import asyncio
import resource
import socket
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, cast

import pytest

from postfix_mtasts.config.settings import Settings
from postfix_mtasts.core.netstring import encode
from postfix_mtasts.daemon.serving import server as module
from postfix_mtasts.daemon.serving.connection import Connection
from postfix_mtasts.daemon.serving.reply_cache import ReplyCache
from postfix_mtasts.daemon.serving.server import KEPT_BACK, LEAST_CONNECTIONS, Server, connection_limit
from postfix_mtasts.errors import ListenError


class Client:
    """A connection, as far as the server looks at it."""

    def __init__(self, tick: int, *, busy: bool = False, unread: int = 0) -> None:
        self.tick, self.busy, self.unread = tick, busy, unread
        self.end = ""

    def close(self) -> None:
        self.end = "closed"

    def abort(self) -> None:
        self.end = "cut off"


def small_server(monkeypatch: pytest.MonkeyPatch, limit: int) -> Server:
    monkeypatch.setattr(module, "connection_limit", lambda: limit)
    return Server(ReplyCache(60.0, lambda: 0.0), lambda payload, later: encode(b"re:" + payload))


def open_all(server: Server, *clients: Client) -> list[str]:
    for client in clients:
        server.opened(cast("Connection", client))
    return [client.end for client in clients]


CROWDS: list[tuple[str, list[Client], list[str]]] = [
    ("as many as may be", [Client(1), Client(2), Client(3)], ["", "", ""]),
    ("one more", [Client(2), Client(1), Client(3), Client(4)], ["", "closed", "", ""]),
    ("the idlest waits for an answer", [Client(1, busy=True), Client(2), Client(3), Client(4)], ["", "closed", "", ""]),
    ("all wait for answers", [*(Client(1, busy=True) for _ in range(3)), Client(4)], ["", "", "", "closed"]),
    ("the idlest does not read", [Client(1, unread=9), Client(2), Client(3), Client(4)], ["cut off", "", "", ""]),
    ("two more", [Client(1), Client(2), Client(3), Client(4), Client(5)], ["closed", "closed", "", "", ""]),
]


@pytest.mark.parametrize(("title", "clients", "ends"), CROWDS, ids=[row[0] for row in CROWDS])
def test_where_there_are_too_many_the_idlest_goes(
    title: str, clients: list[Client], ends: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Postfix connects again unseen; who waits for an answer is never closed for another."""
    server = small_server(monkeypatch, 3)
    assert open_all(server, *clients) == ends
    assert len(server.connections) == min(3, len(clients))


def test_who_asked_meanwhile_is_idle_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """The order found at one look does not outlive what changes it."""
    server = small_server(monkeypatch, 3)
    first, second, third = Client(1), Client(2), Client(3)
    open_all(server, first, second, third, Client(4))
    assert first.end == "closed"
    second.tick = 9
    open_all(server, Client(5))
    assert (second.end, third.end) == ("", "closed")


LIMITS: list[tuple[int, int | None]] = [  # open files, connections
    (KEPT_BACK + LEAST_CONNECTIONS - 1, None),
    (KEPT_BACK + LEAST_CONNECTIONS, LEAST_CONNECTIONS),
    (4_096, 4_096 - KEPT_BACK),
    (1 << 20, module.MOST_CONNECTIONS),
]


@pytest.mark.parametrize(("descriptors", "connections"), LIMITS)
def test_the_limit_on_connections(descriptors: int, connections: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where too few files may be open to serve anybody, one line says how many are needed, and where to say so."""
    monkeypatch.setattr(module, "raise_descriptor_limit", lambda: descriptors)
    if connections is None:
        with pytest.raises(ListenError, match=rf"only {descriptors} files .* {descriptors + 1} .*LimitNOFILE"):
            connection_limit()
    else:
        assert connection_limit() == connections


def test_few_connections_are_worth_a_warning(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """The daemon promises 4,000 at once."""
    small_server(monkeypatch, 3_999)
    assert [record.getMessage() for record in caplog.records] == ["few-descriptors connections=3999 want=4000"]


def test_the_soft_limit_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    """To the hard one; a sandbox that forbids it leaves the soft one."""
    limits = [(100, 5_000), (100, 5_000)]
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda _, new: limits.append(new))
    assert module.raise_descriptor_limit() == 5_000
    assert limits[-1] == (5_000, 5_000)

    def forbid(_: int, new: tuple[int, int]) -> None:
        raise ValueError("not allowed")

    limits.append((100, 5_000))
    monkeypatch.setattr(resource, "setrlimit", forbid)
    assert module.raise_descriptor_limit() == 100


class World:
    """A server with addresses of the test's own."""

    def __init__(self, directory: Path) -> None:
        self.server = Server(ReplyCache(60.0, lambda: 0.0), lambda payload, later: encode(b"re:" + payload))
        self.directory = directory

    def unix(self, name: str) -> str:
        return f"unix:{self.directory / name}"

    async def listen(self, *addresses: str, mode: int = 0o600, passed: dict[str, socket.socket] | None = None) -> None:
        await self.server.listen(Settings(listen=addresses, socket_mode=mode), passed or {})

    async def ask(self, address: str) -> bytes:
        if address.startswith("unix:"):
            reader, writer = await asyncio.open_unix_connection(address.removeprefix("unix:"))
        else:
            host, port = address.split(":")[1:]
            reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(encode(b"hello"))
        reply = await reader.readuntil(b",")
        writer.close()
        await writer.wait_closed()
        return reply


def run(directory: Path, test: Callable[[World], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        world = World(directory)
        await test(world)
        world.server.stop_accepting()
        world.server.close()
        for _ in range(5):
            await asyncio.sleep(0)

    asyncio.run(main())


REPLY = encode(b"re:hello")


def test_an_address_that_fails_moves_none(tmp_path: Path) -> None:
    """What was bound for the new addresses is given back, and the old ones go on, with the mode that they had."""

    async def test(world: World) -> None:
        old, new = world.unix("old"), world.unix("new")
        await world.listen(old)
        with pytest.raises(ListenError, match="No such file or directory"):
            await world.listen(new, "unix:/nowhere/socketmap", mode=0o666)
        assert world.server.addresses == (old,)
        assert await world.ask(old) == REPLY
        assert not (tmp_path / "new").exists()
        assert (tmp_path / "old").stat().st_mode & 0o777 == 0o600

    run(tmp_path, test)


def test_addresses_come_and_go(tmp_path: Path) -> None:
    """The file of one that goes is removed; one that stays takes the new mode."""

    async def test(world: World) -> None:
        first, second = world.unix("first"), world.unix("second")
        await world.listen(first, second)
        await world.listen(second, mode=0o666)
        assert world.server.addresses == (second,)
        assert not (tmp_path / "first").exists()
        assert (tmp_path / "second").stat().st_mode & 0o777 == 0o666
        assert await world.ask(second) == REPLY

    run(tmp_path, test)


@pytest.mark.parametrize("replaced", [False, True], ids=["removed", "replaced by a stale socket"])
def test_a_socket_file_that_is_lost_is_bound_anew(replaced: bool, tmp_path: Path) -> None:
    """Else nobody could connect until a restart."""

    async def test(world: World) -> None:
        await world.listen(world.unix("socketmap"))
        (tmp_path / "socketmap").unlink()
        if replaced:
            with socket.socket(socket.AF_UNIX) as other:
                other.bind(str(tmp_path / "socketmap"))
        await world.listen(world.unix("socketmap"))
        assert await world.ask(world.unix("socketmap")) == REPLY

    run(tmp_path, test)


def test_a_passed_socket_is_not_bound_again(tmp_path: Path) -> None:
    """Though `listen` names it too."""

    async def test(world: World) -> None:
        sock = socket.create_server(("127.0.0.1", 0))
        address = f"inet:127.0.0.1:{sock.getsockname()[1]}"
        await world.listen(address, passed={address: sock})
        assert world.server.addresses == (address,)
        assert await world.ask(address) == REPLY
        await world.listen(address, passed={address: sock})
        assert await world.ask(address) == REPLY

    run(tmp_path, test)
