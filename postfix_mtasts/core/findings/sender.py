"""What the outcome of a lookup means for who sends mail to a domain, and what to do about it.

`query --explain` shows it below what was seen. The same faults in the words
for the domain's owner are owner.py's.

Source: RFC 8461 sections 3.1, 3.3 and 5; RFC 7672 section 2.2 for DANE.
"""

from __future__ import annotations

from ...faults import NO_RECORD, Fault
from ..outcome import Absent, DnsFailed, Failed, ResultType, Stage

PASSED = {  # what it means that a stage went well
    Stage.RECORD: "The domain publishes MTA-STS; its policy is fetched from the policy host.",
    Stage.ADDRESS: "The policy host can be reached.",
    Stage.TLS: "The certificate is valid for the policy host: what it says is the domain's own word.",
    Stage.HTTP: "The policy file is there.",
}

_ABSENT = "The domain does not publish MTA-STS. Postfix goes by smtp_tls_security_level."
_BAD_RECORD = "A record that is doubled or malformed counts as none (RFC 8461 section 3.1)."
_NO_POLICY = (
    "Without a valid policy mail goes as if there were none; a policy that the daemon fetched earlier "
    "stays in force until it expires (RFC 8461 section 3.3)."
)
_DNS_SKIPPED = "DNS does not say whether there is a record; with lookup.on_dns_failure: skip that counts as none."
_DNS_DEFERRED = "DNS does not say whether there is a record; with lookup.on_dns_failure: defer the mail waits."

_PROXY_FAILS = (
    "The proxy of this machine (fetch.proxy) keeps us from every domain, which says nothing of this one. A policy that "
    "the daemon fetched earlier stays in force; without one {rule}."
)
_RULES = {
    "skip": "mail goes as if there were none (lookup.on_dns_failure: skip)",
    "defer": "mail waits (lookup.on_dns_failure: defer)",
}

_ADVICE = {  # for a failure at a stage
    Stage.ADDRESS: "Try `curl -v https://{host}/.well-known/mta-sts.txt` on this machine. If it reaches other hosts, "
    "write to postmaster@{domain}; if not, check this machine's DNS and firewall (port 443).",
    Stage.TLS: "The domain must fix TLS at {host}; write to postmaster@{domain}. If many domains fail like this, "
    "something between this machine and them interferes with port 443.",
    Stage.HTTP: "The domain must serve https://{host}/.well-known/mta-sts.txt itself and in time, with status 200 and "
    "as text/plain; write to postmaster@{domain}.",
    Stage.POLICY: "The domain must fix the policy file; send the line above to postmaster@{domain}.",
}
_ADVICE_CERTIFICATE = (
    "The domain must fix the certificate of {host}; write to postmaster@{domain}. If many domains fail like this, "
    "check this machine's clock and its CA certificates (fetch.ca_file)."
)
_TRY_PROXY = "Try `curl -v --proxy PROXY https://{host}/.well-known/mta-sts.txt` on this machine"
_ADVICE_PROXY = {
    Fault.UNREACHED: f"{_TRY_PROXY}. If it reaches other hosts, write to postmaster@{{domain}}; if not, "
    "check the proxy's own DNS and way out.",
    Fault.PROXY_AWAY: f"{_TRY_PROXY}, and see whether the proxy runs where fetch.proxy says.",
    Fault.PROXY_SILENT: f"{_TRY_PROXY}, and see in the proxy's log what it waits for.",
    Fault.PROXY_LOGIN: "Write the proxy's USER:PASSWORD into the file that fetch.proxy_password_file names.",
    Fault.PROXY_DENIED: "Have the proxy allow CONNECT to port 443 of {host} from this machine; whether it is asked by "
    "name or by address is fetch.proxy_connect.",
    Fault.PROXY_BROKEN: f"{_TRY_PROXY}, and see whether what answers is a proxy of the kind that fetch.proxy says.",
}
_ADVICE_RECORD = "The domain must fix the TXT record at _mta-sts.{domain}; write to postmaster@{domain}."
_ADVICE_DNS = (
    "Try `dig TXT _mta-sts.{domain}` on this machine. If other names are answered, the domain's name servers fail; "
    "if not, check the resolver (dns.servers, or /etc/resolv.conf)."
)
_ADVICE_DANE = (
    "Try `dig +dnssec MX {domain}` and `dig TLSA _{port}._tcp.HOST` on this machine. If other signed domains are "
    "answered, the domain's DNSSEC is broken; write to postmaster@{domain}. If not, check the resolver."
)


def is_bad_record(fault: Fault) -> bool:
    """Whether an absent record is there, but of no use."""
    return fault not in NO_RECORD


def meaning(outcome: Absent | Failed | DnsFailed, on_dns_failure: str) -> str:
    """What it means for mail that a lookup ended in *outcome*."""
    match outcome:
        case Failed() if outcome.ours:
            return _PROXY_FAILS.format(rule=_RULES[on_dns_failure])
        case Failed():
            return f"{outcome.result_type}. {_NO_POLICY}"
        case DnsFailed():
            return _DNS_DEFERRED if on_dns_failure == "defer" else _DNS_SKIPPED
        case Absent():
            return _BAD_RECORD if is_bad_record(outcome.seen.fault) else _ABSENT


def advice(outcome: Absent | Failed | DnsFailed, domain: str) -> str:
    """What to do about it; nothing where nothing has failed."""
    match outcome:
        case Failed() if outcome.result_type is ResultType.WEBPKI_INVALID:
            text = _ADVICE_CERTIFICATE
        case Failed():
            text = _ADVICE_PROXY.get(outcome.seen.fault) or _ADVICE[outcome.stage]
        case DnsFailed():
            text = _ADVICE_DNS
        case Absent():
            text = _ADVICE_RECORD if is_bad_record(outcome.seen.fault) else ""
    return text.format(domain=domain, host=f"mta-sts.{domain}")


def dane_advice(domain: str, port: str) -> str:
    """What to do where DNS does not say whether DANE applies."""
    return _ADVICE_DANE.format(domain=domain, port=port)
