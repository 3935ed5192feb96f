"""Text that somebody hostile could have written to the log, and what a line of it must look like all the same."""

from __future__ import annotations

import json
import re
from typing import Any

from postfix_mtasts.core.quoting import LIMIT

HOSTILE: dict[str, bytes] = {
    "terminal codes": b"\x1b]0;owned\x07\x1b[2J\x1b[31m",
    "a line feed": b"x\nerror internal-error place=forged",
    "a carriage return": b"x\rready listen=forged",
    "both": b"x\r\n2026-01-01T00:00:00.000Z error internal-error place=forged",
    "C1 controls": "\x9b31m\x85x\x9d".encode(),
    "line and paragraph separators": "x\u2028ready\u2029".encode(),
    "bidirectional overrides": "\u202emoc.elpmaxe\u202c\u2066".encode(),
    "invalid UTF-8": b"\xff\xfe\xc3(\x9b\xed\xa0\x80",
    "NUL and DEL": b"\0\x7f\0",
    "quotes and backslashes": b'x" reason="forged" \\',
    "an emoji": "\U0001f4a9".encode(),
    "5,000 characters": b"A" * 5_000,
}

_PLAIN = r"[!#-<>-\[\]-~]+"
_QUOTED = r'"(?:[ !#-\[\]-~]|\\[ -~])*"'
_EVENT = re.compile(rf"([a-z]+(?:-[a-z]+)*)((?: [a-z_]+=(?:{_PLAIN}|{_QUOTED}))*)")
_FIELD = re.compile(rf"([a-z_]+)=({_PLAIN}|{_QUOTED})")
_STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (?:debug|info|warning|error) ")
LONGEST = LIMIT * len(r"\U0001f4a9") + len('"..."')  # characters of a field


def read_text(line: str) -> tuple[str, dict[str, str]]:
    """Event and fields, as they stand, of a line without its time and level. Raises: AssertionError."""
    match = _EVENT.fullmatch(line)
    assert match, f"not well formed: {line[:1_000]!r}"
    fields = _FIELD.findall(match[2])
    assert all(len(value) <= LONGEST for name, value in fields if name != "traceback"), f"too long: {line[:1_000]!r}"
    return match[1], dict(fields)


def read_stamped(line: str) -> tuple[str, dict[str, str]]:
    """The same of a whole line of format text."""
    match = _STAMP.match(line)
    assert match, f"no time and level: {line[:1_000]!r}"
    return read_text(line[match.end() :])


def read_json(line: str) -> tuple[str, dict[str, Any]]:
    """The same of format json."""
    assert re.fullmatch(r"[ -~]+", line), f"not well formed: {line[:1_000]!r}"
    fields: dict[str, Any] = json.loads(line)
    assert {"time", "level", "event"} <= fields.keys()
    texts = [value for name, value in fields.items() if isinstance(value, str) and name != "traceback"]
    assert all(len(text) <= LIMIT for text in texts), f"too long: {line[:1_000]!r}"
    return fields.pop("event"), fields
