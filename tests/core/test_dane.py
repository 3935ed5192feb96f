"""core/dane.py: which TLSA records count, what hosts make of a domain, and how long that holds."""

from __future__ import annotations

import datetime
import itertools

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from postfix_mtasts.core.answering import of_policy
from postfix_mtasts.core.dane import (
    DaneFacts,
    DaneReading,
    DaneStatus,
    Freshness,
    HostFacts,
    freshness,
    host_status,
    judge,
    take,
    unusable,
    without_tlsa,
)
from postfix_mtasts.core.dnsdata import Tlsa
from postfix_mtasts.core.names import Domain
from postfix_mtasts.core.policy import parse_policy
from postfix_mtasts.core.reply import answer_text
from postfix_mtasts.core.verdict import Kind
from tests.support.fakes.faults import seen
from tests.support.fakes.postfix_grammar import read_result

USABLE, UNUSABLE, UNKNOWN = DaneStatus.USABLE, DaneStatus.UNUSABLE, DaneStatus.UNKNOWN
HOUR, DAY = 3600.0, 86_400.0


def _certificate() -> tuple[bytes, bytes]:
    """A certificate and its public key, in DER."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "mx.example.com")])
    begin = datetime.datetime(2024, 1, 1)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, begin, begin + datetime.timedelta(days=9))
    info = serialization.PublicFormat.SubjectPublicKeyInfo
    return (
        builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER),
        key.public_key().public_bytes(serialization.Encoding.DER, info),
    )


CERTIFICATE, PUBLIC_KEY = _certificate()

GOOD = [
    ("DANE-EE SPKI SHA2-256", Tlsa(3, 1, 1, bytes(32))),
    ("DANE-TA Cert SHA2-256", Tlsa(2, 0, 1, bytes(32))),
    ("DANE-TA SPKI SHA2-512", Tlsa(2, 1, 2, bytes(64))),
    ("DANE-EE Cert SHA2-512", Tlsa(3, 0, 2, bytes(64))),
    ("DANE-TA Cert Full", Tlsa(2, 0, 0, CERTIFICATE)),
    ("DANE-EE SPKI Full", Tlsa(3, 1, 0, PUBLIC_KEY)),
]

BAD = [
    ("PKIX-TA is not for SMTP (RFC 7672 3.1.3)", Tlsa(0, 0, 1, bytes(32)), "usage 0 (PKIX) is not for SMTP"),
    ("PKIX-EE is not for SMTP (RFC 7672 3.1.3)", Tlsa(1, 1, 1, bytes(32)), "usage 1 (PKIX) is not for SMTP"),
    ("an unknown usage", Tlsa(4, 1, 1, bytes(32)), "usage 4 is not 2 or 3"),
    ("a private usage", Tlsa(255, 1, 1, bytes(32)), "usage 255 is not 2 or 3"),
    ("an unknown selector", Tlsa(3, 2, 1, bytes(32)), "selector 2 is not 0 or 1"),
    ("an unknown matching type", Tlsa(3, 1, 3, bytes(32)), "matching type 3 is not 0, 1 or 2"),
    ("SHA2-256 one byte short", Tlsa(3, 1, 1, bytes(31)), "31 bytes are not a SHA2-256 digest, which has 32"),
    ("SHA2-256 one byte long", Tlsa(3, 1, 1, bytes(33)), "33 bytes are not a SHA2-256 digest, which has 32"),
    (
        "SHA2-512 with the length of SHA2-256",
        Tlsa(3, 1, 2, bytes(32)),
        "32 bytes are not a SHA2-512 digest, which has 64",
    ),
    ("an empty digest", Tlsa(3, 1, 1, b""), "0 bytes are not a SHA2-256 digest, which has 32"),
    ("no public key at all", Tlsa(3, 1, 0, b""), "0 bytes are not a public key in DER"),
    ("a digest said to be a public key", Tlsa(3, 1, 0, bytes(32)), "32 bytes are not a public key in DER"),
    ("a SEQUENCE cut off after its tag", Tlsa(3, 1, 0, b"\x30"), "1 bytes are not a public key in DER"),
    ("a SEQUENCE without contents", Tlsa(3, 1, 0, b"\x30\x00"), "2 bytes are not a public key in DER"),
    (
        "a SEQUENCE of indefinite length",
        Tlsa(3, 1, 0, b"\x30\x80\x30\x00\x03\x00\x00\x00"),
        "8 bytes are not a public key in",
    ),
    ("a public key said to be a certificate", Tlsa(2, 0, 0, PUBLIC_KEY), "bytes are not a certificate in DER"),
    ("a certificate said to be a public key", Tlsa(2, 1, 0, CERTIFICATE), "bytes are not a public key in DER"),
    ("a public key cut short", Tlsa(3, 1, 0, PUBLIC_KEY[:-1]), "bytes are not a public key in DER"),
    ("bytes after a certificate", Tlsa(3, 0, 0, CERTIFICATE + b"\x00"), "bytes are not a certificate in DER"),
]


@pytest.mark.parametrize(("title", "tlsa"), GOOD, ids=[row[0] for row in GOOD])
def test_usable(title: str, tlsa: Tlsa) -> None:
    """Usage 2 or 3, selector 0 or 1, matching type 0, 1 or 2, and data to match."""
    assert unusable(tlsa) is None


@pytest.mark.parametrize(("title", "tlsa", "want"), BAD, ids=[row[0] for row in BAD])
def test_unusable(title: str, tlsa: Tlsa, want: str) -> None:
    """What Postfix cannot go by, and why."""
    assert want in str(unusable(tlsa))


def permitted(tlsa: Tlsa) -> bool:
    """RFC 7672 section 3.1 and RFC 6698 section 2.1, written down once more and as plainly as can be."""
    if tlsa.usage not in (2, 3) or tlsa.selector not in (0, 1):
        return False
    if tlsa.matching == 0:
        return tlsa.data == (CERTIFICATE if tlsa.selector == 0 else PUBLIC_KEY)
    return (tlsa.matching, len(tlsa.data)) in ((1, 32), (2, 64))


DATA = [
    *(bytes(length) for length in (0, 31, 32, 33, 63, 64, 65)),
    *(b"\xff" * length for length in (32, 64)),
    CERTIFICATE,
    PUBLIC_KEY,
    CERTIFICATE[:-1],
    PUBLIC_KEY + b"\0",
    b"\x30\x1e" + bytes(30),  # a SEQUENCE of 32 bytes
    b"-----BEGIN CERTIFICATE-----",
]


def test_every_combination() -> None:
    """Of the four fields, known and unknown values alike: 1,800 records, 24 of them usable."""
    fields = itertools.product((0, 1, 2, 3, 4, 255), (0, 1, 2, 255), (0, 1, 2, 3, 255), DATA)
    records = [Tlsa(*each) for each in fields]
    assert [record for record in records if (unusable(record) is None) != permitted(record)] == []
    assert (len(records), sum(map(permitted, records))) == (1800, 24)


bytes_of_records = st.sampled_from(DATA) | st.binary(max_size=70)
numbers = st.sampled_from([0, 1, 2, 3, 4, 255]) | st.integers(0, 255)
any_records = st.lists(st.builds(Tlsa, numbers, numbers, numbers, bytes_of_records), min_size=1, max_size=4)
hosts = st.lists(any_records | st.none(), max_size=4)  # None: this host's answers cannot be had
earlier_status = st.none() | st.sampled_from(DaneStatus)
POLICY = parse_policy(b"version: STSv1\nmode: enforce\nmx: *.example.com\nmax_age: 86400\n")


@given(hosts, earlier_status, st.booleans())
def test_no_tlsa_records_whatever_hold_mail_up(
    records: list[list[Tlsa] | None], before: DaneStatus | None, tlsrpt: bool
) -> None:
    """Postfix can read every answer, gets dane-only where it can go by a record, TEMP where nothing was to be had."""
    told = [(UNKNOWN, seen("SERVFAIL")) if each is None else host_status("_25._tcp.mx", each) for each in records]
    found = DaneFacts(USABLE, seen(""), tuple(HostFacts("mx.example.com", *each) for each in told), 60.0)
    earlier = None if before is None else DaneReading(before, "earlier", 0.0, 60.0)
    reading = take(found, earlier, HOUR)
    verdict = of_policy(POLICY, 60.0, (reading.status, reading.reason))
    text = answer_text(verdict, Domain("example.com"), tlsrpt)

    usable = any(permitted(record) for each in records if each is not None for record in each)
    unread = not usable and None in records
    if usable or (unread and before is USABLE):
        assert read_result(text.encode()) == ("dane-only", [])
    elif unread and before is not UNUSABLE:
        assert verdict.kind is Kind.TEMP
        assert text.isprintable()
    else:
        level, attributes = read_result(text.encode())
        assert (level, attributes[0]) == ("secure", ("match", ".example.com"))


@given(st.binary(max_size=12) | st.binary(max_size=300).map(lambda data: b"\x30\x82\x01" + data))
def test_no_bytes_are_too_strange(data: bytes) -> None:
    """Any bytes are judged; most are no public key, and those that are begin with an outer SEQUENCE."""
    assert unusable(Tlsa(3, 1, 0, data)) is not None or data[:1] == b"\x30"


def test_one_usable_record_is_enough() -> None:
    """RFC 7672 section 2.2: at least one usable record."""
    records = [Tlsa(1, 1, 1, bytes(32)), Tlsa(3, 1, 1, bytes(9)), Tlsa(3, 1, 1, bytes(32)), Tlsa(9, 9, 9, b"")]
    status, why = host_status("_25._tcp.mx", records)
    assert (status, str(why)) == (USABLE, "TLSA 3 1 1 at _25._tcp.mx")


def test_none_usable_says_why() -> None:
    """The first record's fault stands for all."""
    records = [Tlsa(1, 1, 1, bytes(32)), Tlsa(3, 1, 1, bytes(9))]
    status, why = host_status("_25._tcp.mx", records)
    assert status is UNUSABLE
    assert str(why) == "no usable TLSA record: usage 1 (PKIX) is not for SMTP at _25._tcp.mx"


