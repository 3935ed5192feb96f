"""The store's thread: turns, failing writes, damage, closing. Most of it over a store in memory that can be held up."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from postfix_mtasts.adapters.store.disk import DiskStore
from postfix_mtasts.core.entry import Entry
from postfix_mtasts.core.names import Domain
from postfix_mtasts.daemon.policies import store_retry, store_thread
from postfix_mtasts.daemon.policies.store_thread import StoreKeeper
from postfix_mtasts.errors import StoreBusyError, StoreDamagedError, StoreError
from tests.support.fakes.entries import entry

EXAMPLE = Domain("example.com")
FULL = StoreError("/store/cache.db: database or disk is full")
MALFORMED = StoreDamagedError("/store/cache.db: malformed")


class MemoryStore:
    """A store in memory. It waits while *gate* is closed, fails while *fault* is set, and notes what it was asked."""

    def __init__(self, *entries: Entry, damage: str = "") -> None:
        self.rows = {entry.domain: entry for entry in entries}
        self.damage = damage
        self.calls: list[str] = []
        self.gate = threading.Event()
        self.gate.set()
        self.closed = threading.Event()
        self.fault: Exception | None = None

    def _enter(self, call: str) -> None:
        self.calls.append(call)
        assert self.gate.wait(60)
        if self.fault is not None:
            raise self.fault

    def get(self, domain: Domain) -> Entry | None:
        self._enter(f"get {domain}")
        return self.rows.get(domain)

    def put(self, entries: Sequence[Entry]) -> None:
        self._enter("put " + " ".join(f"{entry.domain}={entry.record_id}" for entry in entries))
        self.rows.update((entry.domain, entry) for entry in entries)

    def delete(self, domains: Sequence[Domain]) -> None:
        self._enter("delete " + " ".join(domains))
        for domain in domains:
            self.rows.pop(domain, None)

    def load(self, skipped: Callable[[str], None]) -> Iterator[Entry]:
        for number, row in enumerate(list(self.rows.values())):
            if number % 50 == 0:
                self._enter("load")
            yield row

    def count(self) -> int:
        return len(self.rows)

    def check(self) -> None:
        """Nobody removes it."""

    def renew(self, salvaged: bool) -> str:
        self.calls.append("renew")
        self.rows = {}
        return "/store/cache.db.damaged"

    def close(self) -> None:
        self.closed.set()


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 60))


@contextlib.asynccontextmanager
async def keeping(store: Any) -> AsyncIterator[StoreKeeper]:
    keeper = StoreKeeper(lambda: store, time.monotonic)
    try:
        yield keeper
    finally:
        await keeper.close(60)


async def until(met: Callable[[], object]) -> None:
    """Let the loop turn until the thread has brought about what is waited for."""
    while not met():
        await asyncio.sleep(0)


@pytest.fixture
def no_retry(monkeypatch: pytest.MonkeyPatch) -> None:
    """No timer of a retry rings during the test."""
    monkeypatch.setattr(store_retry, "FIRST_RETRY", 3600.0)


@pytest.fixture
def instant_retry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_retry, "FIRST_RETRY", 0.0)


@pytest.fixture(autouse=True)
def _log_all(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "postfix_mtasts")


def events(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Level and first word of each line."""
    return [
        f"{record.levelname} {record.getMessage().split()[0]}"
        for record in caplog.records
        if record.name.startswith("postfix")
    ]


# -- reading and writing -----------------------------------------------------------


def test_what_was_put_is_there_after_a_restart(tmp_path: Path) -> None:
    """The future of a put is done at the commit; a delete likewise."""

    async def first() -> None:
        keeper = StoreKeeper.open(tmp_path / "store", time.monotonic)
        await asyncio.gather(*(keeper.put(entry(f"d{number}.example")) for number in range(450)))
        await keeper.delete(Domain("d7.example"))
        assert await keeper.close(60)

    async def second() -> None:
        keeper = StoreKeeper.open(tmp_path / "store", time.monotonic)
        batches: list[list[Entry]] = []
        await keeper.load(batches.append)
        assert [found for batch in batches for found in batch] == [
            entry(f"d{number}.example") for number in range(450) if number != 7
        ]
        assert max(map(len, batches)) <= 50
        assert await keeper.get(Domain("d8.example")) == entry("d8.example")
        assert await keeper.get(Domain("d7.example")) is None
        await keeper.close(60)

    run(first())
    run(second())


