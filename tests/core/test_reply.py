"""What Postfix is told, read back as Postfix reads it (tests/support/postfix_grammar.py)."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from postfix_mtasts.core.names import Domain
from postfix_mtasts.core.policy import Policy, parse_policy
from postfix_mtasts.core.reply import answer_text, reply_frame
from postfix_mtasts.core.verdict import Kind, Verdict
from postfix_mtasts.errors import PolicySyntaxError
from tests.support.fakes.postfix_grammar import MAX_PAYLOAD, DeferredError, read_result, values

DOMAIN = Domain("example.com")


def policy_of(*mx: str, more: Sequence[str] = ()) -> Policy:
    return parse_policy(
        "\n".join(
            ["version: STSv1", "mode: enforce", "max_age: 86400", *more, *(f"mx: {name}" for name in mx)]
        ).encode()
    )


def secure(policy: Policy) -> Verdict:
    return Verdict(Kind.SECURE, "the policy's mode is enforce", 86400.0, policy)


def strings_sent(policy: Policy) -> list[str]:
    _, attributes = read_result(answer_text(secure(policy), DOMAIN, tlsrpt=True).encode())
    return values(attributes, "policy_string")


def payload(frame: bytes) -> bytes:
    length, _, rest = frame.partition(b":")
    assert rest[-1:] == b","
    assert len(rest) == int(length) + 1
    return rest[:-1]


def test_a_policy_becomes_level_match_and_servername() -> None:
    """In the policy's order; "*.x" is ".x" to Postfix."""
    text = answer_text(secure(policy_of("MX2.example.com", "*.example.net", "mx1.example.com.")), DOMAIN, tlsrpt=False)
    assert text == "secure match=mx2.example.com:.example.net:mx1.example.com servername=hostname"


def test_with_tlsrpt_the_sts_attributes_follow() -> None:
    """The policy's lines and its patterns in its own form."""
    text = answer_text(secure(policy_of("mx.example.com", "*.example.net")), DOMAIN, tlsrpt=True)
    assert text == (
        "secure match=mx.example.com:.example.net servername=hostname"
        " policy_type=sts policy_domain=example.com"
        " { policy_string = version: STSv1 } { policy_string = mode: enforce } { policy_string = max_age: 86400 }"
        " { policy_string = mx: mx.example.com } { policy_string = mx: *.example.net }"
        " mx_host_pattern=mx.example.com mx_host_pattern=*.example.net"
    )


@pytest.mark.parametrize("tlsrpt", [False, True])
def test_dane_only_never_has_sts_attributes(tlsrpt: bool) -> None:
    """With them Postfix 3.10.5 skips hosts."""
    verdict = Verdict(Kind.DANE_ONLY, "the MX hosts have TLSA records", 60.0)
    assert answer_text(verdict, DOMAIN, tlsrpt) == "dane-only"
    assert read_result(b"dane-only") == ("dane-only", [])


@pytest.mark.parametrize("kind", [Kind.TEMP, Kind.PERM])
def test_a_failure_is_answered_with_its_reason(kind: Kind) -> None:
    """It appears in Postfix's log."""
    assert answer_text(Verdict(kind, "the lookup is still under way", 0.0), DOMAIN, tlsrpt=True) == (
        "the lookup is still under way"
    )


def test_nothing_follows_notfound() -> None:
    """Why there is no policy is for our own log."""
    assert answer_text(Verdict(Kind.NOTFOUND, "no TXT record", 60.0), DOMAIN, tlsrpt=True) == ""


FRAMES = [
    (Verdict(Kind.DANE_ONLY, "", 60.0), b"OK dane-only"),
    (Verdict(Kind.NOTFOUND, "no TXT record", 60.0), b"NOTFOUND "),
    (Verdict(Kind.TEMP, "still under way", 0.0), b"TEMP still under way"),
    (Verdict(Kind.PERM, "no such map", 60.0), b"PERM no such map"),
    (secure(policy_of("mx.example.com")), b"OK secure match=mx.example.com servername=hostname"),
]


@pytest.mark.parametrize(("verdict", "want"), FRAMES, ids=[row[0].kind for row in FRAMES])
def test_the_status_is_that_of_the_kind(verdict: Verdict, want: bytes) -> None:
    """One frame, whole."""
    assert payload(reply_frame(verdict, DOMAIN, tlsrpt=False)) == want