def facts(*states: DaneStatus, mx: DaneStatus = USABLE, ttl: float = 600.0) -> DaneFacts:
    hosts = tuple(
        HostFacts(f"mx{number}.example", state, seen(f"is {state}")) for number, state in enumerate(states, 1)
    )
    return DaneFacts(mx, seen(f"the MX set is {mx}"), hosts, ttl)


JUDGED = [
    ("one usable host", facts(USABLE), USABLE, "mx1.example: is usable", ()),
    ("one usable host among others", facts(UNUSABLE, USABLE), USABLE, "mx2.example: is usable", ("mx1.example",)),
    ("a failing host among good ones changes nothing", facts(UNKNOWN, USABLE), USABLE, "mx2.example: is usable", ()),
    ("all three", facts(UNUSABLE, UNKNOWN, USABLE), USABLE, "mx3.example: is usable", ("mx1.example",)),
    ("no usable host", facts(UNUSABLE), UNUSABLE, "no MX host has usable TLSA records: mx1.example: is unusable", ()),
    ("none usable and one failing", facts(UNUSABLE, UNKNOWN), UNKNOWN, "mx2.example: is unknown", ()),
    ("no host at all", facts(), UNUSABLE, "no MX host has usable TLSA records", ()),
    ("an MX set that settles it", facts(mx=UNUSABLE), UNUSABLE, "the MX set is unusable", ()),
    ("an MX set that cannot be had", facts(mx=UNKNOWN), UNKNOWN, "the MX set is unknown", ()),
]


