"""The policy file (RFC 8461 sections 3.2 and 4.1)."""

from __future__ import annotations

import re
import sys

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from postfix_mtasts.core.policy import Mode, Policy, parse_policy
from postfix_mtasts.errors import PolicySyntaxError

PLAIN = b"version: STSv1\nmode: enforce\nmx: mail.example.com\nmx: *.example.net\nmax_age: 604800\n"
PLAIN_POLICY = Policy(
    mode=Mode.ENFORCE,
    max_age=604800,
    raw=b"version: STSv1\nmode: enforce\nmx: mail.example.com\nmx: *.example.net\nmax_age: 604800",
)


def policy_of(*mx: str, mode: str = "enforce", max_age: str = "86400") -> bytes:
    lines = ["version: STSv1", f"mode: {mode}", *(f"mx: {value}" for value in mx), f"max_age: {max_age}"]
    return "\n".join(lines).encode()


SAME = [
    ("LF", PLAIN),
    ("CRLF, as the RFC writes it", PLAIN.replace(b"\n", b"\r\n")),
    ("mixed line ends", PLAIN.replace(b"\n", b"\r\n", 2)),
    ("no line end at the end", PLAIN.rstrip()),
    ("blank lines", b"\n \n\t\r\n" + PLAIN.replace(b"\n", b"\n\n") + b"\n\n"),
    ("indented lines and trailing blanks", b"".join(b" \t" + line + b" \t\n" for line in PLAIN.splitlines())),
    ("byte order mark", b"\xef\xbb\xbf" + PLAIN),
    ("byte order mark and CRLF", b"\xef\xbb\xbf" + PLAIN.replace(b"\n", b"\r\n")),
]


@pytest.mark.parametrize(("title", "body"), SAME, ids=[row[0] for row in SAME])
def test_what_cannot_be_misread_changes_nothing(title: str, body: bytes) -> None:
    """The same policy, and the same text."""
    assert parse_policy(body) == PLAIN_POLICY


READ_ALIKE = [
    ("no blank after the colon", PLAIN.replace(b": ", b":")),
    ("a tab after the colon", PLAIN.replace(b": ", b":\t")),
    ("blanks and tabs around the colon", PLAIN.replace(b": ", b" \t: \t")),
    ("upper-case hosts", PLAIN.replace(b"mail.example.com", b"MAIL.Example.COM")),
    ("one final dot of an mx", PLAIN.replace(b"example.com", b"example.com.").replace(b"example.net", b"example.net.")),
    ("a pattern given twice", PLAIN + b"mx: mail.example.com\nmx: MAIL.EXAMPLE.COM.\n"),
    ("the keys in another order", b"\n".join(reversed(PLAIN.splitlines()))),
    ("unknown keys", b"x-1_a.b: anything: {at} all\nEMPTY:\n" + PLAIN),
    ("an unknown key of 32 characters", PLAIN + b"k" * 32 + b": v\n"),
    ("keys in upper case are unknown keys", b"MODE: none\nVersion: 2\nMX: mx.invalid.example\n" + PLAIN),
    ("the first mode wins", PLAIN + b"mode: none\n"),
    ("the first version wins", PLAIN + b"version: STSv2\n"),
    ("the first max_age wins", PLAIN + b"max_age: never\n"),
    ("UTF-8 in an unknown key's value", "note: Grüße, 日本\n".encode() + PLAIN),
    ("control characters in an unknown key's value", b"note: a\x00\x07\x1bb\n" + PLAIN),
    ("a bare CR inside a line ends no line", b"note: a\rmode: none\n" + PLAIN),
    ("other line separators end no line", "note: a\u2028mode: none\u0085mode: none\x0bmode: none\n".encode() + PLAIN),
]


@pytest.mark.parametrize(("title", "body"), READ_ALIKE, ids=[row[0] for row in READ_ALIKE])
def test_other_spellings_of_one_policy(title: str, body: bytes) -> None:
    """Mode, patterns and max_age are the same; the text keeps what was written."""
    policy = parse_policy(body)
    assert (policy.mode, policy.max_age, policy.unusable) == (Mode.ENFORCE, 604800, ())
    assert sorted(policy.mx) == sorted(PLAIN_POLICY.mx)
    assert parse_policy(policy.text.encode()) == policy


