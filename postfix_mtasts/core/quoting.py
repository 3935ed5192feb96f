"""Remote text made harmless for a log line, a terminal and a table.

Whatever comes from DNS, HTTPS, certificates, sockets or the store passes
through `quote` on its way out: it can then neither forge a line nor send a
terminal code, and never takes more than LIMIT characters.
"""

from __future__ import annotations

import codecs
import json
import re

LIMIT = 200  # characters of one field, before quoting

codecs.lookup("unicode_escape")  # load it now: a log line must not need a file when no descriptor is left

_PLAIN = re.compile(r"[!#-<>-\[\]-~]+")  # visible ASCII without blank, '"', '=' and '\'


def quote(value: object) -> str:
    """Return *value* as one field: visible ASCII on one line, in double quotes where it needs them."""
    text = f"{value:.3f}" if isinstance(value, float) else str(value)
    if len(text) > LIMIT:
        text = text[:LIMIT] + "..."
    if _PLAIN.fullmatch(text):
        return text
    return '"' + escape(text).replace('"', r"\"") + '"'


def escape(text: str) -> str:
    """Return *text* as visible ASCII and blanks: the rest, and the backslash, as Python escapes."""
    return text.encode("unicode_escape").decode("ascii")


def json_line(value: object) -> str:
    """*value* as one line of JSON, in ASCII without control characters."""
    return json.dumps(value).replace("\x7f", "\\u007f")  # the one control character that json leaves as it is


class KV:
    """Fields of a log line; formatted only if the line is written."""

    __slots__ = ("fields",)

    def __init__(self, **fields: object) -> None:
        self.fields = fields

    def __str__(self) -> str:
        return " ".join(f"{name}={quote(value)}" for name, value in self.fields.items())
