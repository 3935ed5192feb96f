"""Every way in which the outside fails us, as data: what failed, and the value that was seen.

Whoever meets a failure says which Fault it is and what it saw. Nobody reads a
decision back out of a sentence: SENTENCES is for people alone, and what to do
about a fault is core/findings.py's, for the sender and for the domain's owner.

Rule: a value may be remote text. It is bounded where it is seen (clip), and
      quoted where it is shown.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

SHOWN = 60  # characters of a remote value in a sentence


class ResultType(StrEnum):
    """RFC 8460 section 4.3.2.2: how a policy failed."""

    FETCH_ERROR = "sts-policy-fetch-error"
    INVALID = "sts-policy-invalid"
    WEBPKI_INVALID = "sts-webpki-invalid"


_RESULT_TYPES = {"certificate": ResultType.WEBPKI_INVALID, "policy": ResultType.INVALID}  # by a fault's first word


class Fault(StrEnum):
    """What failed; each with its sentence in SENTENCES."""

    # DNS, whatever was asked
    DNS_BOGUS = "dns-bogus"
    DNS_SERVFAIL = "dns-servfail"  # bogus too, where the resolver does not say so
    DNS_REFUSED = "dns-refused"
    DNS_FORMERR = "dns-formerr"
    DNS_NOTIMP = "dns-notimp"
    DNS_BADVERS = "dns-badvers"
    DNS_OTHER = "dns-other"  # another response code
    DNS_LAME = "dns-lame"
    DNS_BROKEN = "dns-broken"
    DNS_TIMEOUT = "dns-timeout"
    DNS_UNREACHABLE = "dns-unreachable"
    DNS_NAME = "dns-name"  # cannot be asked
    DNS_CONTRADICTION = "dns-contradiction"

    # The record at _mta-sts (RFC 8461 section 3.1)
    RECORD_NO_NAME = "record-no-name"
    RECORD_NONE = "record-none"
    RECORD_NAME_TOO_LONG = "record-name-too-long"
    RECORD_SEVERAL = "record-several"
    RECORD_FIELD = "record-field"
    RECORD_FIELD_EMPTY = "record-field-empty"
    RECORD_NO_ID = "record-no-id"
    RECORD_ID = "record-id"
    # and what was meant to be one (core/lint.py)
    RECORD_VERSION = "record-version"
    RECORD_NO_SEMICOLON = "record-no-semicolon"
    RECORD_QUOTED = "record-quoted"
    RECORD_BLANKS = "record-blanks"
    RECORD_ORDER = "record-order"
    RECORD_DMARC = "record-dmarc"
    RECORD_TLSRPT = "record-tlsrpt"

    # The record at _smtp._tls (RFC 8460 section 3)
    TLSRPT_SEVERAL = "tlsrpt-several"
    TLSRPT_TOO_LONG = "tlsrpt-too-long"
    TLSRPT_FIELD = "tlsrpt-field"
    TLSRPT_NO_RUA = "tlsrpt-no-rua"
    TLSRPT_EMPTY_URI = "tlsrpt-empty-uri"
    TLSRPT_NOT_URI = "tlsrpt-not-uri"
    TLSRPT_SCHEME = "tlsrpt-scheme"
    TLSRPT_UNESCAPED = "tlsrpt-unescaped"
    TLSRPT_SLASHES = "tlsrpt-slashes"
    TLSRPT_VERSION = "tlsrpt-version"

    # The way to the policy host
    NO_ADDRESS = "no-address"
    PRIVATE_ADDRESS = "private-address"
    NOT_CONNECTED = "not-connected"
    CONNECT_LATE = "connect-late"
    CROWDED = "crowded"  # by our own other fetches
    GIVEN_UP = "given-up"  # for our own other fetches
    UNREACHED = "unreached"  # by the proxy, which answers

    # fetch.proxy: ours, whatever domain it keeps us from (Fault.ours)
    PROXY_AWAY = "proxy-away"
    PROXY_SILENT = "proxy-silent"
    PROXY_LOGIN = "proxy-login"
    PROXY_DENIED = "proxy-denied"  # this policy host, or all
    PROXY_BROKEN = "proxy-broken"

    # TLS and certificates
    TLS_NONE = "tls-none"
    TLS_OLD = "tls-old"
    TLS_NAME_REFUSED = "tls-name-refused"
    TLS_BROKE_OFF = "tls-broke-off"
    TLS_LATE = "tls-late"
    TLS_TOO_LONG = "tls-too-long"
    TLS_OTHER = "tls-other"
    CERTIFICATE_EXPIRED = "certificate-expired"
    CERTIFICATE_NOT_YET = "certificate-not-yet"
    CERTIFICATE_NAME = "certificate-name"
    CERTIFICATE_SELF_SIGNED = "certificate-self-signed"
    CERTIFICATE_CA = "certificate-ca"
    CERTIFICATE_ISSUER = "certificate-issuer"
    CERTIFICATE_CHAIN = "certificate-chain"
    CERTIFICATE_COMMON_NAME = "certificate-common-name"
    CERTIFICATE_PURPOSE = "certificate-purpose"
    CERTIFICATE_OTHER = "certificate-other"

    # HTTP (section 3.3)
    HTTP_REDIRECT = "http-redirect"
    HTTP_SLASHES = "http-slashes"
    HTTP_STATUS = "http-status"
    HTTP_NO_TYPE = "http-no-type"
    HTTP_TYPE = "http-type"
    HTTP_POLICY_TOO_LONG = "http-policy-too-long"
    HTTP_ANSWER_TOO_LONG = "http-answer-too-long"
    HTTP_LATE = "http-late"
    HTTP_BODY_ENDS = "http-body-ends"
    HTTP_ENCODING = "http-encoding"
    HTTP_TRANSFER = "http-transfer"
    HTTP_NOT_AS_ENCODED = "http-not-as-encoded"
    HTTP_CLOSED = "http-closed"
    HTTP_BROKE_OFF = "http-broke-off"
    HTTP_CONNECTION = "http-connection"
    HTTP_NONE = "http-none"
    HTTP_LONG_LINE = "http-long-line"
    HTTP_MANY_LINES = "http-many-lines"
    HTTP_CONTRADICTION = "http-contradiction"
    HTTP_OTHER = "http-other"

    # The policy (section 3.2)
    POLICY_NOT_UTF8 = "policy-not-utf8"
    POLICY_NO_COLON = "policy-no-colon"
    POLICY_STRAY_CR = "policy-stray-cr"
    POLICY_KEY = "policy-key"
    POLICY_MISSING = "policy-missing"  # the key named by the value
    POLICY_VERSION = "policy-version"
    POLICY_MODE = "policy-mode"
    POLICY_MAX_AGE = "policy-max-age"
    POLICY_NO_MX = "policy-no-mx"
    POLICY_UNUSABLE_MX = "policy-unusable-mx"

    POLICY_MODE_REPORT = "policy-mode-report"
    POLICY_VERSION_STS1 = "policy-version-sts1"
    POLICY_TRANSLATED = "policy-translated"
    POLICY_TOO_LONG = "policy-too-long"

    # Mail hosts (RFC 3207)
    MAIL_NO_ADDRESS = "mail-no-address"
    MAIL_NOT_CONNECTED = "mail-not-connected"
    MAIL_LATE = "mail-late"
    MAIL_CLOSED = "mail-closed"
    MAIL_GREETING = "mail-greeting"
    MAIL_GARBAGE = "mail-garbage"
    MAIL_MANY_LINES = "mail-many-lines"
    MAIL_TOO_LONG = "mail-too-long"
    MAIL_EHLO = "mail-ehlo"
    MAIL_NO_STARTTLS = "mail-no-starttls"
    MAIL_STARTTLS_REFUSED = "mail-starttls-refused"
    MAIL_UNTRIED = "mail-untried"

    # DANE: what DNS says of a mail host (RFC 7672 section 2.2); not each of these is a failure
    DANE_MX_UNKNOWN = "dane-mx-unknown"
    DANE_MX_INSECURE = "dane-mx-insecure"
    DANE_MX_SECURE = "dane-mx-secure"
    DANE_NO_DOMAIN = "dane-no-domain"
    DANE_OWN_MX = "dane-own-mx"
    DANE_NULL_MX = "dane-null-mx"
    DANE_NO_ADDRESS = "dane-no-address"
    DANE_ADDRESS_INSECURE = "dane-address-insecure"
    DANE_ALIAS_INSECURE = "dane-alias-insecure"
    DANE_NAME_TOO_LONG = "dane-name-too-long"
    DANE_NO_TLSA = "dane-no-tlsa"
    DANE_TLSA_INSECURE = "dane-tlsa-insecure"
    DANE_TLSA_USABLE = "dane-tlsa-usable"
    DANE_TLSA_UNUSABLE = "dane-tlsa-unusable"
    TLSA_PKIX = "tlsa-pkix"
    TLSA_USAGE = "tlsa-usage"
    TLSA_SELECTOR = "tlsa-selector"
    TLSA_DER = "tlsa-der"
    TLSA_MATCHING = "tlsa-matching"
    TLSA_LENGTH = "tlsa-length"

    # Ourselves
    OWN = "own"
    INTERNAL = "internal"

    @property
    def result_type(self) -> ResultType:
        """What a report calls it where it keeps a policy from being fetched."""
        return _RESULT_TYPES.get(self.value.partition("-")[0], ResultType.FETCH_ERROR)

    @property
    def ours(self) -> bool:
        """Whether it lies with what stands between us and every domain, and says nothing of the one asked for."""
        return self.value.startswith("proxy-")


NO_RECORD = (Fault.RECORD_NO_NAME, Fault.RECORD_NONE, Fault.RECORD_NAME_TOO_LONG)  # the domain does not publish MTA-STS

_RECORD, _POLICY, _TLSRPT = "(RFC 8461 section 3.1)", "(RFC 8461 section 3.2)", "(RFC 8460 section 3)"

SENTENCES: dict[Fault, str] = {  # {subject}: what it happened to; {value}: what was seen; {line}: "line 3: " or nothing
    Fault.DNS_BOGUS: "{value}",
    Fault.DNS_SERVFAIL: "{value}",
    Fault.DNS_REFUSED: "{value}",
    Fault.DNS_FORMERR: "{value}",
    Fault.DNS_NOTIMP: "{value}",
    Fault.DNS_BADVERS: "{value}",
    Fault.DNS_OTHER: "{value}",
    Fault.DNS_LAME: "{value}",
    Fault.DNS_BROKEN: "{value}",
    Fault.DNS_TIMEOUT: "{value}",
    Fault.DNS_UNREACHABLE: "{value}",
    Fault.DNS_NAME: "{subject!r} cannot be asked of DNS: {value}",
    Fault.DNS_CONTRADICTION: "{subject} is an alias in one answer of DNS and none in the next",
    Fault.RECORD_NO_NAME: "{subject} does not exist",
    Fault.RECORD_NONE: "no TXT record at {subject} begins with v=STSv1;",
    Fault.RECORD_NAME_TOO_LONG: "{subject} is longer than a domain name",
    Fault.RECORD_SEVERAL: f"{{value}} TXT records begin with v=STSv1; there must be one {_RECORD}",
    Fault.RECORD_FIELD: f"TXT record: field {{value!a}} is not name=value {_RECORD}",
    Fault.RECORD_FIELD_EMPTY: f"TXT record: empty field between two ';' {_RECORD}",
    Fault.RECORD_NO_ID: f"TXT record: no id field {_RECORD}",
    Fault.RECORD_ID: f"TXT record: id {{value!a}} is not 1 to 32 letters and digits {_RECORD}",
    Fault.RECORD_VERSION: "{value!a} does not begin with v=STSv1, so it is not an MTA-STS record",
    Fault.RECORD_NO_SEMICOLON: "there is no ';' after v=STSv1 in {value!a}",
    Fault.RECORD_QUOTED: "quotes or backslashes were typed into the record: {value!a}",
    Fault.RECORD_BLANKS: "there are blanks before or inside v=STSv1 in {value!a}",
    Fault.RECORD_ORDER: "v=STSv1 does not stand first in {value!a}",
    Fault.RECORD_DMARC: "a DMARC record stands where v=STSv1 belongs: {value!a}",
    Fault.RECORD_TLSRPT: "a TLSRPT record stands where v=STSv1 belongs: {value!a}",
    Fault.TLSRPT_SLASHES: "TLSRPT record: {value!a} in rua has // after mailto:",
    Fault.TLSRPT_VERSION: "{value!a} does not begin with v=TLSRPTv1;, so it is not a TLSRPT record",
    Fault.TLSRPT_SEVERAL: f"{{value}} TXT records begin with v=TLSRPTv1; there must be one {_TLSRPT}",
    Fault.TLSRPT_TOO_LONG: "the TLSRPT record is longer than {value} characters",
    Fault.TLSRPT_FIELD: f"TLSRPT record: field {{value!a}} is not name=value {_TLSRPT}",
    Fault.TLSRPT_NO_RUA: f"TLSRPT record: no rua field {_TLSRPT}",
    Fault.TLSRPT_EMPTY_URI: f"TLSRPT record: rua has an empty entry {_TLSRPT}",
    Fault.TLSRPT_NOT_URI: f"TLSRPT record: {{value!a}} in rua is not a URI {_TLSRPT}",
    Fault.TLSRPT_SCHEME: f"TLSRPT record: {{value!a}} in rua is neither mailto: nor https: {_TLSRPT}",
    Fault.TLSRPT_UNESCAPED: f"TLSRPT record: {{value!a}} in rua holds a '!', which must be written %21 {_TLSRPT}",
    Fault.NO_ADDRESS: "{subject} has no address",
    Fault.PRIVATE_ADDRESS: "{subject} has no public address: {value} (fetch.allow_private_addresses is false)",
    Fault.NOT_CONNECTED: "cannot connect to {subject}: {value}",
    Fault.CONNECT_LATE: "no connection within {value} s",
    Fault.CROWDED: "too many other fetches were under way",
    Fault.GIVEN_UP: "{value}",
    Fault.UNREACHED: "cannot connect to {subject}: {value}",
    Fault.PROXY_AWAY: "cannot connect to the proxy {subject}: {value}",
    Fault.PROXY_SILENT: "the proxy {subject} did not answer within {value} s",
    Fault.PROXY_LOGIN: "the proxy {subject} does not take the credentials: {value}",
    Fault.PROXY_DENIED: "the proxy {subject} refuses: {value}",
    Fault.PROXY_BROKEN: "the proxy {subject} does not speak as it must: {value}",
    Fault.TLS_NONE: "the TLS handshake failed: what answers there does not speak TLS",
    Fault.TLS_OLD: "the TLS handshake failed: the host offers no TLS 1.2 or later",
    Fault.TLS_NAME_REFUSED: "the TLS handshake failed: the host refuses the name",
    Fault.TLS_BROKE_OFF: "the TLS handshake failed: the connection broke off",
    Fault.TLS_LATE: "the TLS handshake was not done within {value} s",
    Fault.TLS_TOO_LONG: "the TLS handshake is longer than {value} bytes",
    Fault.TLS_OTHER: "the TLS handshake failed: {value}",
    Fault.CERTIFICATE_EXPIRED: "the certificate, or one above it, has expired",
    Fault.CERTIFICATE_NOT_YET: "the certificate, or one above it, is not yet valid",
    Fault.CERTIFICATE_NAME: "the certificate is not for {subject}",
    Fault.CERTIFICATE_SELF_SIGNED: "the certificate is self-signed",
    Fault.CERTIFICATE_CA: "the certificate comes from a CA that is not trusted",
    Fault.CERTIFICATE_ISSUER: "the certificate's issuer is not trusted, or the host does not send an intermediate "
    "certificate",
    Fault.CERTIFICATE_CHAIN: "the host does not send the intermediate certificate of {value}",
    Fault.CERTIFICATE_COMMON_NAME: "only the certificate's common name is {subject}, and senders go by its DNS names",
    Fault.CERTIFICATE_PURPOSE: "the certificate is not meant for servers",
    Fault.CERTIFICATE_OTHER: "the certificate is not valid: {value}",
    Fault.HTTP_REDIRECT: "status {value}; redirects are not followed",
    Fault.HTTP_SLASHES: "status {value}, a URL with // in its path; redirects are not followed",
    Fault.HTTP_STATUS: "status {value}, not 200",
    Fault.HTTP_NO_TYPE: "no Content-Type, not text/plain",
    Fault.HTTP_TYPE: "Content-Type {value!r}, not text/plain",
    Fault.HTTP_POLICY_TOO_LONG: "the policy is longer than {value} bytes",
    Fault.HTTP_ANSWER_TOO_LONG: "the answer is longer than {value} bytes",
    Fault.HTTP_LATE: "the answer was not complete within {value} s",
    Fault.HTTP_BODY_ENDS: "the body ends early, or its chunks are broken",
    Fault.HTTP_ENCODING: "Content-Encoding {value!r}, which was not asked for",
    Fault.HTTP_TRANSFER: "Transfer-Encoding {value!r}, which was not asked for",
    Fault.HTTP_NOT_AS_ENCODED: "the body is not what its Content-Encoding says",
    Fault.HTTP_CLOSED: "the connection was closed before an answer came",
    Fault.HTTP_BROKE_OFF: "the connection broke off",
    Fault.HTTP_CONNECTION: "{value}",
    Fault.HTTP_NONE: "what was answered is not HTTP/1",
    Fault.HTTP_LONG_LINE: "the header has a line of more than 65,536 bytes",
    Fault.HTTP_MANY_LINES: "the header has more than 100 lines",
    Fault.HTTP_CONTRADICTION: "the header contradicts itself",
    Fault.HTTP_OTHER: "the answer cannot be read as HTTP ({value})",
    Fault.POLICY_NOT_UTF8: f"{{line}}byte {{value}} is not UTF-8 {_POLICY}",
    Fault.POLICY_NO_COLON: f"{{line}}no colon in {{value!r}} {_POLICY}",
    Fault.POLICY_STRAY_CR: f"{{line}}stray CR at the end of {{value!r}}; a line ends in LF or CRLF {_POLICY}",
    Fault.POLICY_KEY: f"{{line}}bad key {{value!r}}; 1 to 32 letters, digits, '_', '-' and '.' make a key {_POLICY}",
    Fault.POLICY_MISSING: f"{{value}} is missing {_POLICY}",
    Fault.POLICY_VERSION: f"{{line}}version {{value!r}} is not STSv1 {_POLICY}",
    Fault.POLICY_MODE: f"{{line}}mode {{value!r}} is not enforce, testing or none {_POLICY}",
    Fault.POLICY_MAX_AGE: f"{{line}}max_age {{value!r}} is not 1 to 10 digits {_POLICY}",
    Fault.POLICY_NO_MX: f"no usable mx: mode {{value}} needs one mx line at least {_POLICY}",
    Fault.POLICY_UNUSABLE_MX: f"no usable mx: {{value!r}} is not a host name or '*.' and a host name {_POLICY}",
    Fault.POLICY_MODE_REPORT: f"{{line}}mode report is of an early draft; RFC 8461 calls it testing {_POLICY}",
    Fault.POLICY_VERSION_STS1: f"{{line}}version {{value!r}} lacks a v: RFC 8461 calls it STSv1 {_POLICY}",
    Fault.POLICY_TRANSLATED: f"{{line}}{{value!r}} is a translation; keys and modes are English {_POLICY}",
    Fault.POLICY_TOO_LONG: f"the policy is longer than {{value}} bytes {_POLICY}",
    Fault.MAIL_NO_ADDRESS: "{subject} has no address",
    Fault.MAIL_NOT_CONNECTED: "no connection to port 25: {value}",
    Fault.MAIL_LATE: "the mail server did not finish its answer within {value} s",
    Fault.MAIL_CLOSED: "the mail server closed the connection",
    Fault.MAIL_GREETING: "the mail server greets with {value!r}",
    Fault.MAIL_GARBAGE: "what answers is not SMTP: {value!r}",
    Fault.MAIL_MANY_LINES: "the mail server's reply has more than {value} lines",
    Fault.MAIL_TOO_LONG: "the mail server sent more than {value} bytes before TLS",
    Fault.MAIL_EHLO: "the mail server refuses EHLO: {value!r}",
    Fault.MAIL_NO_STARTTLS: "the mail server does not offer STARTTLS",
    Fault.MAIL_STARTTLS_REFUSED: "the mail server offers STARTTLS and refuses it: {value!r}",
    Fault.MAIL_UNTRIED: "it was not examined to its end: {value} s for the whole domain were over",
    Fault.DANE_MX_UNKNOWN: "the MX set of {subject} cannot be read: {value}",
    Fault.DANE_MX_INSECURE: "the MX set of {subject} is not secure",
    Fault.DANE_MX_SECURE: "the MX set of {subject} is secure",
    Fault.DANE_NO_DOMAIN: "{subject} does not exist",
    Fault.DANE_OWN_MX: "{subject} has no MX and is its own MX host",
    Fault.DANE_NULL_MX: "{subject} takes no mail (null MX)",
    Fault.DANE_NO_ADDRESS: "no address",
    Fault.DANE_ADDRESS_INSECURE: "its address is not secure",
    Fault.DANE_ALIAS_INSECURE: "neither its address nor its alias is secure",
    Fault.DANE_NAME_TOO_LONG: "{subject} is longer than a domain name",
    Fault.DANE_NO_TLSA: "no TLSA record at {subject}",
    Fault.DANE_TLSA_INSECURE: "the TLSA records at {subject} are not secure",
    Fault.DANE_TLSA_USABLE: "TLSA {value} at {subject}",
    Fault.DANE_TLSA_UNUSABLE: "no usable TLSA record: {value} at {subject}",
    Fault.TLSA_PKIX: "usage {value} (PKIX) is not for SMTP",
    Fault.TLSA_USAGE: "usage {value} is not 2 or 3",
    Fault.TLSA_SELECTOR: "selector {value} is not 0 or 1",
    Fault.TLSA_DER: "{value} bytes are not a {subject} in DER",
    Fault.TLSA_MATCHING: "matching type {value} is not 0, 1 or 2",
    Fault.TLSA_LENGTH: "{value} bytes are not a {subject}",
    Fault.OWN: "{value}",
    Fault.INTERNAL: "internal error: {value}",
}

# What reports say instead: they go to strangers, who need not know our resolvers, nor how busy we are.
_TO_STRANGERS = {
    Fault.DNS_BOGUS: "no DNS answer for {subject}: DNSSEC validation failed",
    Fault.DNS_SERVFAIL: "no DNS answer for {subject}: SERVFAIL",
    Fault.DNS_REFUSED: "no DNS answer for {subject}: REFUSED",
    Fault.DNS_FORMERR: "no DNS answer for {subject}: FORMERR",
    Fault.DNS_NOTIMP: "no DNS answer for {subject}: NOTIMP",
    Fault.DNS_BADVERS: "no DNS answer for {subject}: BADVERS",
    Fault.DNS_OTHER: "no DNS answer for {subject}: an error",
    Fault.DNS_LAME: "no DNS answer for {subject}: an empty one without recursion",
    Fault.DNS_BROKEN: "no DNS answer for {subject}: a broken one",
    Fault.DNS_TIMEOUT: "no DNS answer for {subject} in time",
    Fault.DNS_UNREACHABLE: "no DNS answer for {subject}",
    Fault.CROWDED: "the policy was not fetched in time",
    Fault.GIVEN_UP: "the policy was not fetched in time",
    Fault.INTERNAL: "the policy was not fetched",
    Fault.UNREACHED: "cannot connect to {subject}",
    Fault.PROXY_AWAY: "the policy was not fetched",
    Fault.PROXY_SILENT: "the policy was not fetched",
    Fault.PROXY_LOGIN: "the policy was not fetched",
    Fault.PROXY_DENIED: "the policy was not fetched",
    Fault.PROXY_BROKEN: "the policy was not fetched",
}


@dataclass(frozen=True, slots=True)
class Seen:
    """A fault, and what was seen of it."""

    fault: Fault
    subject: str = ""  # the name, host or address that it happened to
    value: str = ""  # what was seen, bounded; it may be remote text
    line: int = 0  # of a policy, from 1; 0: the whole of it

    def __str__(self) -> str:
        """One sentence for people; remote text in it still has to be quoted by whoever shows it."""
        return self._fill(SENTENCES[self.fault])

    def to_strangers(self) -> str:
        """The sentence for reports: it names nothing of our own."""
        return self._fill(_TO_STRANGERS.get(self.fault, SENTENCES[self.fault]))

    def _fill(self, sentence: str) -> str:
        line = f"line {self.line}: " if self.line else ""
        return sentence.format(subject=self.subject, value=self.value, line=line)


def clip(value: str | bytes, limit: int = SHOWN) -> str:
    """The beginning of a remote value; bytes as the characters of the same number."""
    text = value[: limit + 1].decode("latin-1") if isinstance(value, bytes) else value[: limit + 1]
    return text if len(text) <= limit else text[:limit] + "..."
