"""From the bytes of a document to JSON values: any encoding, several documents, and no more memory than is due.

Rule 1: a document is bounded before it is parsed: brackets and commas are what
        costs memory, and nothing nests deep in a report.
Rule 2: a number of any length is read, as one that is too large where it is.
Rule 3: what trails the first value and is not JSON is passed over.

Source: RFC 8259; what else is read was seen in reports.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from ..errors import ReportError

_BRACKETS, _COMMAS = 800_000, 3_000_000  # in one document: about what 100,000 policies have
_DEPTH = 100  # levels of nesting; a report has 6, and what Python bears differs from version to version
_LARGE = 8 * 1024 * 1024  # bytes; one wide character would make a document of this size take four times as much
_HUGE = 10**30  # stands for each integer that is longer
_STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_BRACKET = re.compile(r"[\[\]{}]")
_WIDE = re.compile(rb"[\xf0-\xf7][\x80-\xbf]{3}")
_VISIBLE = re.compile(r"[^ \t\r\n]")


def json_values(document: bytes | bytearray) -> Iterator[Any]:
    """The JSON values of a document; those in a list one by one. Raises: ReportError."""
    if document.count(b"[") + document.count(b"{") > _BRACKETS or document.count(b",") > _COMMAS:
        raise ReportError("too many values")
    text = _decoded(document)
    if _depth(text) > _DEPTH:
        raise ReportError("too deep")
    decoder = json.JSONDecoder(parse_int=_integer, parse_float=_float)
    at, read = 0, 0
    while start := _VISIBLE.search(text, at):
        try:
            value, at = decoder.raw_decode(text, start.start())
        except RecursionError:
            raise ReportError("too deep") from None
        except ValueError:
            if read:  # what trails a report is not part of it
                return
            raise ReportError("not JSON") from None
        read += 1
        yield from value if isinstance(value, list) else [value]
    if not read:
        raise ReportError("empty")


def _depth(text: str) -> int:
    """How deep brackets nest, as far as it matters."""
    if text.count("[") + text.count("{") <= _DEPTH:
        return 0
    depth = deepest = 0
    for bracket in _BRACKET.findall(_STRING.sub("", text)):
        depth += 1 if bracket in "[{" else -1
        deepest = max(deepest, depth)
    return deepest


def _decoded(document: bytes | bytearray) -> str:
    """The text of a document in UTF-8, -16 or -32; Latin-1 if it is none of them."""
    if len(document) > _LARGE:
        document = _WIDE.sub(b"?", document)
    try:
        return document.decode(json.detect_encoding(document)).lstrip("\ufeff")
    except UnicodeDecodeError:
        return document.decode("latin-1")


def _integer(text: str) -> int:
    """An integer; one of more digits than any count has is one over the limit (int() refuses 5,000)."""
    return int(text) if len(text) <= 20 else -_HUGE if text.startswith("-") else _HUGE


def _float(text: str) -> float:
    return float(text) if len(text) <= 400 else float("nan")
