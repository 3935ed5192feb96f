"""Socketmap requests and replies as bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mtasts.core.socketmap import MAX_REPLY, Request, notfound, ok, parse_request, perm, temp

REQUESTS = [
    ("a map and a key", b"postfix example.org", Request("postfix", b"example.org")),
    ("an empty key", b"postfix ", Request("postfix", b"")),
    ("blanks in the key", b"postfix a b  c ", Request("postfix", b"a b  c ")),
    ("a blank in front of the key", b"postfix  a", Request("postfix", b" a")),
    ("a key that is no text", b"postfix \0\xff\n", Request("postfix", b"\0\xff\n")),
    ("map names keep their case", b"QUERYwithTLSRPT a.b", Request("QUERYwithTLSRPT", b"a.b")),
    ("only a blank ends the map name", b"post\tfix\0\n a", Request("post\tfix\0\n", b"a")),
    ("UTF-8 in the map name equals no configured name", "pöst a".encode(), Request("pÃ¶st", b"a")),
    ("other bytes in the map name equal none either", b"\xff\x80 a", Request("\xff\x80", b"a")),
]

NO_MAP = [
    ("nothing", b""),
    ("no blank", b"example.org"),
    ("only a blank", b" "),
    ("an empty map name", b" example.org"),
    ("a tab is no blank", b"postfix\texample.org"),
]

REASONS = [
    ("plain text goes as it is", "no answer from DNS in time, 5 s", "no answer from DNS in time, 5 s"),
    ("a forged line", "x\nPERM y\r", r"x\nPERM y\r"),
    ("a terminal code", "\x1b[31mx\x7f\0", r"\x1b[31mx\x7f\x00"),
    ("other scripts", "münchen рф 💩", r"m\xfcnchen \u0440\u0444 \U0001f4a9"),
    ("lone surrogates", "\udcff", r"\udcff"),
    ("200 characters", "x" * 200, "x" * 200),
    ("more than 200 characters", "x" * 9000, "x" * 200),
    ("more than 200 once they are escaped", "\n" * 150, r"\n" * 100),
]


@pytest.mark.parametrize(("title", "payload", "want"), REQUESTS, ids=[row[0] for row in REQUESTS])
def test_requests(title: str, payload: bytes, want: Request) -> None:
    """The map name ends at the first blank; the key is all that follows."""
    assert parse_request(payload) == want


@pytest.mark.parametrize(("title", "payload"), NO_MAP, ids=[row[0] for row in NO_MAP])
def test_requests_without_a_map_name(title: str, payload: bytes) -> None:
    """Without a blank behind a map name there is no map to ask."""
    assert parse_request(payload) is None


@given(st.binary(max_size=100))
def test_no_request_raises_and_nothing_of_it_is_lost(payload: bytes) -> None:
    """Whatever the bytes: map name, blank and key are the request."""
    request = parse_request(payload)
    if request is None:
        assert b" " not in payload[1:] or payload.startswith(b" ")
    else:
        assert request.map.encode("latin-1") + b" " + request.key == payload
        assert " " not in request.map


def test_ok_carries_the_text_in_utf_8() -> None:
    """The length counts bytes."""
    assert ok("secure match=.example.org") == b"28:OK secure match=.example.org,"
    assert ok("ü") == b"5:OK \xc3\xbc,"


def test_notfound_ends_in_a_blank() -> None:
    """Postfix takes NOTFOUND without the blank for a protocol error."""
    assert notfound() == b"9:NOTFOUND ,"


@pytest.mark.parametrize(
    ("title", "text"),
    [
        ("empty: Postfix defers on it", ""),
        ("one byte too long", "x" * (MAX_REPLY - 2)),
        ("too long in bytes, not in characters", "ü" * 50_000),
        ("no UTF-8", "\udcff"),
    ],
)
def test_an_impossible_text_is_a_bug(title: str, text: str) -> None:
    """What Postfix cannot take is never sent."""
    with pytest.raises(ValueError, match=r"1 to 99997 bytes|surrogates not allowed"):
        ok(text)


def test_the_longest_reply() -> None:
    """100,000 bytes of payload, its status included."""
    assert ok("x" * 99_997) == b"100000:OK " + b"x" * 99_997 + b","


@pytest.mark.parametrize(("title", "reason", "want"), REASONS, ids=[row[0] for row in REASONS])
def test_reasons(title: str, reason: str, want: str) -> None:
    """What Postfix logs is visible ASCII on one line, 200 characters at most."""
    assert temp(reason) == f"{len(want) + 5}:TEMP {want},".encode()
    assert perm(reason) == f"{len(want) + 5}:PERM {want},".encode()


@given(st.text(max_size=300))
def test_a_reason_can_neither_forge_a_line_nor_a_frame(reason: str) -> None:
    """Printable ASCII and the right length, whatever the reason."""
    length, _, rest = temp(reason).partition(b":")
    assert len(rest) == int(length) + 1
    assert rest.startswith(b"TEMP ")
    assert rest.endswith(b",")
    assert rest.decode("ascii").isprintable()
    assert len(rest) <= 206