INVALID = [
    ("empty body", b"", 0, "version is missing"),
    ("blank lines only", b"\r\n \t\r\n", 0, "version is missing"),
    ("a page of HTML", b"<!DOCTYPE html>\n<html>\n", 1, "no colon in '<!DOCTYPE html>'"),
    ("a line without colon, blank lines counted", PLAIN + b"\n\nmx mail.example.com\n", 8, "no colon in"),
    ("an empty key", b": x\n" + PLAIN, 1, "bad key ''"),
    ("a key with a blank", b"max age: 1\n" + PLAIN, 1, "bad key 'max age'"),
    ("a key of 33 characters", PLAIN + b"k" * 33 + b": v\n", 6, "bad key 'kkk"),
    ("a key that begins with a hyphen", b"- mx: a.example\n" + PLAIN, 1, "bad key '- mx'"),
    ("a key in quotes", b'"mode": none\n' + PLAIN, 1, "bad key '\"mode\"'"),
    ("a comment with a colon", b"# note: x\n" + PLAIN, 1, "bad key '# note'"),
    ("a non-ASCII letter in a key", "mödé: x\n".encode() + PLAIN, 1, "bad key"),
    ("a second byte order mark", b"\xef\xbb\xbf" * 2 + PLAIN, 1, "bad key"),
    ("no version", PLAIN.replace(b"version", b"v"), 0, "version is missing"),
    ("another version", PLAIN.replace(b"STSv1", b"STSv2"), 1, "version 'STSv2' is not STSv1"),
    ("version in another case", PLAIN.replace(b"STSv1", b"stsv1"), 1, "version 'stsv1'"),
    ("no mode", PLAIN.replace(b"mode", b"m"), 0, "mode is missing"),
    ("empty mode", policy_of("a.example", mode=""), 2, "mode '' is not enforce, testing or none"),
    ("mode in upper case", policy_of("a.example", mode="Enforce"), 2, "mode 'Enforce'"),
    ("unknown mode", policy_of("a.example", mode="report"), 2, "mode 'report'"),
    ("a mode with a comment", policy_of("a.example", mode="enforce # strict"), 2, "mode 'enforce # strict'"),
    ("no max_age", PLAIN.replace(b"max_age", b"max-age"), 0, "max_age is missing"),
    ("empty max_age", policy_of("a.example", max_age=""), 4, "max_age '' is not 1 to 10 digits"),
    ("negative max_age", policy_of("a.example", max_age="-1"), 4, "max_age '-1'"),
    ("signed max_age", policy_of("a.example", max_age="+86400"), 4, "max_age '+86400'"),
    ("quoted max_age", policy_of("a.example", max_age='"86400"'), 4, "max_age '\"86400\"'"),
    ("fractional max_age", policy_of("a.example", max_age="86400.0"), 4, "max_age '86400.0'"),
    ("max_age with a unit", policy_of("a.example", max_age="7d"), 4, "max_age '7d'"),
    ("max_age with an underscore", policy_of("a.example", max_age="86_400"), 4, "max_age '86_400'"),
    ("max_age of 11 digits", policy_of("a.example", max_age="00000086400"), 4, "max_age '00000086400'"),
    ("non-ASCII digits in max_age", policy_of("a.example", max_age="١٢٣"), 4, "max_age '١٢٣'"),
    ("enforce without mx", policy_of(), 0, "no usable mx: mode enforce needs one mx line at least"),
    ("testing without mx", policy_of(mode="testing"), 0, "no usable mx: mode testing"),
    ("no mx that can be used", policy_of("192.0.2.1", "hostname"), 0, "no usable mx: '192.0.2.1' is not"),
    ("testing with no mx that can be used", policy_of("_mx.a.example", mode="testing"), 0, "no usable mx"),
    ("Latin-1", "version: STSv1\nnote: Grüße\n".encode("latin-1"), 2, "byte 0xfc is not UTF-8"),
    ("a surrogate in UTF-8", b"note: \xed\xa0\x80\n" + PLAIN, 1, "byte 0xed is not UTF-8"),
    ("an overlong form", b"note: \xc0\xaf\n" + PLAIN, 1, "byte 0xc0 is not UTF-8"),
    ("UTF-16", PLAIN.decode().encode("utf-16"), 1, "is not UTF-8"),
    ("a broken byte at the very end", PLAIN + b"note: \xe2\x82", 6, "byte 0xe2 is not UTF-8"),
    ("old Mac line ends", PLAIN.replace(b"\n", b"\r"), 1, "stray CR"),
    ("old Mac line ends but the last", PLAIN.rstrip().replace(b"\n", b"\r"), 1, "version"),
    ("CR CR LF", PLAIN.replace(b"\n", b"\r\r\n"), 1, "stray CR"),
    ("a CR before a blank at the end", b"note: a\r \n" + PLAIN, 1, "stray CR"),
]  # fmt: skip


