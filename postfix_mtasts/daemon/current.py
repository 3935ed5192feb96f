"""Hold the settings in force: a reload swaps them whole and tells each part what changed for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from ..config.settings import Settings

T = TypeVar("T")


class Current:
    """Holds the settings in force; lives on the event loop."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._watchers: list[tuple[Callable[[Settings], Any], Callable[[Any], None]]] = []

    def changed(self, selector: Callable[[Settings], T], callback: Callable[[T], None]) -> None:
        """Call *callback* with what *selector* picks from the new settings, whenever a reload changes that.

        Callbacks are called in the order in which they were given here.
        """
        self._watchers.append((selector, callback))

    def swap(self, settings: Settings) -> None:
        """Let *settings* be in force from now on."""
        before, self.settings = self.settings, settings
        for selector, callback in self._watchers:
            if (now := selector(settings)) != selector(before):
                callback(now)
