"""What was gathered of MX hosts, mail servers and DANE, as findings and lines to show; nothing is asked here."""

from __future__ import annotations

from collections.abc import Iterator

from ...core import lint
from ...core.certificate import matches_tlsa, tlsa_for
from ...core.dane import DaneFacts, DaneStatus, HostFacts
from ...core.findings.owner import Finding, Severity, find
from ...core.policy import Mode, Policy
from ...core.ports import Look
from ...faults import Fault, ResultType, Seen
from .gather import Addresses, MailSeen, MxSeen
from .judge import Rules, Told, addresses, certificate, describe, dns_failed

SHOWN = 20  # lines of a stage
_TLS = (  # faults of a handshake, certificates apart
    Fault.TLS_NONE,
    Fault.TLS_OLD,
    Fault.TLS_NAME_REFUSED,
    Fault.TLS_BROKE_OFF,
    Fault.TLS_LATE,
    Fault.TLS_OTHER,
)
_STARTTLS = (Fault.MAIL_NO_STARTTLS, Fault.MAIL_STARTTLS_REFUSED, Fault.MAIL_EHLO)
_INSECURE = (Fault.DANE_MX_INSECURE, Fault.DANE_ADDRESS_INSECURE, Fault.DANE_ALIAS_INSECURE, Fault.DANE_TLSA_INSECURE)


def judge_mx(seen: MxSeen, policy: Policy | None, rules: Rules) -> Told:
    lines = tuple(f"{each.preference} {each.host or '. (null MX)'}" for each in seen.records[:SHOWN])
    return Told(lines or ("no MX record",), tuple(_mx(seen, policy, rules)))


def _mx(seen: MxSeen, policy: Policy | None, rules: Rules) -> Iterator[Finding]:
    domain = rules.domain
    if seen.failed is not None:
        yield dns_failed(seen.failed, domain, rules)
        return
    if seen.null:
        wanted = policy is not None and policy.mode is not Mode.NONE
        text = f"{domain} takes no mail (null MX)" + (f", and its policy is mode {policy.mode}" if policy else "")
        yield find("mx-null", domain, text, domain=domain, severity=Severity.WARNING if wanted else None)
        return
    if seen.own:
        text = f"{domain} has no MX record; senders take {domain} itself for its mail host"
        yield find("mx-absent", domain, text if seen.exists else f"{domain} does not exist", domain=domain)
    for name, end in seen.aliases.items():
        yield find("mx-alias", name, f"the MX name {name} is an alias of {end}", domain=domain, value=end)
    if policy is not None and seen.hosts:
        yield from lint.coverage(policy, seen.hosts)


def judge_mail(seen: MailSeen, rules: Rules, connected: bool) -> Told:
    """*connected*: whether mail hosts were to be connected to."""
    return Told(tuple(_mail_lines(seen, rules, connected)), tuple(_mail(seen, rules, connected)))


def _mail_lines(seen: MailSeen, rules: Rules, connected: bool) -> Iterator[str]:
    if not connected:
        yield "not connected to (--no-mail)"
        return
    if not seen.addresses:
        yield "none"
    for (host, address), look in list(seen.looks.items())[:SHOWN]:
        if look is not None and look.presented is not None:
            yield f"{host} [{address}]: {describe(look.presented, rules.now)}"
        elif look is not None and look.refused is not None:
            yield f"{host} [{address}]: {look.refused}"
    if len(seen.looks) > SHOWN:
        yield f"and {len(seen.looks) - SHOWN} more"
    if left_out := sum(place.left_out for place in seen.addresses):
        yield f"{left_out} more addresses were not examined"
    if seen.mx.left_out:
        yield f"{seen.mx.left_out} more MX hosts were not examined"


def _mail(seen: MailSeen, rules: Rules, connected: bool) -> Iterator[Finding]:
    for place in seen.addresses:
        yield from (each for each in addresses(place, "mail-private", rules) if connected or each.code == "dns-failed")
        if connected:
            yield from _host(place, seen, rules)


