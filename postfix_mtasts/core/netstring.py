"""Netstring framing, as the Postfix socketmap client speaks it.

Bytes in, complete payloads out; no socket, clock or logger here.

Rule 1: a stream that can no longer become valid is refused as soon as its
        turn comes, not when more bytes arrive, so a peer cannot make us hold
        its garbage.
Rule 2: how TCP cuts the stream, and when payloads are pulled, never changes
        the result.

Source: https://cr.yp.to/proto/netstrings.txt; size from Postfix
src/util/dict_sockmap.c (query 10000 bytes).
"""

from __future__ import annotations

import re

from ..errors import NetstringError

MAX_REQUEST = 10_000  # bytes of payload

_LENGTH = re.compile(rb"0|[1-9][0-9]*")  # no leading zeros: a frame is the only one with its payload
_COMMA = ord(",")


def encode(payload: bytes) -> bytes:
    """Frame *payload*."""
    return b"%d:%b," % (len(payload), payload)


class NetstringDecoder:
    """Cut received bytes into payloads.

    What next_payload() raises it raises again: close the connection.
    """

    __slots__ = ("_at", "_buffer", "_limit", "_window")

    def __init__(self, limit: int = MAX_REQUEST) -> None:
        """*limit*: bytes of the longest payload."""
        self._limit = limit
        self._window = len(str(limit)) + 1  # a colon stands here or further left
        self._buffer = b""
        self._at = 0  # what lies before it in the buffer is done with

    @property
    def empty(self) -> bool:
        """Nothing is buffered: the next byte begins a frame."""
        return not self._buffer

    def feed(self, data: bytes) -> None:
        """Take what was received; pull payloads before feeding more, or it piles up."""
        self._buffer = self._buffer[self._at :] + data
        self._at = 0

    def take_back(self) -> bytes:
        """Return what was fed and is not done with; the decoder is empty then."""
        rest, self._buffer, self._at = self._buffer[self._at :], b"", 0
        return rest

    def next_payload(self) -> bytes | None:
        """Return the next payload, or None as long as its end has not been received.

        Raises: NetstringError, if what was received cannot become a frame.
        """
        buffer = self._buffer
        if not buffer:
            return None
        colon = buffer.find(b":", self._at, self._at + self._window)
        length = self._read_length(buffer[self._at : self._at + self._window if colon < 0 else colon])
        start = colon + 1
        stop = start + length
        if colon < 0 or stop >= len(buffer):
            return None
        if buffer[stop] != _COMMA:
            raise NetstringError(f"{buffer[stop : stop + 1]!r} and no comma after {length} bytes")
        self._drop(stop + 1)
        return buffer[start:stop]

    def _read_length(self, digits: bytes) -> int:
        """Read a length, or what is there of it."""
        if not _LENGTH.fullmatch(digits):
            raise NetstringError(f"{digits!r} is no length of a netstring")
        if int(digits) > self._limit:
            raise NetstringError(f"length {int(digits)} is over {self._limit}")
        return int(digits)

    def _drop(self, at: int) -> None:
        """Step on to *at*. Copying only when half is done with keeps both time and memory in proportion."""
        if 2 * at >= len(self._buffer):
            self._buffer, at = self._buffer[at:], 0
        self._at = at
