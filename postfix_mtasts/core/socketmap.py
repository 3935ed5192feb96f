"""Socketmap requests and replies: MAP SP KEY in, STATUS SP DATA out.

Payloads in, whole frames out. Which maps there are, what a key names and
what the text after OK says are not here.

Rule: whatever Postfix logs of a reply is visible ASCII on one line and short;
a reply that Postfix cannot take is a bug of ours and never sent.

Source: socketmap_table(5); Postfix src/util/dict_sockmap.c.
"""

from __future__ import annotations

from dataclasses import dataclass

from .netstring import encode
from .quoting import escape

MAX_REPLY = 100_000  # bytes of payload; Postfix takes no more
MAX_REASON = 200  # characters

_NOTFOUND = encode(b"NOTFOUND ")  # Postfix wants the blank


@dataclass(frozen=True, slots=True)
class Request:
    """What Postfix asks."""

    map: str  # one character a byte, never empty: bytes beyond ASCII equal no configured name
    key: bytes  # everything after the first blank, whatever it is


def parse_request(payload: bytes) -> Request | None:
    """Split a request; None where it names no map. Never raises."""
    name, blank, key = payload.partition(b" ")
    return Request(name.decode("latin-1"), key) if name and blank else None


def ok(text: str) -> bytes:
    """The key was found. Raises: ValueError for a text that Postfix would take for a failure."""
    payload = b"OK " + text.encode()
    if not text or len(payload) > MAX_REPLY:
        raise ValueError(f"a reply has 1 to {MAX_REPLY - 3} bytes of text, not {len(payload) - 3}")
    return encode(payload)


def notfound() -> bytes:
    """Nothing for this key: Postfix goes on to its next table."""
    return _NOTFOUND


def temp(reason: str) -> bytes:
    """No answer now: Postfix defers the mail and logs *reason*."""
    return encode(b"TEMP " + _reason(reason))


def perm(reason: str) -> bytes:
    """No answer, however often it is asked: Postfix defers the mail and logs *reason*."""
    return encode(b"PERM " + _reason(reason))


def _reason(text: str) -> bytes:
    return escape(text[:MAX_REASON])[:MAX_REASON].encode("ascii")
