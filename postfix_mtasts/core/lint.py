"""What is wrong with a policy file, and what was meant by a record that is none: for `check` and `policy lint`.

Whether a policy is valid is parse_policy's alone to say; it stops at the
first fault and passes over what cannot be misread. Here each line is looked
at once more, to name what other senders refuse and what was probably meant.

Rule: a finding here never makes a policy invalid that parse_policy takes.

Source: RFC 8461 sections 3.1 and 3.2; real files in tests/corpus.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..errors import PolicySyntaxError
from ..faults import Fault, Seen, clip
from .findings.owner import Finding, find
from .policy import MAX_AGE_LIMIT, Mode, Policy, parse_policy

SIZE_LIMIT = 65_536  # bytes (RFC 8461 section 3.3)
DAY = 86_400  # seconds
LEAST_AGE, LEAST_AGE_ENFORCED = DAY, 14 * DAY

_KNOWN = ("version", "mode", "max_age", "mx")
_MODES = {mode.value for mode in Mode}
_TRANSLATED_KEYS = {  # of the keys, in the languages that hosting panels speak
    *("versie", "versione", "versión", "versão", "wersja", "verze", "versioon", "версия", "版本", "バージョン"),
    *("modus", "modo", "modalità", "tryb", "režim", "läge", "tila", "режим", "模式", "モード"),
    *("maximale_leeftijd", "max_leeftijd", "max_alter", "durée_max", "edad_máxima", "max_età", "idade_máxima"),
}
_TRANSLATED_MODES = {
    *("afdwingen", "erzwingen", "durchsetzen", "appliquer", "forcer", "imponer", "aplicar", "forzar", "applica"),
    *("testen", "prueba", "pruebas", "teste", "essai", "prova", "testowy", "geen", "keine", "aucun", "ninguno"),
}


@dataclass(frozen=True, slots=True)
class Linted:
    """A policy file as it was read, and what was found in it."""

    policy: Policy | None  # None: it is invalid
    findings: tuple[Finding, ...]


def lint(body: bytes) -> Linted:
    """Examine a policy file as it was served or as it stands on disk."""
    if len(body) > SIZE_LIMIT:
        return Linted(None, (_invalid(Seen(Fault.POLICY_TOO_LONG, value=f"{SIZE_LIMIT:,}")),))
    lines = body.decode("utf-8", "replace").split("\n")
    found: list[Finding] = []
    policy: Policy | None = None
    try:
        policy = parse_policy(body)
    except PolicySyntaxError as error:
        found.append(_invalid(_meant(error.seen, lines)))
    found += _tolerated(lines)
    found += _keys(lines)
    if policy is not None:
        found += _values(policy, lines)
    return Linted(policy, tuple(found))


def _invalid(seen: Seen) -> Finding:
    return find("policy-invalid", _place(seen.line), seen)


def _place(line: int) -> str:
    return f"line {line}" if line else "the file"


def _meant(seen: Seen, lines: Sequence[str]) -> Seen:
    """The fault, or a better one: what whoever wrote these lines had in mind."""
    if seen.fault is Fault.POLICY_MODE and seen.value.lower() == "report":
        return Seen(Fault.POLICY_MODE_REPORT, "", seen.value, seen.line)
    if seen.fault is Fault.POLICY_VERSION and seen.value.upper() == "STS1":
        return Seen(Fault.POLICY_VERSION_STS1, "", seen.value, seen.line)
    if seen.fault is Fault.POLICY_MODE and seen.value.lower() in _TRANSLATED_MODES:
        return Seen(Fault.POLICY_TRANSLATED, "", seen.value, seen.line)
    if seen.fault in (Fault.POLICY_MISSING, Fault.POLICY_KEY):
        for number, key, value in _pairs(lines):
            if key.casefold() in _TRANSLATED_KEYS or value.casefold() in _TRANSLATED_MODES:
                return Seen(Fault.POLICY_TRANSLATED, "", clip(f"{key}: {value}"), number)
            if seen.value == "version" and key not in _KNOWN and value.upper() in ("STSV1", "STS1"):
                return Seen(Fault.POLICY_TRANSLATED, "", clip(f"{key}: {value}"), number)
    return seen


def _pairs(lines: Sequence[str]) -> Iterator[tuple[int, str, str]]:
    """Line number, key and value of each line that has both."""
    for number, line in enumerate(lines, 1):
        key, colon, value = line.removeprefix("\ufeff").partition(":")
        if colon:
            yield number, key.strip(), value.strip()


def _tolerated(lines: Sequence[str]) -> Iterator[Finding]:
    """What parse_policy passes over; the first line of each kind stands for all."""
    told: set[str] = set()

    def tell(number: int, what: str, line: str) -> Iterator[Finding]:
        if what not in told:
            told.add(what)
            yield find("policy-tolerated", _place(number), f"line {number}: {what} ({clip(line)!r})")

    last = max((number for number, line in enumerate(lines, 1) if line.strip(" \t\r")), default=0)
    for number, line in enumerate(lines, 1):
        text = line.removesuffix("\r")
        if number == 1 and text.startswith("\ufeff"):
            yield from tell(number, "a byte order mark stands before the first key", text)
            text = text.removeprefix("\ufeff")
        key, colon, value = text.partition(":")
        if not text.strip(" \t"):
            if number < last:
                yield from tell(number, "a blank line stands between the keys", text)
            continue
        if key[:1] in (" ", "\t"):
            yield from tell(number, "blanks stand before the key", text)
        if colon and key[-1:] in (" ", "\t") and key.strip():
            yield from tell(number, "blanks stand before the colon", text)
        if key.strip() == "mx" and value.strip(" \t").endswith("."):
            yield from tell(number, "the mx ends in a dot", text)


def _keys(lines: Sequence[str]) -> Iterator[Finding]:
    """Keys that are given twice, or that RFC 8461 does not know."""
    seen: set[str] = set()
    unknown: set[str] = set()
    for number, key, value in _pairs(lines):
        if key in seen and key != "mx":
            yield find("policy-repeated-key", _place(number), f"line {number}: {clip(key)} again", value=clip(key))
        elif key not in _KNOWN and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}", key) and key not in unknown:
            unknown.add(key)
            text = f"line {number}: {clip(key)!r} is not a key of RFC 8461 ({clip(value)!r})"
            yield find("policy-unknown-key", _place(number), text, value=clip(key))
        seen.add(key)


def _values(policy: Policy, lines: Sequence[str]) -> Iterator[Finding]:
    numbers: dict[str, int] = {}
    given = ""
    for number, key, value in _pairs(lines):
        if key not in numbers:
            numbers[key] = number
            given = value if key == "max_age" else given
        if key == "mx" and value in policy.unusable:
            text = f"line {number}: mx {clip(value)!r} is not a host name or *. and a host name; senders pass over it"
            yield find("policy-mx-unusable", _place(number), text)
    yield from _max_age(policy, int(given), numbers["max_age"])
    if policy.mode is not Mode.ENFORCE:
        text = f"line {numbers['mode']}: mode {policy.mode}: {_TODAY[policy.mode]}"
        yield find("policy-mode", _place(numbers["mode"]), text)


_TODAY = {
    Mode.TESTING: "senders report failures, and deliver mail without TLS or to any host as if there were no policy",
    Mode.NONE: "the policy is withdrawn, and mail goes as if there were none",
}


def _max_age(policy: Policy, given: int, number: int) -> Iterator[Finding]:
    what = ""
    if given > MAX_AGE_LIMIT:
        what = f"over {MAX_AGE_LIMIT} (a year); senders cut it"
    elif given < LEAST_AGE:
        what = f"under {LEAST_AGE} (a day): an attacker who blocks the policy host for that long is through"
    elif policy.mode is Mode.ENFORCE and given < LEAST_AGE_ENFORCED:
        what = f"under {LEAST_AGE_ENFORCED} (14 days), which is little for mode enforce"
    if what:
        yield find("policy-max-age", _place(number), f"line {number}: max_age {given} is {what}")


_MEANT = (  # what a record that does not count was probably meant to be; the first that fits
    (re.compile(r"v=STSv1[ \t]*;"), None),
    (re.compile(r"v=TLSRPTv1", re.IGNORECASE), Fault.RECORD_TLSRPT),
    (re.compile(r"v=DMARC1|.*\bp=(?:reject|quarantine|none)\b", re.IGNORECASE | re.DOTALL), Fault.RECORD_DMARC),
    (re.compile(r"v=STSv1\\"), Fault.RECORD_QUOTED),
    (re.compile(r"v=STSv1(?![0-9A-Za-z])"), Fault.RECORD_NO_SEMICOLON),
    (re.compile(r"v=STS", re.IGNORECASE), Fault.RECORD_VERSION),
    (re.compile(r"[\"'\\]+v=STSv1"), Fault.RECORD_QUOTED),
    (re.compile(r"\s*v\s*=\s*STSv1"), Fault.RECORD_BLANKS),
    (re.compile(r".*v=STSv1", re.DOTALL), Fault.RECORD_ORDER),
)


def meant_record(texts: Sequence[bytes]) -> tuple[str, Seen] | None:
    """What stands at _mta-sts instead of a record: the code and why; None where nothing looks like one.

    What begins with v=STS in any case is an invalid record, all else is none.
    """
    for text in texts:
        shown = text.decode("latin-1")
        fault = next((fault for pattern, fault in _MEANT if pattern.match(shown)), None)
        if fault is not None:
            begins = shown[:5].upper() == "V=STS"
            return ("record-invalid" if begins else "record-absent"), Seen(fault, value=clip(text))
    return None


def meant_tlsrpt(texts: Sequence[bytes]) -> Seen | None:
    """What stands at _smtp._tls instead of a record, if it was meant to be one."""
    for text in texts:
        if re.match(rb"[\s\"']*v\s*=\s*TLSRPT", text, re.IGNORECASE) and not re.match(rb"v=TLSRPTv1[ \t]*;", text):
            return Seen(Fault.TLSRPT_VERSION, value=clip(text))
    return None


def coverage(policy: Policy, hosts: Sequence[str]) -> Iterator[Finding]:
    """The MX hosts that no pattern of *policy* matches, and the patterns that match none of them.

    With mode none there is nothing to cover.
    """
    if policy.mode is Mode.NONE:
        return
    for host in hosts:
        if not any(matches(pattern, host) for pattern in policy.mx):
            deeper = [pattern for pattern in policy.mx if pattern[:1] == "*" and host.endswith(pattern[1:])]
            why = f"; {deeper[0]} stands for one label only" if deeper else ""
            text = f"no mx of the policy matches the MX host {host}{why}"
            yield find("mx-uncovered", host, text, enforced=policy.mode is Mode.ENFORCE)
    for pattern in policy.mx:
        if not any(matches(pattern, host) for host in hosts):
            yield find("mx-unused", pattern, f"mx {pattern} matches no MX host of the domain")


def matches(pattern: str, host: str) -> bool:
    """Whether an mx pattern covers an MX host, both in lower case without a final dot (RFC 8461 section 4.1)."""
    if pattern.startswith("*."):
        return host.partition(".")[2] == pattern[2:] and not host.startswith(".")
    return host == pattern
