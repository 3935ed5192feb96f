"""process/aside.py: blocking work that holds up neither the loop nor its end."""

from __future__ import annotations

import asyncio
import threading

import pytest

from postfix_mtasts.process.aside import aside

PATIENCE = 30.0  # seconds


def test_the_loop_goes_on_meanwhile() -> None:
    """The result comes when it comes."""

    async def run() -> str:
        goes_on = threading.Event()

        def work() -> str:
            assert goes_on.wait(PATIENCE)
            return "done"

        waiting = asyncio.create_task(aside(work))
        await asyncio.sleep(0)
        goes_on.set()
        return await waiting

    assert asyncio.run(run()) == "done"


def test_an_error_is_raised_where_it_is_waited_for() -> None:
    """As if the work had been done there."""

    def work() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        asyncio.run(aside(work))


@pytest.mark.parametrize("fails", [False, True])
def test_work_that_hangs_does_not_hold_up_the_end(fails: bool) -> None:
    """Whoever waited is cancelled; what the thread finds later is dropped, whether or not the loop still runs."""
    hangs, ended = threading.Event(), threading.Event()

    def work() -> None:
        hangs.wait(PATIENCE)
        ended.set()
        if fails:
            raise ValueError("too late")

    async def run() -> None:
        for _ in range(2):
            waiting = asyncio.create_task(aside(work))
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)

    asyncio.run(run())
    assert not ended.is_set()
    hangs.set()
    assert ended.wait(PATIENCE)
    for thread in threading.enumerate():
        if thread.name == "aside":
            thread.join(PATIENCE)
