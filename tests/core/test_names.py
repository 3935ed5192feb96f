"""What a key from Postfix names (RFC 1123 section 2.1, UTS 46)."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from postfix_mtasts.core.names import NextHop, NoDomain, parse_domain, parse_key
from postfix_mtasts.errors import DomainError

LONGEST = ".".join(["a" * 63] * 3 + ["a" * 61])  # 253 characters

DOMAINS = [
    ("a plain domain", "example.org", "example.org"),
    ("many labels", "a.b.c.d.e.example.org", "a.b.c.d.e.example.org"),
    ("labels of one character", "a.b", "a.b"),
    ("digits and hyphens inside a label", "3com-4--5.example.org", "3com-4--5.example.org"),
    ("a first label of digits", "163.com", "163.com"),
    ("digits everywhere but in one letter of the last label", "1.2.3.4a", "1.2.3.4a"),
    ("a label of 63 characters", "a" * 63 + ".org", "a" * 63 + ".org"),
    ("253 characters", LONGEST, LONGEST),
    ("253 characters and a final dot", LONGEST + ".", LONGEST),
    ("an A-label of a top-level domain", "xn--80akhbyknj4f.xn--p1ai", "xn--80akhbyknj4f.xn--p1ai"),
    ("an A-label that the idna package refuses", "xn--ls8h.example", "xn--ls8h.example"),
    ("an A-label that is no punycode", "xn--0.example", "xn--0.example"),
    ("a U-label", "bücher.example", "xn--bcher-kva.example"),
    ("a U-label as top-level domain", "испытание.рф", "xn--80akhbyknj4f.xn--p1ai"),
    ("sharp s stays itself", "faß.example", "xn--fa-hia.example"),
    ("a final sigma stays itself", "βόλος.example", "xn--nxasmm1c.example"),
    ("a zero width joiner stays", "\u0dc1\u0dca\u200d\u0dbb\u0dd3.example", "xn--10cl1a0b660p.example"),
    ("a U-label whose A-label has 63 characters", "ü" + "a" * 55 + ".example", "xn--" + "a" * 55 + "-oxf.example"),
    ("an emoji", "💩.example", "xn--ls8h.example"),
    ("a snowman", "☃.example", "xn--n3h.example"),
    ("a soft hyphen is not there", "exam\u00adple.org", "example.org"),
    ("wide letters and a wide dot", "ＥＸＡＭＰＬＥ．org", "example.org"),
    (
        "the longest spelling of a domain of letters",
        "".join("𝐚" if c == "a" else "。" for c in LONGEST) + "。",
        LONGEST,
    ),
]

ONE_DOMAIN = [
    "münchen.example",
    "MÜNCHEN.EXAMPLE",
    "München.Example.",
    "mu\u0308nchen.example",
    "münchen。example",
    "münchen.example。",
    "ｍüｎｃｈｅｎ．example",
    "xn--mnchen-3ya.example",
    "XN--MNCHEN-3YA.EXAMPLE.",
    "Xn--mNcHeN-3yA.eXaMpLe",
]

PORTS = [
    ("no port", "example.org", "25"),
    ("the port of mail", "example.org:25", "25"),
    ("another port", "example.org:587", "587"),
    ("the first port", "example.org:1", "1"),
    ("the last port", "example.org:65535", "65535"),
    ("leading zeros say nothing", "example.org:00025", "25"),
    ("a service name", "example.org:submission", "submission"),
    ("a service name with digits and hyphens", "example.org:8-bit-Mail-1", "8-bit-Mail-1"),
    ("a service name of 15 characters", "example.org:abcdefghijklmno", "abcdefghijklmno"),
    ("a final dot before the port", "EXAMPLE.ORG.:587", "587"),
]

BAD_PORTS = [
    ("an empty port", b"example.org:"),
    ("port 0", b"example.org:0"),
    ("port 65536", b"example.org:65536"),
    ("six digits", b"example.org:000025"),
    ("a sign", b"example.org:+25"),
    ("a blank before the port", b"example.org: 25"),
    ("a blank after the port", b"example.org:25 "),
    ("a line feed after the port", b"example.org:25\n"),
    ("two ports", b"example.org:25:25"),
    ("digits of another script", "example.org:٢٥".encode()),
    ("an underscore in a service name", b"example.org:mail_1"),
    ("hyphens alone", b"example.org:--"),
    ("a service name of 16 characters", b"example.org:abcdefghijklmnop"),
    ("a final dot after the port", b"example.org:25."),
    ("a port without end", b"example.org:" + b"1" * 9000),
    ("a service name without end", b"example.org:" + b"a" * 9000),
]

ADDRESS, LDH, LONG_NAME = "all digits", "more than letters", "the name is longer than 253 characters"

NO_DOMAINS = [
    ("nothing", b"", "the name is empty"),
    ("only a dot", b".", "the name is empty"),
    ("only an ideographic dot", "。".encode(), "the name is empty"),
    ("only a soft hyphen", "\u00ad".encode(), "the name is empty"),
    ("two dots", b"..", "begins with a dot"),
    ("a parent", b".example.org", "begins with a dot"),
    ("a parent with an ideographic dot", "。example.org".encode(), "begins with a dot"),
    ("a host in brackets", b"[mail.example.org]", "in brackets"),
    ("an IPv4 address in brackets", b"[192.0.2.1]", "in brackets"),
    ("only an opening bracket", b"[", "in brackets"),
    ("a closing bracket", b"example.org]", LDH),
    ("wide brackets", "［example.org］".encode(), "in brackets"),
    ("a single label", b"localhost", "single label"),
    ("a single label and a final dot", b"localhost.", "single label"),
    ("a single U-label", "münchen".encode(), "single label"),
    ("an IPv4 address", b"192.0.2.1", ADDRESS),
    ("an IPv4 address and a final dot", b"192.0.2.1.", ADDRESS),
    ("an IPv4 address in wide digits", "１９２.０.２.１".encode(), ADDRESS),
    ("a number", b"3221225985", ADDRESS),
    ("a last label of digits", b"example.123", ADDRESS),
    ("two final dots", b"example.org..", LDH),
    ("two final dots, one ideographic", "example.org.。".encode(), LDH),
    ("an empty label", b"example..org", LDH),
    ("a label of a soft hyphen", "example.\u00ad.org".encode(), LDH),
    ("a hyphen in front of a label", b"-example.org", LDH),
    ("a hyphen behind a label", b"example-.org", LDH),
    ("a hyphen in front of the last label", b"example.-org", LDH),
    ("a hyphen behind the last label", b"example.org-", LDH),
    ("a hyphen in front of a U-label", "-münchen.example".encode(), LDH),
    ("a hyphen behind a U-label", "münchen-.example".encode(), LDH),
    ("an A-label without anything", b"xn--.example", LDH),
    ("an underscore", b"_mta-sts.example.org", LDH),
    ("an underscore in a U-label", "_münchen.example".encode(), LDH),
    ("a wildcard", b"*.example.org", LDH),
    ("a blank in front", b" example.org", LDH),
    ("a blank behind", b"example.org ", LDH),
    ("a blank inside", b"exa mple.org", LDH),
    ("a blank in a U-label", "mün chen.example".encode(), LDH),
    ("a line feed behind", b"example.org\n", LDH),
    ("a carriage return", b"example.org\r", LDH),
    ("a NUL", b"example\0.org", LDH),
    ("a NUL in a U-label", "mün\0chen.example".encode(), LDH),
    ("a delete character", b"example\x7f.org", LDH),
    ("a mail address", b"postmaster@example.org", LDH),
    ("an address literal as in a mail address", b"postmaster@[192.0.2.1]", LDH),
    ("a path", b"example.org/x", LDH),
    ("a wide path", "example.org／x".encode(), LDH),
    ("a wide colon", "example.org：25".encode(), LDH),
    ("a percent sign", b"example%2eorg", LDH),
    ("a brace", b"{example.org}", LDH),
    ("a character that UTS 46 disallows", "a\ue000.example".encode(), "UTS 46"),
    ("a noncharacter", "a\uffff.example".encode(), "UTS 46"),
    ("Latin-1", "münchen.example".encode("latin-1"), "not UTF-8"),
    ("overlong UTF-8", b"\xc0\xae.example", "not UTF-8"),
    ("a surrogate", b"\xed\xa0\x80.example", "not UTF-8"),
    ("half a character at the end", "example.рф".encode()[:-1], "not UTF-8"),
    ("a label of 64 characters", b"a" * 64 + b".org", "a label is longer than 63"),
    ("a last label of 64 characters", b"org." + b"a" * 64, "a label is longer than 63"),
    (
        "a U-label whose A-label has 64 characters",
        ("ü" + "a" * 56 + ".example").encode(),
        "a label is longer than 63",
    ),
    ("a U-label of 64 characters", ("ü" * 64 + ".example").encode(), "a label is longer than 63"),
    ("254 characters", b"a" + b".a" * 126 + b"a", LONG_NAME),
    ("254 characters and a final dot", b"a" + b".a" * 126 + b"a.", LONG_NAME),
    ("U-labels whose A-labels have over 253 characters", (("ü" * 40 + ".") * 6 + "example").encode(), LONG_NAME),
    ("characters that map to many", "\ufdfa".encode() * 300, LONG_NAME),
    ("9,000 bytes", b"a." * 4500, LONG_NAME),
    ("9,000 bytes in brackets", b"[" + b"a." * 4500, LONG_NAME),
    ("9,000 bytes that are not UTF-8", b"\xff" * 9000, LONG_NAME),
]

LITERALS = [
    ("IPv4 with a port", b"192.0.2.1:25"),
    ("IPv4 in brackets with a port", b"[192.0.2.1]:25"),
    ("IPv6", b"2001:db8::1"),
    ("IPv6 that begins with a letter", b"fe80::1"),
    ("the shortest IPv6", b"::"),
    ("IPv6 loopback", b"::1"),
    ("IPv4 inside IPv6", b"::ffff:192.0.2.1"),
    ("IPv6 in brackets", b"[2001:db8::1]"),
    ("IPv6 in brackets with a port", b"[2001:db8::1]:25"),
    ("IPv6 with a zone", b"fe80::1%eth0"),
    ("IPv6 as in a mail address", b"IPv6:2001:db8::1"),
    ("IPv6 as in a mail address in brackets", b"[IPv6:2001:db8::1]"),
    ("a port alone", b":25"),
    ("a parent with a port", b".example.org:25"),
    ("a host in brackets with a port", b"[mail.example.org]:587"),
    ("a single label with a port", b"localhost:25"),
]

LDH_DOMAIN = re.compile(r"([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+[a-z0-9]([a-z0-9-]*[a-z0-9])?")

WORDS = [*"aZ9-.:[]_üß。．💩ﷺ≠１：", "..", "25", "xn--", ".example"]
scraps = st.sampled_from([*WORDS, " ", "\0", "u\u0308", "\u00ad", "\u200d", "\ue000", "a" * 62, "ü" * 30])
keys = (
    st.binary(max_size=60)
    | st.text(max_size=40).map(str.encode)
    | st.lists(scraps, max_size=12).map(lambda parts: "".join(parts).encode())
    | st.lists(scraps, max_size=8).map(lambda parts: ("x".join(parts) + ".example").encode())
)


def assert_reason(answer: NextHop | NoDomain, words: str) -> None:
    assert isinstance(answer, NoDomain)
    assert words in answer.reason
    assert len(answer.reason) < 100
    assert answer.reason.isascii()
    assert answer.reason.isprintable()


@pytest.mark.parametrize(("title", "text", "want"), DOMAINS, ids=[row[0] for row in DOMAINS])
def test_domains(title: str, text: str, want: str) -> None:
    """A domain in any legal spelling is read as lower-case A-labels."""
    assert parse_key(text.encode()) == NextHop(want, "25")
    assert parse_domain(text) == want


@pytest.mark.parametrize("text", ONE_DOMAIN)
def test_all_spellings_give_one_domain(text: str) -> None:
    """Case, final dot, U-labels, A-labels, composed or not: one domain, so one entry."""
    assert parse_key(text.encode()) == NextHop("xn--mnchen-3ya.example", "25")
    assert parse_key(text.encode() + b":587") == NextHop("xn--mnchen-3ya.example", "587")


@pytest.mark.parametrize(("title", "text", "want"), PORTS, ids=[row[0] for row in PORTS])
def test_ports(title: str, text: str, want: str) -> None:
    """A port is a number or a service name, and never part of the domain."""
    assert parse_key(text.encode()) == NextHop("example.org", want)


@pytest.mark.parametrize(("title", "key"), BAD_PORTS, ids=[row[0] for row in BAD_PORTS])
def test_bad_ports(title: str, key: bytes) -> None:
    """With a port that does not exist the key names no domain."""
    assert_reason(parse_key(key), "what follows the colon is neither")


@pytest.mark.parametrize(("title", "key", "words"), NO_DOMAINS, ids=[row[0] for row in NO_DOMAINS])
def test_no_domains(title: str, key: bytes, words: str) -> None:
    """What is no domain is refused with a reason, in a key and on a command line alike."""
    assert_reason(parse_key(key), words)
    with pytest.raises(DomainError, match=re.escape(words)):
        parse_domain(key.decode("utf-8", "surrogateescape"))


@pytest.mark.parametrize(("title", "key"), LITERALS, ids=[row[0] for row in LITERALS])
def test_literals(title: str, key: bytes) -> None:
    """An address in any form, or anything else with a colon that is no domain, names no domain."""
    assert isinstance(parse_key(key), NoDomain)
    with pytest.raises(DomainError):
        parse_domain(key.decode())


def test_a_domain_argument_has_no_port() -> None:
    """parse_domain reads domains only."""
    with pytest.raises(DomainError, match=r"'example\.org:25' is not a policy domain: a label"):
        parse_domain("example.org:25")


def test_the_error_quotes_a_bounded_part_of_the_value() -> None:
    """One line, whatever the value; 60 characters of it at most."""
    with pytest.raises(DomainError) as caught:
        parse_domain("x\n" * 5000)
    value = "x\\n" * 30
    assert str(caught.value) == f"'{value}'... is not a policy domain: the name is longer than 253 characters"


@given(keys)
@example(b"\xff" * 20)
@example("ü".encode() + b"xn--\0:")
def test_no_key_raises_and_every_domain_is_ldh(key: bytes) -> None:
    """Whatever the bytes: no exception, and what comes out as a domain is one, read again as itself."""
    answer = parse_key(key)
    if isinstance(answer, NextHop):
        assert LDH_DOMAIN.fullmatch(answer.domain)
        assert len(answer.domain) <= 253
        assert max(map(len, answer.domain.split("."))) <= 63
        assert not answer.domain.rpartition(".")[2].isdigit()
        assert parse_key(answer.domain.encode()) == NextHop(answer.domain, "25")
        assert parse_key(f"{answer.domain}:{answer.port}".encode()) == answer
        assert parse_domain(answer.domain) == answer.domain


@given(st.text(max_size=40) | st.text(st.characters(whitelist_categories=["Cs", "Ll"]), max_size=5))
def test_a_domain_argument_is_read_as_a_key_or_refused(text: str) -> None:
    """parse_domain and parse_key never disagree about a domain, and only DomainError is raised."""
    try:
        domain = parse_domain(text)
    except DomainError:
        domain = None
    answer = parse_key(text.encode("utf-8", "surrogatepass"))
    if ":" not in text:
        assert domain == (answer.domain if isinstance(answer, NextHop) else None)
    else:
        assert domain is None


labels = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)


@given(st.lists(labels, min_size=1, max_size=5), st.from_regex(r"[a-z]{1,20}", fullmatch=True), st.data())
def test_every_ldh_domain_is_read_in_any_case(first: list[str], last: str, data: st.DataObject) -> None:
    """Nothing that may be a domain is refused, and case never matters."""
    domain = ".".join([*first, last])
    upper = data.draw(st.lists(st.booleans(), min_size=len(domain), max_size=len(domain)))
    spelled = "".join(c.upper() if up else c for c, up in zip(domain, upper, strict=True))
    assert parse_key(spelled.encode()) == parse_key(spelled.encode() + b".") == NextHop(domain, "25")