UNSENDABLE = [
    ("opening brace", "x: a{b"),
    ("closing brace", "x: a}b"),
    ("balanced braces", "x: {a}"),
    ("an attribute of Postfix in braces", "x: } policy_type=none { policy_string = y"),
    ("tab inside", "x:\ta"),
    ("NUL", "x: a\0b"),
    ("bell", "x: a\x07b"),
    ("bare CR inside", "x: a\rb"),
    ("vertical tab", "x: a\x0bb"),
    ("form feed", "x: a\x0cb"),
    ("escape", "x: a\x1b[31mb"),
    ("unit separator", "x: a\x1fb"),
    ("DEL", "x: a\x7fb"),
    ("C1: next line", "x: a\x85b"),
    ("C1: control sequence introducer", "x: a\x9bb"),
    ("line separator", "x: a\u2028b"),
    ("paragraph separator", "x: a\u2029b"),
    ("right-to-left override", "x: a\u202eb"),
    ("byte order mark inside", "x: a\ufeffb"),
    ("no-break space at the end", "x: a\u00a0"),
]

SENDABLE = [
    ("non-ASCII letters", "x: Grüße, 日本"),
    ("blanks and commas", "x: a, b,,c  d"),
    ("equals signs", "x: = a=b policy_type=none"),
    ("colons and quotes", "x: ::'\"\\"),
    ("no value", "x:"),
    ("blank before the colon", "x : a"),
]


@pytest.mark.parametrize(("title", "line"), UNSENDABLE, ids=[row[0] for row in UNSENDABLE])
def test_a_line_with_a_brace_or_a_control_character_is_not_sent(title: str, line: str) -> None:
    """The others are."""
    assert strings_sent(policy_of("mx.example.com", more=[line])) == strings_sent(policy_of("mx.example.com"))


@pytest.mark.parametrize(("title", "line"), SENDABLE, ids=[row[0] for row in SENDABLE])
def test_any_other_line_arrives_as_it_was(title: str, line: str) -> None:
    """What the domain owner wrote is what TLSRPT reports."""
    assert line in strings_sent(policy_of("mx.example.com", more=[line]))


def test_without_a_line_to_send_there_are_no_sts_attributes() -> None:
    """Postfix 3.10.0 to 3.10.5 crash on policy_type=sts without policy_string."""
    policy = parse_policy(b"version:\tSTSv1\nmode:\tenforce\nmax_age:\t86400\nmx:\tmx.example.com")
    assert answer_text(secure(policy), DOMAIN, tlsrpt=True) == answer_text(secure(policy), DOMAIN, tlsrpt=False)


def test_policy_strings_give_way_from_the_last_line_on() -> None:
    """The first line that does not fit is the last one looked at; the patterns are complete."""
    more = [f"x{number}: {'é' * 10_000}" for number in range(6)]
    policy = policy_of("mx.example.com", "*.example.net", more=[*more, "short: line"])
    text = answer_text(secure(policy), DOMAIN, tlsrpt=True)
    assert strings_sent(policy) == ["version: STSv1", "mode: enforce", "max_age: 86400", *more[:4]]
    assert values(read_result(text.encode())[1], "mx_host_pattern") == ["mx.example.com", "*.example.net"]


@pytest.mark.parametrize(("over", "sent"), [(0, True), (1, False)])
def test_the_limit_is_used_to_the_last_byte(over: int, sent: bool) -> None:
    """A string that just fits is sent; one byte more and it is not."""

    def with_line(length: int) -> Policy:
        return parse_policy(f"version: STSv1\nmode: enforce\nmax_age: 1\nmx: a.example\nx: {'a' * length}".encode())

    room = MAX_PAYLOAD - len(b"OK ") - len(answer_text(secure(with_line(1)), DOMAIN, tlsrpt=True))
    policy = with_line(1 + room + over)
    assert policy.text.split("\n")[:4] + policy.text.split("\n")[4:] * sent == strings_sent(policy)
    assert len(payload(reply_frame(secure(policy), DOMAIN, tlsrpt=True))) <= MAX_PAYLOAD


