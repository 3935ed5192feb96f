"""Small files that must be whole at any moment: written beside themselves, then renamed into place.

A process killed anywhere leaves the old file or the new one. What a StateFolder
cannot read is set aside under another name, never deleted.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_origin, get_type_hints

from ..core.quoting import KV

log = logging.getLogger(__name__)

T = TypeVar("T")

SIZE_LIMIT = 1 << 20  # bytes of one state file


def write_whole(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Put *data* at *path*, whole or not at all, and on the disk before this returns. Raises: OSError."""
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with open(descriptor, "wb") as stream:
            os.fchmod(descriptor, mode)
            stream.write(data)
            stream.flush()
            os.fsync(descriptor)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Have the names in *folder* on the disk. Raises: OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_private(folder: Path) -> Path:
    """Make *folder*, mode 0700, with its parents where they are missing; it may exist. Raises: OSError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def typed(kind: type[T], row: Mapping[str, Any]) -> T:
    """Make the dataclass *kind* of *row*, an object read from JSON. Raises: TypeError for other keys or types."""
    made = kind(**row)
    for name, hint in get_type_hints(kind).items():
        value = getattr(made, name)
        if not _fits(value, hint):
            raise TypeError(f"{name} is of another type: {value!r:.100}")
    return made


def _fits(value: object, hint: Any) -> bool:
    if isinstance(value, bool) or hint is bool:  # to Python a bool is an int as well
        return isinstance(value, bool) and hint is bool
    if hint is float:
        return isinstance(value, int | float) and abs(value) < 1e300  # which NaN is not
    return isinstance(value, tuple if get_origin(hint) is tuple else hint)


def look_into(folder: Path) -> dict[str, dict[str, Any]]:
    """Return every JSON object of a state folder by its name, changing nothing; what is damaged is left out.

    Raises: OSError, except for a folder that is not there: it holds nothing.
    """
    return {path.stem: value for path, value in _objects(folder) if isinstance(value, dict)}


def _objects(folder: Path) -> Iterator[tuple[Path, dict[str, Any] | ValueError | RecursionError]]:
    """Each file with its object, or with why it has none."""
    try:
        names = sorted(os.listdir(folder))
    except FileNotFoundError:
        return
    for path in (folder / name for name in names if name.endswith(".json")):
        try:
            with path.open("rb") as stream:
                value = json.loads(stream.read(SIZE_LIMIT))
            yield path, value if isinstance(value, dict) else ValueError("not a JSON object")
        except (ValueError, RecursionError) as error:
            yield path, error


class StateFolder:
    """One JSON object a file, under names that are domains or host names."""

    def __init__(self, folder: Path) -> None:
        """Raises: OSError where *folder* cannot be made."""
        self._folder = make_private(folder)

    def load(self) -> dict[str, dict[str, Any]]:
        """Return every object by its name; what is damaged is set aside and logged. Raises: OSError."""
        found: dict[str, dict[str, Any]] = {}
        for path, value in _objects(self._folder):
            if isinstance(value, dict):
                found[path.stem] = value
            else:
                aside = path.with_suffix(".damaged")
                log.error("state-set-aside %s", KV(file=path, now=aside, reason=value))
                os.replace(path, aside)
        return found

    def rows(self, kind: type[T]) -> Iterator[tuple[str, T]]:
        """Yield every object as *kind*; what is damaged, or of another version, is logged and left out.

        Raises: OSError.
        """
        for name, row in self.load().items():
            try:
                yield name, typed(kind, row)
            except TypeError as error:
                log.error("state-unreadable %s", KV(name=name, reason=error))

    def save(self, name: str, value: dict[str, Any]) -> None:
        """Keep *value* under *name*. Raises: OSError."""
        write_whole(self._folder / f"{name}.json", json.dumps(value).encode() + b"\n")

    def remove(self, name: str) -> None:
        """Keep nothing under *name*. Raises: OSError."""
        (self._folder / f"{name}.json").unlink(missing_ok=True)
