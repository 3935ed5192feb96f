"""The rows that daemons share: an entry, or a withdrawal, as text with a signature.

Rule 1: the text of an entry is that of the local store (rows.py), and is
        believed no more than there: the policy is parsed again.
Rule 2: with a key, the signature comes first: HMAC-SHA256 of the domain, a
        NUL and the text. A row without it, or with another, is not read.
        Without a key, whatever signature there is counts for nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import re

from ...core.entry import Entry
from ...core.names import Domain, parse_domain
from ...core.ports import BadRow, SharedRow, Withdrawn
from ...core.quoting import LIMIT
from ...errors import InputError
from .rows import ROW_LIMIT, decode, encode

NAME_LIMIT = 255  # bytes of a domain

_WITHDRAWN = re.compile(r'\{"v": 1, "withdrawn": ([0-9]{1,12}(?:\.[0-9]{1,9})?)\}')


def time_of(row: Entry | Withdrawn) -> float:
    """Return what decides which of two rows counts."""
    return row.at if isinstance(row, Withdrawn) else row.fetched_at


def write(row: Entry | Withdrawn, key: bytes | None) -> tuple[str, str]:
    """Return the text of *row* and its signature, "" without a key."""
    text = f'{{"v": 1, "withdrawn": {row.at!r}}}' if isinstance(row, Withdrawn) else encode(row)
    return text, _signature(row.domain, text, key) if key is not None else ""


def read(domain: bytes, text: object, signature: object, key: bytes | None) -> SharedRow:
    """Read what the shared store has under *domain*. Never raises."""
    name = domain[:NAME_LIMIT].decode("ascii", "replace")
    try:
        if not isinstance(text, bytes) or not isinstance(signature, bytes):
            raise InputError("the row is not one of ours, or is too long")
        if len(text) > ROW_LIMIT:
            raise InputError(f"row of {len(text)} bytes; {ROW_LIMIT} is the most")
        shown = text.decode("ascii")
        if key is not None and not hmac.compare_digest(_signature(name, shown, key).encode(), signature):
            raise InputError("the signature is missing or wrong")
        if (match := _WITHDRAWN.fullmatch(shown)) is not None:
            return Withdrawn(_domain(name), float(match[1]))
        return decode(name, shown)
    except UnicodeDecodeError:
        return BadRow(name, "the row is not ASCII")
    except InputError as error:
        return BadRow(name, str(error)[:LIMIT])


def _domain(name: str) -> Domain:
    domain = parse_domain(name)
    if domain != name:
        raise InputError("the key is not a domain as it is kept")
    return domain


def _signature(domain: str, text: str, key: bytes) -> str:
    return hmac.new(key, f"{domain}\0{text}".encode(), hashlib.sha256).hexdigest()
