"""daemon/build.py: the parts are joined, and a reload reaches each of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from postfix_mtasts.config.settings import (
    CacheSettings,
    DnsSettings,
    FetchSettings,
    LogSettings,
    MapSettings,
    RefreshSettings,
    Settings,
)
from postfix_mtasts.core.names import Domain
from postfix_mtasts.daemon import build
from postfix_mtasts.daemon.operating.messages import Stats

OLD = Settings(log=LogSettings(level="warning"))
RELOADS: list[tuple[str, Settings, Callable[[build.Parts], object], object]] = [
    ("maps", replace(OLD, maps={"mine": MapSettings()}), lambda parts: list(parts.operations.maps), ["mine"]),
    (
        "refresh.recheck",
        replace(OLD, refresh=RefreshSettings(recheck=50.0)),
        lambda parts: parts.reply_cache.period,
        10.0,
    ),
    (
        "cache.negative_limit",
        replace(OLD, cache=CacheSettings(negative_limit=7)),
        lambda parts: parts.keeper._holdings.negatives._limit,
        7,
    ),
]


async def parts_of(settings: Settings, directory: Path) -> build.Parts:
    return build.daemon(settings, build.open_store(directory), directory, asyncio.get_running_loop())


async def end(parts: build.Parts | build.Offline) -> None:
    parts.pool.stop()
    await parts.store.close(10)


@pytest.mark.parametrize(("key", "new", "look", "want"), RELOADS, ids=[row[0] for row in RELOADS])
def test_a_reload_reaches(
    key: str, new: Settings, look: Callable[[build.Parts], object], want: object, tmp_path: Path
) -> None:
    """What depends on a setting goes by the new one once it is swapped in."""

    async def reload() -> None:
        parts = await parts_of(OLD, tmp_path)
        assert look(parts) != want
        parts.current.swap(new)
        assert look(parts) == want
        await end(parts)

    asyncio.run(reload())


@pytest.mark.parametrize(
    "new",
    [replace(OLD, dns=DnsSettings(servers=("127.0.0.9:53",))), replace(OLD, fetch=FetchSettings(timeout=7.0))],
    ids=["dns", "fetch"],
)
def test_workers_are_told_of_dns_and_fetch_alone(
    new: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other changes leave the worker processes as they are."""

    async def reload() -> None:
        parts = await parts_of(OLD, tmp_path)
        told: list[Settings] = []
        monkeypatch.setattr(type(parts.pool), "configure", lambda _, settings: told.append(settings))
        parts.current.swap(replace(OLD, log=LogSettings(level="error")))
        assert told == []
        parts.current.swap(replace(new, log=LogSettings(level="error")))
        assert [(settings.dns, settings.fetch) for settings in told] == [(new.dns, new.fetch)]
        await end(parts)

    asyncio.run(reload())


def test_an_answer_that_changes_empties_the_ready_replies(tmp_path: Path) -> None:
    """The keeper knows nothing of the reply cache: it calls what build gave it."""

    async def forget() -> None:
        parts = await parts_of(OLD, tmp_path)
        parts.reply_cache.ready[b"request"] = b"reply", [0]
        parts.keeper.forget(Domain("example.com"))
        assert parts.reply_cache.ready == {}
        await end(parts)

    asyncio.run(forget())


def test_a_command_gets_a_keeper_on_the_store_itself(tmp_path: Path) -> None:
    """No listener, no refresher, no socket: what `cache` needs and no more."""

    async def ask() -> list[dict[str, object]]:
        parts = build.offline(OLD, build.open_store(tmp_path))
        await parts.store.load(parts.keeper.load)
        parts.keeper.all_loaded()
        answers = [answer async for answer in parts.operations.answers(Stats())]
        await end(parts)
        return answers

    [stats] = asyncio.run(ask())
    assert set(stats.numbers.policies.values()) == {0}