def body_of_64_kib(line: str) -> bytes:
    """As many lines as fit, {} in each replaced by a number in base 36."""
    body = "version:STSv1\nmode:enforce\nmax_age:1\n"
    for number in range(65_536):
        added = line.format(base36(number)) + "\n"
        if len(body) + len(added) > 65_536:
            break
        body += added
    return body.encode()


def base36(number: int) -> str:
    digits = "0123456789abcdefghijklmnopqrstuvwxyz"
    return (base36(number // 36) if number >= 36 else "") + digits[number % 36]


LARGE = [
    ("2,500 hosts", policy_of(*(f"mx{number}.example.com" for number in range(2_500))), False),
    ("2,500 wildcards", policy_of(*(f"*.mx{number}.example.com" for number in range(2_500))), False),
    ("1,400 hosts", policy_of(*(f"mx{number}.example.com" for number in range(1_400))), True),
    ("64 KiB of the shortest hosts", parse_policy(body_of_64_kib("mx:{}.a")), False),
    ("64 KiB of the shortest wildcards", parse_policy(body_of_64_kib("mx:*.{}.a")), False),
    ("64 KiB of the longest hosts", parse_policy(body_of_64_kib("mx:{}" + ("." + "a" * 60) * 4)), False),
    ("64 KiB of short unknown keys", parse_policy(body_of_64_kib("{}:").replace(b"\n0:", b"\nmx:a.b", 1)), True),
    ("64 KiB of one unusable pattern", parse_policy(body_of_64_kib("mx:").replace(b"mx:", b"mx:a.b", 1)), True),
]


@pytest.mark.parametrize(("title", "policy", "sts"), LARGE, ids=[row[0] for row in LARGE])
def test_the_largest_policies_stay_within_what_postfix_reads(title: str, policy: Policy, sts: bool) -> None:
    """The match list is complete, the patterns are complete or absent."""
    for tlsrpt in (False, True):
        reply = payload(reply_frame(secure(policy), DOMAIN, tlsrpt))
        assert len(reply) <= MAX_PAYLOAD
        _, attributes = read_result(reply.removeprefix(b"OK "))
        assert values(attributes, "match") == [":".join(name.removeprefix("*") for name in policy.mx)]
        assert tuple(values(attributes, "mx_host_pattern")) == (policy.mx if tlsrpt and sts else ())


def sendable(line: str) -> bool:
    """Neither a brace nor a character of Unicode's categories Other and Separator, the blank apart."""
    return not any(char in "{}" or (char != " " and unicodedata.category(char)[0] in "CZ") for char in line)


hostile_characters = st.sampled_from("{}{},,==:: \t\r\0\x07\x1b\x7f\x85\u2028\u2029\u200b\ufeff\u00a0é日😀aZ0.-_*\"\\'")
hostile_values = (
    st.text(hostile_characters, max_size=20)
    | st.text(max_size=20)
    | st.sampled_from(
        ["} policy_type=none {", "{ policy_string = x }", "secure match=hostname", "a.b,c.d", "é" * 9_000]
    )
)
hostile_keys = st.sampled_from(["mx", "x", "policy_string", "match", "mode", "version", "max_age"])
hostile_lines = st.tuples(hostile_keys, hostile_values).map(": ".join)
good_lines = st.sampled_from(["mx: mx.example.com", "mx: *.example.net.", "mx: A.B", "mx: *.xn--p1ai.example"])


@settings(max_examples=300)
@given(st.lists(hostile_lines | good_lines, max_size=12), st.sampled_from(["\n", "\r\n", " \t\n"]))
@example(["mx: a.b", *["x: " + "é" * 9_000] * 6], "\n")
def test_no_policy_whatever_is_misread(lines: list[str], end: str) -> None:
    """Postfix reads back the policy's own patterns and lines, and nothing else."""
    try:
        policy = parse_policy(end.join(["version: STSv1", "mode: enforce", "max_age: 1", "mx: a.b", *lines]).encode())
    except PolicySyntaxError:  # such as a stray CR, or a line feed in a value
        return
    match = ("match", ":".join(pattern.removeprefix("*") for pattern in policy.mx))
    plain = [match, ("servername", "hostname")]
    assert read_result(answer_text(secure(policy), DOMAIN, tlsrpt=False).encode()) == ("secure", plain)

    level, attributes = read_result(answer_text(secure(policy), DOMAIN, tlsrpt=True).encode())
    lines_sent = values(attributes, "policy_string")
    assert level == "secure"
    assert attributes == [
        *plain,
        ("policy_type", "sts"),
        ("policy_domain", DOMAIN),
        *(("policy_string", line) for line in lines_sent),
        *(("mx_host_pattern", pattern) for pattern in policy.mx),
    ]
    wanted = [line for line in policy.text.split("\n") if sendable(line)]
    assert lines_sent == wanted[: len(lines_sent)]
    assert lines_sent == wanted or len(policy.text.encode()) > 90_000


STS = "policy_type=sts policy_domain=a.b policy_string=x mx_host_pattern=a.b"

DEFERRED = [
    ("nothing", ""),
    ("blanks only", " , "),
    ("no such level", "safe match=a.b"),
    ("unknown attribute", "secure match=a.b color=red"),
    ("no value", "secure match"),
    ("match twice", "secure match=a.b match=c.d"),
    ("servername twice", "secure match=a.b servername=hostname servername=hostname"),
    ("policy_type twice", f"secure match=a.b {STS} policy_type=sts"),
    ("match at may", "may match=a.b"),
    ("match at dane-only", "dane-only match=a.b"),
    ("empty match", "secure match="),
    ("match of colons", "secure match=::"),
    ("a strategy", "secure match=a.b:nexthop"),
    ("a strategy in upper case", "secure match=HOSTNAME"),
    ("an address", "secure match=192.0.2.1"),
    ("an IPv6 address", "secure match=2001:db8::1"),
    ("a wildcard as the policy has it", "secure match=*.a.b"),
    ("a U-label", "secure match=bücher.example"),
    ("opening brace", "secure match=a.b { policy_string = x"),
    ("closing brace", "secure match=a.b }"),
    ("brace in a policy string", f"secure match=a.b {STS} {{ policy_string = a}}b }}"),
    ("text after a brace", "secure {match=a.b}servername=hostname"),
    ("blanks without braces", f"secure match=a.b {STS} policy_string=mode: enforce"),
    ("final dot in policy_domain", "secure match=a.b " + STS.replace("policy_domain=a.b", "policy_domain=a.b.")),
    ("U-label in policy_domain", "secure match=a.b " + STS.replace("policy_domain=a.b", "policy_domain=ü.b")),
    ("unknown policy_type", "secure match=a.b " + STS.replace("=sts", "=mta-sts")),
    ("no policy_type", "secure match=a.b " + STS.replace("policy_type=sts", "")),
    ("no policy_string", "secure match=a.b " + STS.replace("policy_string=x", "")),
    ("no mx_host_pattern", "secure match=a.b " + STS.replace("mx_host_pattern=a.b", "")),
    ("NUL", "secure match=a.b\0"),
    ("too long", "secure match=a.b" + " " * MAX_PAYLOAD),
]


@pytest.mark.parametrize(("title", "text"), DEFERRED, ids=[row[0] for row in DEFERRED])
def test_the_reader_refuses_what_makes_postfix_defer(title: str, text: str) -> None:
    """Else the tests above would prove little."""
    with pytest.raises(DeferredError):
        read_result(text.encode())


def test_the_reader_refuses_what_is_not_utf_8() -> None:
    """Postfix's tables with UTF-8 answers do."""
    with pytest.raises(DeferredError):
        read_result(b"secure match=a.b\xff")


def test_the_reader_reads_what_postfix_reads() -> None:
    """Blanks and commas, braces, any case of names, white space around names and values."""
    text = "Secure, MATCH=a.b:.c.d,{ servername\t=  hostname } { policy_string = a, b = {c}\td } {policy_type=sts}"
    level, attributes = read_result(f"{text} mx_host_pattern=*.c.d".encode())
    assert level == "secure"
    assert attributes == [
        ("match", "a.b:.c.d"),
        ("servername", "hostname"),
        ("policy_string", "a, b = {c} d"),
        ("policy_type", "sts"),
        ("mx_host_pattern", "*.c.d"),
    ]
