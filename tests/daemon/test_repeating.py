"""daemon/repeating.py: one at a time, and one more for all who asked meanwhile."""

from __future__ import annotations

import asyncio

import pytest

from postfix_mtasts.daemon.repeating import Repeating


class Work:
    """Counts how often it was begun; goes on when the test says so."""

    def __init__(self) -> None:
        self.begun = self.ended = 0
        self.may_go_on = asyncio.Event()
        self.repeating = Repeating(self.run)

    async def run(self) -> None:
        self.begun += 1
        await self.may_go_on.wait()
        self.ended += 1


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_two_hundred_wishes_are_two_pieces_of_work() -> None:
    """One begins at once; all that come while it is under way become one more."""

    async def ask() -> None:
        work = Work()
        for _ in range(200):
            work.repeating.ask()
            await asyncio.sleep(0)
        assert work.begun == 1
        work.may_go_on.set()
        await settle()
        assert (work.begun, work.ended) == (2, 2)
        work.repeating.ask()
        await settle()
        assert work.ended == 3

    asyncio.run(ask())


def test_the_end_breaks_off() -> None:
    """What is under way is not waited for, and what was asked for is not begun."""

    async def ask() -> None:
        work = Work()
        await work.repeating.end()
        work.repeating.ask()
        await settle()
        work.repeating.ask()
        await work.repeating.end()
        await settle()
        assert (work.begun, work.ended) == (1, 0)

    asyncio.run(ask())


def test_an_error_of_our_own_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, and the next wish is done."""
    done: list[str] = []

    async def fail_once() -> None:
        if not caplog.records:
            raise ValueError("a bug")
        done.append("well")

    async def ask() -> None:
        repeating = Repeating(fail_once)
        repeating.ask()
        await settle()
        repeating.ask()
        await settle()
        await repeating.end()

    asyncio.run(ask())
    assert done == ["well"]
    assert [record.getMessage() for record in caplog.records] == ["internal-error"]