@pytest.mark.parametrize(("title", "body", "line", "words"), INVALID, ids=[row[0] for row in INVALID])
def test_an_invalid_policy_is_refused_with_line_and_value(title: str, body: bytes, line: int, words: str) -> None:
    """Nothing is guessed (section 3.2)."""
    with pytest.raises(PolicySyntaxError) as caught:
        parse_policy(body)
    assert caught.value.seen.line == line
    assert words in str(caught.value)
    assert str(caught.value).endswith("(RFC 8461 section 3.2)")


MAX_AGES = [("0", 0), ("1", 1), ("0000086400", 86400), ("31557600", 31557600), ("31557601", 31557600)]


@pytest.mark.parametrize(("text", "want"), [*MAX_AGES, ("9999999999", 31557600)])
def test_max_age_is_cut_to_the_largest_one_allowed(text: str, want: int) -> None:
    """Section 3.2: up to 31557600; refusing more would leave the domain unprotected."""
    assert parse_policy(policy_of("a.example", max_age=text)).max_age == want


HOST_253 = ".".join(["a" * 63, "b" * 63, "c" * 63, "d" * 61])

MX_GOOD = [
    ("host name", "mail.example.com", "mail.example.com"),
    ("two labels", "example.com", "example.com"),
    ("wildcard", "*.example.com", "*.example.com"),
    ("upper case", "*.EXAMPLE.Com", "*.example.com"),
    ("final dot", "mail.example.com.", "mail.example.com"),
    ("wildcard with final dot", "*.example.com.", "*.example.com"),
    ("A-label", "xn--bcher-kva.example", "xn--bcher-kva.example"),
    ("A-label as the last label", "mail.xn--p1ai", "mail.xn--p1ai"),
    ("label that begins with a digit", "329706630.pamx1.hotmail.com", "329706630.pamx1.hotmail.com"),
    ("labels of one character", "a.b", "a.b"),
    ("digits with one letter at the end", "1.2.3.4a", "1.2.3.4a"),
    ("label of 63 characters", "a" * 63 + ".example", "a" * 63 + ".example"),
    ("name of 253 characters", HOST_253, HOST_253),
    ("wildcard before 253 characters, with final dot", f"*.{HOST_253}.", f"*.{HOST_253}"),
]

