"""What was gathered of record, policy host, policy and TLSRPT, as findings and lines to show; nothing is asked here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ...core import lint, record, tlsrpt
from ...core.certificate import Presented, faults
from ...core.findings.owner import Finding, Severity, find
from ...core.outcome import Stage
from ...core.policy import Policy
from ...errors import RecordError
from ...faults import Fault, ResultType, Seen, clip
from .gather import Addresses, HostLook, HostSeen, RecordSeen, Texts

DAY = 86_400.0  # seconds
NAMES = 3  # of a certificate that are shown
_TEXT = 300  # characters of a record that are shown


@dataclass(frozen=True, slots=True)
class Told:
    """What a stage has to tell."""

    lines: tuple[str, ...]  # what was seen; it may hold remote text
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class Rules:
    """What the findings of a run go by."""

    domain: str
    now: float  # UTC seconds since 1970
    expiry_days: int
    enforced: bool = False  # the policy says enforce


def dns_failed(seen: Seen, name: str, rules: Rules) -> Finding:
    return find("dns-failed", name, seen, domain=rules.domain)


def judge_record(seen: RecordSeen, rules: Rules) -> Told:
    return Told(tuple(_record_lines(seen)), tuple(_record(seen, rules)))


def _record_lines(seen: RecordSeen) -> Iterator[str]:
    ours = [text for text in seen.record.texts if text[:5].upper() == b"V=STS"]
    for text in (ours or seen.record.texts)[:4]:
        yield clip(text, _TEXT)
    if not seen.record.texts and seen.record.failed is None:
        yield f"no TXT record at {seen.record.name}"


def _record(seen: RecordSeen, rules: Rules) -> Iterator[Finding]:
    texts, name = seen.record.texts, seen.record.name
    if seen.record.failed is not None:
        yield dns_failed(seen.record.failed, name, rules)
    else:
        yield from _own_record(texts, name, rules)
    if seen.record.aliases:
        chain = " -> ".join((name, *seen.record.aliases))
        yield find("record-alias", name, f"the record is an alias: {clip(chain, _TEXT)}", domain=rules.domain)
    for other in seen.elsewhere:
        for text in other.texts:
            if record.begins(text):
                told = f"{clip(text)!r} stands at {other.name}, where no sender looks for it"
                yield find("record-misplaced", other.name, told, domain=rules.domain)


def _own_record(texts: tuple[bytes, ...], name: str, rules: Rules) -> Iterator[Finding]:
    try:
        found = record.select_record(texts)
    except RecordError as error:
        several = error.seen.fault is Fault.RECORD_SEVERAL
        yield find("record-multiple" if several else "record-invalid", name, error.seen, domain=rules.domain)
        return
    if found is None:
        code, why = lint.meant_record(texts) or ("record-absent", Seen(Fault.RECORD_NONE, name))
        yield find(code, name, why, domain=rules.domain)


def span(seconds: float) -> str:
    """Days, or hours where they are few."""
    number, unit = (int(seconds / DAY), "day") if seconds >= 2 * DAY else (int(seconds / 3600), "hour")
    return f"{number} {unit}{'' if number == 1 else 's'}"


def describe(presented: Presented | None, now: float) -> str:
    """TLS version and certificate in one line: names, issuer, days left."""
    if presented is None or presented.leaf is None:
        return "no certificate was shown"
    leaf = presented.leaf
    names = ", ".join(clip(name, 100) for name in leaf.names[:NAMES]) or f"no DNS name (CN {leaf.common_name})"
    more = f" and {len(leaf.names) - NAMES} more" if len(leaf.names) > NAMES else ""
    left = leaf.not_after - now
    ends = f"{span(left)} left" if left >= 0 else f"expired {span(-left)} ago"
    return f"{presented.version}, certificate of {names}{more}, issued by {leaf.issuer or 'nobody named'}, {ends}"


def certificate(
    kind: str, place: str, host: str, presented: Presented | None, refused: Seen | None, rules: Rules
) -> Iterator[Finding]:
    """The findings KIND-certificate-* for what *host* showed at *place*."""
    trouble = refused if refused is not None and refused.fault.result_type is ResultType.WEBPKI_INVALID else None
    if presented is None:
        presented = Presented("", ())
    found = faults(presented, host, rules.now, trouble)
    for seen in found:
        code = f"{kind}-certificate-{_CERTIFICATE.get(seen.fault, 'untrusted')}"
        told = _sentence(seen, presented, rules.now)
        yield find(code, place, seen, told=told, domain=rules.domain, name=host, enforced=rules.enforced)
    leaf = presented.leaf
    if leaf is not None and not any(seen.fault in _DATES for seen in found):
        left = leaf.not_after - rules.now
        if left < rules.expiry_days * DAY:
            text = f"the certificate expires in {span(left)}"
            yield find(f"{kind}-certificate-expiring", place, text, domain=rules.domain, name=host)


_CERTIFICATE = {
    Fault.CERTIFICATE_EXPIRED: "expired",
    Fault.CERTIFICATE_NOT_YET: "expired",
    Fault.CERTIFICATE_NAME: "name",
    Fault.CERTIFICATE_COMMON_NAME: "name",
}
_DATES = (Fault.CERTIFICATE_EXPIRED, Fault.CERTIFICATE_NOT_YET)


def _sentence(seen: Seen, presented: Presented, now: float) -> str:
    """The fault's sentence, with what the certificate says."""
    leaf = presented.leaf
    if leaf is None:
        return str(seen)
    if seen.fault is Fault.CERTIFICATE_EXPIRED and now > leaf.not_after:
        return f"the certificate expired {span(now - leaf.not_after)} ago"
    if seen.fault is Fault.CERTIFICATE_NOT_YET and now < leaf.not_before:
        return f"the certificate is not yet valid, for another {span(leaf.not_before - now)}"
    if seen.fault is Fault.CERTIFICATE_NAME:
        names = ", ".join(clip(name, 100) for name in leaf.names[:NAMES]) or "no DNS name"
        return f"{seen}: it is for {names}"
    if seen.fault is Fault.CERTIFICATE_CA:
        return f"{seen}: {leaf.issuer or 'nobody named'}"
    return str(seen)