def test_an_opening_that_fails_is_told_before_the_loop_runs(tmp_path: Path) -> None:
    """The daemon exits 69 on it."""
    store = DiskStore(tmp_path / "store")
    with pytest.raises(StoreBusyError, match="in use by process"):
        StoreKeeper.open(tmp_path / "store", time.monotonic)
    store.close()
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="not a directory"):
        StoreKeeper.open(tmp_path / "file", time.monotonic)


def test_kinds_of_work_take_turns() -> None:
    """Each turn does what has queued up: puts in one transaction, and no kind waits for two pieces of another."""

    async def test() -> None:
        store = MemoryStore(*(entry(f"d{number}.example") for number in range(60)))
        store.gate.clear()
        async with keeping(store) as keeper:
            waiting: list[asyncio.Future[Any]] = [keeper.get(Domain("first.example"))]
            waiting.append(keeper.load(lambda batch: None))
            waiting += [keeper.put(entry(name)) for name in ("a.example", "b.example")]
            waiting.append(keeper.delete(Domain("c.example")))
            waiting += [keeper.get(Domain(name)) for name in ("x.example", "y.example")]
            store.gate.set()
            await asyncio.gather(*waiting)
        assert store.calls == [
            "get first.example",
            "put a.example=20231114 b.example=20231114",
            "delete c.example",
            "load",
            "get x.example",
            "get y.example",
            "load",
        ]

    run(test())


def test_what_is_queued_is_what_is_read(no_retry: None) -> None:
    """Before it is tried, while it is tried, and after it failed."""

    async def test() -> None:
        store = MemoryStore(entry(record_id="old"))
        store.gate.clear()
        async with keeping(store) as keeper:
            written = keeper.put(entry(record_id="1"))
            assert await keeper.get(EXAMPLE) == entry(record_id="1")  # being tried
            keeper.delete(EXAMPLE)
            assert await keeper.get(EXAMPLE) is None  # queued
            store.fault = FULL
            store.gate.set()
            with pytest.raises(StoreError):
                await written
            await until(lambda: EXAMPLE in keeper.unwritten)
            assert await keeper.get(EXAMPLE) is None  # failed
            store.fault = None
        assert not any(call.startswith("get") for call in store.calls)
        assert store.rows == {}

    run(test())


def test_a_caller_that_gives_up_changes_nothing() -> None:
    """A cancelled put is written all the same."""

    async def test() -> None:
        store = MemoryStore()
        store.gate.clear()
        async with keeping(store) as keeper:
            reading, writing, waited = (
                keeper.get(Domain("x.example")),
                keeper.put(entry()),
                keeper.put(entry("b.example")),
            )
            reading.cancel()
            writing.cancel()
            store.gate.set()
            await waited
        assert EXAMPLE in store.rows

    run(test())


# -- the load ------------------------------------------------------------------------


def test_what_changes_during_a_load_is_left_out_of_it() -> None:
    """The loop holds something newer; a deleted policy must not come back."""

    async def test() -> None:
        store = MemoryStore(*(entry(f"{name}.example") for name in "abc"))
        store.gate.clear()
        loaded: list[Entry] = []
        async with keeping(store) as keeper:
            keeper.delete(Domain("a.example"))
            load = keeper.load(loaded.extend)
            keeper.put(entry("b.example", record_id="new"))
            store.gate.set()
            await load
        assert loaded == [entry("c.example")]

    run(test())