MX_BAD = [
    ("empty", ""),
    ("one label", "localhost"),
    ("a strategy of Postfix", "hostname"),
    ("another strategy", "nexthop"),
    ("the third strategy", "dot-nexthop"),
    ("a wildcard alone", "*"),
    ("a wildcard and a dot", "*."),
    ("a wildcard before one label", "*.com"),
    ("a wildcard before one label with a final dot", "*.com."),
    ("a wildcard inside", "mail.*.example.com"),
    ("a partial wildcard", "mx*.example.com"),
    ("two wildcards", "*.*.example.com"),
    ("Postfix's own form of a wildcard", ".example.com"),
    ("two final dots", "mail.example.com.."),
    ("a wildcard with two final dots", "*.example.com.."),
    ("a dot alone", "."),
    ("an empty label", "mail..example.com"),
    ("an underscore", "_dc-mx.example.com"),
    ("a hyphen in front of a label", "-mail.example.com"),
    ("a hyphen at the end of a label", "mail-.example.com"),
    ("a hyphen at the end", "mail.example-"),
    ("label of 64 characters", "a" * 64 + ".example"),
    ("name of 254 characters", HOST_253 + "d"),
    ("a very long name", "a." * 5000 + "example"),
    ("IPv4 address", "192.0.2.1"),
    ("wildcard of an address", "*.2.1"),
    ("short IPv4 address", "192.1"),
    ("IPv6 address", "2001:db8::1"),
    ("address literal", "[192.0.2.1]"),
    ("a port", "mail.example.com:25"),
    ("a URL", "https://mail.example.com"),
    ("the rest of a URL", "://google.com"),
    ("a list with commas", "a.example.com,b.example.com"),
    ("a list with blanks", "a.example.com b.example.com"),
    ("quotes", '"mail.example.com"'),
    ("angle brackets", "<mail.example.com>"),
    ("a preference", "10 mail.example.com"),
    ("a comment", "mail.example.com # primary"),
    ("braces", "{mail.example.com}"),
    ("an attribute of Postfix", "mail.example.com policy_type=none"),
    ("non-ASCII letters", "bücher.example"),
    ("a full-width dot", "mail．example.com"),
    ("a letter whose lower case is ASCII", "\u212aelvin.example.com"),
    ("a NUL", "mail.example.com\0.evil.example"),
    ("a bare CR inside", "mail.example.com\rmx: evil.example.com"),
    ("a no-break space", "mail.example.com\u00a0"),
]


@pytest.mark.parametrize(("title", "value", "want"), MX_GOOD, ids=[row[0] for row in MX_GOOD])
def test_a_host_name_is_a_pattern(title: str, value: str, want: str) -> None:
    """Two or more LDH labels, "*." allowed in front."""
    policy = parse_policy(policy_of(value))
    assert (policy.mx, policy.unusable) == ((want,), ())


@pytest.mark.parametrize(("title", "value"), MX_BAD, ids=[row[0] for row in MX_BAD])
def test_anything_else_never_reaches_postfix(title: str, value: str) -> None:
    """It is set aside as it stood, and the policy serves with what is left."""
    policy = parse_policy(policy_of("good.example", value, "*.good.example"))
    assert (policy.mx, policy.unusable) == (("good.example", "*.good.example"), (value,))


@pytest.mark.parametrize(("title", "value"), MX_BAD, ids=[row[0] for row in MX_BAD])
def test_mode_none_asks_for_no_mx(title: str, value: str) -> None:
    """A domain that withdraws its policy is believed, whatever its mx lines hold (section 8.3)."""
    policy = parse_policy(policy_of(value, mode="none"))
    assert (policy.mode, policy.mx, policy.unusable) == (Mode.NONE, (), (value,))


def test_mode_none_keeps_its_usable_patterns() -> None:
    """Real policies of mode none often carry mx lines."""
    assert parse_policy(policy_of("a.example", "x", mode="none")).mx == ("a.example",)
    assert parse_policy(policy_of(mode="none")).mx == ()


def test_patterns_keep_their_order() -> None:
    """In the order of the file, each at its first place."""
    names = [f"mx{number}.example" for number in (3, 1, 2, 3, 1)]
    assert parse_policy(policy_of(*names)).mx == ("mx3.example", "mx1.example", "mx2.example")


@pytest.mark.parametrize("body", [b"x" * 65_536, b"\x1b" * 9_000, policy_of("\U0001f4a3" * 9_000)])
def test_a_fault_is_short_whatever_the_body_holds(body: bytes) -> None:
    """At most 60 characters of remote text."""
    with pytest.raises(PolicySyntaxError) as caught:
        parse_policy(body)
    assert len(str(caught.value)) < 600
    assert "..." in str(caught.value)


HOSTILE = [b"mx:a.b\n" * 9_362, b"a:\n" * 21_845, b"mx:\n" * 16_384, b"mx: " + b"a." * 32_000, b"\n" * 65_536]


