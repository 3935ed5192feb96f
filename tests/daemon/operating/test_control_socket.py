"""operating/operations.py and control_socket.py: what a request comes to."""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from postfix_mtasts.core.names import Domain
from postfix_mtasts.core.outcome import ResultType, Stage
from postfix_mtasts.daemon.operating import control_socket
from postfix_mtasts.daemon.operating.codec import to_json
from postfix_mtasts.daemon.operating.control_socket import CLIENTS, ControlServer
from postfix_mtasts.daemon.operating.messages import Import, Status
from postfix_mtasts.daemon.operating.operations import Operations
from postfix_mtasts.daemon.operating.survey import Running
from postfix_mtasts.errors import InputError
from tests.support.fakes import faults
from tests.support.fakes.entries import DAY, NOW, entry
from tests.support.fakes.keeping import DNS_FAILED, D, World, failed, in_loop

ROW = {"domain": D, "record_id": "1", "fetched_at": NOW - 5, "used_at": 0, "policy": entry().policy.text}

LONG = entry().policy.text + "\nx: " + "y" * 65_536  # a policy in all but its length
IMPORTS: list[tuple[str, Any, str, float]] = [
    ("a newer fetch is taken", ROW | {"fetched_at": NOW - 5}, "taken", NOW - 5),
    ("a fetch of the future is one of now", ROW | {"fetched_at": NOW + 500}, "taken", NOW),
    ("an older fetch never replaces a newer one", ROW | {"fetched_at": NOW - 50}, "kept", NOW - 20),
    ("a row that is no object is refused", None, "refused", NOW - 20),
    ("a broken policy is refused", ROW | {"policy": "x"}, "refused", NOW - 20),
    ("a policy that is too long to be fetched is refused", ROW | {"policy": LONG}, "refused", NOW - 20),
]


@pytest.fixture
def world() -> World:
    return World()


@pytest.mark.parametrize(("title", "row", "result", "fetched_at"), IMPORTS, ids=[case[0] for case in IMPORTS])
@in_loop
async def test_import(world: World, title: str, row: Any, result: str, fetched_at: float) -> None:
    """Checked line by line; a clock or an old file cannot prolong or take back a policy."""
    world.hold(entry(fetched_at=NOW - 20))
    assert await results(Operations(world.keeper, world.counts, world.clock), row) == [result]
    assert world.held[D].entry.fetched_at == fetched_at


async def results(operations: Operations, *rows: Any) -> list[str]:
    return [answer.result async for answer in operations.answers(Import([*rows]))]


@in_loop
async def test_an_imported_policy_serves_once_it_is_stored(world: World) -> None:
    """kill -9 loses none that Postfix was told of; a lookup meanwhile waits for the disk."""
    world.store.instant = False
    importing = asyncio.create_task(results(Operations(world.keeper, world.counts, world.clock), ROW))
    await world.settle()
    lookup = world.ask()
    assert (lookup, world.held, importing.done()) == ([], {}, False)
    world.store.waiting.pop().set_result(None)
    assert await importing == ["taken"]
    assert [verdict.kind for verdict in lookup] == ["secure"]
    assert world.resolver.count == 0, "the network was not asked"


@in_loop
async def test_an_import_waits_for_a_fetch_under_way(world: World) -> None:
    """Else an old file could be written over the newer fetch."""
    lookup = world.ask()
    importing = asyncio.create_task(results(Operations(world.keeper, world.counts, world.clock), ROW, ROW))
    await world.settle()
    world.resolver.answer(world.found())
    assert await importing == ["kept", "kept"]
    assert len(lookup) == 1
    assert world.store.entries[D].fetched_at == world.held[D].entry.fetched_at == NOW


@in_loop
async def test_of_two_rows_the_newer_stays(world: World) -> None:
    """Whatever their order in the file."""
    rows = [ROW, ROW | {"fetched_at": NOW - 3}, ROW | {"fetched_at": NOW - 4}]
    assert await results(Operations(world.keeper, world.counts, world.clock), *rows) == ["taken", "taken", "kept"]
    assert world.store.entries[D].fetched_at == NOW - 3


@in_loop
async def test_what_is_forgotten_while_it_is_imported_stays_forgotten(world: World) -> None:
    """In memory as in the store."""
    world.store.instant = False
    importing = asyncio.create_task(results(Operations(world.keeper, world.counts, world.clock), ROW))
    await world.settle()
    world.keeper.forget(D)
    for future in world.store.waiting:
        future.set_result(None)
    await importing
    assert (world.held, world.store.entries) == ({}, {})


@in_loop
async def test_an_imported_policy_has_its_record_read_soon(world: World) -> None:
    """As old as the fetch is the last reading of the record."""
    await results(Operations(world.keeper, world.counts, world.clock), ROW | {"fetched_at": NOW - 3_600})
    world.ask()
    assert world.resolver.count == 1


