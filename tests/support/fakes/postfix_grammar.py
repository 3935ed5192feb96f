"""Reads a TLS policy as Postfix 3.10 reads it, and refuses whatever makes Postfix defer.

Written from the documentation of smtp_tls_policy_maps (postconf(5)) and from
what smtp_tls_policy.c, mystrtokq(), extpar() and split_nameval() do: a level,
then attributes between blanks or commas; braces hold blanks and commas
together; within them white space at the ends of name and value goes, and
other white space becomes a blank.

It is stricter than Postfix in what postfix-mtasts has no reason to send:
`match` comes once, and names host names or ".host.name" only.
"""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Iterator

MAX_PAYLOAD = 100_000  # bytes of a socketmap reply, its "OK " included

LEVELS = {"none", "may", "encrypt", "dane", "dane-only", "fingerprint", "verify", "secure"}
MANY = {"policy_string", "mx_host_pattern"}
STS = MANY | {"policy_type", "policy_domain", "policy_ttl", "policy_failure"}
ATTRIBUTES = STS | {
    "match", "servername", "ciphers", "protocols", "exclude", "tafile", "connection_reuse", "enable_rpk",
}  # fmt: skip
POLICY_TYPES = {"sts", "no-policy-found"}
STRATEGIES = {"hostname", "nexthop", "dot-nexthop"}

_SEPARATORS = ", \t\r\n"
_SPACE = " \t\n\v\f\r"  # isspace() in the C locale
_PIECE = re.compile(r"[{}]|[, \t\r\n]+|[^{}, \t\r\n]+")
_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")


class DeferredError(Exception):
    """Postfix would defer all mail to the domain."""


def read_result(data: bytes) -> tuple[str, list[tuple[str, str]]]:
    """Return level and attributes of what follows "OK ". Raises: DeferredError."""
    if len(b"OK ") + len(data) > MAX_PAYLOAD:
        raise DeferredError(f"reply of {len(data)} bytes is too long")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DeferredError(f"not UTF-8: {error}") from None
    if "\0" in text:
        raise DeferredError("NUL ends the text early")
    tokens = list(_tokens(text))
    if not tokens:
        raise DeferredError("empty policy")
    level = tokens[0].lower()
    if level not in LEVELS:
        raise DeferredError(f"invalid security level {tokens[0]!r}")
    attributes = [_pair(token) for token in tokens[1:]]
    _check(level, attributes)
    return level, attributes


def values(attributes: list[tuple[str, str]], name: str) -> list[str]:
    """All values of the attribute *name*, in order."""
    return [value for known, value in attributes if known == name]


def _tokens(text: str) -> Iterator[str]:
    token, depth = "", 0
    for piece in _PIECE.findall(text):
        if depth == 0 and piece[0] in _SEPARATORS:
            if token:
                yield token
            token = ""
            continue
        depth += (piece == "{") - (piece == "}")
        if depth < 0:
            raise DeferredError("'}' without '{'")
        token += piece
    if depth:
        raise DeferredError("'{' without '}'")
    if token:
        yield token


def _pair(token: str) -> tuple[str, str]:
    text = token
    if token[0] == "{":
        text = _in_braces(token).strip(_SPACE)
        text = re.sub(rf"[{_SPACE}]", " ", text)
    match = re.fullmatch(rf"[{_SPACE}]*([^{_SPACE}=]+)[{_SPACE}]*=(.*)", text, re.DOTALL)
    if match is None:
        raise DeferredError(f"malformed attribute {token[:80]!r}")
    name = match[1].lower()
    if name not in ATTRIBUTES:
        raise DeferredError(f"invalid attribute name {match[1][:80]!r}")
    return name, match[2].strip(_SPACE)


def _in_braces(token: str) -> str:
    """The text between the brace that *token* begins with and its partner, which must be the token's end."""
    depth = 0
    for position, character in enumerate(token):
        depth += (character == "{") - (character == "}")
        if depth == 0:
            if position != len(token) - 1:
                raise DeferredError(f"text after '}}' in {token[:80]!r}")
            break
    return token[1:-1]


def _check(level: str, attributes: list[tuple[str, str]]) -> None:
    counts = Counter(name for name, _ in attributes)
    for name, count in counts.items():
        if count > 1 and name not in MANY:
            raise DeferredError(f"{name} is specified {count} times")
    for name, value in attributes:
        if name == "match":
            _check_match(level, value)
        elif name in ("servername", "policy_domain") and not _is_hostname(value):
            raise DeferredError(f"{name}={value[:80]!r} is no host name")
        elif name == "policy_type" and value not in POLICY_TYPES:
            raise DeferredError(f"policy_type={value[:80]!r}")
    if "policy_type" not in counts and STS & counts.keys():
        raise DeferredError("STS attributes without policy_type")
    if ("policy_type", "sts") in attributes:
        for name in sorted(MANY - counts.keys()):
            raise DeferredError(f"Postfix 3.10.0 to 3.10.5 crash on policy_type=sts without {name}")


def _check_match(level: str, value: str) -> None:
    if level not in ("verify", "secure"):
        raise DeferredError(f"match at level {level}")
    tokens = [token for token in value.split(":") if token]
    if not tokens:
        raise DeferredError("empty match")
    for token in tokens:
        name = token.removeprefix(".")
        if token.lower() in STRATEGIES or _is_address(name) or not _is_hostname(name):
            raise DeferredError(f"match token {token[:80]!r} is no host name or .host.name")


def _is_hostname(name: str) -> bool:
    labels = name.split(".")
    return len(name) <= 255 and all(_LABEL.fullmatch(label) for label in labels) and not "".join(labels).isdigit()


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
