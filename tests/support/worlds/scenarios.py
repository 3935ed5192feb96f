"""Domains to send mail to, and what must become of it: one table, read by tests/integration/mail.

In a name {d} is the domain. Hosts stand in the order of preference. Where the
two Postfix versions differ, `old` is what 3.7 does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from tests.support.servers.internet import RECORD, policy
from tests.support.servers.receivers import StartTls

Certificate = Literal["right", "other name", "unknown CA", "expired", "self-signed", "right by SNI"]

SIGNED = "dnssec.test"  # the zone that is signed; all else is not


@dataclass(frozen=True, slots=True)
class Version:
    """A Postfix, and the maps that are for it."""

    name: str
    label: str  # of its domains: no version has seen those of another
    map: str
    dane_map: str


OLD = Version("3.7", "v37", "postfix", "postfix-dane")
NEW = Version("3.10", "v310", "postfix-tlsrpt", "postfix-dane-tlsrpt")
VERSIONS = (OLD, NEW)


@dataclass(frozen=True, slots=True)
class Host:
    """A mail server."""

    name: str = "mx.{d}"
    certificate: Certificate = "right"
    starttls: StartTls = "offered"
    tlsa: Literal["", "right", "wrong"] = ""


@dataclass(frozen=True, slots=True)
class Want:
    """What becomes of the mail: it is at host number *host* over TLS judged *tls* ("" in clear), or waits."""

    host: int = 0
    tls: str = "Verified"
    dsn: str = "2.0.0"
    reason: str = ""  # regular expression; where there is one, the mail waits


def waits(reason: str, dsn: str = "4.7.5") -> Want:
    return Want(dsn=dsn, reason=reason)


@dataclass(frozen=True, slots=True)
class Scenario:
    """One domain."""

    title: str
    want: Want
    hosts: tuple[Host, ...] = (Host(),)
    old: Want | None = None  # of Postfix 3.7, where it differs
    mx: tuple[str, ...] | None = ("mx.{d}",)  # patterns of the policy; None: there is none
    mode: str = "enforce"
    policy_host_trusted: bool = True
    record: str = RECORD
    dane: bool = False  # the site is at smtp_tls_security_level = dane
    signed: bool = False  # the domain's zone
    label: str = ""  # of the domain, where it is not the title's
    port: int = 25
    relayhost: str = ""  # the mail is for somebody else, and this is relayhost
    upper_case: bool = False

    def wanted(self, version: Version) -> Want:
        return self.old if version is OLD and self.old is not None else self.want

    def domain(self, version: Version) -> str:
        """As users type it."""
        label = self.label or re.sub(r"\W+", "-", self.title.lower()).strip("-")
        return f"{label}.{version.label}.{SIGNED if self.signed else 'test'}"

    def policy(self, domain: str) -> bytes | None:
        return None if self.mx is None else policy(*(mx.format(d=domain) for mx in self.mx), mode=self.mode)


UNVERIFIED = waits("Server certificate not verified")
NOT_OFFERED = waits("TLS is required, but was not offered by host", "4.7.4")
OUTSIDE = waits("server unavailable or unable to receive mail", "4.3.0")  # how 3.10 says: no MX host matches
UNTRUSTED, TRUSTED, CLEAR = Want(tls="Untrusted"), Want(tls="Trusted"), Want(tls="")

BAD = Host(certificate="other name")  # Trusted, never Verified
ATTACKER = Host("mx.{d}.attacker.test")  # with a certificate of its own that verifies
ALIEN = Host("mx.elsewhere-{d}")

SCENARIOS = (
    Scenario("an honest host", Want()),
    Scenario("an honest host, domain in upper case", Want(), upper_case=True),
    Scenario("the right certificate only by SNI", Want(), hosts=(Host(certificate="right by SNI"),)),
    Scenario("a certificate for another name", UNVERIFIED, hosts=(BAD,)),
    Scenario("a certificate of an unknown CA", UNVERIFIED, hosts=(Host(certificate="unknown CA"),)),
    Scenario("a self-signed certificate", UNVERIFIED, hosts=(Host(certificate="self-signed"),)),
    Scenario("an expired certificate", UNVERIFIED, hosts=(Host(certificate="expired"),)),
    Scenario("STARTTLS stripped", NOT_OFFERED, hosts=(Host(starttls="withheld"),)),
    Scenario(
        "STARTTLS refused",
        waits("TLS is required, but host .* refused to start TLS: 454", "4.0.0"),
        hosts=(Host(starttls="refused"),),
    ),
    Scenario("TLS garbled", waits("Cannot start TLS: handshake failure"), hosts=(Host(starttls="garbled"),)),
    Scenario("MX forged, to an attacker with a good certificate", OUTSIDE, old=UNVERIFIED, hosts=(ATTACKER,)),
    Scenario("an MX host that the policy does not name", OUTSIDE, old=UNVERIFIED, hosts=(ALIEN,)),
    Scenario("MX forged first, the real host second", Want(host=1), hosts=(ATTACKER, Host())),
    Scenario("a wildcard policy", Want(), hosts=(Host("one.mail.{d}"),), mx=("*.mail.{d}",)),
    Scenario("two labels under a wildcard", OUTSIDE, old=Want(), hosts=(Host("a.b.mail.{d}"),), mx=("*.mail.{d}",)),
    Scenario("the wildcard's own name", OUTSIDE, old=UNVERIFIED, hosts=(Host("mail.{d}"),), mx=("*.mail.{d}",)),
    Scenario("two hosts, the better one bad", Want(host=1), hosts=(BAD, Host("mx2.{d}")), mx=("mx.{d}", "mx2.{d}")),
    Scenario(
        "two hosts, the better one without STARTTLS",
        Want(host=1),
        hosts=(Host(starttls="withheld"), Host("mx2.{d}")),
        mx=("mx.{d}", "mx2.{d}"),
    ),
    Scenario("mode testing, a bad host", UNTRUSTED, hosts=(Host(certificate="unknown CA"),), mode="testing"),
    Scenario("mode testing, no STARTTLS", CLEAR, hosts=(Host(starttls="withheld"),), mode="testing"),
    Scenario("mode none, no STARTTLS", CLEAR, hosts=(Host(starttls="withheld"),), mode="none"),
    Scenario("no policy, self-signed", UNTRUSTED, hosts=(Host(certificate="self-signed"),), mx=None, record=""),
    Scenario("no policy, no STARTTLS", CLEAR, hosts=(Host(starttls="withheld"),), mx=None, record=""),
    Scenario("a policy that cannot be fetched", UNTRUSTED, hosts=(Host(certificate="self-signed"),), mx=None),
    Scenario(
        "a policy host not trusted", UNTRUSTED, hosts=(Host(certificate="self-signed"),), policy_host_trusted=False
    ),
    Scenario("relayhost in brackets", TRUSTED, hosts=(BAD,), relayhost="[mx.{d}]"),
    Scenario("relayhost is a domain with a policy", Want(), relayhost="{d}"),
    Scenario("relayhost is a domain with a policy, bad host", UNVERIFIED, hosts=(BAD,), relayhost="{d}"),
    Scenario("a next-hop with a port", Want(), port=2525),
    Scenario("a next-hop with a port, bad host", UNVERIFIED, hosts=(BAD,), port=2525),
    Scenario("a domain in U-labels, over SMTPUTF8", Want(), label="bücher"),
    Scenario("a domain in U-labels, bad host", UNVERIFIED, hosts=(BAD,), label="müller"),
    Scenario(
        "DANE and a policy, an honest host",
        Want(),
        hosts=(Host(certificate="self-signed", tlsa="right"),),
        dane=True,
        signed=True,
    ),
    Scenario(
        "DANE and a policy, a certificate that only MTA-STS would take",
        UNVERIFIED,
        hosts=(Host(tlsa="wrong"),),
        dane=True,
        signed=True,
    ),
    Scenario("DANE without a policy", Want(), hosts=(Host(tlsa="right"),), mx=None, record="", dane=True, signed=True),
    Scenario("a DANE site, a policy without DANE", Want(), dane=True, signed=True),
    Scenario("a DANE site, a policy without DANE, bad host", UNVERIFIED, hosts=(BAD,), dane=True),
    Scenario("a DANE site, neither DANE nor a policy", TRUSTED, hosts=(BAD,), mx=None, record="", dane=True),
)