def test_a_load_that_fails_begins_again(instant_retry: None, caplog: pytest.LogCaptureFixture) -> None:
    """Its future waits for the end, and health tells of it meanwhile."""

    async def test() -> None:
        store = MemoryStore(entry())
        store.fault = StoreError("/store/cache.db: disk I/O error")
        loaded: list[Entry] = []
        async with keeping(store) as keeper:
            load = keeper.load(loaded.extend)
            await until(lambda: store.calls.count("load") > 2)
            assert (keeper.healthy, keeper.failure) == (False, "/store/cache.db: disk I/O error")
            store.fault = None
            await load
            assert loaded == [entry()]
            await until(lambda: keeper.healthy)

    run(test())
    assert sorted(events(caplog)) == ["INFO store-loaded", "INFO store-works-again", "WARNING store-failing"]


def test_rows_passed_over_are_told_of_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """How many, and the first of them."""

    async def test() -> None:
        keeper = StoreKeeper.open(tmp_path / "store", time.monotonic)
        await keeper.put(entry())
        await keeper.put(entry("b.example"))
        await keeper.put(Entry(Domain("NO_DOMAIN"), entry().policy, "1", 0.0, 0.0))
        await keeper.put(Entry(Domain("c.example"), entry().policy, "not an id", 0.0, 0.0))
        await keeper.load(lambda batch: None)
        await keeper.close(60)

    run(test())
    assert events(caplog) == ["INFO store-loaded", "WARNING store-rows-skipped"]
    assert "rows=2 first=\"'NO_DOMAIN':" in caplog.text
    assert "policies=2" in caplog.text


def test_a_bug_in_taking_a_batch_in_stops_nothing() -> None:
    """It goes to the loop's handler, as any bug in a callback; the next piece follows."""

    async def test() -> None:
        store = MemoryStore(*(entry(f"d{number}.example") for number in range(120)))
        bugs: list[object] = []
        sizes: list[int] = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: bugs.append(context["exception"]))

        def take(batch: list[Entry]) -> None:
            sizes.append(len(batch))
            if len(sizes) == 1:
                raise KeyError("bug")

        async with keeping(store) as keeper:
            await keeper.load(take)
        assert sizes == [50, 50, 20]
        assert [type(bug) for bug in bugs] == [KeyError]

    run(test())


# -- a store that fails -----------------------------------------------------------------


def test_a_failed_write_is_tried_again_until_it_works(instant_retry: None, caplog: pytest.LogCaptureFixture) -> None:
    """The caller is told at once; one warning when it begins, one line when it is over."""

    async def test() -> None:
        store = MemoryStore(entry("gone.example"))
        store.fault = FULL
        async with keeping(store) as keeper:
            for future in (keeper.put(entry()), keeper.delete(Domain("gone.example"))):
                with pytest.raises(StoreError, match="disk is full"):
                    await future
            assert (keeper.healthy, keeper.failure) == (False, str(FULL))
            assert keeper.unwritten == {EXAMPLE: entry(), Domain("gone.example"): None}
            await until(lambda: len(store.calls) > 6)
            store.fault = None
            await until(lambda: keeper.healthy)
            assert (keeper.unwritten, keeper.failure) == ({}, "")
        assert store.rows == {EXAMPLE: entry()}

    run(test())
    assert events(caplog) == ["WARNING store-failing", "INFO store-works-again"]


def test_a_later_write_that_works_takes_the_earlier_ones_with_it(no_retry: None) -> None:
    """No timer has to ring."""

    async def test() -> None:
        store = MemoryStore()
        store.fault = FULL
        async with keeping(store) as keeper:
            for number in range(250):
                keeper.put(entry(f"d{number}.example"))
            await until(lambda: len(keeper.unwritten) == 250)
            store.fault = None
            await keeper.put(entry())
            await until(lambda: not keeper.unwritten)
            assert keeper.healthy
            assert len(store.rows) == 251

    run(test())


