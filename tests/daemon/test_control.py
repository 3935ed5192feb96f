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
    operations = Operations(world.keeper, world.counts)
    answers = [answer async for answer in operations.answers({"do": "import", "rows": [row]})]
    assert [answer["result"] for answer in answers] == [result]
    assert world.keeper.held[D].entry.fetched_at == fetched_at


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
