"""Settings from the environment: which variable stands for which setting.

The variable of lookup.negative_ttl is MTASTS_LOOKUP_NEGATIVE_TTL, and so for
each setting. An empty variable counts as not set, so that a compose file can
hand on what may be missing. A variable that is not known is a fault: a slip of
the pen must not leave a setting at its default.

What the text of a variable means is in tree.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches

PREFIX = "MTASTS_"

# What Kubernetes sets in every pod beside a service that is called "mtasts".
_FOREIGN = re.compile(rf"{PREFIX}(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT(_[0-9]+_(TCP|UDP|SCTP)(_[A-Z]+)?)?)")


def variable(key: str) -> str:
    """Return the name of the variable for the setting *key*: MTASTS_LOOKUP_WAIT for lookup.wait."""
    return PREFIX + key.replace(".", "_").upper()


def given(environ: Mapping[str, str], keys: list[str]) -> Iterator[tuple[str, str | None, str]]:
    """Yield what is set, by name: (variable, key, text), or (variable, None, what is wrong)."""
    known = {variable(key): key for key in keys}
    for name in sorted(environ):
        if not name.startswith(PREFIX) or _FOREIGN.fullmatch(name):
            continue
        if name in known:
            if text := environ[name].strip():
                yield name, known[name], text
        elif near := get_close_matches(name[:100], known, n=1):
            yield name, None, f"unknown variable; did you mean {near[0]}?"
        else:
            yield (
                name,
                None,
                f"unknown variable; each name is {PREFIX} and a setting's, as MTASTS_LOOKUP_WAIT for lookup.wait",
            )
