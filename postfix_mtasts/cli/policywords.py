"""What a command line says of a policy: mode, max_age and patterns, as senders take them."""

from __future__ import annotations

from ..config.values import parse_duration
from ..core.names import parse_domain
from ..core.policy import MAX_AGE_LIMIT, Mode, parse_policy
from ..core.quoting import quote
from ..errors import DomainError, PolicySyntaxError


def mode(word: str) -> Mode:
    """Read --mode. Raises: ValueError."""
    try:
        return Mode(word)
    except ValueError:
        raise ValueError(f"--mode: {quote(word)} is not enforce, testing or none") from None


def max_age(word: str) -> int:
    """Read --max-age, in seconds. Raises: ValueError."""
    try:
        seconds = parse_duration(word, {"low": 0.0, "high": float(MAX_AGE_LIMIT)})
    except ValueError as error:
        raise ValueError(f"--max-age: {error}") from None
    if not 0 <= seconds <= MAX_AGE_LIMIT or seconds != int(seconds):
        raise ValueError(f"--max-age: {quote(word)} is not whole seconds from 0 to {MAX_AGE_LIMIT} (a year)")
    return int(seconds)


def pattern(word: str) -> str:
    """Read --mx: a pattern as senders take it. Raises: ValueError."""
    if not word.isascii():
        star, name = ("*.", word[2:]) if word.startswith("*.") else ("", word)
        try:
            hint = f"; write {star}{parse_domain(name)}"
        except DomainError:
            hint = ""
        raise ValueError(f"--mx: {quote(word)} is not written in A-labels{hint}")
    body = f"version: STSv1\nmode: testing\nmax_age: 1\nmx: {word}\n".encode()
    try:
        policy = parse_policy(body)
    except PolicySyntaxError:
        policy = None
    if policy is None or len(policy.mx) != 1 or policy.text.count("\n") != 3 or word.endswith("."):
        raise ValueError(f"--mx: {quote(word)} is not a host name, or *. and a host name")
    return policy.mx[0]
