"""The TXT record (RFC 8461 section 3.1)."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from postfix_mtasts.core.record import Record, select_record
from postfix_mtasts.errors import RecordError

GOOD = [
    ("as in the RFC's example", b"v=STSv1; id=20160831085700Z;", "20160831085700Z"),
    ("the last semicolon may be left out", b"v=STSv1; id=1", "1"),
    ("no blanks at all", b"v=STSv1;id=1;", "1"),
    ("blanks and tabs around every semicolon", b"v=STSv1 \t ; \t id=1 \t ;\t", "1"),
    ("blanks at the end without a last semicolon", b"v=STSv1; id=1 \t", "1"),
    ("id of 32 characters", b"v=STSv1; id=" + b"aZ09" * 8, "aZ09" * 8),
    ("other fields before and after", b"v=STSv1; a=b; id=1; c.d_e-f=!:<>~;", "1"),
    ("another field of 32 characters' name", b"v=STSv1; " + b"n" * 32 + b"=v; id=1", "1"),
    ("field names are case-sensitive, so ID is another field", b"v=STSv1; ID=2; id=1", "1"),
    ("v once more is just another field", b"v=STSv1; v=STSv2; id=1", "1"),
    ("id twice: the first counts (section 3.2)", b"v=STSv1; id=1; id=2;", "1"),
    ("two records in one string", b"v=STSv1; id=1; v=STSv1; id=2;", "1"),
]

NOT_OURS = [
    ("no TXT record", []),
    ("an SPF record", [b"v=spf1 -all"]),
    ("another version", [b"v=STSv2; id=1;"]),
    ("a longer version", [b"v=STSv10; id=1;"]),
    ("another case", [b"V=STSv1; id=1;", b"v=stsv1; id=1;"]),
    ("a blank in front", [b" v=STSv1; id=1;"]),
    ("no semicolon after the version", [b"v=STSv1", b"v=STSv1 id=1;"]),
    ("blanks around the equals sign", [b"v = STSv1; id=1;"]),
    ("quotes in the text", [b'"v=STSv1; id=1;"']),
    ("a byte order mark", [b"\xef\xbb\xbfv=STSv1; id=1;"]),
    ("a line feed is no WSP", [b"v=STSv1\n; id=1;"]),
    ("empty text", [b""]),
]

BAD = [
    ("two records", [b"v=STSv1; id=1;", b"v=STSv1; id=2;"], "2 TXT records"),
    ("the same record twice", [b"v=STSv1; id=1;"] * 2, "2 TXT records"),
    ("a good and a malformed one", [b"v=STSv1; id=1;", b"v=STSv1;"], "2 TXT records"),
    ("nothing but the version", [b"v=STSv1;"], "no id field"),
    ("no id", [b"v=STSv1; a=b;"], "no id field"),
    ("empty id", [b"v=STSv1; id=;"], "field 'id=' is not name=value"),
    ("id of 33 characters", [b"v=STSv1; id=" + b"1" * 33], "is not 1 to 32 letters and digits"),
    ("id with a hyphen", [b"v=STSv1; id=2020-01-01;"], "id '2020-01-01' is not"),
    ("id with a blank inside", [b"v=STSv1; id=1 2;"], "field 'id=1 2' is not name=value"),
    ("blanks around the equals sign of id", [b"v=STSv1; id = 1;"], "field 'id = 1' is not name=value"),
    ("id in quotes", [b'v=STSv1; id="1";'], "id '\"1\"' is not"),
    ("non-ASCII digits", ["v=STSv1; id=١;".encode()], r"field 'id=\xd9\xa1' is not name=value"),
    ("an empty field", [b"v=STSv1;; id=1;"], "empty field"),
    ("an empty field at the end", [b"v=STSv1; id=1;;"], "empty field"),
    ("an empty field of blanks", [b"v=STSv1; id=1; \t;"], "empty field"),
    ("a field without value", [b"v=STSv1; id=1; a"], "field 'a' is not name=value"),
    ("a field name of 33 characters", [b"v=STSv1; id=1; " + b"n" * 33 + b"=v"], "is not name=value"),
    ("a field name that begins with a hyphen", [b"v=STSv1; id=1; -a=b"], "field '-a=b' is not name=value"),
    ("an equals sign in another field's value", [b"v=STSv1; id=1; a=b=c"], "field 'a=b=c' is not name=value"),
    ("a control character in another field", [b"v=STSv1; id=1; a=\x07"], r"field 'a=\x07' is not name=value"),
    ("a carriage return at the end", [b"v=STSv1; id=1;\r"], r"field '\r' is not name=value"),
    ("id twice, the first of no use", [b"v=STSv1; id=-; id=1;"], "id '-' is not"),
]


@pytest.mark.parametrize(("title", "text", "want"), GOOD, ids=[row[0] for row in GOOD])
def test_a_good_record_gives_its_id(title: str, text: bytes, want: str) -> None:
    """Section 3.1's grammar, and nothing narrower."""
    assert select_record([text]) == Record(want)


@pytest.mark.parametrize(("title", "texts"), NOT_OURS, ids=[row[0] for row in NOT_OURS])
def test_what_does_not_begin_as_a_record_is_none(title: str, texts: list[bytes]) -> None:
    """Other TXT records at the name count for nothing, alone or beside the one."""
    assert select_record(texts) is None
    assert select_record([*texts, b"v=STSv1; id=1;", *texts]) == Record("1")


@pytest.mark.parametrize(("title", "texts", "words"), BAD, ids=[row[0] for row in BAD])
def test_a_bad_record_is_refused_with_a_reason(title: str, texts: list[bytes], words: str) -> None:
    """The sentence says what was wrong, with the value."""
    with pytest.raises(RecordError) as caught:
        select_record(texts)
    assert words in str(caught.value)


def test_a_reason_is_short_whatever_the_record_holds() -> None:
    """A TXT record may have 64 KB; a log line must not."""
    with pytest.raises(RecordError) as caught:
        select_record([b"v=STSv1; " + b"\xff" * 65_000])
    assert len(str(caught.value)) < 400
    assert "..." in str(caught.value)


fragments = st.sampled_from(
    [b"v=STSv1", b";", b" ", b"\t", b"id=", b"id=1", b"a=b", b"=", b"\x00", b"\xff", b"\r\n", b"20160831085700Z"]
)
records = st.binary(max_size=60) | st.lists(fragments, max_size=12).map(b"".join)


@given(st.lists(records, max_size=3) | records.map(lambda tail: [b"v=STSv1;" + tail]))
@example([b"v=STSv1;" + b";" * 60_000])
@example([b"v=STSv1" + b" " * 60_000])
@example([b"v=STSv1; " + b"a=b;" * 15_000])
def test_no_bytes_raise_anything_but_record_error(texts: list[bytes]) -> None:
    """A record with an id of its grammar, none, or RecordError."""
    try:
        record = select_record(texts)
    except RecordError:
        return
    assert record is None or (record.id.isascii() and record.id.isalnum() and len(record.id) <= 32)