RUNNING = Running(
    directory="/var/lib/postfix-mtasts",
    listen=["inet:127.0.0.1:8462"],
    metrics=None,
    connections=3,
    refresh_due=1,
    refresh_lag=90.0,
    dns_up=True,
    store_up=True,
    workers_up=True,
    workers=2,
    worker_deaths=0,
    faults=["it is late"],
)


async def overview(world: World) -> dict[str, Any]:
    operations = Operations(world.keeper, world.counts, world.clock)
    operations.running = lambda: RUNNING
    [shown] = [answer async for answer in operations.answers(Status())]
    return to_json(shown)


def fail(world: World, domain: str, times: int, result_type: str = "sts-webpki-invalid", **of_entry: Any) -> None:
    """Have the policy of *domain*, which stays in force, fail to be fetched again."""
    world.hold(entry(domain, **of_entry))
    failure = faults.failed(domain, Stage.TLS, "has expired", ResultType(result_type))
    for _ in range(times):
        world.schedule.failed(world.held[Domain(domain)], failure)


@in_loop
async def test_status_of_a_fresh_daemon(world: World) -> None:
    """While the store is still being read it is answered at once, and says so."""
    world.not_loaded()
    shown = await overview(world)
    assert (shown["loaded"], shown["policies"]) == (False, {"enforce": 0, "testing": 0, "none": 0})
    assert (shown["nearest_expiry"], shown["failures"], shown["lookups"]) == (None, [], {})
    assert [shown[name] for name in ("directory", "listen", "metrics", "connections", "faults", "refresh")] == [
        "/var/lib/postfix-mtasts",
        ["inet:127.0.0.1:8462"],
        None,
        3,
        ["it is late"],
        {"due": 1, "lag": 90.0, "failing": 0},
    ]


@in_loop
async def test_status_counts_policies_and_answers(world: World) -> None:
    """By mode; by map and answer."""
    world.hold(entry("a.example", max_age=3_600))
    world.hold(entry("b.example", mode="testing"))
    world.hold(entry("ended.example", fetched_at=NOW - 30 * DAY))
    world.counts.lookups("postfix", "secure")[0] += 2
    world.counts.cold(0.3)
    shown = await overview(world)
    assert shown["policies"] == {"enforce": 2, "testing": 1, "none": 0}
    assert shown["nearest_expiry"] == 3_600
    assert shown["lookups"] == {"postfix": {"secure": 2}}
    assert (shown["cold"]["number"], shown["cold"]["within"]["0.25"], shown["cold"]["within"]["0.5"]) == (1, 0, 1)


@in_loop
async def test_status_names_the_failing_that_need_most(world: World) -> None:
    """The kind with most domains first; in it enforced policies by their end, others, then what has no policy."""
    for number in range(150):
        fail(world, f"d{number}.example", 1, max_age=200_000 + number)
    fail(world, "soon.example", 7, max_age=90_000)
    fail(world, "testing.example", 1, mode="testing", max_age=80_000)
    fail(world, "invalid.example", 1, "sts-policy-invalid")
    for domain, answer in (("none.example", failed(reason="refused")), ("dns.example", DNS_FAILED)):
        world.ask(domain)
        world.resolver.answer(answer)
    webpki, *others = (await overview(world))["failures"]
    assert (webpki["kind"], webpki["domains"]) == ("sts-webpki-invalid", 152)
    assert [each["domain"] for each in webpki["worst"]] == [
        "soon.example",
        *(f"d{number}.example" for number in range(4)),
    ]
    assert webpki["worst"][0] == {
        "domain": "soon.example",
        "mode": "enforce",
        "left": 90_000,
        "failures": 7,
        "ago": None,
        "reason": "the certificate is not valid: has expired",
    }
    assert {(kind["kind"], kind["domains"], kind["worst"][0]["domain"]) for kind in others} == {
        ("sts-policy-invalid", 1, "invalid.example"),
        ("sts-policy-fetch-error", 1, "none.example"),
        ("dns", 1, "dns.example"),
    }
    [refused] = [kind["worst"][0] for kind in others if kind["kind"] == "sts-policy-fetch-error"]
    assert (refused["mode"], refused["ago"], refused["reason"]) == (None, 0.0, "refused")


@in_loop
async def test_status_forgets_failures_of_the_day_before(world: World) -> None:
    """A domain that nobody asks for any more is no news."""
    world.ask()
    world.resolver.answer(failed())
    await world.settle(DAY - 1)
    assert len((await overview(world))["failures"]) == 1
    await world.settle(1)
    assert (await overview(world))["failures"] == []


