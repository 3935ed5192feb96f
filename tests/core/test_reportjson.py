"""From bytes to JSON values: any encoding, several documents, bounded."""

from __future__ import annotations

from typing import Any

import pytest

from postfix_mtasts.core.reportjson import json_values
from postfix_mtasts.errors import ReportError

READ: list[tuple[str, bytes, list[Any]]] = [
    ("one object", b'{"a": 1}', [{"a": 1}]),
    ("a list is its values", b"[1, [2]]", [1, [2]]),
    ("several documents", b'{"a": 1}\n{"b": 2} 3', [{"a": 1}, {"b": 2}, 3]),
    ("what trails and is not JSON", b'{"a": 1} -- a footer', [{"a": 1}]),
    ("a byte order mark", b'\xef\xbb\xbf{"a": 1}', [{"a": 1}]),
    ("UTF-16", '{"a": "ü"}'.encode("utf-16"), [{"a": "ü"}]),
    ("UTF-16 without a mark", '{"a": "ü"}'.encode("utf-16-le"), [{"a": "ü"}]),
    ("UTF-32", '{"a": "ü"}'.encode("utf-32"), [{"a": "ü"}]),
    ("Latin-1", '{"a": "ü"}'.encode("latin-1"), [{"a": "ü"}]),
    ("an integer of 5,000 digits", b"1" * 5_000, [10**30]),
    ("a negative one", b"-" + b"1" * 5_000, [-(10**30)]),
    ("beyond doubles", b"1e400", [float("inf")]),
    ("100 levels", b"[" * 100 + b"]" * 100, []),
]


@pytest.mark.parametrize(("title", "document", "want"), READ, ids=[row[0] for row in READ])
def test_values(title: str, document: bytes, want: list[Any]) -> None:
    """As senders write them."""
    found = list(json_values(document))
    assert found[: len(want)] == want


REFUSED = [
    ("nothing", b"", "empty"),
    ("blanks", b" \n", "empty"),
    ("a page", b"<html>", "not JSON"),
    ("half an object", b'{"a": ', "not JSON"),
    ("101 levels", b"[" * 101 + b"]" * 101, "too deep"),
    ("101 levels that stay open", b'{"a":' * 101, "too deep"),
    ("too many brackets", b"[]" * 900_000, "too many values"),
    ("too many commas", b"[" + b"1," * 3_000_001 + b"1]", "too many values"),
]


@pytest.mark.parametrize(("title", "document", "want"), REFUSED, ids=[row[0] for row in REFUSED])
def test_refused(title: str, document: bytes, want: str) -> None:
    """With the reason."""
    with pytest.raises(ReportError, match=f"^{want}$"):
        list(json_values(document))


def test_brackets_in_text_do_not_nest() -> None:
    """Escaped quotes do not end it."""
    assert list(json_values(b'{"a": "' + b'\\"[{' * 500 + b'"}')) == [{"a": '"[{' * 500}]
