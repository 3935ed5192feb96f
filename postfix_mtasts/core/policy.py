"""The policy file (RFC 8461 sections 3.2 and 4.1).

The body of an HTTPS answer in, a Policy or one fault out. Fetching it and its
size limit are adapters/https/'s work; a policy in time is entry.py's.

Rule 1: white space, a byte order mark and one final dot of an mx cannot be
        misread and are passed over; nothing else is guessed.
Rule 2: only plain host names get into Policy.mx, with "*." in front or
        not. What Postfix could take for an address, a matching strategy or
        a piece of its own syntax ends in Policy.unusable.
Rule 3: a Policy keeps its text alone, as bytes: what a policy costs in memory
        for a year is what its domain sent, whatever that is. The patterns
        are read again when an answer is made, which is then kept ready.
Rule 4: parse_policy(policy.raw) == policy, so a store keeps the text alone.

It reads every stored policy at a start: one pass, no regular expression for
the common lines. Short policies that many domains publish alike, those of
their provider, are parsed and held once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from ..errors import PolicySyntaxError
from ..faults import Fault, clip

BLANKS = " \t"
SHORT = 512  # bytes of a body that may be shared
BODY_LIMIT = 65_536  # bytes that are fetched; section 3.3 suggests 64 KiB
MAX_AGE_LIMIT = 31_557_600  # seconds, section 3.2; more is cut, since refusing it would leave the domain unprotected

_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}")  # sts-policy-ext-name
_MAX_AGE = re.compile(r"[0-9]{1,10}")
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_MX = re.compile(rf"(?:\*\.)?(?=.{{1,253}}\Z)(?:{_LABEL}\.)+(?![0-9]+\Z){_LABEL}")  # no TLD is a number: no addresses
_MX_LIMIT = len("*.") + 253 + len(".")  # characters


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
    max_age: int  # seconds, cut to 31557600
    raw: bytes  # the policy's lines in UTF-8, blanks trimmed, blank lines left out, joined by "\n"

    @property
    def text(self) -> str:
        return self.raw.decode()

    @property
    def mx(self) -> tuple[str, ...]:
        """The usable patterns: lower case, "host.name" or "*.host.name", no repeats, in order."""
        return _patterns(self.raw)[0]

    @property
    def unusable(self) -> tuple[str, ...]:
        """The mx values that never reach Postfix, as they stood."""
        return _patterns(self.raw)[1]


@lru_cache(maxsize=4)  # a policy just fetched is logged and answered with; more would keep what 64 KiB can hold
def _patterns(raw: bytes) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the usable patterns of a policy, and the mx values that are not usable."""
    usable: dict[str, None] = {}
    unusable = []
    for line in raw.decode().split("\n"):
        key, _, value = line.partition(":")
        if key.rstrip(BLANKS) == "mx":
            value = value.lstrip(BLANKS)
            if (pattern := _read_mx(value)) is not None:
                usable[pattern] = None
            else:
                unusable.append(value)
    return tuple(usable), tuple(unusable)


def parse_policy(body: bytes) -> Policy:
    """Read a policy file.

    Keys are case-sensitive, unknown ones are ignored, and of a repeated one,
    mx apart, the first counts (section 3.2).

    Raises: PolicySyntaxError, with the line, for what makes the policy invalid.
    """
    return _parse_short(body) if len(body) <= SHORT else _parse(body)


@lru_cache(maxsize=4096)  # 3 MiB at most: the bodies are anyone's
def _parse_short(body: bytes) -> Policy:
    return _parse(body)


def _parse(body: bytes) -> Policy:
    lines: list[str] = []
    first: dict[str, tuple[int, str]] = {}  # version, mode, max_age: line number and value
    usable = False
    unusable: list[str] = []
    for number, line in enumerate(_decode(body).replace("\r\n", "\n").split("\n"), 1):
        line = line.strip(BLANKS)
        if not line:
            continue
        key, colon, value = line.partition(":")
        if not colon:
            raise _fault(Fault.POLICY_NO_COLON, line, number)
        key, value = key.rstrip(BLANKS), value.lstrip(BLANKS)
        if line[-1] == "\r":  # before the LF that ends the line in Policy.text it would read as a CRLF
            raise _fault(Fault.POLICY_STRAY_CR, line, number)
        lines.append(line)
        if key == "mx":
            if _read_mx(value) is not None:
                usable = True
            elif not unusable:
                unusable.append(value)
        elif key == "version" or key == "mode" or key == "max_age":
            first.setdefault(key, (number, value))
        elif not _KEY.fullmatch(key):
            raise _fault(Fault.POLICY_KEY, key, number)
    _check_version(first)
    mode = _read_mode(first)
    max_age = _read_max_age(first)
    if not usable and mode is not Mode.NONE:
        raise _no_usable_mx(mode, unusable)
    return Policy(mode, max_age, "\n".join(lines).encode())


def _decode(body: bytes) -> str:
    try:
        return body.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = body.count(b"\n", 0, error.start) + 1
        raise _fault(Fault.POLICY_NOT_UTF8, f"{body[error.start]:#04x}", line) from None


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
        raise _fault(Fault.POLICY_VERSION, value, number)


def _read_mode(first: Mapping[str, tuple[int, str]]) -> Mode:
    number, value = _required(first, "mode")
    mode = _MODES.get(value)
    if mode is None:
        raise _fault(Fault.POLICY_MODE, value, number)
    return mode


def _read_max_age(first: Mapping[str, tuple[int, str]]) -> int:
    number, value = _required(first, "max_age")
    if not _MAX_AGE.fullmatch(value):
        raise _fault(Fault.POLICY_MAX_AGE, value, number)
    return _seconds(value)


@lru_cache(maxsize=256)  # nearly all policies have one of a few values: one object for each, not for each policy
def _seconds(digits: str) -> int:
    return min(int(digits), MAX_AGE_LIMIT)


def _required(first: Mapping[str, tuple[int, str]], key: str) -> tuple[int, str]:
    if key not in first:
        raise _fault(Fault.POLICY_MISSING, key)
    return first[key]


def _no_usable_mx(mode: Mode, unusable: list[str]) -> PolicySyntaxError:
    if not unusable:
        return _fault(Fault.POLICY_NO_MX, mode)
    return _fault(Fault.POLICY_UNUSABLE_MX, unusable[0])


def _fault(fault: Fault, value: str, line: int = 0) -> PolicySyntaxError:
    return PolicySyntaxError(fault, "", clip(value), line)
