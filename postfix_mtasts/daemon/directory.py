"""Where the store lives when nobody said so, and what lies beside it."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from ..config.file import DEFAULT, Loaded
from ..core.quoting import KV

log = logging.getLogger(__name__)

CONTROL = "control"  # the name in it of the control socket


def store_directory(loaded: Loaded, make: bool = True) -> Path:
    """cache.directory; where that is the default and cannot be made, the user's own cache directory.

    With *make* off nothing is made: who only looks for a daemon leaves no trace.
    """
    directory = Path(loaded.settings.cache.directory)
    if loaded.origins["cache.directory"] != DEFAULT or directory.exists():
        return directory
    if not make:
        return _own()
    try:
        directory.mkdir(mode=0o700, parents=True)
        return directory
    except OSError as error:
        own = _own()
        log.info("store-directory %s", KV(directory=own, instead_of=directory, reason=error.strerror))
        own.parent.mkdir(parents=True, exist_ok=True)
        return own


def _own() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "postfix-mtasts"
