"""The cheap reading of a TXT answer: what counts as absence, and what is left to the full client."""

from __future__ import annotations

from collections.abc import Callable

import dns.edns
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from postfix_mtasts.adapters.dns.absence import TXT, Absence, answers, make_question, understand, whole
from postfix_mtasts.adapters.dns.client import DnsClient
from postfix_mtasts.adapters.dns.transport import query

NAME = "_mta-sts.example.com"
PATIENT = 30.0  # seconds


def question() -> bytes:
    made = make_question(NAME, TXT)
    assert made is not None
    return made


def reply(change: Callable[[dns.message.Message], None] = lambda message: None, *, rcode: str = "NXDOMAIN") -> bytes:
    message = dns.message.make_response(dns.message.from_wire(query(b"id", question())), recursion_available=True)
    message.set_rcode(dns.rcode.from_text(rcode))
    add(message.authority, "com.", 900, "SOA", "a.gtld-servers.net. nstld.verisign-grs.com. 1 1800 900 604800 86400")
    change(message)
    return message.to_wire()


def add(section: list[dns.rrset.RRset], name: str, ttl: int, rdtype: str, *data: str) -> None:
    section.append(dns.rrset.from_text(name, ttl, "IN", rdtype, *data))


def short_minimum(message: dns.message.Message) -> None:
    message.authority.clear()
    add(message.authority, "example.com.", 900, "SOA", "ns.example.com. host.example.com. 1 1800 900 604800 60")


def without_edns(message: dns.message.Message) -> None:
    message.use_edns(False)


def no_soa(message: dns.message.Message) -> None:
    message.authority.clear()


def huge_ttl(message: dns.message.Message) -> None:
    no_soa(message)
    soa = "ns. host. 1 1800 900 604800 60"
    message.authority.append(dns.rrset.from_text(".", 1 << 31, "IN", "SOA", soa))


def authoritative(message: dns.message.Message) -> None:
    message.flags ^= dns.flags.RA | dns.flags.AA


ABSENCES = [
    ("NXDOMAIN, TTL below the minimum", reply(), Absence(900, exists=False)),
    ("NXDOMAIN, minimum below the TTL", reply(short_minimum), Absence(60, exists=False)),
    ("NODATA", reply(rcode="NOERROR"), Absence(900, exists=True)),
    ("without OPT", reply(without_edns), Absence(900, exists=False)),
    ("without SOA: not to be remembered", reply(no_soa), Absence(0, exists=False)),
    ("an authoritative server that does not recurse", reply(authoritative), Absence(900, exists=False)),
    ("a bare header and question", reply(lambda m: (no_soa(m), without_edns(m))[0]), Absence(0, exists=False)),
    ("a TTL with the highest bit set is 0", reply(huge_ttl), Absence(0, exists=False)),
]


@pytest.mark.parametrize(("title", "datagram", "want"), ABSENCES, ids=[a[0] for a in ABSENCES])
def test_absence(title: str, datagram: bytes, want: Absence) -> None:
    """Seen without dnspython."""
    assert answers(datagram, question())
    assert understand(datagram, question()) == want


def test_an_answer_with_records_is_handed_over_whole() -> None:
    """DnsClient.txt_from_wire reads it; it is not asked for again."""
    datagram = reply(lambda m: add(m.answer, NAME + ".", 300, "TXT", '"v=STSv1; id=1"'), rcode="NOERROR")
    assert understand(datagram, question()) == datagram
    answer = DnsClient(["127.0.0.1:53"], PATIENT).txt_from_wire(NAME, datagram)
    assert answer is not None
    assert answer.records == (b"v=STSv1; id=1",)


def extended_rcode(message: dns.message.Message) -> None:
    message.set_rcode(dns.rcode.BADVERS)
    message.authority.clear()


def truncated(message: dns.message.Message) -> None:
    message.flags |= dns.flags.TC


def lame(message: dns.message.Message) -> None:
    message.flags &= ~dns.flags.RA


def referral(message: dns.message.Message) -> None:
    lame(message)
    message.authority.clear()
    add(message.authority, "example.com.", 900, "NS", "ns.example.com.")


OTHERS = [
    ("SERVFAIL", reply(rcode="SERVFAIL")),
    ("REFUSED", reply(rcode="REFUSED")),
    ("an extended rcode whose low half says NOERROR", reply(extended_rcode)),
    ("truncated", reply(truncated)),
    ("an alias", reply(lambda m: add(m.answer, NAME + ".", 60, "CNAME", "a.example."), rcode="NOERROR")),
    ("an alias to nowhere", reply(lambda m: add(m.answer, NAME + ".", 60, "CNAME", "a.example."))),
    ("NXDOMAIN with a TXT record", reply(lambda m: add(m.answer, NAME + ".", 60, "TXT", '"x"'))),
    (
        "a TXT record of another name",
        reply(lambda m: add(m.answer, "other.example.", 60, "TXT", '"x"'), rcode="NOERROR"),
    ),
    ("NS instead of SOA", reply(lambda m: (no_soa(m), add(m.authority, "com.", 60, "NS", "ns.com."))[0])),
    ("more than one authority record", reply(lambda m: add(m.authority, "com.", 60, "NS", "ns.com."))),
    ("NOERROR of a server that neither recurses nor is authoritative", reply(lame, rcode="NOERROR")),
    ("NXDOMAIN of such a server", reply(lame)),
    ("a referral", reply(referral, rcode="NOERROR")),
    ("an EDNS option", reply(lambda m: m.use_edns(0, options=[dns.edns.GenericOption(15, b"\0\0")]))),
    ("trailing bytes", reply() + b"\0"),
    ("cut short", reply()[:-1]),
    ("cut within the SOA", reply(without_edns)[:-5]),
    ("records promised that are not there", reply()[:6] + b"\0\1" + reply()[8:]),
]


