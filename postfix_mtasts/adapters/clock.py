"""The machine's clocks, a core.ports.Clock: nothing outside adapters reads them, so that tests move the time."""

from __future__ import annotations

import time


class SystemClock:
    """A core.ports.Clock."""

    wall = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)
