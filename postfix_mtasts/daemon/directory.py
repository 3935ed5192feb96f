"""Choose the directory of the store where the configuration names none; the control socket lies in it too."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from ..config.file import DEFAULT, Loaded
from ..core.quoting import KV
from ..errors import StoreError

log = logging.getLogger(__name__)

CONTROL = "control"  # the name in it of the control socket
_RIGHT = "set cache.directory to a directory that this user can write"


def store_directory(loaded: Loaded, make: bool = True) -> Path:
    """Return cache.directory; where that is the default and cannot be made, the user's own cache directory.

    With *make* off nothing is made: who only looks for a daemon leaves no trace.
    Raises: StoreError.
    """
    directory = Path(loaded.settings.cache.directory)
    if loaded.origins["cache.directory"] != DEFAULT or os.path.lexists(directory):
        return directory
    if not make:
        return _own(directory)
    try:
        directory.mkdir(mode=0o700, parents=True)
        return directory
    except OSError as error:
        own = _own(directory)
        log.info("store-directory %s", KV(directory=own, instead_of=directory, reason=error.strerror))
    try:
        own.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"{own.parent}: cannot be made: {error.strerror}; {_RIGHT}") from None
    return own


def _own(directory: Path) -> Path:
    """The user's own cache directory. Raises: StoreError where the user has no home."""
    caches = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(caches):  # the XDG specification has relative ones ignored
        caches = os.path.expanduser("~/.cache")  # by HOME, else by the password database
    if not os.path.isabs(caches):
        raise StoreError(f"{directory}: cannot be made, and there is no home directory to use instead; {_RIGHT}")
    return Path(caches) / "postfix-mtasts"