@in_loop
async def test_only_a_daemon_has_a_status(world: World) -> None:
    """A command that holds the store itself has none to show."""
    with pytest.raises(InputError, match="no daemon runs"):
        _ = [answer async for answer in Operations(world.keeper, world.counts, world.clock).answers(Status())]


BAD = [b"{}\n", b"[]\n", b"nonsense\n", b'{"do": "forget"}\n', b'{"do": "show", "domain": "-"}\n']


@pytest.mark.parametrize("line", BAD)
def test_a_bad_request_is_told_so_and_the_next_is_answered(line: bytes, tmp_path: Path) -> None:
    """The socket is its owner's alone, and a socket left behind is no hindrance."""

    async def test() -> None:
        (tmp_path / "control").touch()
        world = World()
        server = ControlServer(tmp_path, Operations(world.keeper, world.counts, world.clock))
        await server.start()
        assert (tmp_path / "control").stat().st_mode & 0o777 == 0o600
        reader, writer = await asyncio.open_unix_connection(str(tmp_path / "control"))
        writer.write(line + b'{"do": "stats"}\n')
        assert "error" in json.loads(await reader.readline())
        assert json.loads(await reader.readline())["negatives"] == 0
        assert json.loads(await reader.readline()) == {"done": True}
        writer.close()
        server.close()

    asyncio.run(test())


Serve = Callable[[ControlServer, Path], Coroutine[Any, Any, None]]


def serving(tmp_path: Path, then: Serve) -> None:
    """Run a control socket, and *then*."""

    async def test() -> None:
        world = World()
        server = ControlServer(tmp_path, Operations(world.keeper, world.counts, world.clock))
        await server.start()
        try:
            async with asyncio.timeout(60):
                await then(server, tmp_path / "control")
        finally:
            server.close()

    asyncio.run(test())


async def stats(path: Path) -> bool:
    """Whether the daemon answers on *path*."""
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(b'{"do": "stats"}\n')
    answered = (await reader.read(1)) == b"{"
    writer.close()
    return answered


def test_idle_connections_do_not_shut_a_command_out(tmp_path: Path) -> None:
    """The one idle longest gives way; commands come and go within milliseconds."""

    async def then(server: ControlServer, path: Path) -> None:
        idle = [await asyncio.open_unix_connection(str(path)) for _ in range(CLIENTS)]
        assert await stats(path)
        assert await idle[0][0].read() == b"", "the oldest was closed"
        assert await stats(path)
        idle[-1][1].write(b'{"do": "stats"}\n')
        assert (await idle[-1][0].readline()).startswith(b"{"), "the newest was not"
        for _, writer in idle:
            writer.close()

    serving(tmp_path, then)


def test_a_removed_socket_comes_back(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Also where its whole directory was removed, once the store is back in its place."""
    caplog.set_level(logging.INFO, "postfix_mtasts")

    async def then(server: ControlServer, path: Path) -> None:
        server.look()
        assert "control-restarted" not in caplog.text
        path.unlink()
        server.look()
        while not path.exists():
            await asyncio.sleep(0)
        assert await stats(path)
        shutil.rmtree(path.parent)
        server.look()
        while "control-unavailable" not in caplog.text:
            await asyncio.sleep(0)
        path.parent.mkdir()
        while not path.exists():
            server.look()
            await asyncio.sleep(0)
        assert await stats(path)

    directory = tmp_path / "store"
    directory.mkdir()
    serving(directory, then)
    assert caplog.text.count("control-unavailable") == 1
    assert not (directory / "control").exists()


def test_a_closed_socket_does_not_come_back(tmp_path: Path) -> None:
    """The store is looked at until the daemon has ended."""

    async def then(server: ControlServer, path: Path) -> None:
        server.close()
        server.look()
        await asyncio.sleep(0)
        assert not path.exists()

    serving(tmp_path, then)


def test_the_socket_of_another_daemon_is_left_alone(tmp_path: Path) -> None:
    """It took the place while ours was removed."""

    async def then(server: ControlServer, path: Path) -> None:
        path.unlink()
        path.touch()

    serving(tmp_path, then)
    assert (tmp_path / "control").exists()


def test_a_client_that_reads_nothing_is_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else 32 of them would shut `status` out."""
    monkeypatch.setattr(control_socket, "READ_WAIT", 0.01)

    async def then(server: ControlServer, path: Path) -> None:
        _reader, writer = await asyncio.open_unix_connection(str(path), limit=1)
        writer.write(b'{"do": "stats"}\n' * 20_000)
        while not server._clients or server._clients[0].idle_since is not None:
            await asyncio.sleep(0)
        while server._clients:
            await asyncio.sleep(0)
        writer.close()

    serving(tmp_path, then)
