"""resolving/audit/mail.py: findings of MX hosts, mail servers and DANE, over literal values."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from postfix_mtasts.core.dnsdata import Mx, Tlsa
from postfix_mtasts.core.policy import parse_policy
from postfix_mtasts.core.ports import Look
from postfix_mtasts.faults import Fault, Seen
from postfix_mtasts.resolving.audit.gather import Addresses, MailSeen, MxSeen
from postfix_mtasts.resolving.audit.judge import Rules
from postfix_mtasts.resolving.audit.mail import judge_mail, judge_mx
from tests.support.fakes.faults import servfail
from tests.support.fakes.owned import DAY, MX, NOW, POLICY, PUBLIC_MX, D, Owned, presented

ENFORCED, TESTING = Rules(D, NOW, 14, True), Rules(D, NOW, 14, False)
WHERE = f"{MX} [a]"
GOOD = Look(None, presented(MX))


def mail(*looks: Look | None, **place: Any) -> MailSeen:
    addresses = tuple("abc"[: len(looks)])
    found = {(MX, address): look for address, look in zip(addresses, looks, strict=True)}
    return MailSeen(MxSeen(None, hosts=(MX,), records=(Mx(10, MX),)), (Addresses(MX, addresses, **place),), found)


def refused(fault: Fault) -> Look:
    certificate = fault.value.startswith("certificate-")
    return Look(Seen(fault, MX, "x"), presented(MX) if certificate else None)


MAIL: list[tuple[str, MailSeen, list[tuple[str, str, str]]]] = [
    ("good", mail(GOOD), []),
    ("one address of two is dead", mail(refused(Fault.MAIL_NOT_CONNECTED), GOOD), [("mail-unreachable", "w", WHERE)]),
    ("all addresses are dead", mail(refused(Fault.MAIL_NOT_CONNECTED)), [("mail-unreachable", "ew", WHERE)]),
    (
        "IPv4 is dead, and IPv6 was not tried",
        mail(refused(Fault.MAIL_NOT_CONNECTED), no_route=("2001:db8::1",)),
        [("ipv6-untried", "i", MX), ("mail-unreachable", "w", WHERE)],
    ),
    ("greeted with 554", mail(refused(Fault.MAIL_GREETING)), [("mail-unreachable", "ew", WHERE)]),
    ("no SMTP", mail(refused(Fault.MAIL_GARBAGE)), [("mail-unreachable", "ew", WHERE)]),
    ("silent", mail(refused(Fault.MAIL_LATE)), [("mail-unreachable", "ew", WHERE)]),
    ("not known in time", mail(None, GOOD), [("mail-unreachable", "w", WHERE)]),
    ("no STARTTLS", mail(refused(Fault.MAIL_NO_STARTTLS)), [("mail-starttls", "ew", WHERE)]),
    ("STARTTLS refused", mail(refused(Fault.MAIL_STARTTLS_REFUSED)), [("mail-starttls", "ew", WHERE)]),
    ("old TLS", mail(refused(Fault.TLS_OLD)), [("mail-tls", "ew", WHERE)]),
    ("a handshake that hangs", mail(refused(Fault.TLS_LATE)), [("mail-tls", "ew", WHERE)]),
    ("an unknown CA", mail(refused(Fault.CERTIFICATE_CA)), [("mail-certificate-untrusted", "ew", WHERE)]),
    ("expiring", mail(Look(None, presented(MX, left=DAY))), [("mail-certificate-expiring", "w", WHERE)]),
    ("no address", mail(), [("mail-unreachable", "ew", MX)]),
    ("a private address", mail(forbidden=(("10.0.0.1", "private"),)), [("mail-private", "ew", "10.0.0.1")]),
    ("IPv6 only, and none here", mail(no_route=("2001:db8::1",)), [("ipv6-untried", "i", MX)]),
]
SEVERITIES = {"w": ("warning", "warning"), "ew": ("error", "warning"), "i": ("info", "info")}


@pytest.mark.parametrize(("title", "seen", "want"), MAIL, ids=[row[0] for row in MAIL])
def test_a_mail_host(title: str, seen: MailSeen, want: list[tuple[str, str, str]]) -> None:
    """An error where the policy is enforced, else a warning; some dead addresses are a warning anyway."""
    for rules, at in ((ENFORCED, 0), (TESTING, 1)):
        found = judge_mail(seen, rules, True).findings
        got = [(each.code, str(each.severity), each.subject) for each in found]
        assert got == [(code, SEVERITIES[severity][at], subject) for code, severity, subject in want]


def test_without_connections_nothing_is_said_of_them() -> None:
    """--no-mail."""
    found = judge_mail(mail(forbidden=(("10.0.0.1", "private"),)), ENFORCED, False)
    assert (found.findings, found.lines) == ((), ("not connected to (--no-mail)",))


NONE = parse_policy(b"version: STSv1\nmode: none\nmax_age: 86400")
MX_SETS = [
    ("right", MxSeen(None, hosts=(MX,)), parse_policy(POLICY), []),
    ("null, with a policy", MxSeen(None, null=True), parse_policy(POLICY), [("mx-null", "warning")]),
    ("null, with mode none", MxSeen(None, null=True), NONE, [("mx-null", "info")]),
    ("null, without a policy", MxSeen(None, null=True), None, [("mx-null", "info")]),
    ("none", MxSeen(None, own=True, hosts=(D,)), None, [("mx-absent", "error")]),
    ("an alias", MxSeen(None, hosts=(MX,), aliases={MX: "a.example"}), None, [("mx-alias", "warning")]),
    ("no answer", MxSeen(Seen(Fault.DNS_TIMEOUT, D, "late")), parse_policy(POLICY), [("dns-failed", "unknown")]),
    (
        "another",
        MxSeen(None, hosts=("b.c",)),
        parse_policy(POLICY),
        [("mx-uncovered", "error"), ("mx-unused", "warning")],
    ),
    ("another, with mode none", MxSeen(None, hosts=("b.c",)), NONE, []),
]


@pytest.mark.parametrize(("title", "seen", "policy", "want"), MX_SETS, ids=[row[0] for row in MX_SETS])
def test_an_mx_set(title: str, seen: MxSeen, policy: Any, want: list[tuple[str, str]]) -> None:
    """Beside the policy, where there is one."""
    found = judge_mx(seen, policy, ENFORCED).findings
    assert [(each.code, str(each.severity)) for each in found] == want


RIGHT = Tlsa(3, 1, 1, hashlib.sha256(b"KEY").digest())
WRONG = Tlsa(3, 1, 1, bytes(32))
PKIX = Tlsa(1, 1, 1, bytes(32))
DANE: list[tuple[str, Any, list[tuple[str, str]]]] = [
    ("none", (), []),
    ("a match", (RIGHT,), [("dane-ok", MX)]),
    ("a match among others", (WRONG, PKIX, RIGHT), [("dane-ok", MX)]),
    ("no match", (WRONG,), [("dane-mismatch", f"{MX} [{PUBLIC_MX}]")]),
    ("none usable", (PKIX,), [("dane-unusable", MX)]),
    ("no answer", "fails", [("dane-failed", f"_25._tcp.{MX}")]),
]


@pytest.mark.parametrize(("title", "records", "want"), DANE, ids=[row[0] for row in DANE])
def test_dane(title: str, records: Any, want: list[tuple[str, str]]) -> None:
    """Secure TLSA records, and the certificate that was presented."""
    owned = Owned(secure=True)
    name = f"_25._tcp.{MX}"
    failure = servfail()
    failure.seen = Seen(Fault.DNS_SERVFAIL, name, "SERVFAIL")
    owned.records["tlsa", name] = failure if records == "fails" else records
    found = owned.audit().findings
    assert [(each.code, each.subject) for each in found] == want
    if title == "no match":
        assert f"_25._tcp.{MX}. IN TLSA 3 1 1 {hashlib.sha256(b'KEY').hexdigest()}" in found[0].advice


def test_an_address_that_cannot_be_had_is_no_matter_of_tlsa() -> None:
    """It is told once, as a DNS failure."""
    owned = Owned(secure=True)
    owned.records["a", MX] = owned.records["aaaa", MX] = failure = servfail()
    failure.seen = Seen(Fault.DNS_SERVFAIL, MX, "SERVFAIL")
    assert set(owned.codes()) == {"dns-failed"}


def test_a_resolver_that_does_not_validate_is_named() -> None:
    """Then nothing can be said of DANE."""
    (found,) = Owned().audit(resolver_validates=lambda: False).findings
    assert found.code == "dane-insecure"
    assert "does not validate" in found.text