@pytest.mark.parametrize("body", [*HOSTILE, b" " * 65_536, b"\r" * 65_536, b":" * 65_536, b"mx: " + b"-" * 65_000])
def test_the_largest_bodies_are_read_to_their_end(body: bytes) -> None:
    """64 KiB of anything end in a fault (the timeout of the test run ends a search that explodes)."""
    with pytest.raises(PolicySyntaxError):
        parse_policy(body)


fragments = st.sampled_from(
    [
        "version: STSv1\n", "mode: enforce\n", "mode: none\r\n", "mx: a.example\n", "mx: *.b.example.\r\n", "mx: \n",
        "max_age: 1\n", "max_age: 99999999999", "x: y\r", "x: \r\n", "\ufeff", ":", "\n", "\r", " ", "\t", "\x85",
        "\u2028", "{", "}", ",", "=", "\0", "é", "mx", "\x0b", "\x1c",
    ]
)  # fmt: skip
texts = (st.text(max_size=40) | st.lists(fragments, max_size=14).map("".join)).map(str.encode)
pieces = [b"version: STSv1\n", b"mode: enforce\r\n", b"mx: a.example\n", b"max_age: 1\n"]
bodies = st.binary(max_size=80) | texts.flatmap(lambda extra: st.permutations([*pieces, extra])).map(b"".join)


@settings(max_examples=300)
@given(bodies)
@example(b"version:STSv1\nmode:none\nmax_age:1\nx: y\r\r\n")
@example(b"version:STSv1\nmode:none\nmax_age:1\nmx: a.b\r \n\n")
@example(b"\xef\xbb\xbf \n version:STSv1\nmode:none\nmax_age:1")
def test_any_bytes_are_a_policy_or_a_fault(body: bytes) -> None:
    """No other exception, and a store that keeps the text alone gets the same policy back."""
    try:
        policy = parse_policy(body)
    except PolicySyntaxError:
        return
    assert parse_policy(policy.text.encode()) == policy
    assert all(line == line.strip(" \t") != "" for line in policy.text.split("\n"))
    assert all(re.fullmatch(r"(\*\.)?([a-z0-9-]+\.)+[a-z0-9-]+", pattern) for pattern in policy.mx)
    assert len(set(policy.mx)) == len(policy.mx)
    assert policy.mx or policy.mode is Mode.NONE
    assert 0 <= policy.max_age <= 31_557_600


def memory_of(*policies: Policy) -> int:
    """Bytes that *policies* hold, what they share counted once."""
    found, sizes = list[object](policies), dict[int, int]()
    while found:
        each = found.pop()
        if id(each) not in sizes and not isinstance(each, Mode):
            sizes[id(each)] = sys.getsizeof(each)
            found += [getattr(each, name) for name in getattr(each, "__slots__", ())]
    return sum(sizes.values())


WIDE = [
    ("many mx lines", b"".join(b"mx: m%d.example.net\n" % number for number in range(3_000))),
    ("many mx lines that are no host names", b"mx: a.example\n" + b"mx: _%s\n" * 8_000),
    ("characters that take four bytes each in a str", b"mx: a.example\n" + b"note: " + b"\xf0\x9f\x98\x80" * 16_000),
    ("short lines", b"mx: a.example\n" + b"a:\n" * 20_000),
]


@pytest.mark.parametrize(("title", "lines"), WIDE, ids=[row[0] for row in WIDE])
def test_a_policy_costs_no_more_than_twice_its_text(title: str, lines: bytes) -> None:
    """It is held for up to a year, and there is no limit to their number."""
    body = b"version: STSv1\nmode: enforce\nmax_age: 86400\n" + lines
    assert memory_of(parse_policy(body)) <= 2 * len(body)


def test_a_policy_that_many_domains_publish_is_held_once() -> None:
    """Providers publish the same for all their customers; what is long may be anyone's, and is not kept for others."""
    assert parse_policy(PLAIN) is parse_policy(bytes(bytearray(PLAIN)))
    long = PLAIN + b"x: " + b"y" * 600
    assert parse_policy(long) is not parse_policy(bytes(bytearray(long)))
