"""Netstring framing: how TCP cuts a stream never matters."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from postfix_mtasts.core.netstring import MAX_REQUEST, NetstringDecoder, encode
from postfix_mtasts.errors import NetstringError

LIMIT = 20  # bytes of payload in these tests


def outcome(chunks: Iterable[bytes], pulls: Iterable[int] = ()) -> tuple[list[bytes], str]:
    """All payloads and the verdict; after each chunk as many payloads are pulled as *pulls* says, at the end all."""
    decoder, got, pull = NetstringDecoder(LIMIT), [], iter(pulls)
    try:
        for chunk in chunks:
            decoder.feed(chunk)
            for _ in range(next(pull, LIMIT)):
                if (payload := decoder.next_payload()) is None:
                    break
                got.append(payload)
        while (payload := decoder.next_payload()) is not None:
            got.append(payload)
    except NetstringError:
        return got, "refused"
    return got, "empty" if decoder.empty else "waiting"


GOOD = [
    ("nothing", b"", [], "empty"),
    ("a payload", b"5:hello,", [b"hello"], "empty"),
    ("an empty payload", b"0:,", [b""], "empty"),
    ("empty payloads in a row", b"0:,0:,0:,", [b"", b"", b""], "empty"),
    ("colons, commas and digits inside", b"6:1:,2:,,", [b"1:,2:,"], "empty"),
    ("bytes that are no text", b"4:\0\xff\r\n,", [b"\0\xff\r\n"], "empty"),
    ("as long as may be", b"20:" + b"x" * 20 + b",", [b"x" * 20], "empty"),
    ("several in a row", b"1:a,2:bc,0:,3:def,", [b"a", b"bc", b"", b"def"], "empty"),
    ("the beginning of a length", b"1:a,1", [b"a"], "waiting"),
    ("a zero that may be a whole length", b"0", [], "waiting"),
    ("a length without its payload", b"12:", [], "waiting"),
    ("a part of a payload", b"12:hello", [], "waiting"),
    ("no comma yet", b"5:hello", [], "waiting"),
]

REFUSED = [
    ("no digit first", b"x", []),
    ("a blank in front", b" 5:hello,", []),
    ("a line feed between frames", b"1:a,\n", [b"a"]),
    ("a comma between frames", b"1:a,,", [b"a"]),
    ("an empty length", b":", []),
    ("a sign", b"+5:hello,", []),
    ("a minus sign", b"-1:", []),
    ("a blank after the length", b"5 ", []),
    ("a letter in the length", b"1f", []),
    ("digits of another script", "٥".encode(), []),
    ("an underscore in the length", b"1_", []),
    ("a leading zero", b"05", []),
    ("two zeros", b"00", []),
    ("one over the limit, before any colon", b"21", []),
    ("three digits, before any colon", b"100", []),
    ("digits without end", b"9" * 1000, []),
    ("no comma", b"5:hello;", []),
    ("a payload longer than said", b"4:hello,", []),
    ("a broken frame after good ones", b"1:a,2:bc,x", [b"a", b"bc"]),
    ("an HTTP request", b"GET / HTTP/1.1\r\n\r\n", []),
    ("a TLS client hello", b"\x16\x03\x01\x02\x00", []),
]


@pytest.mark.parametrize(("title", "stream", "want", "verdict"), GOOD, ids=[row[0] for row in GOOD])
def test_valid_streams(title: str, stream: bytes, want: list[bytes], verdict: str) -> None:
    """Whole or byte by byte, a valid stream gives its payloads."""
    assert outcome([stream]) == (want, verdict)
    assert outcome(stream[at : at + 1] for at in range(len(stream))) == (want, verdict)


@pytest.mark.parametrize(("title", "stream", "want"), REFUSED, ids=[row[0] for row in REFUSED])
def test_broken_streams_are_refused_at_once(title: str, stream: bytes, want: list[bytes]) -> None:
    """What can no longer become valid is refused, without waiting for more; payloads before it are given."""
    assert outcome([stream]) == (want, "refused")
    assert outcome(stream[at : at + 1] for at in range(len(stream))) == (want, "refused")


def test_the_limit_is_postfixs_own() -> None:
    """A request of 10,000 bytes is read, one of 10,001 is refused before its payload comes."""
    decoder = NetstringDecoder()
    decoder.feed(encode(b"x" * MAX_REQUEST) + b"10001")
    assert decoder.next_payload() == b"x" * 10_000
    with pytest.raises(NetstringError, match="length 10001 is over 10000"):
        decoder.next_payload()


@pytest.mark.parametrize("stream", [b"1:a,1:bX", b"007:", b"x" * 10_000])
def test_a_refused_stream_stays_refused(stream: bytes) -> None:
    """Nothing that comes later mends it, and the message is short."""
    decoder = NetstringDecoder()
    decoder.feed(stream)
    if stream.startswith(b"1:a,"):
        assert decoder.next_payload() == b"a"
    for more in (b"", b",", b"1:b,"):
        decoder.feed(more)
        with pytest.raises(NetstringError) as caught:
            decoder.next_payload()
        assert 10 < len(str(caught.value)) < 80


def test_pulling_may_stop_in_the_middle_and_go_on() -> None:
    """Backpressure: payloads wait in the decoder, which says that it is not empty."""
    decoder = NetstringDecoder()
    assert decoder.empty
    decoder.feed(b"1:a,1:b,1:")
    assert not decoder.empty
    assert decoder.next_payload() == b"a"
    decoder.feed(b"c,")
    assert [decoder.next_payload() for _ in range(3)] == [b"b", b"c", None]
    assert decoder.empty


def test_what_was_pulled_is_not_held() -> None:
    """A peer that leaves half a frame behind many whole ones makes us hold no more than twice that."""
    decoder = NetstringDecoder()
    decoder.feed(encode(b"x" * 100) * 1000 + b"1")
    while decoder.next_payload() is not None:
        pass
    assert len(decoder._buffer) <= 2


streams = st.binary(max_size=60) | st.lists(
    st.binary(max_size=LIMIT + 1).map(encode) | st.sampled_from([b"0", b"1", b":", b",", b"20:", b"5:hello"]),
    max_size=8,
).map(b"".join)


@given(streams, st.lists(st.integers(0, 70), max_size=8), st.lists(st.integers(0, 3), max_size=9))
@example(b"1:a,1:b,1:c,x", [4, 6], [0, 1])
def test_how_tcp_cuts_the_stream_never_matters(stream: bytes, cuts: list[int], pulls: list[int]) -> None:
    """Whole, cut anywhere, pulled at any time: same payloads, same verdict, no other exception."""
    edges = [0, *sorted(cut for cut in cuts if cut < len(stream)), len(stream)]
    chunks = [stream[start:stop] for start, stop in pairwise(edges)]
    whole = outcome([stream])
    assert outcome(chunks, pulls) == whole
    assert outcome(chunks) == whole
    assert outcome(stream[at : at + 1] for at in range(len(stream))) == whole


@given(st.lists(st.binary(max_size=LIMIT), max_size=8))
def test_what_is_encoded_is_decoded(payloads: list[bytes]) -> None:
    """Any payloads within the limit come back as they were."""
    assert outcome([b"".join(map(encode, payloads))]) == (payloads, "empty")


@given(streams)
def test_a_frame_is_the_only_one_with_its_payload(stream: bytes) -> None:
    """What was accepted is exactly what encode makes: the bytes of a request can be a key."""
    got, verdict = outcome([stream])
    frames = b"".join(map(encode, got))
    assert stream.startswith(frames)
    if verdict == "empty":
        assert stream == frames
