"""The DNS client against a scripted resolver."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterable
from typing import Any

import dns.message
import dns.name
import dns.rdatatype
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mtasts.adapters.dns.client import DnsClient
from postfix_mtasts.adapters.dns.transport import Nameservers
from postfix_mtasts.core.dnsdata import DnsAnswer, Mx, Tlsa, Validation
from postfix_mtasts.errors import DnsError
from postfix_mtasts.faults import Fault
from tests.support.servers.dnsserver import DnsServer

RECORD = b"v=STSv1; id=1"
NAME = "_mta-sts.example.com"
ONE = {(NAME, "TXT"): ['"v=STSv1; " "id=1"']}
ANY = ("*", "*")
PATIENT, HASTY = 30.0, 0.2  # seconds: for answers that come, and for those that never do


def ask(server: DnsServer, name: str = NAME, *, timeout: float = PATIENT) -> DnsAnswer[bytes]:
    return DnsClient([server.address], timeout).txt(name)


# What the answers look like


def test_the_strings_of_a_txt_record_are_joined_without_blanks() -> None:
    """RFC 8461 section 3.1; several records stay apart."""
    with DnsServer({(NAME, "TXT"): ['"v=STSv1; " "id=1"', '"a b"', rb'"\255"'.decode()]}) as server:
        assert sorted(ask(server).records) == sorted([RECORD, b"a b", b"\xff"])


def test_addresses_in_their_usual_spelling() -> None:
    """A and AAAA."""
    records = {("h.example", "A"): ["192.0.2.1"], ("h.example", "AAAA"): ["2001:db8:0::1"]}
    with DnsServer(records) as server:
        client = DnsClient([server.address], PATIENT)
        assert client.a("h.example").records == ("192.0.2.1",)
        assert client.aaaa("H.Example.").records == ("2001:db8::1",)


def test_mx_hosts_are_lower_case_and_the_null_mx_is_empty() -> None:
    """RFC 7505."""
    records = {("a.example", "MX"): ["10 MX1.A.example."], ("b.example", "MX"): ["0 ."]}
    with DnsServer(records) as server:
        client = DnsClient([server.address], PATIENT)
        assert client.mx("a.example").records == (Mx(10, "mx1.a.example"),)
        assert client.mx("b.example").records == (Mx(0, ""),)


def test_a_malformed_tlsa_record_hides_no_other() -> None:
    """A wrong length comes as it is, for core.dane to judge; one without a matching type is left out."""
    good = bytes([3, 1, 1]) + bytes(32)
    with DnsServer({("_25._tcp.mx.example", "TLSA"): [bytes([3, 1, 1]) + b"short", good, b"\3\1"]}) as server:
        answer = DnsClient([server.address], PATIENT).tlsa("_25._tcp.mx.example")
    assert set(answer.records) == {Tlsa(3, 1, 1, b"short"), Tlsa(3, 1, 1, bytes(32))}


def test_an_alias_is_followed_to_its_final_name() -> None:
    """As far as the answer holds the chain, which a recursive resolver's answer does."""
    chain = {("a.example", "CNAME"): ["B.example."], ("b.example", "CNAME"): ["c.example."]}
    with DnsServer({**chain, ("c.example", "TXT"): ['"x"']}) as server:
        answer = ask(server, "a.example")
    assert (answer.records, answer.name, answer.exists) == ((b"x",), "c.example", True)


def test_cname_asks_for_the_alias_itself() -> None:
    """Not for what it leads to."""
    with DnsServer({("a.example", "CNAME"): ["b.example."], ("b.example", "CNAME"): ["c.example."]}) as server:
        answer = DnsClient([server.address], PATIENT).cname("a.example")
    assert (answer.records, answer.name) == (("b.example",), "a.example")


def test_an_alias_to_nowhere_is_no_such_name() -> None:
    """NXDOMAIN speaks of the final name (RFC 6604)."""
    with DnsServer({("a.example", "CNAME"): ["b.example."]}) as server:
        answer = ask(server, "a.example")
    assert (answer.records, answer.name, answer.exists) == ((), "b.example", False)


