"""What `check` and `policy lint` can find, in words for the owner of a domain.

A code never changes its meaning: scripts and monitors go by it. The sentence
of what was seen comes from the fault where there is one (faults.py), else
from whoever found it; what to do is this table's.

In a piece of advice {domain} is the domain, {subject} what the finding is
about, {value} what was seen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from ...faults import Seen
from .advice import ADVICE


class Severity(StrEnum):
    """How grave a finding is."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"
    UNKNOWN = "unknown"  # nothing can be said


class Verdict(StrEnum):
    """Of a domain, by its findings."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"
    UNKNOWN = "unknown"


EACH = 50  # findings of one code that are told of a domain

_VERDICTS = (  # the gravest first
    (Severity.ERROR, Verdict.ERROR),
    (Severity.UNKNOWN, Verdict.UNKNOWN),
    (Severity.WARNING, Verdict.WARNING),
)

E, W, I, U = Severity.ERROR, Severity.WARNING, Severity.INFO, Severity.UNKNOWN  # noqa: E741 -- the table's letters
EW = (E, W)  # an error where the policy says enforce, else a warning


@dataclass(frozen=True, slots=True)
class Row:
    """One code."""

    severity: Severity | tuple[Severity, Severity]
    meaning: str  # when it is found
    advice: str  # one sentence, empty where there is nothing to do
    reference: str

    @property
    def letters(self) -> str:
        """The severity for people."""
        return self.severity if isinstance(self.severity, Severity) else "/".join(self.severity)


_3_1, _3_2, _3_3, _4_1 = (f"RFC 8461 section {section}" for section in ("3.1", "3.2", "3.3", "4.1"))
_TLSRPT = "RFC 8460 section 3"
_RENEW = "Renew the certificate of {name}, and reload the server at {subject}."
_NAMES = "Get a certificate that has {name} among its DNS names (subjectAltName), and serve it at {subject}."
_CHAIN = "Get a certificate from a public CA for {name}, and serve its whole chain (fullchain.pem) at {subject}."

TABLE: dict[str, Row] = {
    "dns-failed": Row(
        U,
        "SERVFAIL, timeout or bogus: nothing can be said about that name",
        "Check the name servers and the DNSSEC chain of {subject} (`delv {subject}`), then check again.",
        "RFC 8461 section 3.1",
    ),
    "record-absent": Row(
        E,
        "no v=STSv1 record at _mta-sts.DOMAIN",
        'Publish: {subject}. IN TXT "v=STSv1; id=..." (`postfix-mtasts record {domain}` prints it).',
        _3_1,
    ),
    "record-multiple": Row(
        E, "more than one record: senders treat that as none", "Delete all but one of the records at {subject}.", _3_1
    ),
    "record-invalid": Row(
        E,
        "a record that senders refuse: no id, a bad id, another version",
        'Publish instead: {subject}. IN TXT "v=STSv1; id=20260101;" with a new id of letters and digits, 32 at most.',
        _3_1,
    ),
    "record-misplaced": Row(
        E,
        "a v=STSv1 record at DOMAIN itself or at mta-sts.DOMAIN",
        "Move the record to _mta-sts.{domain}; no sender looks for it at {subject}.",
        _3_1,
    ),
    "record-alias": Row(I, "the record is behind a CNAME chain", "", _3_1),
    "host-absent": Row(
        E,
        "mta-sts.DOMAIN has no address",
        "Publish an A or AAAA record for {subject}, or a CNAME to the web server that has the policy.",
        _3_3,
    ),
    "host-private": Row(
        E, "an address that senders refuse to connect to", "Take the address {subject} out of the zone.", _3_3
    ),
    "host-unreachable": Row(
        EW,
        "no address of the policy host answers (error), or some do not (warning)",
        "Start the web server at {subject} and open port 443 for it, or take the address out of the zone.",
        _3_3,
    ),
    "proxy-failed": Row(
        U,
        "our own proxy (fetch.proxy) fails: nothing can be said about the policy host",
        "Check fetch.proxy on this machine, or check from another machine; {domain} is not to blame.",
        _3_3,
    ),
    "ipv6-untried": Row(
        I, "this machine has no IPv6, so IPv6 addresses were not tried", "Check again from a machine with IPv6.", _3_3
    ),
    "host-tls": Row(
        E,
        "the TLS handshake with the policy host fails, or it offers nothing above TLS 1.1",
        "Have the web server at {subject} offer TLS 1.2 and 1.3 for the name mta-sts.{domain}.",
        _3_3,
    ),
    "host-certificate-expired": Row(E, "the policy host's certificate has expired, or is not yet valid", _RENEW, _3_3),
    "host-certificate-name": Row(E, "the policy host's certificate is for other names", _NAMES, _3_3),
    "host-certificate-untrusted": Row(
        E, "the policy host's certificate is self-signed, of an unknown CA, or lacks an intermediate", _CHAIN, _3_3
    ),
    "host-certificate-expiring": Row(
        W,
        "the policy host's certificate expires within --expiry-days",
        "Renew the certificate of {name} now, and reload the server at {subject}.",
        _3_3,
    ),
    "host-http": Row(
        E,
        "the policy host answers with something else than status 200 and a text/plain policy in time",
        "Serve https://mta-sts.{domain}/.well-known/mta-sts.txt with status 200 and Content-Type: text/plain.",
        _3_3,
    ),
    "host-differs": Row(
        W,
        "two addresses serve different policies",
        "Put the same file on every address of mta-sts.{domain}; senders ask any of them.",
        _3_3,
    ),
    "policy-invalid": Row(
        E, "the policy is one that senders cannot read", "Correct {subject} of the policy file.", _3_2
    ),
    "policy-tolerated": Row(
        W,
        "something that we read, but other senders refuse: byte order mark, final dot, stray blanks",
        "Write {subject} as RFC 8461 has it.",
        _3_2,
    ),
    "policy-repeated-key": Row(
        W,
        "a key other than mx is given twice; the first counts",
        "Delete the second {value} line: the first counts.",
        _3_2,
    ),
    "policy-unknown-key": Row(
        I, "a key that RFC 8461 does not know; it is ignored", "Check the spelling of {value}.", _3_2
    ),
    "policy-max-age": Row(
        W,
        "max_age is under 1 day, under 14 days with enforce, or over 31,557,600",
        "Set max_age to between 1209600 (14 days) and 31557600 (a year).",
        _3_2,
    ),
    "policy-mode": Row(
        I,
        "the mode is testing or none: mail is not protected today",
        "When reports and this check show no errors, set mode: enforce and publish a new id.",
        "RFC 8461 section 5",
    ),
    "policy-mx-unusable": Row(
        W,
        "an mx value that is not a host name",
        "Write a host name, or *. and a host name, without port, blanks or brackets; internationalized names as xn--.",
        _3_2,
    ),
    "mx-absent": Row(
        E,
        "the domain has no MX; the domain itself is then the mail host",
        "Publish an MX record for {domain} that names the mail host.",
        "RFC 5321 section 5.1",
    ),
    "mx-null": Row(
        I,
        "the domain takes no mail (null MX); a warning if the policy is not mode none",
        "Publish a policy with mode: none, or delete the null MX record.",
        "RFC 7505",
    ),
    "mx-uncovered": Row(
        EW,
        "an MX host that no mx pattern of the policy matches",
        "Add `mx: {subject}` to the policy and publish a new id, or delete the MX record.",
        _4_1,
    ),
    "mx-unused": Row(
        W,
        "an mx pattern that matches no MX host",
        "Delete `mx: {subject}` from the policy, unless that host is a reserve; *.x matches one label only, never x.",
        _4_1,
    ),
    "mx-alias": Row(
        W,
        "an MX name that is a CNAME",
        "Name the host {value} in the MX record: an MX must not point to an alias.",
        "RFC 2181 section 10.3",
    ),
    "mail-private": Row(
        EW,
        "a mail host's address is private, so it was not connected to",
        "Take the address out of the zone, or set fetch.allow_private_addresses to check it.",
        _4_1,
    ),
    "mail-unreachable": Row(
        EW,
        "no address of a mail host takes SMTP (error or warning by mode), or some do not (warning)",
        "Have a mail server answer at {subject} port 25, or take the address out of the zone.",
        _4_1,
    ),
    "mail-starttls": Row(
        EW,
        "a mail host offers no STARTTLS, or refuses it",
        "Switch STARTTLS on at {subject} (smtpd_tls_security_level = may in Postfix).",
        "RFC 3207",
    ),
    "mail-tls": Row(
        EW,
        "the TLS handshake with a mail host fails, or it offers nothing above TLS 1.1",
        "Have the mail server at {subject} offer TLS 1.2 and 1.3.",
        _4_1,
    ),
    "mail-certificate-expired": Row(EW, "a mail host's certificate has expired, or is not yet valid", _RENEW, _4_1),
    "mail-certificate-name": Row(EW, "a mail host's certificate is for other names than the MX name", _NAMES, _4_1),
    "mail-certificate-untrusted": Row(
        EW, "a mail host's certificate is self-signed, of an unknown CA, or lacks an intermediate", _CHAIN, _4_1
    ),
    "mail-certificate-expiring": Row(
        W,
        "a mail host's certificate expires within --expiry-days",
        "Renew the certificate of {name} now, and reload the server at {subject}.",
        _4_1,
    ),
    "dane-insecure": Row(I, "the zone is unsigned, so TLSA records would not count", "", "RFC 7672 section 2.2"),
    "dane-ok": Row(I, "TLSA records are secure and one matches the certificate presented", "", "RFC 7672 section 3.1"),
    "dane-mismatch": Row(
        E,
        "secure TLSA records, and none matches the certificate: DANE senders will not deliver",
        "Publish: {value}, and delete the record of the old certificate.",
        "RFC 7672 section 3.1",
    ),
    "dane-unusable": Row(
        W,
        "secure TLSA records, none of which a sender can use",
        "Publish a TLSA record 3 1 1 (SHA-256 of the public key) for {subject} instead.",
        "RFC 7672 section 3.1",
    ),
    "dane-failed": Row(
        E,
        "TLSA answers that are bogus, SERVFAIL or missing in a signed zone: DANE senders defer",
        "Have the name servers of {subject} answer TLSA questions, and check its signatures (`delv TLSA {subject}`).",
        "RFC 7672 section 2.2",
    ),
    "tlsrpt-absent": Row(
        W,
        "no TLSRPT record: nobody will tell the owner of failures",
        'Publish: _smtp._tls.{domain}. IN TXT "v=TLSRPTv1; rua=mailto:tlsrpt@{domain}".',
        _TLSRPT,
    ),
    "tlsrpt-invalid": Row(
        E,
        "a TLSRPT record that senders refuse: doubled, wrong version, no rua, a URI that is none",
        'Publish instead: _smtp._tls.{domain}. IN TXT "v=TLSRPTv1; rua=mailto:tlsrpt@{domain}".',
        _TLSRPT,
    ),
    "id-unchanged": Row(
        W,
        "the policy differs from the one the local daemon holds under the same id",
        "Publish a new id at _mta-sts.{domain}: senders look for a changed policy only when the id changes.",
        _3_1,
    ),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found."""

    code: str  # a key of TABLE
    severity: Severity
    subject: str  # a host, an address, a name, a line
    text: str  # one sentence; it may hold remote text
    advice: str  # one sentence, or nothing

    @property
    def reference(self) -> str:
        return TABLE[self.code].reference