@pytest.mark.parametrize("last", [entry(record_id="3"), None], ids=["a put", "a delete"])
def test_of_two_writes_of_a_domain_the_later_one_stays(last: Entry | None, no_retry: None) -> None:
    """Whether the earlier one failed before, or fails while the later one is queued."""

    async def test() -> None:
        store = MemoryStore(entry(record_id="0"))
        store.fault = FULL
        async with keeping(store) as keeper:
            with pytest.raises(StoreError):
                await keeper.put(entry(record_id="1"))
            store.gate.clear()
            failing = keeper.put(entry(record_id="2"))
            assert not keeper.unwritten
            later = keeper.delete(EXAMPLE) if last is None else keeper.put(last)
            store.gate.set()
            with pytest.raises(StoreError):
                await failing
            assert not keeper.unwritten
            with pytest.raises(StoreError):
                await later
            assert keeper.unwritten == {EXAMPLE: last}
            store.fault = None
            await keeper.put(entry("other.example"))
            await until(lambda: not keeper.unwritten)
            assert store.rows.get(EXAMPLE) == last

    run(test())


def test_the_pause_between_tries_doubles_up_to_a_minute() -> None:
    """And begins anew after a success."""

    async def test() -> None:
        loop, delays = asyncio.get_running_loop(), []

        def call_later(delay: float, callback: Callable[..., object], *args: Any) -> asyncio.Handle:
            delays.append(delay)
            return loop.call_soon(callback, *args)

        store = MemoryStore()
        store.fault = FULL
        async with keeping(store) as keeper:
            loop.call_later = call_later  # type: ignore[assignment, method-assign]
            keeper.put(entry())
            await until(lambda: len(delays) > 8)
            store.fault = None
            await until(lambda: keeper.healthy)
            store.fault, known = FULL, len(delays)
            keeper.put(entry())
            await until(lambda: len(delays) > known)
            store.fault = None
            del loop.call_later  # type: ignore[attr-defined]
        assert delays[:9] == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]
        assert delays[known] == 1.0

    run(test())


def test_a_read_that_fails_is_told_to_its_caller() -> None:
    """The daemon cannot tell whether a policy is there, and answers TEMP."""

    async def test() -> None:
        store = MemoryStore(entry())
        store.fault = StoreError("/store/cache.db: disk I/O error")
        async with keeping(store) as keeper:
            with pytest.raises(StoreError, match="disk I/O error"):
                await keeper.get(EXAMPLE)
            await until(lambda: not keeper.healthy)
            store.fault = None
            assert await keeper.get(EXAMPLE) == entry()
            await until(lambda: keeper.healthy)

    run(test())


def test_the_thread_outlives_a_bug(no_retry: None, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged with its place, and is a StoreError for the caller."""

    async def test() -> None:
        store = MemoryStore(entry())
        store.fault = KeyError("bug")
        async with keeping(store) as keeper:
            with pytest.raises(StoreError, match="internal error: KeyError: 'bug'"):
                await keeper.get(EXAMPLE)
            store.fault = None
            assert await keeper.get(EXAMPLE) == entry()

    run(test())
    assert "ERROR internal-error" in events(caplog)


def test_a_failure_that_nobody_waits_for_makes_no_noise(no_retry: None) -> None:
    """The loop's handler hears of futures whose failure nobody saw."""

    async def test() -> None:
        noise: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: noise.append(context))
        store = MemoryStore()
        store.fault = FULL
        async with keeping(store) as keeper:
            keeper.put(entry())
            await until(lambda: keeper.unwritten)
            store.fault = None
        gc.collect()
        assert noise == []

    run(test())


def test_a_stuck_disk_can_be_seen() -> None:
    """busy_since stands still while a piece of work does not end; moved_at moves when one does."""

    async def test() -> None:
        store = MemoryStore()
        store.gate.clear()
        async with keeping(store) as keeper:
            assert keeper.busy_since is None
            opened_at = keeper.moved_at
            written = keeper.put(entry())
            assert keeper.busy_since is not None
            assert opened_at <= keeper.busy_since
            store.gate.set()
            await written
            assert keeper.moved_at >= opened_at
            await until(lambda: keeper.busy_since is None)

    run(test())