def test_a_chain_of_16_aliases_is_followed_and_a_longer_one_is_a_broken_answer() -> None:
    """Whoever controls a zone must not control how long we follow."""
    records: dict[tuple[str, str], list[str | bytes]] = {
        (f"a{n}.example", "CNAME"): [f"a{n - 1}.example."] for n in range(1, 18)
    }
    with DnsServer({**records, ("a0.example", "TXT"): ['"x"']}) as server:
        assert ask(server, "a16.example").records == (b"x",)
        with pytest.raises(DnsError, match=r"no TXT answer for a17\.example: .*16 aliases"):
            ask(server, "a17.example")


def test_a_loop_of_aliases_is_a_broken_answer() -> None:
    """It ends."""
    with (
        DnsServer({("a.example", "CNAME"): ["a.example."]}) as server,
        pytest.raises(DnsError, match="aliases in a chain"),
    ):
        ask(server, "a.example")


@pytest.mark.parametrize("secure", [True, False])
@pytest.mark.parametrize("name", [NAME, "nothing.example", "example.com"], ids=["records", "NXDOMAIN", "NODATA"])
def test_secure_is_the_ad_bit(name: str, secure: bool) -> None:
    """Of absence too (RFC 4035 section 3.2.3)."""
    with DnsServer(ONE, secure=secure) as server:
        assert ask(server, name).secure is secure


def test_a_query_asks_for_ad_and_recursion_in_1232_bytes() -> None:
    """RFC 6840 section 5.7: AD in the query is enough; no DO, so no signatures fill the answer."""
    with DnsServer(ONE) as server:
        ask(server)
    (query,) = server.queries
    assert (dns.message.Message.to_text(query).splitlines()[3], query.edns, query.payload, query.ednsflags) == (
        "flags RD AD",
        0,
        1232,
        0,
    )


# How long an answer lasts: (title, TTL of records, SOA, aliases, asked, wanted)
TTLS = [
    ("the records' TTL", NAME, 300, (900, 60), 300),
    ("absence: the SOA minimum", "nothing.example", 300, (900, 60), 60),
    ("absence: the SOA's own TTL where it is smaller", "nothing.example", 300, (30, 60), 30),
    ("no records of the type: the same", "example.com", 300, (900, 60), 60),
    ("absence without SOA: not at all", "nothing.example", 300, None, 0),
    ("absence behind an alias: the alias' TTL where it is smaller", "alias.example", 20, (900, 60), 20),
    ("absence behind an alias: the minimum where it is smaller", "alias.example", 300, (900, 60), 60),
    ("a TTL with the highest bit set is 0 (RFC 2181 section 8)", "nothing.example", 300, (1 << 31, 60), 0),
]


@pytest.mark.parametrize(("title", "name", "ttl", "soa", "want"), TTLS, ids=[t[0] for t in TTLS])
def test_ttl(title: str, name: str, ttl: int, soa: tuple[int, int] | None, want: float) -> None:
    """The smallest TTL, aliases included; without records by RFC 2308 section 5."""
    with DnsServer({**ONE, ("alias.example", "CNAME"): ["nowhere.example."]}, ttl=ttl, soa=soa) as server:
        assert ask(server, name).ttl == want


def test_the_ttl_is_the_smallest_of_alias_and_records() -> None:
    """An alias that changes changes the answer."""

    def short_alias(reply: bytes, tcp: bool) -> Iterable[bytes]:
        message = dns.message.from_wire(reply)
        message.answer[0].ttl = 7
        yield message.to_wire()

    records = {("a.example", "CNAME"): ["b.example."], ("b.example", "TXT"): ['"x"']}
    with DnsServer(records, {ANY: short_alias}) as server:
        assert ask(server, "a.example").ttl == 7


ABSENT = [("NXDOMAIN", "nothing.example", False), ("NODATA", "example.com", True)]


@pytest.mark.parametrize(("title", "name", "exists"), ABSENT, ids=[a[0] for a in ABSENT])
def test_absence_is_an_answer(title: str, name: str, exists: bool) -> None:
    """Not an error, and whether the name exists is told apart."""
    with DnsServer(ONE) as server:
        answer = ask(server, name)
    assert (answer.records, answer.exists, answer.name) == ((), exists, name)


# What a resolver and others do wrong


@pytest.mark.parametrize("rcode", ["SERVFAIL", "REFUSED", "FORMERR", "NOTIMP"])
def test_a_failure_says_name_type_and_server(rcode: str) -> None:
    """The sentence goes into the log as it is; the server is not asked twice."""
    with DnsServer(ONE, {ANY: rcode}) as server, pytest.raises(DnsError) as caught:
        ask(server)
    assert str(caught.value) == f"no TXT answer for {NAME}: {rcode} from {server.address}"
    assert server.asked[NAME, "TXT"] == (2 if rcode in ("FORMERR", "NOTIMP") else 1)  # again without EDNS


