"""Libraries that only some commands need."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import LibraryError

PACKAGES = {  # Debian's names
    "acme": "python3-acme",
    "aiohttp": "python3-aiohttp",
    "dkim": "python3-dkim",
    "jinja2": "python3-jinja2",
    "josepy": "python3-josepy",
}


@contextmanager
def needed() -> Iterator[None]:
    """Turn an import that fails into one line that says what to install. Raises: LibraryError."""
    try:
        yield
    except ModuleNotFoundError as error:
        name = (error.name or "").partition(".")[0]
        if name not in PACKAGES:
            raise
        raise LibraryError(
            f"the Python library {name} is missing; install {PACKAGES[name]}, or postfix-mtasts[owner] with pip"
        ) from None
