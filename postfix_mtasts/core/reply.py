"""A verdict in Postfix's words: one result of smtp_tls_policy_maps.

Grammar: a level and attributes "name=value" separated by blanks, and from
Postfix 3.10 "{ name = value with blanks }". Postfix defers all mail to the
domain on whatever it cannot read, so:

Rule 1: match and mx_host_pattern hold Policy.mx only (policy.py's rule 2).
Rule 2: a policy line reaches Postfix only if every character of it is
        printable and none is a brace; nothing is escaped or mended.
Rule 3: policy_type=sts never goes without a policy_string and an
        mx_host_pattern: Postfix 3.10.0 to 3.10.5 crash on that.
Rule 4: what does not fit gives way in this order: policy strings from the
        last one on, then all STS attributes. The match list always fits.
"""

from __future__ import annotations

from collections.abc import Sequence

from . import socketmap
from .names import Domain
from .policy import Policy
from .verdict import Kind, Verdict

MAX_TEXT = socketmap.MAX_REPLY - len("OK ")  # bytes; Postfix's limit counts the whole payload


def reply_frame(verdict: Verdict, domain: Domain, tlsrpt: bool) -> bytes:
    """The whole reply, framed; see answer_text."""
    if verdict.kind is Kind.NOTFOUND:
        return socketmap.notfound()
    text = answer_text(verdict, domain, tlsrpt)
    match verdict.kind:
        case Kind.SECURE | Kind.DANE_ONLY:
            return socketmap.ok(text)
        case Kind.TEMP:
            return socketmap.temp(text)
        case Kind.PERM:
            return socketmap.perm(text)


def reply_text(verdict: Verdict, domain: Domain, tlsrpt: bool) -> str:
    """The payload of reply_frame, without the blank after NOTFOUND."""
    return reply_frame(verdict, domain, tlsrpt).partition(b":")[2][:-1].decode().rstrip(" ")


def answer_text(verdict: Verdict, domain: Domain, tlsrpt: bool) -> str:
    """What follows the status: the policy after OK, nothing after NOTFOUND, else the reason.

    Args:
        domain: the policy domain; used for SECURE only.
        tlsrpt: add the STS attributes that Postfix 3.10 and later know; older ones defer on them.

    The text of a policy takes MAX_TEXT bytes of UTF-8 at most.
    """
    match verdict.kind:
        case Kind.SECURE:
            assert verdict.policy is not None  # noqa: S101 -- Verdict sees to it
            return _secure(verdict.policy, domain, tlsrpt)
        case Kind.DANE_ONLY:
            return "dane-only"  # no STS attributes: with them Postfix 3.10.5 skips hosts
        case Kind.NOTFOUND:
            return ""
        case Kind.TEMP | Kind.PERM:
            return verdict.reason


def _secure(policy: Policy, domain: Domain, tlsrpt: bool) -> str:
    # "*.x" means any depth below x to Postfix as ".x", and nothing at all as "*.x"; servername sends the MX
    # host's name as SNI (RFC 8461 section 7.1)
    mx = policy.mx
    text = f"secure match={':'.join(pattern.removeprefix('*') for pattern in mx)} servername=hostname"
    return text + _sts_attributes(policy, mx, domain, MAX_TEXT - len(text)) if tlsrpt else text


def _sts_attributes(policy: Policy, mx: Sequence[str], domain: Domain, room: int) -> str:
    """The STS attributes in *room* bytes, or "" where Postfix cannot have a usable set."""
    head = f" policy_type=sts policy_domain={domain}"
    patterns = "".join(f" mx_host_pattern={pattern}" for pattern in mx)
    strings = _policy_strings(policy, room - len(head) - len(patterns))
    return head + strings + patterns if strings and patterns else ""


def _policy_strings(policy: Policy, room: int) -> str:
    """The policy's sendable lines from the first on, as many as fit into *room* bytes."""
    strings = []
    for line in policy.text.split("\n"):
        if not _is_sendable(line):
            continue
        string = f" {{ policy_string = {line} }}"
        room -= len(string.encode())
        if room < 0:
            break
        strings.append(string)
    return "".join(strings)


def _is_sendable(line: str) -> bool:
    # A line never begins or ends with a blank (Policy.text), so Postfix's trimming changes nothing.
    return line.isprintable() and "{" not in line and "}" not in line