# -- a store that is damaged ---------------------------------------------------------------


def test_a_store_found_damaged_at_the_opening_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Where it is now is in the line."""
    DiskStore(tmp_path / "store").close()
    (tmp_path / "store" / "cache.db").write_bytes(b"no database " * 1000)

    async def test() -> None:
        await StoreKeeper.open(tmp_path / "store", time.monotonic).close(60)

    run(test())
    assert events(caplog) == ["WARNING store-damaged"]
    assert "set aside as" in caplog.text


@pytest.mark.parametrize("found_by", ["a write", "the load"])
def test_a_store_damaged_while_running_is_begun_anew_from_memory(
    tmp_path: Path, found_by: str, caplog: pytest.LogCaptureFixture
) -> None:
    """What memory holds is written again, the newest of each; a load ends with what could be read."""
    directory = tmp_path / "store"
    held = [entry(f"d{number}.example") for number in range(500)]

    async def test() -> None:
        with contextlib.closing(DiskStore(directory)) as store:
            store.put(held)
        keeper = StoreKeeper.open(directory, time.monotonic)
        keeper.contents = lambda: held
        with (directory / "cache.db").open("r+b") as file:
            file.seek(4096)
            file.write(b"\xff" * 60_000)
        if found_by == "a write":
            with pytest.raises(StoreError, match="malformed"):
                await keeper.put(entry("d3.example", record_id="newer"))
            await until(lambda: not keeper.unwritten and keeper.busy_since is None)
        else:
            await keeper.load(lambda batch: None)
        assert keeper.healthy
        assert await keeper.close(60)

    run(test())
    with contextlib.closing(DiskStore(directory)) as store:
        stored = {found.domain: found for found in store.load(lambda sentence: None)}
    want = {found.domain: found for found in held}
    if found_by == "a write":
        want[Domain("d3.example")] = entry("d3.example", record_id="newer")
    assert stored == want
    assert "WARNING store-damaged" in events(caplog)
    assert [path.name for path in directory.glob("cache.db.damaged-*Z")]


def test_a_disk_that_damages_whatever_is_written_is_not_filled(no_retry: None) -> None:
    """The first damage is mended at once, the next after a pause."""

    async def test() -> None:
        store = MemoryStore()
        store.fault = MALFORMED
        keeper = StoreKeeper(lambda: store, time.monotonic)
        keeper.put(entry())
        await until(lambda: len([call for call in store.calls if call.startswith("put")]) == 2)
        await until(lambda: keeper.busy_since is None)
        assert store.calls.count("renew") == 1
        assert keeper.unwritten == {EXAMPLE: entry()}
        store.fault = None
        assert await keeper.close(60)  # the last chance: it is set aside, and written, now
        assert store.rows == {EXAMPLE: entry()}

    run(test())


# -- closing -------------------------------------------------------------------------------


def test_closing_writes_what_is_queued() -> None:
    """However much it is; a load that is under way ends."""

    async def test() -> None:
        store = MemoryStore(*(entry(f"old{number}.example") for number in range(500)))
        keeper = StoreKeeper(lambda: store, time.monotonic)
        load = keeper.load(lambda batch: None)
        for number in range(1000):
            keeper.put(entry(f"d{number}.example"))
        assert await keeper.close(60)
        assert load.cancelled()
        assert len(store.rows) == 1500
        assert store.closed.wait(60)

    run(test())


def test_closing_tries_a_failed_write_once_more(no_retry: None, caplog: pytest.LogCaptureFixture) -> None:
    """And says what is lost."""

    async def test() -> None:
        store = MemoryStore()
        store.fault = FULL
        keeper = StoreKeeper(lambda: store, time.monotonic)
        with pytest.raises(StoreError):
            await keeper.put(entry())
        calls = len(store.calls)
        assert not await keeper.close(60)
        assert len(store.calls) == calls + 1
        assert store.closed.wait(60)

    run(test())
    assert events(caplog) == ["WARNING store-failing", "WARNING store-incomplete"]
    assert 'unwritten=1 reason="/store/cache.db: database or disk is full"' in caplog.text


def test_a_stuck_disk_holds_no_closing_up(caplog: pytest.LogCaptureFixture) -> None:
    """The thread is left behind, and closes the store if it ever can."""
    store = MemoryStore()
    store.gate.clear()

    async def test() -> None:
        keeper = StoreKeeper(lambda: store, time.monotonic)
        keeper.put(entry())
        assert not await keeper.close(0.0)

    run(test())
    assert events(caplog) == ["WARNING store-incomplete"]
    assert not store.closed.is_set()
    store.gate.set()
    assert store.closed.wait(60)


@pytest.mark.parametrize("stuck_in", ["a write", "closing"])
def test_a_store_that_comes_back_after_it_was_given_up_makes_no_noise(stuck_in: str) -> None:
    """It finds the loop still running, and nobody who waits: that was an InvalidStateError in the log."""

    class SlowToClose(MemoryStore):
        def close(self) -> None:
            if stuck_in == "closing":
                self._enter("close")
            super().close()

    async def test() -> None:
        noise: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: noise.append(context))
        store = SlowToClose()
        store.gate.clear()
        keeper = StoreKeeper(lambda: store, time.monotonic)
        if stuck_in == "a write":
            keeper.put(entry())
        else:
            closing = asyncio.create_task(keeper.close(60))
            await until(lambda: "close" in store.calls)
            closing.cancel()
            await asyncio.wait([closing])
        await keeper.close(0.0)
        store.gate.set()
        await until(lambda: keeper.busy_since is None)
        await asyncio.to_thread(store.closed.wait, 60)
        await asyncio.sleep(0)
        assert noise == []

    run(test())


def test_the_place_is_looked_at_while_there_is_nothing_else_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that cannot be written is found out before anything is to be written; `looked` hears of the good ones."""
    monkeypatch.setattr(store_thread, "LOOK_EVERY", 0.01)

    class Looked(MemoryStore):
        def check(self) -> None:
            self._enter("check")

    async def test() -> None:
        store, looks = Looked(), []
        async with keeping(store) as keeper:
            keeper.looked = lambda: looks.append(keeper.healthy)
            await keeper.load(lambda batch: None)
            await until(lambda: len(looks) > 1)
            store.fault = FULL
            await until(lambda: not keeper.healthy)
            assert keeper.failure == str(FULL)
            seen = len(looks)
            await until(lambda: store.calls.count("check") > seen + 5)
            assert len(looks) == seen
            store.fault = None
            await until(lambda: keeper.healthy)

    run(test())