def test_a_reason_for_strangers_names_no_resolver() -> None:
    """Reports carry it to them; our log names the server."""
    with (
        DnsServer(ONE, {ANY: "SERVFAIL"}) as one,
        DnsServer(ONE, {ANY: "SERVFAIL"}) as two,
        pytest.raises(DnsError) as caught,
    ):
        DnsClient([one.address, two.address], PATIENT).txt(NAME)
    assert caught.value.seen.fault is Fault.DNS_SERVFAIL
    assert caught.value.seen.to_strangers() == f"no DNS answer for {NAME}: SERVFAIL"


def test_an_unknown_rcode_is_a_failure() -> None:
    """Twelve has no name."""

    def twelve(reply: bytes, tcp: bool) -> Iterable[bytes]:
        yield reply[:3] + b"\x8c" + reply[4:]

    with DnsServer(ONE, {ANY: twelve}) as server, pytest.raises(DnsError, match=f"12 from {server.address}"):
        ask(server)


def test_a_failure_without_question_is_heard() -> None:
    """Some servers leave the question out of an error; dnspython accepts that too."""

    def bare(reply: bytes, tcp: bool) -> Iterable[bytes]:
        yield reply[:2] + struct.pack("!5H", 0x8185, 0, 0, 0, 0)

    with DnsServer(ONE, {ANY: bare}) as server, pytest.raises(DnsError, match="REFUSED from"):
        ask(server)


def test_time_that_is_spent_counts() -> None:
    """Of two askers for a silent name, the one whose probe waited before gives up first."""
    ended: list[float] = []
    with DnsServer(ONE, {ANY: "silence"}) as server:
        client = DnsClient([server.address], 2.0)

        def ask_for(spent: float) -> None:
            with pytest.raises(DnsError):
                client.txt(NAME, spent)
            ended.append(spent)

        askers = [threading.Thread(target=ask_for, args=(spent,)) for spent in (0.0, 1.0)]
        for asker in askers:
            asker.start()
        for asker in askers:
            asker.join()
    assert ended == [1.0, 0.0]


def test_silence_ends_with_the_timeout() -> None:
    """And is tried again before, since UDP loses datagrams."""
    with DnsServer(ONE, {ANY: "silence"}) as server, pytest.raises(DnsError) as caught:
        ask(server, timeout=HASTY)
    assert str(caught.value) == f"no TXT answer for {NAME}: no answer within 0.2 s from {server.address}"
    assert server.asked[NAME, "TXT"] > 1


def test_a_lost_datagram_is_sent_again() -> None:
    """The same server, since it has not failed."""
    with DnsServer(ONE, {ANY: ["silence", "answer"]}) as server:
        assert ask(server, timeout=2.0).records == (RECORD,)


def test_nobody_listening_is_said_at_once() -> None:
    """A connected socket hears the refusal."""
    with DnsServer() as server:
        pass
    with pytest.raises(DnsError, match=rf"no answer \(Connection refused\) from {server.address}"):
        ask(server)


@pytest.mark.parametrize("behaviour", ["SERVFAIL", "REFUSED", "garbage", "silence"])
def test_the_next_server_is_asked_when_one_fails(behaviour: str) -> None:
    """In the order of the configuration."""
    with DnsServer(ONE, {ANY: behaviour}) as bad, DnsServer(ONE) as good:
        assert DnsClient([bad.address, good.address], 5.0).txt(NAME).records == (RECORD,)
        assert (bad.asked[NAME, "TXT"], good.asked[NAME, "TXT"]) == (1, 1)


def test_a_failure_names_what_every_server_said() -> None:
    """One sentence for all of them."""
    with (
        DnsServer({}, {ANY: "SERVFAIL"}) as one,
        DnsServer({}, {ANY: "silence"}) as two,
        pytest.raises(DnsError) as why,
    ):
        DnsClient([one.address, two.address], HASTY).mx("example.com")
    assert str(why.value) == (
        f"no MX answer for example.com: SERVFAIL from {one.address}; no answer within 0.2 s from {two.address}"
    )


def lame(reply: bytes, tcp: bool) -> Iterable[bytes]:
    """A server that neither recurses nor is authoritative, without a record."""
    yield reply[:3] + bytes([reply[3] & 0x7F]) + reply[4:]


