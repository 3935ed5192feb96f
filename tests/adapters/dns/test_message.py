"""Messages read record by record, without a network: literal replies, and what each of them means."""

from __future__ import annotations

from collections.abc import Callable

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mtasts.adapters.dns.message import TXT, A, Question, read_answer
from postfix_mtasts.adapters.dns.transport import NoAnswer
from postfix_mtasts.core.dnsdata import DnsAnswer, DnsResult
from postfix_mtasts.errors import DnsError

NAME = "_mta-sts.example.com"
QUESTION = Question(NAME, TXT)
SOA = "ns.example.com. host.example.com. 1 1800 900 604800 60"

Change = Callable[[dns.message.Message], object]


def reply(*changes: Change, rcode: str = "NOERROR", recursion: bool = True) -> bytes:
    """An answer without records, changed."""
    message = dns.message.make_response(dns.message.make_query(NAME, "TXT", use_edns=0), recursion_available=recursion)
    message.set_rcode(dns.rcode.from_text(rcode))
    for change in changes:
        change(message)
    return message.to_wire()


def text(message: dns.message.Message) -> None:
    message.answer.append(dns.rrset.from_text(f"{NAME}.", 300, "IN", "TXT", '"v=STSv1; id=1"'))


def alias(message: dns.message.Message) -> None:
    message.answer.append(dns.rrset.from_text(f"{NAME}.", 300, "IN", "CNAME", "elsewhere.example."))


def soa(message: dns.message.Message) -> None:
    message.authority.append(dns.rrset.from_text("example.com.", 900, "IN", "SOA", SOA))


def referral(message: dns.message.Message) -> None:
    message.authority.append(dns.rrset.from_text("example.com.", 900, "IN", "NS", "ns.example.com."))


def authoritative(message: dns.message.Message) -> None:
    message.flags |= dns.flags.AA


def without_edns(message: dns.message.Message) -> None:
    message.use_edns(False)


def extended_error(code: int) -> Change:
    return lambda message: message.use_edns(0, options=[dns.edns.GenericOption(15, code.to_bytes(2, "big") + b"why")])


ANSWERS = [
    ("records", reply(text), DnsAnswer((b"v=STSv1; id=1",), False, 300.0, NAME)),
    ("records of a server that neither recurses nor is authoritative", reply(text, recursion=False), None),
    ("NODATA", reply(soa), DnsAnswer((), False, 60.0, NAME)),
    ("NXDOMAIN", reply(soa, rcode="NXDOMAIN"), DnsAnswer((), False, 60.0, NAME, exists=False)),
    ("NODATA of an authoritative server", reply(soa, authoritative, recursion=False), DnsAnswer((), False, 60.0, NAME)),
    ("NODATA without SOA of a recursing server", reply(), DnsAnswer((), False, 0.0, NAME)),
    ("NODATA without EDNS", reply(without_edns), DnsAnswer((), False, 0.0, NAME)),
    ("an EDNS option besides", reply(text, extended_error(3)), DnsAnswer((b"v=STSv1; id=1",), False, 300.0, NAME)),
]


@pytest.mark.parametrize(("title", "message", "want"), ANSWERS, ids=[a[0] for a in ANSWERS])
def test_answers(title: str, message: bytes, want: DnsAnswer[bytes] | None) -> None:
    """Records, or their absence; None stands for the same as the records above."""
    assert read_answer(message, QUESTION) == (want or ANSWERS[0][2])


LAME = [
    ("nothing", reply(recursion=False)),
    ("a referral", reply(referral, recursion=False)),
    ("a start of authority that it has no authority for", reply(soa, recursion=False)),
    ("NXDOMAIN", reply(soa, rcode="NXDOMAIN", recursion=False)),
    ("an alias that is not followed", reply(alias, recursion=False)),
    ("nothing, without EDNS", reply(without_edns, recursion=False)),
]


@pytest.mark.parametrize(("title", "message"), LAME, ids=[each[0] for each in LAME])
def test_a_lame_server_says_nothing(title: str, message: bytes) -> None:
    """RA=0 and AA=0 without a record is no absence: else a lame resolver would switch MTA-STS off unseen."""
    with pytest.raises(NoAnswer) as caught:
        read_answer(message, QUESTION)
    assert caught.value.result is DnsResult.LAME


