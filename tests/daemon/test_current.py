"""daemon/current.py: a reload tells each part of what changed for it, and of nothing else."""

from __future__ import annotations

from dataclasses import replace

from postfix_mtasts.config.settings import LogSettings, Settings
from postfix_mtasts.daemon.current import Current


def test_only_what_changed_is_told_in_the_order_of_asking() -> None:
    """Whoever is told already finds the new settings in force."""
    current, told = Current(Settings()), list[object]()
    current.changed(lambda new: new.log, lambda log: told.append((log, current.settings.log)))
    current.changed(lambda new: new.dns, told.append)
    current.changed(lambda new: new, told.append)
    current.swap(Settings())
    assert told == []
    new = replace(Settings(), log=LogSettings(level="debug"))
    current.swap(new)
    assert told == [(new.log, new.log), new]
    current.swap(new)
    assert len(told) == 2
