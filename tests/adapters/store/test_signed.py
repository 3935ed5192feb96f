"""adapters/store/signed.py: which rows of others are believed."""

from __future__ import annotations

import pytest

from postfix_mtasts.adapters.store import signed
from postfix_mtasts.core.names import Domain
from postfix_mtasts.core.ports import BadRow, Withdrawn
from tests.support.fakes.entries import NOW, entry

KEY = b"sesame"
TEXT, SIGNATURE = (part.encode() for part in signed.write(entry(), KEY))


@pytest.mark.parametrize("row", [entry(), Withdrawn(Domain("example.com"), NOW + 0.5)])
@pytest.mark.parametrize("key", [None, KEY])
def test_what_is_written_is_read(row: object, key: bytes | None) -> None:
    """Entries and withdrawals come back whole, signed or not."""
    text, signature = signed.write(row, key)  # type: ignore[arg-type]
    assert signed.read(b"example.com", text.encode(), signature.encode(), key) == row


BAD: list[tuple[str, bytes, object, object, str]] = [
    ("no signature", b"example.com", TEXT, b"", "signature"),
    ("another signature", b"example.com", TEXT, b"0" * 64, "signature"),
    ("the row of another domain", b"example.org", TEXT, SIGNATURE, "signature"),
    ("another policy", b"example.com", TEXT.replace(b"enforce", b"testing"), SIGNATURE, "signature"),
    ("a key of another type", b"example.com", 0, 0, "not one of ours"),
    ("too long", b"example.com", b"x" * 400_001, SIGNATURE, "400001 bytes"),
    ("not ASCII", b"example.com", b"\xff", SIGNATURE, "ASCII"),
]


@pytest.mark.parametrize(("title", "domain", "text", "signature", "reason"), BAD, ids=[row[0] for row in BAD])
def test_what_is_not_believed(title: str, domain: bytes, text: object, signature: object, reason: str) -> None:
    """The signature comes first, and a bad row is a value with its reason."""
    row = signed.read(domain, text, signature, KEY)
    assert isinstance(row, BadRow)
    assert reason in row.reason


def test_without_a_key_the_policy_is_checked_all_the_same() -> None:
    """A row is believed no more than a policy host."""
    text, _ = signed.write(entry(), None)
    bad = text.replace("version: STSv1", "version: STSv9")
    assert isinstance(signed.read(b"example.com", bad.encode(), b"", None), BadRow)