def cut(message: bytes) -> bytes:
    """A bare header, as some servers send errors."""
    return message[:4] + bytes(8)


FAILURES = [
    ("SERVFAIL", reply(rcode="SERVFAIL"), DnsResult.SERVFAIL, "SERVFAIL"),
    ("REFUSED", reply(rcode="REFUSED"), DnsResult.REFUSED, "REFUSED"),
    ("FORMERR", reply(rcode="FORMERR"), DnsResult.FORMERR, "FORMERR"),
    ("NOTIMP", reply(rcode="NOTIMP"), DnsResult.NOTIMP, "NOTIMP"),
    ("a bare SERVFAIL", cut(reply(rcode="SERVFAIL")), DnsResult.SERVFAIL, "SERVFAIL"),
    ("BADVERS, whose low half is NOERROR", reply(rcode="BADVERS"), DnsResult.BADVERS, "BADVERS"),
    ("BADVERS with records", reply(text, rcode="BADVERS"), DnsResult.BADVERS, "BADVERS"),
    ("BADKEY", reply(rcode="BADKEY"), DnsResult.OTHER, "BADKEY"),
    ("YXDOMAIN", reply(rcode="YXDOMAIN"), DnsResult.OTHER, "YXDOMAIN"),
    ("SERVFAIL, DNSSEC bogus", reply(extended_error(6), rcode="SERVFAIL"), DnsResult.BOGUS, "SERVFAIL \\(DNSSEC"),
    ("SERVFAIL, signature expired", reply(extended_error(7), rcode="SERVFAIL"), DnsResult.BOGUS, "SERVFAIL \\(DNSSEC"),
    ("SERVFAIL, network error", reply(extended_error(23), rcode="SERVFAIL"), DnsResult.SERVFAIL, "SERVFAIL"),
    ("an empty message", b"", DnsResult.BROKEN, "broken"),
    ("cut short", reply(text)[:-12], DnsResult.BROKEN, "broken"),
    ("the OPT cut short", reply(text)[:-1], DnsResult.BROKEN, "broken"),
]


@pytest.mark.parametrize(("title", "message", "result", "said"), FAILURES, ids=[f[0] for f in FAILURES])
def test_failures(title: str, message: bytes, result: DnsResult, said: str) -> None:
    """Each is told apart; the response code is the whole one (RFC 6891 section 6.1.3)."""
    with pytest.raises(NoAnswer, match=said) as caught:
        read_answer(message, QUESTION)
    assert caught.value.result is result


def test_every_question_has_a_wire_form() -> None:
    """Lower case or not, with or without the final dot."""
    assert Question("A.b.", A).wire == b"\x01A\x01b\x00\x00\x01\x00\x01"
    assert str(Question(".", A)) == "."
    assert str(Question("A.b.", A)) == "a.b"


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    message = bytearray(draw(st.sampled_from([m for _, m, _ in ANSWERS] + [m for _, m, _, _ in FAILURES if m])))
    for _ in range(draw(st.integers(0, 4))):
        message[draw(st.integers(2, len(message) - 1))] = draw(st.integers(0, 255))
    return bytes(message)


@given(st.binary(max_size=100) | mutated())
def test_no_message_whatever_raises_anything_else(message: bytes) -> None:
    """An answer or a NoAnswer; and where there are no records, dnspython sees RA or AA and a plain code."""
    try:
        answer = read_answer(message, QUESTION)
    except NoAnswer:
        return
    try:
        parsed = dns.message.from_wire(message)
    except Exception:  # noqa: BLE001 -- dnspython refuses more than we read
        return
    assert parsed.rcode() in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN)
    assert answer.records or parsed.flags & (dns.flags.RA | dns.flags.AA) or parsed.answer


def test_a_name_that_dns_cannot_hold_is_an_error_of_ours() -> None:
    """Before anything is sent."""
    with pytest.raises(DnsError, match="cannot be asked of DNS"):
        Question("a..b", TXT)