@pytest.mark.parametrize("call", ["txt", "a", "aaaa", "mx", "tlsa"])
def test_a_lame_server_is_passed_over_for_every_type(call: str) -> None:
    """RA=0 and AA=0 without records: the next server is asked, as libresolv does."""
    records = {(NAME, "TXT"): ['"x"'], (NAME, "A"): ["192.0.2.1"], (NAME, "AAAA"): ["2001:db8::1"]}
    more = {(NAME, "MX"): ["1 mx.example."], (NAME, "TLSA"): ["3 1 1 " + "00" * 32]}
    with DnsServer({}, {ANY: lame}) as bad, DnsServer({**records, **more}) as good:
        assert len(getattr(DnsClient([bad.address, good.address], PATIENT), call)(NAME).records) == 1
        with pytest.raises(DnsError, match="neither an answer nor recursion from") as caught:
            getattr(DnsClient([bad.address], PATIENT), call)(NAME)
    assert caught.value.seen.fault is Fault.DNS_LAME


def test_a_silent_first_server_costs_one_lookup(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those after it ask the others first."""
    with DnsServer(ONE, {ANY: "silence"}) as silent, DnsServer(ONE) as good:
        client = DnsClient([silent.address, good.address], PATIENT)
        monkeypatch.setattr("postfix_mtasts.adapters.dns.client.FIRST_TRY", 150)  # 0.2 s for each server at first
        assert client.txt(NAME).records == (RECORD,)
        monkeypatch.undo()
        asked = silent.asked.total()
        for _ in range(4):
            assert client.txt(NAME).records == (RECORD,)
    assert asked >= 1
    assert silent.asked.total() == asked


def test_a_first_server_that_nobody_runs_costs_one_lookup_too() -> None:
    """The same memory."""
    with DnsServer() as gone:
        pass
    with DnsServer(ONE) as good:
        client = DnsClient([gone.address, good.address], PATIENT)
        client.txt(NAME)
        with DnsServer({}, {ANY: "SERVFAIL"}, port=gone.port) as back:
            assert client.txt(NAME).records == (RECORD,)
        assert not back.asked


# For DANE


@pytest.mark.parametrize("behaviour", ["SERVFAIL", "REFUSED", "silence"])
def test_for_dane_servfail_of_a_validating_server_is_the_last_word(behaviour: str) -> None:
    """Another server could be made to say what the first refused to vouch for."""
    records = {("a.example", "MX"): ["1 mx.a.example."]}
    with DnsServer({}, {ANY: behaviour}) as validating, DnsServer(records, secure=True) as other:
        client = DnsClient([validating.address, other.address], 5.0)
        assert client.mx("a.example").secure
        asked = other.asked.total()
        if behaviour == "SERVFAIL":
            with pytest.raises(DnsError, match=f"SERVFAIL from {validating.address}$"):
                client.for_dane().mx("a.example")
            assert other.asked.total() == asked
        else:
            assert client.for_dane().mx("a.example").secure


def test_for_dane_servfail_of_a_server_whose_ad_does_not_count_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """It vouches for nothing, so its failure says nothing."""
    monkeypatch.setattr(Nameservers, "ad_counts", lambda self, server: server == other.address)
    records = {("a.example", "MX"): ["1 mx.a.example."]}
    with DnsServer({}, {ANY: "SERVFAIL"}) as remote, DnsServer(records, secure=True) as other:
        client = DnsClient([remote.address, other.address], PATIENT).for_dane()
        assert client.mx("a.example").secure


def test_ad_of_a_server_that_is_not_trusted_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """dns.trust_ad."""
    monkeypatch.setattr(Nameservers, "ad_counts", lambda self, server: False)
    with DnsServer(ONE, secure=True) as server:
        assert not ask(server).secure


@pytest.mark.parametrize("forgery", ["wrong-id", "wrong-name"])
def test_a_forged_datagram_does_not_end_the_query(forgery: str) -> None:
    """RFC 5452 section 9: it is passed over, and the right answer still counts."""
    with DnsServer(ONE, {ANY: forgery}) as server:
        assert ask(server).records == (RECORD,)
    assert server.asked[NAME, "TXT"] == 1


NOT_RESPONSES = [
    ("an empty datagram", lambda reply: b""),
    ("a header cut short", lambda reply: reply[:11]),
    ("the query sent back", lambda reply: reply[:2] + bytes([reply[2] & 0x7F]) + reply[3:]),
    ("another opcode", lambda reply: reply[:2] + bytes([reply[2] | 0x20]) + reply[3:]),
    ("two questions", lambda reply: reply[:5] + b"\2" + reply[6:]),
    ("success without question", lambda reply: reply[:4] + bytes(8)),
    ("NXDOMAIN without question", lambda reply: reply[:3] + b"\x83" + bytes(8)),
]


@pytest.mark.parametrize(("title", "forge"), NOT_RESPONSES, ids=[n[0] for n in NOT_RESPONSES])
def test_what_is_no_response_to_the_question_is_passed_over(title: str, forge: Callable[[bytes], bytes]) -> None:
    """From the right address even."""
    with DnsServer(ONE, {ANY: lambda reply, tcp: [forge(reply), reply]}) as server:
        assert ask(server).records == (RECORD,)


def test_a_resolver_may_change_the_case_of_the_question() -> None:
    """DNS names have no case (RFC 4343)."""
    with DnsServer(ONE, {ANY: lambda reply, tcp: [reply.replace(b"example", b"EXAMPLE")]}) as server:
        assert ask(server).records == (RECORD,)


def test_a_truncated_answer_is_asked_for_by_tcp() -> None:
    """RFC 7766."""
    with DnsServer({(NAME, "TXT"): [f'"{n} {"x" * 200}"' for n in range(100)]}, {ANY: "truncated"}) as server:
        assert len(ask(server).records) == 100
    assert server.asked_by_tcp[NAME, "TXT"] == 1


BROKEN_TCP = [
    ("for another query", lambda reply: bytes([reply[0] ^ 1]) + reply[1:], "another question"),
    ("truncated again", lambda reply: reply[:2] + bytes([reply[2] | 2]) + reply[3:], "truncated"),
]


@pytest.mark.parametrize(("title", "forge", "what"), BROKEN_TCP, ids=[b[0] for b in BROKEN_TCP])
def test_a_wrong_answer_by_tcp_is_a_failure(title: str, forge: Callable[[bytes], bytes], what: str) -> None:
    """Nobody but the server can have sent it: no waiting for another."""

    def behave(reply: bytes, tcp: bool) -> Iterable[bytes]:
        yield forge(reply) if tcp else reply[:2] + bytes([reply[2] | 2]) + reply[3:]

    with DnsServer(ONE, {ANY: behave}) as server, pytest.raises(DnsError, match=what):
        ask(server)


@pytest.mark.parametrize(
    ("sent", "what"),
    [(b"\0\xff" + b"\0" * 10, "half an answer"), (b"", "half an answer")],
    ids=["half an answer", "nothing"],
)
def test_a_tcp_connection_that_ends_early_is_a_failure(sent: bytes, what: str) -> None:
    """The truncated answer is never used instead."""
    with DnsServer(ONE, {ANY: "truncated"}) as udp:
        client = DnsClient([udp.address], PATIENT)
        udp._serve_connection = lambda sock: (sock.recv(2000), sock.sendall(sent), sock.close())  # type: ignore[method-assign]
        with pytest.raises(DnsError, match=what):
            client.txt(NAME)


def test_the_timeout_bounds_tcp_too() -> None:
    """A server that answers by UDP and hangs by TCP."""

    def behave(reply: bytes, tcp: bool) -> Iterable[bytes]:
        return [] if tcp else [reply[:2] + bytes([reply[2] | 2]) + reply[3:]]

    with DnsServer(ONE, {ANY: behave}) as server, pytest.raises(DnsError, match=r"no answer within 0\.2 s"):
        ask(server, timeout=HASTY)


def test_a_broken_record_is_a_failure() -> None:
    """An address of three bytes, a string longer than its record, a record longer than the message."""
    records: dict[tuple[str, str], list[str | bytes]] = {
        ("a.example", "A"): [b"\1\2\3"],
        ("a.example", "TXT"): [b"\x05abc"],
        ("a.example", "MX"): [b"\0\1\0\0"],
    }
    with DnsServer(records, {("b.example", "TXT"): "garbage"}) as server:
        client = DnsClient([server.address], PATIENT)
        for call, name in [
            (client.a, "a.example"),
            (client.txt, "a.example"),
            (client.mx, "a.example"),
            (client.txt, "b.example"),
        ]:
            with pytest.raises(DnsError, match=f"a broken answer .* from {server.address}"):
                call(name)


BAD_NAMES = [
    ("an empty label", "a..example"),
    ("a label of 64 bytes", "x" * 64 + ".example"),
    ("a name of 256 bytes", ".".join(["x" * 49] * 5) + ".xxxxx"),
    ("no ASCII", "münchen.example"),
    ("a broken escape", "a\\999.example"),
]


@pytest.mark.parametrize(("title", "name"), BAD_NAMES, ids=[b[0] for b in BAD_NAMES])
def test_a_name_that_dns_cannot_hold_is_not_asked(title: str, name: str) -> None:
    """DnsError, at once."""
    with DnsServer() as server, pytest.raises(DnsError, match="cannot be asked of DNS"):
        ask(server, name)
    assert not server.asked


def test_an_odd_name_in_an_answer_can_be_asked_for() -> None:
    """A dot or a blank within a label is escaped in text and comes back as it was."""
    with DnsServer({("a.example", "MX"): [r"10 mx\.1\032x.example."]}) as server:
        client = DnsClient([server.address], PATIENT)
        (mx,) = client.mx("a.example").records
        client.a(mx.host)
    assert mx.host == r"mx\.1\032x.example"
    assert server.queries[-1].question[0].name.labels == (b"mx.1 x", b"example", b"")


# The rest


def test_one_label_is_asked_as_it_is() -> None:
    """search and domain of resolv.conf never apply."""
    with DnsServer(ONE, {ANY: "silence"}) as server, pytest.raises(DnsError):
        ask(server, "_mta-sts", timeout=HASTY)
    assert set(server.asked) == {("_mta-sts", "TXT")}


STATES: list[tuple[str, str | None, bool, bool, Validation]] = [
    ("it validates", None, True, True, Validation.VALIDATES),
    ("it validates and is not trusted", None, True, False, Validation.NOT_TRUSTED),
    ("it does not validate", None, False, True, Validation.NO_AD),
    ("it does not validate and is not trusted", None, False, False, Validation.NO_AD),
    ("it is silent", "silence", True, True, Validation.NO_ANSWER),
    ("it fails", "SERVFAIL", True, True, Validation.NO_ANSWER),
]


@pytest.mark.parametrize(("title", "behaviour", "secure", "trusted", "want"), STATES, ids=[s[0] for s in STATES])
def test_the_roots_keys_tell_whether_dane_can_rest_on_the_resolver(
    title: str, behaviour: str | None, secure: bool, trusted: bool, want: Validation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unreachable resolver is told apart from one that does not validate."""
    monkeypatch.setattr(Nameservers, "ad_counts", lambda self, server: trusted)
    keys = {(".", "DNSKEY"): ["257 3 8 AwEAAaz/"]}
    with DnsServer(keys, {ANY: behaviour} if behaviour else {}, secure=secure) as server:
        state = DnsClient([server.address], HASTY if behaviour == "silence" else PATIENT).judge_resolvers()
    assert (state.validation, state.servers) == (want, (server.address,))
    assert state.untrusted == (() if trusted else (server.address,))
    assert bool(state.reason) is (want is Validation.NO_ANSWER)


RESULTS = [
    ("noerror", NAME, None),
    ("nodata", "example.com", None),
    ("nxdomain", "nothing.example", None),
    ("servfail", NAME, "SERVFAIL"),
    ("timeout", NAME, "silence"),
    ("refused", NAME, "REFUSED"),
    ("formerr", NAME, "FORMERR"),
    ("notimp", NAME, "NOTIMP"),
    ("badvers", NAME, "BADVERS"),
    ("other", NAME, "YXDOMAIN"),
    ("lame", "nothing.example", lame),
    ("broken", NAME, "garbage"),
]


@pytest.mark.parametrize(("result", "name", "behaviour"), RESULTS, ids=[r[0] for r in RESULTS])
def test_each_name_is_counted_once(result: str, name: str, behaviour: Any) -> None:
    """By a result from a fixed set, retries or not."""
    counted: list[tuple[str, str]] = []
    with DnsServer(ONE, {ANY: behaviour} if behaviour else {}) as server:
        timeout = HASTY if behaviour == "silence" else PATIENT
        client = DnsClient([server.address], timeout, count=lambda *what: counted.append(what))
        with contextlib.suppress(DnsError):
            client.txt(name)
    assert counted == [("TXT", result)]


def test_nobody_listening_is_counted_as_unreachable() -> None:
    """Told apart from silence."""
    counted: list[tuple[str, str]] = []
    with DnsServer() as server:
        pass
    with pytest.raises(DnsError):
        DnsClient([server.address], PATIENT, count=lambda *what: counted.append(what)).txt(NAME)
    assert counted == [("TXT", "unreachable")]


def test_many_threads_ask_at_once() -> None:
    """Each gets its own answer, none waits for another's."""
    names = [f"n{n}.example" for n in range(20)]
    release = threading.Event()
    got: dict[str, Any] = {}
    with DnsServer({(name, "TXT"): [f'"{name}"'] for name in names}, {ANY: release}) as server:
        client = DnsClient([server.address], PATIENT)
        threads = [threading.Thread(target=lambda n=name: got.update({n: client.txt(n).records})) for name in names]
        for thread in threads:
            thread.start()
        while len(server.asked) < len(names):  # all are under way before one is answered
            threading.Event().wait(0.001)
        release.set()
        for thread in threads:
            thread.join(PATIENT)
    assert got == {name: (name.encode(),) for name in names}


def wire(name: str, *texts: str) -> bytes:
    reply = dns.message.make_response(dns.message.make_query(name, "TXT"))
    reply.answer.append(dns.rrset.from_text(name + ".", 300, "IN", "TXT", *texts))
    return reply.to_wire()


def test_an_answer_of_the_probe_is_read_like_ones_own() -> None:
    """And counted, since it answers a query."""
    counted: list[tuple[str, str]] = []
    client = DnsClient(["127.0.0.1:53"], PATIENT, count=lambda *what: counted.append(what))
    want = DnsAnswer((RECORD,), secure=False, ttl=300.0, name=NAME)
    assert client.txt_from_wire(NAME, wire(NAME, '"v=STSv1; id=1"')) == want
    assert counted == [("TXT", "noerror")]


USELESS = [
    ("of another name", "_mta-sts.example.org", wire(NAME, '"x"')),
    ("empty", NAME, b""),
    ("cut short", NAME, wire(NAME, '"x"')[:-1]),
    ("truncated", NAME, wire(NAME, '"x"')[:2] + b"\x83" + wire(NAME, '"x"')[3:]),
    ("a failure", NAME, wire(NAME, '"x"')[:3] + b"\x02" + wire(NAME, '"x"')[4:]),
]


@pytest.mark.parametrize(("title", "name", "message"), USELESS, ids=[u[0] for u in USELESS])
def test_a_useless_answer_of_the_probe_is_none(title: str, name: str, message: bytes) -> None:
    """Then the name is asked for in full."""
    assert DnsClient(["127.0.0.1:53"], PATIENT).txt_from_wire(name, message) is None


MESSAGES = [wire(NAME, '"x"'), wire(NAME, '"x" "yz"', '"v=STSv1; id=1"')]


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    message = bytearray(draw(st.sampled_from(MESSAGES)))
    for _ in range(draw(st.integers(0, 4))):
        message[draw(st.integers(2, len(message) - 1))] = draw(st.integers(0, 255))
    return bytes(message[: draw(st.integers(0, len(message)))]) if draw(st.booleans()) else bytes(message)


@given(st.binary(max_size=100) | mutated())
def test_no_message_whatever_raises(message: bytes) -> None:
    """And where both we and dnspython read records, they are the same."""
    answer = DnsClient(["127.0.0.1:53"], PATIENT).txt_from_wire(NAME, message)
    if answer is None:
        return
    try:
        parsed = dns.message.from_wire(message)
        chain = parsed.resolve_chaining()
    except Exception:  # noqa: BLE001 -- dnspython also reads what we never look at
        return
    theirs = {b"".join(record.strings) for record in chain.answer or ()}
    assert set(answer.records) == theirs


def test_the_socket_module_is_never_asked_to_resolve(monkeypatch: pytest.MonkeyPatch) -> None:
    """Addresses of servers are numbers: no name lookup hides in a DNS query."""
    real = socket.getaddrinfo

    def numeric_only(*args: Any, **options: Any) -> Any:
        assert options["flags"] & socket.AI_NUMERICHOST
        return real(*args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", numeric_only)
    with DnsServer(ONE) as server:
        assert ask(server).records == (RECORD,)
