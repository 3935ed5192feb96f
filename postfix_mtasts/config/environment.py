"""Settings from the environment: which variable stands for which setting.

The variable of lookup.negative_ttl is MTASTS_LOOKUP_NEGATIVE_TTL, and so for
each setting. An empty variable counts as not set, so that a compose file can
hand on what may be missing. A variable that looks like a setting's and is none
is a fault: a slip of the pen must not leave a setting at its default. Others
that begin with MTASTS_ are somebody else's, as Kubernetes' MTASTS_SERVICE_HOST.

What the text of a variable means is in tree.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches

PREFIX = "MTASTS_"

_ALIKE = 0.8  # how much of a setting's name a slip of the pen leaves, at least


def variable(key: str) -> str:
    """Return the name of the variable for the setting *key*: MTASTS_LOOKUP_WAIT for lookup.wait."""
    return PREFIX + key.replace(".", "_").upper()


def given(environ: Mapping[str, str], keys: list[str]) -> Iterator[tuple[str, str | None, str]]:
    """Yield what is set, by name: (variable, key, text), or (variable, None, what is wrong)."""
    known = {variable(key): key for key in keys}
    for name in sorted(environ):
        if name in known:
            if text := environ[name].strip():
                yield name, known[name], text
        elif name.startswith(PREFIX) and (meant := _meant(name.removeprefix(PREFIX)[:100], known)):
            yield name, None, f"unknown variable; did you mean {meant}?"


def _meant(rest: str, known: Mapping[str, str]) -> str | None:
    """Return the variable that somebody may have meant by MTASTS_ and *rest*; None: it is somebody else's."""
    names = [name.removeprefix(PREFIX) for name in known]
    beside = [name for name in names if name.partition("_")[0] == rest.partition("_")[0]]  # of the same section
    near = get_close_matches(rest, names, 1, _ALIKE) or get_close_matches(rest, beside, 1, 0.0)
    return PREFIX + near[0] if near else None