def test_a_damaged_store_is_salvaged_as_long_as_not_all_of_it_is_in_memory(no_retry: None) -> None:
    """What the load gives then is written into the new store."""

    class Salvaged(MemoryStore):
        def renew(self, salvaged: bool) -> str:
            aside = super().renew(salvaged)
            self.salvaged = [entry("a.example"), entry("b.example")] if salvaged else []
            self.fault = None
            return aside

        def load(self, skipped: Callable[[str], None]) -> Iterator[Entry]:
            yield from super().load(skipped)
            yield from getattr(self, "salvaged", [])

    async def test() -> None:
        store = Salvaged(entry())
        store.fault = MALFORMED
        loaded: list[Entry] = []
        async with keeping(store) as keeper:
            await keeper.load(loaded.extend)
            await until(lambda: len(store.rows) == 2 and not keeper.unwritten)
        assert loaded == [entry("a.example"), entry("b.example")]

    run(test())


def test_a_closed_keeper_refuses() -> None:
    """Nothing is promised that nobody would write."""

    async def test() -> None:
        keeper = StoreKeeper(MemoryStore, time.monotonic)
        await keeper.close(60)
        for future in (keeper.get(EXAMPLE), keeper.put(entry()), keeper.delete(EXAMPLE)):
            with pytest.raises(StoreError, match="being closed"):
                await future

    run(test())
