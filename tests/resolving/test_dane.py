"""resolving/dane.py: each row of the DANE table, over literal records."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mtasts.core.dane import DaneFacts, DaneStatus, judge, without_tlsa
from postfix_mtasts.core.dnsdata import DnsAnswer, Mx, Tlsa
from postfix_mtasts.core.names import Domain
from postfix_mtasts.errors import DnsError
from postfix_mtasts.resolving.dane import HOST_LIMIT, facts, in_a_thread
from tests.support.fakes.faults import servfail

USABLE, UNUSABLE, UNKNOWN = DaneStatus.USABLE, DaneStatus.UNUSABLE, DaneStatus.UNKNOWN
DOMAIN = Domain("example.com")

Zone = Mapping[tuple[str, str], DnsAnswer[Any] | DnsError]

EE = Tlsa(3, 1, 1, bytes(32))
PKIX = Tlsa(1, 1, 1, bytes(32))
SERVFAIL = servfail()


def yes(*records: Any, name: str = "", ttl: float = 600.0) -> DnsAnswer[Any]:
    """A secure answer; *name* is the final name where there was an alias."""
    return DnsAnswer(records, True, ttl, name)


def no(*records: Any, name: str = "") -> DnsAnswer[Any]:
    """An insecure answer."""
    return DnsAnswer(records, False, 600.0, name)


NXDOMAIN: DnsAnswer[Any] = DnsAnswer((), True, 600.0, "", exists=False)
INSECURE_NXDOMAIN: DnsAnswer[Any] = DnsAnswer((), False, 600.0, "", exists=False)


class FakeDns:
    """Answers from a zone; what is not in it exists without records, securely."""

    def __init__(self, zone: Zone) -> None:
        self.zone = zone
        self.asked: list[tuple[str, str]] = []

    def for_dane(self) -> FakeDns:
        return self

    def __getattr__(self, question: str) -> Any:
        def ask(name: str) -> DnsAnswer[Any]:
            self.asked.append((question, name))
            answer = self.zone.get((question, name), yes())
            if isinstance(answer, DnsError):
                raise answer
            return DnsAnswer(answer.records, answer.secure, answer.ttl, answer.name or name, answer.exists)

        return ask


ONE = {("mx", "example.com"): yes(Mx(10, "mx.example.com")), ("a", "mx.example.com"): yes("192.0.2.1")}
ALIAS = {("mx", "example.com"): yes(Mx(10, "mx.example.com")), ("tlsa", "_25._tcp.mx.example.com"): yes(EE)}
TLSA, AT_HOST = ("tlsa", "_25._tcp.mx.example.com"), ("tlsa", "_25._tcp.host.example.net")
TWO = {
    ("mx", "example.com"): yes(Mx(10, "mx1.example.com"), Mx(20, "mx2.example.com")),
    ("a", "mx1.example.com"): yes("192.0.2.1"),
    ("a", "mx2.example.com"): yes("192.0.2.2"),
    ("tlsa", "_25._tcp.mx2.example.com"): yes(EE),
}

ROWS: list[tuple[str, Zone, DaneStatus, str]] = [
    # -- usable
    ("a secure MX set, a secure address, usable TLSA", {**ONE, TLSA: yes(EE)}, USABLE, "TLSA 3 1 1 at _25._tcp.mx"),
    (
        "an IPv6 host",
        {**ONE, ("a", "mx.example.com"): yes(), ("aaaa", "mx.example.com"): yes("2001:db8::1"), TLSA: yes(EE)},
        USABLE,
        "TLSA 3 1 1",
    ),
    (
        "the A record cannot be had, but the AAAA record",
        {**ONE, ("a", "mx.example.com"): SERVFAIL, ("aaaa", "mx.example.com"): yes("2001:db8::1"), TLSA: yes(EE)},
        USABLE,
        "TLSA 3 1 1",
    ),
    (
        "a secure A record does without AAAA",
        {**ONE, ("aaaa", "mx.example.com"): SERVFAIL, TLSA: yes(EE)},
        USABLE,
        "TLSA",
    ),
    ("one usable TLSA record among others", {**ONE, TLSA: yes(PKIX, EE)}, USABLE, "TLSA 3 1 1"),
    ("one host of two", {**TWO, ("tlsa", "_25._tcp.mx1.example.com"): yes()}, USABLE, "mx2.example.com: TLSA 3 1 1"),
    (
        "a failing host among good ones",
        {**TWO, ("a", "mx1.example.com"): SERVFAIL},
        USABLE,
        "mx2.example.com: TLSA 3 1 1",
    ),
    (
        "failing TLSA among good ones",
        {**TWO, ("tlsa", "_25._tcp.mx1.example.com"): SERVFAIL},
        USABLE,
        "mx2.example.com",
    ),
    (
        "no MX, with AD, but an address: the domain is the MX host",
        {
            ("mx", "example.com"): yes(),
            ("a", "example.com"): yes("192.0.2.1"),
            ("tlsa", "_25._tcp.example.com"): yes(EE),
        },
        USABLE,
        "example.com: TLSA 3 1 1",
    ),
    (
        "a secure alias: the final name first",
        {**ALIAS, ("a", "mx.example.com"): yes("192.0.2.1", name="host.example.net"), AT_HOST: yes(EE)},
        USABLE,
        "at _25._tcp.host.example.net",
    ),
    (
        "a secure alias without TLSA at its final name: then the name itself",
        {**ALIAS, ("a", "mx.example.com"): yes("192.0.2.1", name="host.example.net")},
        USABLE,
        "at _25._tcp.mx.example.com",
    ),
    (
        "insecure TLSA at the final name counts as none",
        {**ALIAS, ("a", "mx.example.com"): yes("192.0.2.1", name="host.example.net"), AT_HOST: no(EE)},
        USABLE,
        "at _25._tcp.mx.example.com",
    ),
    (
        "an insecure address behind a secure alias: the name itself",
        {
            **ALIAS,
            ("a", "mx.example.com"): no("192.0.2.1", name="host.example.net"),
            ("cname", "mx.example.com"): yes("host.example.net"),
            AT_HOST: yes(EE),
        },
        USABLE,
        "at _25._tcp.mx.example.com",
    ),
    # -- unusable: MTA-STS as without DANE
    (
        "an insecure MX set, whatever TLSA says",
        {**ONE, ("mx", "example.com"): no(Mx(1, "mx.example.com")), TLSA: yes(EE)},
        UNUSABLE,
        "the MX set of example.com is not secure",
    ),
    (
        "an insecure answer without MX",
        {("mx", "example.com"): no(), ("a", "example.com"): yes("192.0.2.1")},
        UNUSABLE,
        "not secure",
    ),
    ("a null MX", {("mx", "example.com"): yes(Mx(0, ""))}, UNUSABLE, "example.com takes no mail (null MX)"),
    ("no such domain", {("mx", "example.com"): NXDOMAIN}, UNUSABLE, "example.com does not exist"),
    ("no such domain, insecurely", {("mx", "example.com"): INSECURE_NXDOMAIN}, UNUSABLE, "not secure"),
    ("no TLSA", ONE, UNUSABLE, "mx.example.com: no TLSA record at _25._tcp.mx.example.com"),
    ("the TLSA name does not exist", {**ONE, TLSA: NXDOMAIN}, UNUSABLE, "no TLSA record at"),
    ("insecure TLSA", {**ONE, TLSA: no(EE)}, UNUSABLE, "the TLSA records at _25._tcp.mx.example.com are not secure"),
    ("unusable TLSA only", {**ONE, TLSA: yes(PKIX)}, UNUSABLE, "usage 1 (PKIX) is not for SMTP"),
    (
        "an insecure address",
        {**ONE, ("a", "mx.example.com"): no("192.0.2.1"), TLSA: yes(EE)},
        UNUSABLE,
        "its address is not secure",
    ),
    (
        "an insecure A record settles a host even where its AAAA fails",
        {**ONE, ("a", "mx.example.com"): no("192.0.2.1"), ("aaaa", "mx.example.com"): SERVFAIL, TLSA: yes(EE)},
        UNUSABLE,
        "its address is not secure",
    ),
    ("a host without address", {**ONE, ("a", "mx.example.com"): yes(), TLSA: yes(EE)}, UNUSABLE, "no address"),
    (
        "an insecure AAAA record settles it too",
        {**ONE, ("a", "mx.example.com"): SERVFAIL, ("aaaa", "mx.example.com"): no("2001:db8::1"), TLSA: yes(EE)},
        UNUSABLE,
        "its address is not secure",
    ),
    (
        "a host that does not exist needs no AAAA",
        {**ONE, ("a", "mx.example.com"): NXDOMAIN, ("aaaa", "mx.example.com"): SERVFAIL},
        UNUSABLE,
        "no address",
    ),
    ("no MX and no address", {("mx", "example.com"): yes()}, UNUSABLE, "example.com: no address"),
    (
        "an insecure alias",
        {
            **ALIAS,
            ("a", "mx.example.com"): no("192.0.2.1", name="host.example.net"),
            ("cname", "mx.example.com"): no("host.example.net"),
        },
        UNUSABLE,
        "neither its address nor its alias is secure",
    ),
    (
        "a final name whose address is insecure is never asked for TLSA",
        {
            **ONE,
            ("a", "mx.example.com"): no("192.0.2.1", name="host.example.net"),
            ("cname", "mx.example.com"): yes("host.example.net"),
            AT_HOST: yes(EE),
        },
        UNUSABLE,
        "no TLSA record at _25._tcp.mx.example.com",
    ),
    (
        "unusable TLSA at the final name settles the host (2.2.3)",
        {**ALIAS, ("a", "mx.example.com"): yes("192.0.2.1", name="host.example.net"), AT_HOST: yes(PKIX)},
        UNUSABLE,
        "usage 1 (PKIX)",
    ),
    (
        "a name too long for TLSA",
        {("mx", "example.com"): yes(Mx(1, "x." * 122 + "test")), ("a", "x." * 122 + "test"): yes("192.0.2.1")},
        UNUSABLE,
        "... is longer than a domain name",
    ),
    # -- unknown: an earlier answer, else TEMP
    (
        "the MX answer cannot be had",
        {("mx", "example.com"): SERVFAIL},
        UNKNOWN,
        "the MX set of example.com cannot be read",
    ),
    (
        "no address answer can be had",
        {**ONE, ("a", "mx.example.com"): SERVFAIL, ("aaaa", "mx.example.com"): SERVFAIL},
        UNKNOWN,
        "mx.example.com: SERVFAIL",
    ),
    (
        "no A record, and the AAAA answer cannot be had",
        {**ONE, ("a", "mx.example.com"): yes(), ("aaaa", "mx.example.com"): SERVFAIL},
        UNKNOWN,
        "mx.example.com: SERVFAIL",
    ),
    ("the A answer cannot be had, and no AAAA record", {**ONE, ("a", "mx.example.com"): SERVFAIL}, UNKNOWN, "SERVFAIL"),
    ("the TLSA answer cannot be had", {**ONE, TLSA: SERVFAIL}, UNKNOWN, "mx.example.com: SERVFAIL"),
    (
        "the TLSA answer at the final name cannot be had",
        {**ALIAS, ("a", "mx.example.com"): yes("192.0.2.1", name="host.example.net"), AT_HOST: SERVFAIL},
        UNKNOWN,
        "mx.example.com: SERVFAIL",
    ),
    (
        "the alias of an insecure address cannot be had",
        {
            **ALIAS,
            ("a", "mx.example.com"): no("192.0.2.1", name="host.example.net"),
            ("cname", "mx.example.com"): SERVFAIL,
        },
        UNKNOWN,
        "mx.example.com: SERVFAIL",
    ),
    (
        "the alias of an insecure address is gone",
        {**ALIAS, ("a", "mx.example.com"): no("192.0.2.1", name="host.example.net")},
        UNKNOWN,
        "an alias in one answer of DNS and none in the next",
    ),
    (
        "no host usable, one failing",
        {**TWO, ("tlsa", "_25._tcp.mx2.example.com"): SERVFAIL},
        UNKNOWN,
        "mx2.example.com: SERVFAIL",
    ),
    (
        "no MX, and the domain's address cannot be had",
        {("mx", "example.com"): yes(), ("a", "example.com"): SERVFAIL},
        UNKNOWN,
        "example.com: SERVFAIL",
    ),
]


@pytest.mark.parametrize(("title", "zone", "status", "reason"), ROWS, ids=[row[0] for row in ROWS])
def test_the_table(title: str, zone: Zone, status: DaneStatus, reason: str) -> None:
    """What DNS says, and the status it comes to."""
    got = judge(facts(DOMAIN, 25, FakeDns(zone)))
    assert got[0] is status, got
    assert reason in got[1]


def asked(zone: Zone, port: int = 25) -> list[str]:
    dns = FakeDns(zone)
    facts(DOMAIN, port, dns)
    return [f"{question} {name}" for question, name in dns.asked]


QUERIES: list[tuple[str, Zone, list[str]]] = [
    ("an insecure MX set costs one", {**ONE, ("mx", "example.com"): no(Mx(1, "mx.example.com"))}, ["mx example.com"]),
    ("a null MX costs one", {("mx", "example.com"): yes(Mx(0, ""))}, ["mx example.com"]),
    ("no such domain costs one", {("mx", "example.com"): NXDOMAIN}, ["mx example.com"]),
    ("a failing MX answer costs one", {("mx", "example.com"): SERVFAIL}, ["mx example.com"]),
    (
        "a host with an insecure address is not asked for TLSA",
        {**ONE, ("a", "mx.example.com"): no("192.0.2.1")},
        ["mx example.com", "a mx.example.com"],
    ),
    ("a common host costs two", ONE, ["mx example.com", "a mx.example.com", "tlsa _25._tcp.mx.example.com"]),
    (
        "the most a host can cost: A, AAAA, TLSA, TLSA",
        {
            **ONE,
            ("a", "mx.example.com"): yes(),
            ("aaaa", "mx.example.com"): yes("2001:db8::1", name="host.example.net"),
        },
        [
            "mx example.com",
            "a mx.example.com",
            "aaaa mx.example.com",
            "tlsa _25._tcp.host.example.net",
            "tlsa _25._tcp.mx.example.com",
        ],
    ),
    (
        "a usable host does not end the asking: dane-partial names the others",
        {**TWO, ("tlsa", "_25._tcp.mx1.example.com"): yes(EE)},
        [
            "mx example.com",
            "a mx1.example.com",
            "tlsa _25._tcp.mx1.example.com",
            "a mx2.example.com",
            "tlsa _25._tcp.mx2.example.com",
        ],
    ),
]


@pytest.mark.parametrize(("title", "zone", "want"), QUERIES, ids=[row[0] for row in QUERIES])
def test_what_is_asked(title: str, zone: Zone, want: list[str]) -> None:
    """No query more than the answer needs."""
    assert asked(zone) == want


def test_tlsa_is_asked_at_the_port() -> None:
    """For domain:PORT the records of that port count."""
    assert asked(ONE, port=587)[-1] == "tlsa _587._tcp.mx.example.com"


def test_sixteen_hosts_in_preference_order() -> None:
    """Of more MX hosts the sixteen most preferred are asked about, each once, in an order that DNS cannot shuffle."""
    records = [Mx(50 - number, f"mx{number}.example.com") for number in range(40)]
    got = facts(DOMAIN, 25, FakeDns({("mx", "example.com"): yes(Mx(0, ""), *records, Mx(60, "mx39.example.com"))}))
    assert [host.name for host in got.hosts] == [f"mx{number}.example.com" for number in range(39, 39 - HOST_LIMIT, -1)]


def test_the_smallest_ttl_counts() -> None:
    """A status holds no longer than the answer that is the first to end."""
    zone = {**ONE, ("mx", "example.com"): yes(Mx(1, "mx.example.com"), ttl=900.0), TLSA: yes(EE, ttl=61.0)}
    assert facts(DOMAIN, 25, FakeDns(zone)).ttl == 61.0


def test_the_hosts_without_tlsa_have_names() -> None:
    """dane-partial names the hosts that Postfix will pass over, not those that DNS failed for."""
    zone: dict[tuple[str, str], Any] = {
        **TWO,
        ("mx", "example.com"): yes(*(Mx(number, f"mx{number}.example.com") for number in (1, 2, 3, 4))),
    }
    zone[("a", "mx3.example.com")] = no("192.0.2.3")
    zone[("a", "mx4.example.com")] = SERVFAIL
    zone[("aaaa", "mx4.example.com")] = SERVFAIL
    assert without_tlsa(facts(DOMAIN, 25, FakeDns(zone))) == ("mx1.example.com", "mx3.example.com")


class SlowDns(FakeDns):
    """FakeDns that answers about *slow* hosts once the test lets it."""

    def __init__(self, zone: Zone, slow: str) -> None:
        super().__init__(zone)
        self.slow, self.released = slow, threading.Event()

    def __getattr__(self, question: str) -> Any:
        ask = super().__getattr__(question)

        def slowly(name: str) -> DnsAnswer[Any]:
            if name.endswith(self.slow):
                assert self.released.wait(30)
            return ask(name)  # type: ignore[no-any-return]

        return slowly


SEVEN = {
    ("mx", "example.com"): yes(*(Mx(number, f"mx{number}.dead.test") for number in range(6)), Mx(9, "mx.example.com")),
    ("a", "mx.example.com"): yes("192.0.2.1"),
    TLSA: yes(EE, ttl=61.0),
}


def test_a_usable_host_is_told_while_others_do_not_answer() -> None:
    """Six hosts whose name servers are silent, all of them preferred, hold up no verdict."""
    dns, told = SlowDns(SEVEN, "dead.test"), queue.SimpleQueue[DaneFacts]()
    done: list[DaneFacts] = []
    reading = threading.Thread(
        target=lambda: done.append(facts(DOMAIN, 25, dns, beside=in_a_thread, early=told.put)), daemon=True
    )
    reading.start()
    early = told.get(timeout=30)
    assert (judge(early)[0], early.complete, early.ttl) == (USABLE, False, 61.0)
    assert [host.name for host in early.hosts] == ["mx.example.com"]
    assert done == []
    dns.released.set()
    reading.join(30)
    assert (done[0].complete, done[0].ttl, told.empty()) == (True, 61.0, True)
    assert without_tlsa(done[0]) == tuple(f"mx{number}.dead.test" for number in range(6))


def test_all_hosts_are_asked_about_at_the_same_time() -> None:
    """Each of seven hosts is answered only when all seven have been asked about."""
    all_asked = threading.Barrier(7)

    class Patient(FakeDns):
        def a(self, name: str) -> DnsAnswer[Any]:
            all_asked.wait(30)
            answer: DnsAnswer[Any] = self.__getattr__("a")(name)
            return answer

    assert judge(facts(DOMAIN, 25, Patient(SEVEN), beside=in_a_thread))[0] is USABLE


def test_threads_that_never_come_cost_time_only() -> None:
    """Where no thread is to be had, the hosts are asked about one after the other, each once."""
    dns, told = FakeDns(SEVEN), list[DaneFacts]()
    got = facts(DOMAIN, 25, dns, beside=lambda work: None, early=told.append)
    assert [host.name for host in got.hosts] == [*(f"mx{number}.dead.test" for number in range(6)), "mx.example.com"]
    assert (got.complete, told) == (True, [])
    assert len(set(dns.asked)) == len(dns.asked)


def test_threads_that_come_late_find_nothing_to_do() -> None:
    """A thread that is free only when all hosts are read asks nothing."""
    dns, late = FakeDns(SEVEN), list[Callable[[], None]]()
    facts(DOMAIN, 25, dns, beside=late.append)
    count = len(dns.asked)
    for work in late:
        work()
    assert len(dns.asked) == count


def test_the_first_usable_host_is_told_once() -> None:
    """Two usable hosts and more to ask about: one early verdict, and the whole at the end."""
    told: list[DaneFacts] = []
    zone = {**TWO, ("mx", "example.com"): yes(*(Mx(number, f"mx{number}.example.com") for number in (1, 2, 3, 4)))}
    zone[("tlsa", "_25._tcp.mx1.example.com")] = yes(EE)
    got = facts(DOMAIN, 25, FakeDns(zone), early=told.append)
    assert [len(early.hosts) for early in told] == [1]
    assert (len(got.hosts), got.complete) == (4, True)


def test_a_bug_in_a_thread_beside_is_raised_in_the_end() -> None:
    """An error of our own in a helping thread must not leave the reading waiting for ever."""

    class BrokenDns(FakeDns):
        def a(self, name: str) -> DnsAnswer[Any]:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        facts(DOMAIN, 25, BrokenDns(SEVEN), beside=in_a_thread)


HOSTS = ["", "example.com", "mx.example.com", "host.example.net", "x." * 126 + "y"]
NAMES = st.sampled_from(HOSTS)
NUMBERS = st.sampled_from([0, 1, 2, 3, 255])
RECORDS: dict[str, st.SearchStrategy[Any]] = {
    "mx": st.builds(Mx, NUMBERS, NAMES),
    "a": st.just("192.0.2.1"),
    "aaaa": st.just("2001:db8::1"),
    "cname": NAMES,
    "tlsa": st.builds(Tlsa, NUMBERS, NUMBERS, NUMBERS, st.sampled_from([b"", bytes(32), bytes(64)])) | st.just(EE),
}


def answers(records: st.SearchStrategy[Any]) -> st.SearchStrategy[DnsAnswer[Any] | DnsError]:
    return st.just(SERVFAIL) | st.builds(
        DnsAnswer, st.lists(records, max_size=3).map(tuple), st.booleans(), st.floats(0, 1e6), NAMES, st.booleans()
    )


ZONES: st.SearchStrategy[Zone] = st.fixed_dictionaries(
    {
        (question, f"_25._tcp.{host}" if question == "tlsa" else host): answers(records)
        for question, records in RECORDS.items()
        for host in HOSTS
    }
)


def secure(zone: Zone, question: str, name: str) -> bool:
    answer = zone.get((question, name))
    return isinstance(answer, DnsAnswer) and answer.secure and bool(answer.records)


@given(ZONES)
def test_no_records_whatever_make_dane_of_what_is_not_secure(zone: Zone) -> None:
    """Nothing raises, and usable takes a secure MX answer, a secure address or alias, and a secure TLSA record."""
    got: DaneFacts = facts(DOMAIN, 25, FakeDns(zone))
    if judge(got)[0] is not USABLE:
        return
    mx = zone[("mx", "example.com")]
    assert isinstance(mx, DnsAnswer)
    assert mx.secure
    for host in got.hosts:
        if host.state is USABLE:
            assert any(secure(zone, question, host.name) for question in ("a", "aaaa", "cname"))
            base = host.detail.rpartition("_25._tcp.")[2]
            assert secure(zone, "tlsa", f"_25._tcp.{base}")
            assert any(record.usage in (2, 3) for record in zone[("tlsa", f"_25._tcp.{base}")].records)  # type: ignore


def test_no_threads_to_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the hosts are asked about one after the other."""

    def refused(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refused)
    assert facts(DOMAIN, 25, FakeDns(SEVEN), beside=in_a_thread).complete
