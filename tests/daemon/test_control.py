"""daemon/operations.py and daemon/control.py: what a request comes to."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from postfix_mtasts.daemon.control import ControlServer
from postfix_mtasts.daemon.operations import Operations
from tests.support.entries import NOW, entry
from tests.support.keeping import D, World, in_loop

ROW = {"domain": D, "record_id": "1", "fetched_at": NOW - 5, "used_at": 0, "policy": entry().policy.text}

IMPORTS: list[tuple[str, Any, str, float]] = [
    ("a newer fetch is taken", ROW | {"fetched_at": NOW - 5}, "taken", NOW - 5),
    ("a fetch of the future is one of now", ROW | {"fetched_at": NOW + 500}, "taken", NOW),
    ("an older fetch never replaces a newer one", ROW | {"fetched_at": NOW - 50}, "kept", NOW - 20),
    ("a row that is no object is refused", None, "refused", NOW - 20),
    ("a broken policy is refused", ROW | {"policy": "x"}, "refused", NOW - 20),
]


@pytest.fixture
def world() -> World:
    return World()


@pytest.mark.parametrize(("title", "row", "result", "fetched_at"), IMPORTS, ids=[case[0] for case in IMPORTS])
@in_loop
async def test_import(world: World, title: str, row: Any, result: str, fetched_at: float) -> None:
    """Checked line by line; a clock or an old file cannot prolong or take back a policy."""
    world.hold(entry(fetched_at=NOW - 20))
    assert await results(Operations(world.keeper, world.counts), row) == [result]
    assert world.keeper.held[D].entry.fetched_at == fetched_at


async def results(operations: Operations, *rows: Any) -> list[str]:
    return [answer["result"] async for answer in operations.answers({"do": "import", "rows": [*rows]})]


@in_loop
async def test_an_imported_policy_serves_once_it_is_stored(world: World) -> None:
    """kill -9 loses none that Postfix was told of; a lookup meanwhile waits for the disk."""
    world.store.instant = False
    importing = asyncio.create_task(results(Operations(world.keeper, world.counts), ROW))
    await world.settle()
    lookup = world.ask()
    assert (lookup, world.keeper.held, importing.done()) == ([], {}, False)
    world.store.waiting.pop().set_result(None)
    assert await importing == ["taken"]
    assert [verdict.kind for verdict in lookup] == ["secure"]
    assert world.jobs.count == 0, "the network was not asked"


@in_loop
async def test_an_import_waits_for_a_fetch_under_way(world: World) -> None:
    """Else an old file could be written over the newer fetch."""
    lookup = world.ask()
    importing = asyncio.create_task(results(Operations(world.keeper, world.counts), ROW, ROW))
    await world.settle()
    world.jobs.answer(world.found())
    assert await importing == ["kept", "kept"]
    assert len(lookup) == 1
    assert world.store.entries[D].fetched_at == world.keeper.held[D].entry.fetched_at == NOW


@in_loop
async def test_of_two_rows_the_newer_stays(world: World) -> None:
    """Whatever their order in the file."""
    rows = [ROW, ROW | {"fetched_at": NOW - 3}, ROW | {"fetched_at": NOW - 4}]
    assert await results(Operations(world.keeper, world.counts), *rows) == ["taken", "taken", "kept"]
    assert world.store.entries[D].fetched_at == NOW - 3


@in_loop
async def test_what_is_forgotten_while_it_is_imported_stays_forgotten(world: World) -> None:
    """In memory as in the store."""
    world.store.instant = False
    importing = asyncio.create_task(results(Operations(world.keeper, world.counts), ROW))
    await world.settle()
    world.keeper.forget(D)
    for future in world.store.waiting:
        future.set_result(None)
    await importing
    assert (world.keeper.held, world.store.entries) == ({}, {})


@in_loop
async def test_an_imported_policy_has_its_record_read_soon(world: World) -> None:
    """As old as the fetch is the last reading of the record."""
    await results(Operations(world.keeper, world.counts), ROW | {"fetched_at": NOW - 3_600})
    world.ask()
    assert world.jobs.count == 1


BAD = [b"{}\n", b"[]\n", b"nonsense\n", b'{"do": "forget"}\n', b'{"do": "show", "domain": "-"}\n']


@pytest.mark.parametrize("line", BAD)
def test_a_bad_request_is_told_so_and_the_next_is_answered(line: bytes, tmp_path: Path) -> None:
    """The socket is its owner's alone, and a socket left behind is no hindrance."""

    async def test() -> None:
        (tmp_path / "control").touch()
        world = World()
        server = ControlServer(tmp_path, Operations(world.keeper, world.counts))
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
