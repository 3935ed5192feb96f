"""The policy file (RFC 8461 sections 3.2 and 4.1).

The body of an HTTPS answer in, a Policy or one fault out. Fetching it and its
size limit are adapters/https/'s work; a policy in time is entry.py's.

Rule 1: white space, a byte order mark and one final dot of an mx cannot be
        misread and are passed over; nothing else is guessed.
Rule 2: only plain host names get into Policy.mx, with "*." in front or
        not. What Postfix could take for an address, a matching strategy or
        a piece of its own syntax ends in Policy.unusable.
Rule 3: parse_policy(policy.text.encode()) == policy, so a store keeps the
        text alone.

It reads every stored policy at a start: one pass, no regular expression for
the common lines, and host names that many policies share are held once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from ..errors import PolicySyntaxError

MAX_AGE_LIMIT = 31_557_600  # seconds, section 3.2; more is cut, since refusing it would leave the domain unprotected

_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}")  # sts-policy-ext-name
_MAX_AGE = re.compile(r"[0-9]{1,10}")
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_MX = re.compile(rf"(?:\*\.)?(?=.{{1,253}}\Z)(?:{_LABEL}\.)+(?![0-9]+\Z){_LABEL}")  # no TLD is a number: no addresses
_MX_LIMIT = len("*.") + 253 + len(".")  # characters

_SHOWN = 60  # characters of a remote value in a message


class Mode(StrEnum):
    """What a sender does where the policy does not hold (section 5)."""

    ENFORCE = "enforce"
    TESTING = "testing"
    NONE = "none"


_MODES = {mode.value: mode for mode in Mode}


@dataclass(frozen=True, slots=True)
class Policy:
    """A valid policy: mx is empty only with mode none."""

    mode: Mode
    mx: tuple[str, ...]  # usable patterns: lower case, "host.name" or "*.host.name", no repeats, in order
    max_age: int  # seconds, cut to 31557600
    text: str  # the policy's lines, blanks trimmed, blank lines left out, joined by "\n"
    unusable: tuple[str, ...] = ()  # mx values that never reach Postfix, as they stood


def parse_policy(body: bytes) -> Policy:
    """Read a policy file.

    Keys are case-sensitive, unknown ones are ignored, and of a repeated one,
    mx apart, the first counts (section 3.2).

    Raises: PolicySyntaxError, with the line, for what makes the policy invalid.
    """
    lines: list[str] = []
    first: dict[str, tuple[int, str]] = {}  # version, mode, max_age: line number and value
    mx: dict[str, None] = {}
    unusable: list[str] = []
    for number, line in enumerate(_decode(body).replace("\r\n", "\n").split("\n"), 1):
        line = line.strip(" \t")
        if not line:
            continue
        key, colon, value = line.partition(":")
        if not colon:
            raise _fault(number, f"no colon in {_show(line)}")
        key, value = key.rstrip(" \t"), value.lstrip(" \t")
        if line[-1] == "\r":  # before the LF that ends the line in Policy.text it would read as a CRLF
            raise _fault(number, f"stray CR at the end of {_show(line)}; a line ends in LF or CRLF")
        lines.append(line)
        if key == "mx":
            pattern = _read_mx(value)
            if pattern is None:
                unusable.append(value)
            else:
                mx[pattern] = None
        elif key == "version" or key == "mode" or key == "max_age":
            first.setdefault(key, (number, value))
        elif not _KEY.fullmatch(key):
            raise _fault(number, f"bad key {_show(key)}; 1 to 32 letters, digits, '_', '-' and '.' make a key")
    _check_version(first)
    mode = _read_mode(first)
    max_age = _read_max_age(first)
    if not mx and mode is not Mode.NONE:
        raise _no_usable_mx(mode, unusable)
    return Policy(mode, tuple(mx), max_age, "\n".join(lines), tuple(unusable))


def _decode(body: bytes) -> str:
    try:
        return body.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = body.count(b"\n", 0, error.start) + 1
        raise _fault(line, f"byte {body[error.start]:#04x} is not UTF-8") from None


def _read_mx(value: str) -> str | None:
    """Return the pattern in lower case, or None for what must not reach Postfix."""
    return _read_short_mx(value) if len(value) <= _MX_LIMIT else None


@lru_cache(maxsize=4096)  # most domains name hosts of a few providers; bounded, since the values are anyone's
def _read_short_mx(value: str) -> str | None:
    """Grammar: sts-policy-mx-value, section 3.2, two labels at least. One final dot is passed over."""
    value = value.removesuffix(".")
    return value.lower() if _MX.fullmatch(value) else None


def _check_version(first: Mapping[str, tuple[int, str]]) -> None:
    number, value = _required(first, "version")
    if value != "STSv1":
        raise _fault(number, f"version {_show(value)} is not STSv1")


def _read_mode(first: Mapping[str, tuple[int, str]]) -> Mode:
    number, value = _required(first, "mode")
    mode = _MODES.get(value)
    if mode is None:
        raise _fault(number, f"mode {_show(value)} is not enforce, testing or none")
    return mode


def _read_max_age(first: Mapping[str, tuple[int, str]]) -> int:
    number, value = _required(first, "max_age")
    if not _MAX_AGE.fullmatch(value):
        raise _fault(number, f"max_age {_show(value)} is not 1 to 10 digits")
    return min(int(value), MAX_AGE_LIMIT)


def _required(first: Mapping[str, tuple[int, str]], key: str) -> tuple[int, str]:
    if key not in first:
        raise _fault(0, f"{key} is missing")
    return first[key]


def _no_usable_mx(mode: Mode, unusable: list[str]) -> PolicySyntaxError:
    if not unusable:
        return _fault(0, f"no usable mx: mode {mode} needs one mx line at least")
    return _fault(0, f"no usable mx: {_show(unusable[0])} is not a host name or '*.' and a host name")


def _fault(line: int, problem: str) -> PolicySyntaxError:
    return PolicySyntaxError(line, "3.2", problem)


def _show(value: str) -> str:
    return repr(value[:_SHOWN]) + ("..." if len(value) > _SHOWN else "")