def judge_host(seen: HostSeen, rules: Rules) -> Told:
    return Told(tuple(_host_lines(seen, rules)), tuple(_host(seen, rules)))


def _host_lines(seen: HostSeen, rules: Rules) -> Iterator[str]:
    if not seen.looks:
        yield f"{seen.addresses.name} was not reached"
    for address, look in seen.looks.items():
        if look is None:
            yield f"{address}: no end within the time for the domain"
        elif look.presented is not None:
            yield f"{address}: {describe(look.presented, rules.now)}"
        else:
            yield f"{address}: {look.refused or 'a policy is served'}"
    if seen.addresses.left_out:
        yield f"{seen.addresses.left_out} more addresses were not examined"


def _host(seen: HostSeen, rules: Rules) -> Iterator[Finding]:
    place = seen.addresses
    yield from addresses(place, "host-private", rules)
    if not (place.usable or place.forbidden or place.no_route or place.failed):
        yield find("host-absent", place.name, Seen(Fault.NO_ADDRESS, place.name), domain=rules.domain)
    answered = [look for look in seen.looks.values() if look is not None and not _unreachable(look)]
    ours = {address: why for address, look in seen.looks.items() if (why := _our_proxy(look)) is not None}
    for why in [*ours.values()][:1]:  # it would say the same of each address
        yield find("proxy-failed", place.name, why, domain=rules.domain)
    for address, look in seen.looks.items():
        if address in ours:
            continue
        if look is None or _unreachable(look):
            why = look.refused if look is not None and look.refused is not None else _LATE
            text = (
                f"no connection to port 443: {why.value}"
                if why.fault in (Fault.NOT_CONNECTED, Fault.UNREACHED)
                else str(why)
            )
            none = not answered and not place.no_route  # what was not tried may answer
            yield find("host-unreachable", address, text, domain=rules.domain, enforced=none)
        else:
            yield from _host_look(address, look, place.name, rules)
    bodies = {look.body for look in answered if look.body is not None}
    if len(bodies) > 1:
        text = f"{len(bodies)} different policies are served at {len(seen.looks)} addresses"
        yield find("host-differs", place.name, text, domain=rules.domain)