def find(
    code: str,
    subject: str,
    seen: Seen | str,
    *,
    domain: str = "",
    name: str = "",
    value: str = "",
    told: str = "",
    enforced: bool = False,
    severity: Severity | None = None,
) -> Finding:
    """Make a finding of *code*.

    Args:
        seen: what was seen, as a fault or one sentence.
        told: the sentence instead of the fault's own.
        name: of the host that the subject, an address, belongs to.
        enforced: whether the policy says enforce, for codes whose severity goes by it.
        severity: instead of the table's.
    """
    row = TABLE[code]
    grave = row.severity if isinstance(row.severity, Severity) else row.severity[0 if enforced else 1]
    advice = row.advice
    if isinstance(seen, Seen):
        advice, value = ADVICE.get(seen.fault, advice), value or seen.value
    advised = advice.format(domain=domain, subject=subject, name=name or subject, value=value)
    return Finding(code, severity or grave, subject, told or str(seen), advised)


def capped(findings: Iterable[Finding]) -> Iterator[Finding]:
    """At most EACH findings of a code: what a domain publishes must not fill a terminal."""
    counted: Counter[str] = Counter()
    for finding in findings:
        counted[finding.code] += 1
        if counted[finding.code] <= EACH:
            yield finding
    for code, number in counted.items():
        if number > EACH:
            yield find(code, "more", f"{number - EACH} more like these")


def verdict(findings: Iterable[Finding]) -> Verdict:
    """The gravest counts: an error over what is unknown over a warning."""
    severities = {finding.severity for finding in findings}
    return next((verdict for severity, verdict in _VERDICTS if severity in severities), Verdict.OK)
