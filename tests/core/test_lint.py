"""core/lint.py: what is found in a policy file, and what was meant by a record that is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mtasts.core.lint import SIZE_LIMIT, coverage, lint, matches, meant_record, meant_tlsrpt
from postfix_mtasts.core.policy import parse_policy
from postfix_mtasts.errors import PolicySyntaxError
from postfix_mtasts.faults import Fault

GOOD = b"version: STSv1\r\nmode: enforce\r\nmx: mx.example.com\r\nmax_age: 1209600\r\n"

FOUND: list[tuple[str, bytes, list[tuple[str, str]]]] = [
    ("nothing in a good policy", GOOD, []),
    ("nothing where lines end in LF", GOOD.replace(b"\r\n", b"\n"), []),
    ("nothing where the last line has no end", GOOD.rstrip(), []),
    ("nothing where blank lines stand at the end", GOOD + b"\r\n\r\n", []),
    ("nothing where blanks stand at the end of a line", GOOD.replace(b"enforce", b"enforce  "), []),
    ("testing", GOOD.replace(b"enforce", b"testing"), [("policy-mode", "line 2")]),
    ("none", b"version: STSv1\nmode: none\nmax_age: 86400\n", [("policy-mode", "line 2")]),
    ("a byte order mark", b"\xef\xbb\xbf" + GOOD, [("policy-tolerated", "line 1")]),
    ("a final dot", GOOD.replace(b"example.com", b"example.com."), [("policy-tolerated", "line 3")]),
    ("blanks before a colon", GOOD.replace(b"mode:", b"mode :"), [("policy-tolerated", "line 2")]),
    ("blanks before a key", GOOD.replace(b"mode:", b"\tmode:"), [("policy-tolerated", "line 2")]),
    ("a blank line inside", GOOD.replace(b"mode", b"\r\nmode"), [("policy-tolerated", "line 2")]),
    ("a key twice", GOOD + b"mode: none\r\n", [("policy-repeated-key", "line 5")]),
    ("an unknown key", GOOD + b"contact: x\r\n", [("policy-unknown-key", "line 5")]),
    ("a key in upper case", GOOD + b"MX: x\r\n", [("policy-unknown-key", "line 5")]),
    ("an mx that is an address", GOOD + b"mx: 192.0.2.1\r\n", [("policy-mx-unusable", "line 5")]),
    ("an mx that is a URL", GOOD + b"mx: https://mx.example.com\r\n", [("policy-mx-unusable", "line 5")]),
    ("max_age under 14 days with enforce", GOOD.replace(b"1209600", b"1209599"), [("policy-max-age", "line 4")]),
    (
        "max_age under a day with testing",
        GOOD.replace(b"enforce", b"testing").replace(b"1209600", b"86399"),
        [("policy-max-age", "line 4"), ("policy-mode", "line 2")],
    ),
    (
        "max_age of a day with testing",
        GOOD.replace(b"enforce", b"testing").replace(b"1209600", b"86400"),
        [("policy-mode", "line 2")],
    ),
    ("max_age over a year", GOOD.replace(b"1209600", b"31557601"), [("policy-max-age", "line 4")]),
    ("max_age of a year", GOOD.replace(b"1209600", b"31557600"), []),
]


@pytest.mark.parametrize(("title", "body", "want"), FOUND, ids=[row[0] for row in FOUND])
def test_what_is_found_in_a_valid_policy(title: str, body: bytes, want: list[tuple[str, str]]) -> None:
    """The code, and the line."""
    linted = lint(body)
    assert [(found.code, found.subject) for found in linted.findings] == want
    assert linted.policy == parse_policy(body)


INVALID: list[tuple[str, bytes, str, str]] = [
    ("bare CR", GOOD.replace(b"\r\n", b"\r"), "line 1", "stray CR"),
    ("mode report", GOOD.replace(b"enforce", b"report"), "line 2", "mode report is of an early draft"),
    ("version STS1", GOOD.replace(b"STSv1", b"STS1"), "line 1", "version 'STS1' lacks a v"),
    ("Dutch", b"versie: STSv1\nmodus: afdwingen\nmax_leeftijd: 86400\nmx: mx.example.com\n", "line 1", "translation"),
    ("a Dutch mode", GOOD.replace(b"enforce", b"afdwingen"), "line 2", "translation"),
    ("Russian", "версия: STSv1\nрежим: enforce\nmx: a.example\nmax_age: 1\n".encode(), "line 1", "translation"),
    ("a language we do not know", GOOD.replace(b"version", b"xyz"), "line 1", "translation"),
    ("no version", GOOD.replace(b"version: STSv1\r\n", b""), "the file", "version is missing"),
    ("too long", b"#" * (SIZE_LIMIT + 1), "the file", "longer than 65,536 bytes"),
    ("not UTF-8", GOOD + b"a: \xff", "line 5", "not UTF-8"),
    ("a page of HTML", b"<html>\n", "line 1", "no colon in '<html>'"),
]


@pytest.mark.parametrize(("title", "body", "place", "words"), INVALID, ids=[row[0] for row in INVALID])
def test_an_invalid_policy_is_named_as_what_it_is(title: str, body: bytes, place: str, words: str) -> None:
    """One policy-invalid with the line, the value, and advice."""
    linted = lint(body)
    assert linted.policy is None
    (found,) = [each for each in linted.findings if each.code == "policy-invalid"]
    assert found.subject == place
    assert words in found.text
    assert found.advice


fragments = st.sampled_from(
    [b"mx: a.b\n", b"mode: enforce\n", b"\xef\xbb\xbf", b"\r", b"\n", b" ", b":", b"\xff", GOOD]
)


@given(st.binary(max_size=200) | st.lists(fragments, max_size=10).map(b"".join))
def test_lint_and_the_parser_agree_on_any_bytes(body: bytes) -> None:
    """A policy is invalid for one if, and only if, it is for the other."""
    linted = lint(body)
    try:
        assert linted.policy == parse_policy(body)
    except PolicySyntaxError:
        assert linted.policy is None
    assert (linted.policy is None) is any(found.code == "policy-invalid" for found in linted.findings)


MEANT: list[tuple[str, bytes, tuple[str, Fault] | None]] = [
    ("something else", b"v=spf1 -all", None),
    ("quotes typed into a form", b'"v=STSv1; id=1"', ("record-absent", Fault.RECORD_QUOTED)),
    ("a backslash typed into a form", b"v=STSv1\\; id=1", ("record-invalid", Fault.RECORD_QUOTED)),
    ("the version of an early article", b"v=STS1; id=1", ("record-invalid", Fault.RECORD_VERSION)),
    ("the version in lower case", b"v=stsv1; id=1", ("record-invalid", Fault.RECORD_VERSION)),
    ("no semicolon", b"v=STSv1 id=1", ("record-invalid", Fault.RECORD_NO_SEMICOLON)),
    ("the version alone", b"v=STSv1", ("record-invalid", Fault.RECORD_NO_SEMICOLON)),
    ("blanks around the equals sign", b"v = STSv1; id=1", ("record-absent", Fault.RECORD_BLANKS)),
    ("the id first", b"id=1; v=STSv1;", ("record-absent", Fault.RECORD_ORDER)),
    ("a DMARC record", b"v=DMARC1; p=reject", ("record-absent", Fault.RECORD_DMARC)),
    ("a part of a DMARC record", b"p=reject; id=1", ("record-absent", Fault.RECORD_DMARC)),
    ("a TLSRPT record", b"v=TLSRPTv1; rua=mailto:a@b.example", ("record-absent", Fault.RECORD_TLSRPT)),
]


@pytest.mark.parametrize(("title", "text", "want"), MEANT, ids=[row[0] for row in MEANT])
def test_what_was_meant_by_a_record_that_is_none(title: str, text: bytes, want: tuple[str, Fault] | None) -> None:
    """What begins with v=STS in any case is an invalid record, all else is none."""
    found = meant_record([b"v=spf1 -all", text])
    assert (None if found is None else (found[0], found[1].fault)) == want


def test_what_was_meant_by_a_tlsrpt_record() -> None:
    """Another version, another case; and nothing that is none."""
    for text in (b"v=TLSRPTv2; rua=mailto:a@b.example", b"V=TLSRPTv1; rua=mailto:a@b.example", b'"v=TLSRPTv1; rua=x"'):
        found = meant_tlsrpt([text])
        assert found is not None
        assert found.fault is Fault.TLSRPT_VERSION
    assert meant_tlsrpt([b"v=spf1 -all", b"v=TLSRPTv1; rua=mailto:a@b.example"]) is None


MATCHES = [
    ("mx.example.com", "mx.example.com", True),
    ("mx.example.com", "mx2.example.com", False),
    ("*.example.com", "mx.example.com", True),
    ("*.example.com", "a.mx.example.com", False),
    ("*.example.com", "example.com", False),
    ("*.example.com", ".example.com", False),
    ("example.com", "mx.example.com", False),
]


@pytest.mark.parametrize(("pattern", "host", "want"), MATCHES)
def test_a_wildcard_stands_for_one_label(pattern: str, host: str, want: bool) -> None:
    """RFC 8461 section 4.1, as RFC 6125 has it."""
    assert matches(pattern, host) is want


def test_coverage_names_both_sides() -> None:
    """Hosts without a pattern, and patterns without a host; an error under enforce only."""
    policy = parse_policy(GOOD.replace(b"mx: mx.", b"mx: *.").replace(b"max_age", b"mx: old.example.net\r\nmax_age"))
    found = list(coverage(policy, ["mx.example.com", "deep.mx.example.com", "other.example"]))
    assert [(each.code, each.subject, str(each.severity)) for each in found] == [
        ("mx-uncovered", "deep.mx.example.com", "error"),
        ("mx-uncovered", "other.example", "error"),
        ("mx-unused", "old.example.net", "warning"),
    ]
    assert "*.example.com stands for one label only" in found[0].text
    testing = parse_policy(policy.text.replace("enforce", "testing").encode())
    assert [str(each.severity) for each in coverage(testing, ["other.example"])] == ["warning"] * 3
    assert list(coverage(parse_policy(b"version: STSv1\nmode: none\nmx: a.b\nmax_age: 1"), ["mx.example.com"])) == []