@pytest.mark.parametrize(("title", "given", "status", "reason", "partial"), JUDGED, ids=[row[0] for row in JUDGED])
def test_judge(title: str, given: DaneFacts, status: DaneStatus, reason: str, partial: tuple[str, ...]) -> None:
    """One usable host makes the domain usable; without one, a failing host leaves it unknown."""
    assert judge(given) == (status, reason)
    assert without_tlsa(given) == partial


KEPT = [
    # status, TTL, seconds later, freshness
    ("within the TTL", USABLE, 600, 599, Freshness.FRESH),
    ("the TTL is over", USABLE, 600, 600, Freshness.STALE),
    ("for the rest of the day", USABLE, 600, DAY - 1, Freshness.STALE),
    ("and no longer", USABLE, 600, DAY, Freshness.GONE),
    ("a TTL of 0 counts as a minute", USABLE, 0, 59, Freshness.FRESH),
    ("and ends after it", USABLE, 0, 60, Freshness.STALE),
    ("a TTL of a week counts as an hour", USABLE, 7 * DAY, HOUR - 1, Freshness.FRESH),
    ("and ends with it", USABLE, 7 * DAY, HOUR, Freshness.STALE),
    ("no TTL seen counts as an hour", UNUSABLE, float("inf"), HOUR, Freshness.STALE),
    ("unusable is kept alike", UNUSABLE, 600, 600, Freshness.STALE),
    ("unknown is kept for 30 s", UNKNOWN, 600, 29, Freshness.FRESH),
    ("then DNS is asked before an answer", UNKNOWN, 600, 30, Freshness.GONE),
]


