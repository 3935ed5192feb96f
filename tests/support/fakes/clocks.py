"""A daemon for which hours pass in a moment.

libfaketime, which test_clock.py uses, sets the wall clock well; with the
monotonic clock it makes threads hang that wait for a time. Here both clocks
are moved where the daemon's own code reads them. Timers of the event loop go
on as ever, and so do the worker process and everybody else.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.support.servers.daemon import Daemon

_START = """
import os, runpy, sys, time
passed = sys.argv.pop(1)  # a file as long as the seconds that passed
def moved(clock):
    return lambda: clock() + os.stat(passed).st_size
time.time, time.monotonic = moved(time.time), moved(time.monotonic)
runpy.run_module("postfix_mtasts", run_name="__main__", alter_sys=True)
"""


def hurried(command: list[str], passed: Path) -> list[str]:
    """*command*, one of ours, on clocks that are ahead by as many seconds as the file *passed* is long."""
    python, module, name, *arguments = command
    assert (module, name) == ("-m", "postfix_mtasts")
    return [python, "-c", _START, str(passed), *arguments]


class HurriedDaemon(Daemon):
    """See above."""

    def __init__(self, directory: Path, config: Mapping[str, Any]) -> None:
        super().__init__(directory, config)
        self._passed = directory / "passed"
        self._passed.touch()

    def command(self) -> list[str]:
        return hurried(super().command(), self._passed)

    def begin_at(self, seconds: int) -> None:
        """Begin, at the next start, *seconds* later than now."""
        os.truncate(self._passed, seconds)

    def pass_time(self, seconds: int) -> None:
        """Let *seconds* pass. The reload is in place of the timer that empties the ready frames."""
        os.truncate(self._passed, self._passed.stat().st_size + seconds)
        self.reload()
