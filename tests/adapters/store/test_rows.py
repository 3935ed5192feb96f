"""The row of an entry: what is written, and what is not believed when it is read."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mtasts.adapters.store.rows import ROW_LIMIT, decode, encode
from postfix_mtasts.core.entry import Entry
from postfix_mtasts.core.names import Domain
from postfix_mtasts.core.policy import parse_policy
from postfix_mtasts.errors import InputError
from tests.support.fakes.entries import NOW, entry


def row(**changes: Any) -> str:
    """A good row without a sum, with *changes*; a value of ... takes the key away."""
    good = json.loads(encode(entry()))
    del good["sum"]
    return json.dumps({key: value for key, value in (good | changes).items() if value is not ...})


def test_a_row_is_json_of_version_1() -> None:
    """What is on disk is fixed: later versions have to read it."""
    assert json.loads(encode(entry(used_at=NOW))) == {
        "v": 1,
        "id": "20231114",
        "fetched": NOW,
        "used": NOW,
        "policy": "version: STSv1\nmode: enforce\nmx: mx.example.com\nmax_age: 604800",
        "sum": "2bfe1ac1",
    }


def test_a_row_without_a_sum_is_of_an_older_program() -> None:
    """And is read."""
    assert decode("example.com", row()) == entry()


@pytest.mark.parametrize(
    ("title", "key", "old", "new"),
    [
        ("another host name", "example.com", "mx.example.com", "mz.example.com"),
        ("another mode", "example.com", "mode: enforce", "mode: testing"),
        ("another time", "example.com", "1700000000.0", "1700000001.0"),
        ("another sum", "example.com", "2bfe1ac1", "2bfe1ac0"),
        ("no sum", "example.com", '"sum"', '"sul"'),
        ("another domain", "exbmple.com", "", ""),
    ],
)
def test_a_flipped_bit_does_not_make_another_policy(title: str, key: str, old: str, new: str) -> None:
    """A wrong host name would hold mail up, a wrong mode would let it go unprotected."""
    written = encode(entry(used_at=NOW))
    assert old in written
    with pytest.raises(InputError, match="is not what was written"):
        decode(key, written.replace(old, new, 1))


@pytest.mark.parametrize("mode", ["enforce", "testing", "none"])
def test_an_entry_is_read_as_it_was_written(mode: str) -> None:
    """The policy is parsed anew from its text, and is the same."""
    written = entry(mode=mode, mx=("mx.example.com", "*.example.net"), fetched_at=NOW + 0.25)
    assert decode("example.com", encode(written)) == written


extra = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\r\n"), max_size=60)


@given(extra, st.floats(0, 1e11), st.from_regex(r"[A-Za-z0-9]{1,32}", fullmatch=True))
def test_whatever_a_policy_holds_comes_back(value: str, fetched_at: float, record_id: str) -> None:
    """Any text in an unknown key, any time, any id."""
    policy = parse_policy(f"version: STSv1\nmode: none\nmax_age: 1\nx: {value}\n".encode())
    written = Entry(Domain("example.com"), policy, record_id, fetched_at, 0.0)
    assert decode("example.com", encode(written)) == written


def test_the_largest_policy_fits_into_a_row() -> None:
    """64 KiB, each byte of it six characters of JSON."""
    head = "version: STSv1\nmode: none\nmax_age: 1\nx: x"
    policy = parse_policy(head.encode() + b"\x01" * (65_536 - len(head) - 1) + b"x")
    written = Entry(Domain("example.com"), policy, "a" * 32, NOW, NOW)
    assert decode("example.com", encode(written)) == written


DAMAGED = [
    ("empty", "", "is not JSON"),
    ("cut off", row()[:-5], "is not JSON"),
    ("nested without end", "[" * ROW_LIMIT, "is not JSON"),
    ("a number of 5000 digits", "1" * 5000, "is not JSON"),
    ("no object", "[1]", "is not a JSON object"),
    ("longer than any row", row(x="x" * ROW_LIMIT), "400000 is the most"),
    ("without version", row(v=...), "row of version None"),
    ("a later version", row(v=2), "row of version 2; this program reads version 1"),
    ("true, which equals 1, as version", row(v=True), "row of version True"),
    ("a list as version", row(v=[1]), "row of version of type list"),
    ("without id", row(id=...), '"id" None is not'),
    ("an empty id", row(id=""), "\"id\" '' is not"),
    ("an id of 33 characters", row(id="a" * 33), '"id"'),
    ("an id with a line end", row(id="a\n"), '"id"'),
    ("an id of non-ASCII digits", row(id="٣"), '"id"'),
    ("an id that is a number", row(id=5), '"id" 5 is not'),
    ("without policy", row(policy=...), '"policy" None is not text'),
    ("a policy that is a list", row(policy=[]), '"policy" of type list is not text'),
    ("a policy that breaks RFC 8461", row(policy="version: STSv1"), "mode is missing"),
    ("a policy with half a surrogate pair", row(policy="\ud800"), "surrogate"),
    ("a policy of over 64 KiB", row(policy="x" * 65_537), '"policy" of 65537 bytes; 65536 is the most'),
    ("without fetch time", row(fetched=...), '"fetched" None is not'),
    ("a fetch time that is text", row(fetched="1"), "\"fetched\" '1' is not"),
    ("a fetch time that is true", row(fetched=True), '"fetched" True is not'),
    ("a fetch time that is NaN", row(fetched=float("nan")), '"fetched" nan is not'),
    ("an infinite fetch time", row(fetched=float("inf")), '"fetched" inf is not'),
    ("a fetch time before 1970", row(fetched=-1), '"fetched" -1 is not'),
    ("a fetch time past the year 9999", row(fetched=10**400), '"fetched" 1000'),
    ("a use before 1970", row(used=-0.5), '"used" -0.5 is not'),
]


@pytest.mark.parametrize(("title", "text", "problem"), DAMAGED, ids=[case[0] for case in DAMAGED])
def test_a_damaged_row_is_refused(title: str, text: str, problem: str) -> None:
    """In one short sentence that says what is wrong."""
    with pytest.raises(InputError) as caught:
        decode("example.com", text)
    assert problem in str(caught.value)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize(
    "key", ["", "EXAMPLE.com", "example.com.", "localhost", "[192.0.2.1]", "bücher.example", "a b.c"]
)
def test_a_key_that_is_no_domain_as_we_write_it_is_refused(key: str) -> None:
    """One domain, one entry, in one spelling."""
    with pytest.raises(InputError):
        decode(key, row())


@given(
    st.text(max_size=300)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["v", "id", "fetched", "used", "policy"]), inner, max_size=5)
        ),
        max_leaves=10,
    ).map(json.dumps)
)
def test_no_row_raises_anything_else(text: str) -> None:
    """An entry, or InputError."""
    with contextlib.suppress(InputError):
        decode("example.com", text)