@pytest.mark.parametrize(("title", "status", "ttl", "later", "want"), KEPT, ids=[row[0] for row in KEPT])
def test_freshness(title: str, status: DaneStatus, ttl: float, later: float, want: Freshness) -> None:
    """It is fresh for the smallest TTL, a minute to an hour; then it serves for up to a day while it is read again."""
    reading = take(facts(status, ttl=ttl), None, 1000.0)
    assert reading.status is status
    assert freshness(reading, 1000.0 + later) is want


EARLIER = [
    # earlier status, its age when DNS fails, the status afterwards
    ("usable an hour ago", USABLE, HOUR, USABLE),
    ("unusable an hour ago", UNUSABLE, HOUR, UNUSABLE),
    ("usable just within the day", USABLE, DAY - 1, USABLE),
    ("usable a day ago", USABLE, DAY, UNKNOWN),
    ("unknown before", UNKNOWN, HOUR, UNKNOWN),
    ("nothing before", None, 0, UNKNOWN),
]


@pytest.mark.parametrize(("title", "status", "age", "want"), EARLIER, ids=[row[0] for row in EARLIER])
def test_an_earlier_answer(title: str, status: DaneStatus | None, age: float, want: DaneStatus) -> None:
    """Where DNS fails, an earlier answer counts, one day old at most."""
    earlier = None if status is None else DaneReading(status, "earlier", 1000.0, 1060.0)
    reading = take(facts(UNKNOWN), earlier, 1000.0 + age)
    assert reading.status is want
    assert (reading.reason == "earlier") is (want is not UNKNOWN)
    assert freshness(reading, 1000.0 + min(age + 29, DAY - 1)) is Freshness.FRESH or age >= DAY


PAUSES = st.sampled_from([10.0, 30.0, HOUR, 6 * HOUR, DAY / 2, DAY - 20]) | st.floats(0, 2 * DAY)


@given(st.lists(st.tuples(st.sampled_from([USABLE, UNUSABLE, UNKNOWN]), PAUSES), min_size=1, max_size=40))
def test_no_answer_serves_for_longer_than_a_day(history: list[tuple[DaneStatus, float]]) -> None:
    """However often DNS fails, a status is never served a day after DNS last gave it."""
    now, told, reading = 0.0, dict[DaneStatus, float](), None
    for status, pause in history:
        told[status] = now
        reading = take(facts(status), reading, now)
        now += pause
        if freshness(reading, now) is not Freshness.GONE:
            assert now < told[reading.status] + DAY


def test_a_failing_reading_moves_no_end() -> None:
    """DNS asked again and again in vain: the day counts from the answer, and ends in the midst of the 30 s."""
    reading = DaneReading(USABLE, "earlier", 0.0, 60.0)
    for now in (HOUR, DAY / 2, DAY - 10):
        reading = take(facts(UNKNOWN), reading, now)
        assert reading.status is USABLE
    assert [freshness(reading, now) for now in (DAY - 1, DAY)] == [Freshness.FRESH, Freshness.GONE]
    assert take(facts(UNKNOWN), reading, DAY).status is UNKNOWN


def test_a_new_answer_replaces_the_earlier_one() -> None:
    """Only a failure looks back."""
    earlier = DaneReading(USABLE, "earlier", 1000.0, 1060.0)
    assert take(facts(UNUSABLE), earlier, 1100.0).status is UNUSABLE
