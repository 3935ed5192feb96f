"""Find who answers for the policies: the running daemon, else this process with the store itself.

Without a daemon this process does what the daemon would do (offline.py).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from ..config.file import Loaded
from ..daemon.directory import CONTROL, store_directory
from ..daemon.operating.messages import Request
from ..errors import StoreBusyError
from . import client
from .client import Ask

A = TypeVar("A")


@contextmanager
def connected(loaded: Loaded, make: bool = True) -> Iterator[Ask]:
    """Give a function that answers requests. Raises: StoreBusyError, StoreError.

    With *make* off a store that is not there is not made, but counts as empty:
    root, who only looks, would leave a directory that the daemon's user cannot use.
    """
    directory = store_directory(loaded, make)
    if not make and not os.path.lexists(directory):
        from .offline import alone

        with TemporaryDirectory() as empty, alone(loaded, Path(empty)) as ask_nothing:
            yield ask_nothing
        return
    if not os.path.lexists(directory / CONTROL):
        import_module(".offline", __package__)  # while this is root, who can surely read the code
    _become_owner(directory)
    sock = client.connect(directory)
    if sock is not None:
        with sock:

            def ask(request: Request[A], /) -> Iterator[A]:
                return client.answers(sock, request)

            yield ask
    else:
        from .offline import alone  # importing it takes as long as a whole answer from a daemon

        try:
            with alone(loaded, directory) as ask_store:
                yield ask_store
        except StoreBusyError as error:
            told = "and that one offers no control socket; if it is the daemon, its log says why"
            raise StoreBusyError(f"{error}, {told}") from None


def _become_owner(directory: Path) -> None:
    """Drop from root to the store's owner: files that root creates would be unreadable to the daemon."""
    if os.geteuid() != 0 or not directory.exists():
        return
    owner = directory.stat()
    if owner.st_uid != 0:
        os.setgroups([])
        os.setgid(owner.st_gid)
        os.setuid(owner.st_uid)
