"""Handle signals until the event loop takes them over.

The daemon's modules and the store take half a second, in which a signal would
end the process as if it had none to handle: SIGHUP with its default action,
SIGTERM with another exit status than 0. Nothing is answered yet, so an end
needs no care, and a reload can wait until there is something to reload.
"""

from __future__ import annotations

import os
import signal
from types import FrameType

END = (signal.SIGTERM, signal.SIGINT)
RELOAD = signal.SIGHUP
UNUSED = (signal.SIGUSR1, signal.SIGUSR2)  # sent by mistake, say by a line meant for another daemon's log rotation

_came: list[int] = []  # RELOAD, as often as it came


def guard() -> None:
    """Handle every signal from now on. Call it before anything that takes time."""
    for number in UNUSED:
        signal.signal(number, signal.SIG_IGN)
    for number in END:
        signal.signal(number, _end)
    signal.signal(RELOAD, _remember)


def reload_wanted() -> bool:
    """Tell whether RELOAD came before the event loop took over."""
    return bool(_came)


def ignore() -> None:
    """Ignore all signals, because the process ends anyway."""
    for number in (*END, RELOAD):
        signal.signal(number, signal.SIG_IGN)


def _end(number: int, frame: FrameType | None) -> None:
    os._exit(0)  # at once: an exception could be lost in whatever runs now


def _remember(number: int, frame: FrameType | None) -> None:
    _came.append(number)