@pytest.mark.parametrize(("title", "datagram"), OTHERS, ids=[o[0] for o in OTHERS])
def test_whatever_is_not_plain_absence_goes_the_full_path(title: str, datagram: bytes) -> None:
    """None: ask again, in full."""
    assert answers(datagram, question())
    assert understand(datagram, question()) is None


GOOD = reply()
NO_ANSWERS = [
    ("empty", b""),
    ("a header cut short", GOOD[:11]),
    ("the question cut short", GOOD[: 12 + len(question()) - 1]),
    ("our own query", query(b"id", question())),
    ("another opcode", GOOD[:2] + bytes([GOOD[2] | 0x20]) + GOOD[3:]),
    ("no question", GOOD[:4] + bytes(8)),
    ("two questions", GOOD[:5] + b"\2" + GOOD[6:]),
    ("another name", GOOD.replace(b"example", b"exampla")),
    ("the name in another case", GOOD.replace(b"example", b"EXAMPLE")),
    ("another type", GOOD[:12] + question()[:-4] + b"\0\1\0\1" + GOOD[12 + len(question()) :]),
]


@pytest.mark.parametrize(("title", "datagram"), NO_ANSWERS, ids=[n[0] for n in NO_ANSWERS])
def test_what_is_no_answer_to_the_question(title: str, datagram: bytes) -> None:
    """It is passed over: the right answer may still come."""
    assert not answers(datagram, question())


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    datagram = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(0, 3))):
        datagram[draw(st.integers(0, len(datagram) - 1))] = draw(st.integers(0, 255))
    if draw(st.booleans()):
        at = draw(st.integers(0, len(datagram)))
        datagram[at:at] = draw(st.binary(max_size=4))
    return bytes(datagram[: draw(st.integers(0, len(datagram)))]) if draw(st.integers(0, 3)) == 0 else bytes(datagram)


SEEDS = [seed for _, seed, _ in ABSENCES] + [seed for _, seed in OTHERS] + [seed for _, seed in NO_ANSWERS if seed]


@given(
    st.binary(max_size=80) | mutated() | st.binary(max_size=60).map(lambda tail: GOOD[: 12 + len(question())] + tail)
)
@example(GOOD)
def test_what_the_probe_takes_as_absence_is_absence(datagram: bytes) -> None:
    """No datagram raises, and dnspython reads the same question, rcode and no records wherever we do."""
    if not answers(datagram, question()):
        return
    result = understand(datagram, question())
    if not isinstance(result, Absence):
        assert result is None or result is datagram
        return
    message = dns.message.from_wire(datagram)
    assert isinstance(message, dns.message.QueryMessage)
    (asked,) = message.question
    assert (asked.name, asked.rdtype) == (dns.name.from_text(NAME), dns.rdatatype.TXT)
    assert message.rcode() == (dns.rcode.NOERROR if result.exists else dns.rcode.NXDOMAIN)
    assert not message.answer
    assert message.flags & (dns.flags.QR | dns.flags.TC) == dns.flags.QR
    soas = [rrset for rrset in message.authority if rrset.rdtype == dns.rdatatype.SOA]
    lasts = [0 if ttl >= 1 << 31 else ttl for soa in soas for ttl in (soa.ttl, soa[0].minimum)]  # RFC 2181 section 8
    assert result.ttl == min(lasts, default=0)


WHOLE = [
    ("records", reply(lambda m: add(m.answer, NAME + ".", 60, "TXT", '"x"'), rcode="NOERROR"), True),
    ("an alias", reply(lambda m: add(m.answer, NAME + ".", 60, "CNAME", "a.example."), rcode="NOERROR"), True),
    ("NODATA", reply(rcode="NOERROR"), True),
    ("NXDOMAIN", reply(), True),
    ("truncated", reply(truncated), False),
    ("SERVFAIL", reply(rcode="SERVFAIL"), False),
    ("FORMERR", reply(rcode="FORMERR"), False),
]


@pytest.mark.parametrize(("title", "datagram", "want"), WHOLE, ids=[w[0] for w in WHOLE])
def test_a_whole_answer(title: str, datagram: bytes, want: bool) -> None:
    """All that the server knows: handed over as it came, or asked for in full."""
    assert whole(datagram, question()) == (datagram if want else None)


# Questions


NAMES = [
    ("63 bytes a label", "x" * 63 + ".example", True),
    ("64 bytes a label", "x" * 64 + ".example", False),
    ("253 bytes in all", ".".join(["x" * 49] * 5) + ".xxx", True),
    ("254 bytes in all", ".".join(["x" * 49] * 5) + ".xxxx", False),
    ("an empty label", "a..b", False),
    ("a final dot", "a.b.", False),
    ("nothing", "", False),
    ("no ASCII", "münchen.example", False),
]


@pytest.mark.parametrize(("title", "name", "possible"), NAMES, ids=[n[0] for n in NAMES])
def test_names_that_dns_can_hold(title: str, name: str, possible: bool) -> None:
    """The others are left to the full client, which says what is wrong with them."""
    made = make_question(name, TXT)
    assert (made is not None) is possible
    if made is not None:
        assert made[:-4] == dns.name.from_text(name).to_wire()