def _host(place: Addresses, seen: MailSeen, rules: Rules) -> Iterator[Finding]:
    domain, host = rules.domain, place.name
    if not (place.usable or place.forbidden or place.no_route or place.failed):
        if not seen.mx.own:
            why = Seen(Fault.MAIL_NO_ADDRESS, host)
            yield find("mail-unreachable", host, why, domain=domain, enforced=rules.enforced)
        return
    looks = {address: seen.looks.get((host, address)) for address in place.usable}
    greeted = [look for look in looks.values() if look is not None and not _unreachable(look)]
    some = Severity.WARNING if greeted or place.no_route else None  # what was not tried may answer
    for address, look in looks.items():
        where = f"{host} [{address}]"
        if look is None:
            late = Seen(Fault.MAIL_UNTRIED, value="120")
            yield find("mail-unreachable", where, late, domain=domain, enforced=rules.enforced, severity=some)
        elif look.refused is not None and _unreachable(look):
            yield find("mail-unreachable", where, look.refused, domain=domain, enforced=rules.enforced, severity=some)
        else:
            yield from _look(where, look, host, rules)


def _unreachable(look: Look) -> bool:
    """Whether nothing was there that could be asked for STARTTLS."""
    fault = look.refused.fault if look.refused is not None else None
    known = fault is None or fault in _TLS or fault in _STARTTLS
    return not known and fault.result_type is not ResultType.WEBPKI_INVALID  # type: ignore[union-attr]


def _look(where: str, look: Look, host: str, rules: Rules) -> Iterator[Finding]:
    refused = look.refused
    if refused is not None and refused.fault in _STARTTLS:
        yield find("mail-starttls", where, refused, domain=rules.domain, enforced=rules.enforced)
    elif refused is not None and refused.fault in _TLS:
        yield find("mail-tls", where, refused, domain=rules.domain, enforced=rules.enforced)
    else:
        yield from certificate("mail", where, host, look.presented, refused, rules)


def judge_dane(facts: DaneFacts, seen: MailSeen | None, rules: Rules, validates: bool) -> Told:
    """*validates*: whether the resolver's word on signatures can be had at all."""
    lines = [f"{host.name}: {host.detail}" for host in facts.hosts[:SHOWN]] or [facts.detail]
    return Told(tuple(lines), tuple(_dane(facts, seen, rules, validates)))


def _dane(facts: DaneFacts, seen: MailSeen | None, rules: Rules, validates: bool) -> Iterator[Finding]:
    if facts.seen.fault in _INSECURE:
        text = f"{facts.seen}: its zone is unsigned, and TLSA records would not count"
        if not validates:
            text = "the resolver of this machine does not validate (or is not trusted to), so DANE cannot be judged"
        yield find("dane-insecure", rules.domain, text, domain=rules.domain)
        return
    for host in facts.hosts:
        yield from _dane_host(host, seen, rules)


def _dane_host(host: HostFacts, seen: MailSeen | None, rules: Rules) -> Iterator[Finding]:
    if host.seen.fault in _INSECURE:
        yield find("dane-insecure", host.name, f"{host.name}: {host.seen}", domain=rules.domain)
    elif host.state is DaneStatus.UNKNOWN and host.seen.subject not in ("", host.name):  # not its address: TLSA
        yield find("dane-failed", host.seen.subject, host.seen, domain=rules.domain)
    elif host.records and host.state is DaneStatus.UNUSABLE:
        yield find("dane-unusable", host.name, host.seen, domain=rules.domain)
    elif host.records:
        yield from _compare(host, seen, rules)


def _compare(host: HostFacts, seen: MailSeen | None, rules: Rules) -> Iterator[Finding]:
    """The TLSA records of a host, and the certificates that it presented."""
    shown = {
        address: look.presented
        for (name, address), look in (seen.looks if seen is not None else {}).items()
        if name == host.name and look is not None and look.presented is not None
    }
    for address, presented in shown.items():
        if presented.leaf is not None and not matches_tlsa(host.records, presented):
            record = f"_25._tcp.{host.name}. IN TLSA {tlsa_for(presented.leaf)}"
            text = f"none of {len(host.records)} secure TLSA records matches the certificate of {host.name} [{address}]"
            yield find("dane-mismatch", f"{host.name} [{address}]", text, domain=rules.domain, value=record)
    if shown and all(matches_tlsa(host.records, presented) for presented in shown.values()):
        yield find("dane-ok", host.name, f"{host.name}: {host.seen}, which matches its certificate")