_LATE = Seen(Fault.MAIL_UNTRIED, value="120")


def _our_proxy(look: HostLook | None) -> Seen | None:
    """What our own proxy failed at, which is not the host's."""
    refused = look.refused if look is not None else None
    return refused if refused is not None and refused.fault.ours else None


def _unreachable(look: HostLook) -> bool:
    return look.refused is not None and look.stage is Stage.ADDRESS


def _host_look(address: str, look: HostLook, host: str, rules: Rules) -> Iterator[Finding]:
    refused = look.refused
    if look.presented is not None or (refused is not None and refused.fault.result_type is ResultType.WEBPKI_INVALID):
        yield from certificate("host", address, host, look.presented, refused, rules)
    if refused is None or refused.fault.result_type is ResultType.WEBPKI_INVALID:
        return
    code = "host-tls" if look.stage is Stage.TLS else "host-http"
    yield find(code, address, refused, domain=rules.domain)


def addresses(place: Addresses, private: str, rules: Rules) -> Iterator[Finding]:
    """What DNS says of a host's addresses; *private* is the code for those that senders refuse."""
    for failure in place.failed:
        yield dns_failed(failure, place.name, rules)
    for address, why in place.forbidden:
        text = f"{place.name} has the address {address}, which is {why}"
        yield find(private, address, text, domain=rules.domain, enforced=rules.enforced)
    if place.no_route:
        text = f"{place.name}: {', '.join(place.no_route)} not tried, since this machine has no IPv6"
        yield find("ipv6-untried", place.name, text)


@dataclass(frozen=True, slots=True)
class PolicyTold:
    """The policy that was served, if it was, and what it tells."""

    policy: Policy | None
    body: bytes | None
    told: Told


def judge_policy(seen: HostSeen | None) -> PolicyTold:
    """Examine the first policy that an address served; host-differs tells of others."""
    looks = seen.looks.values() if seen is not None else ()
    body = next((look.body for look in looks if look is not None and look.body is not None), None)
    return judge_body(body) if body is not None else PolicyTold(None, None, Told(("no policy was served",), ()))


def judge_body(body: bytes) -> PolicyTold:
    """Examine a policy file."""
    linted = lint.lint(body)
    lines: tuple[str, ...] = (f"{len(body)} bytes that senders cannot read",)
    if (policy := linted.policy) is not None:
        lines = (f"mode {policy.mode}, max_age {policy.max_age}, mx {', '.join(policy.mx)[:_TEXT]}",)
    return PolicyTold(policy, body, Told(lines, linted.findings))


def judge_tlsrpt(seen: Texts, rules: Rules) -> Told:
    lines = tuple(clip(text, _TEXT) for text in seen.texts if b"TLSRPT" in text.upper())[:4]
    return Told(lines or (() if seen.failed else (f"no TLSRPT record at {seen.name}",)), tuple(_tlsrpt(seen, rules)))


def _tlsrpt(seen: Texts, rules: Rules) -> Iterator[Finding]:
    if seen.failed is not None:
        yield dns_failed(seen.failed, seen.name, rules)
        return
    try:
        found = tlsrpt.read_record(seen.texts)
    except RecordError as error:
        yield find("tlsrpt-invalid", seen.name, error.seen, domain=rules.domain)
        return
    if found is None:
        meant = lint.meant_tlsrpt(seen.texts)
        text = f"no TXT record at {seen.name} begins with v=TLSRPTv1;"
        yield find("tlsrpt-invalid" if meant else "tlsrpt-absent", seen.name, meant or text, domain=rules.domain)


def worst(findings: tuple[Finding, ...]) -> Severity | None:
    """The gravest severity of a stage, None without findings worth a mark."""
    order = (Severity.ERROR, Severity.UNKNOWN, Severity.WARNING)
    return next((each for each in order if any(finding.severity is each for finding in findings)), None)
