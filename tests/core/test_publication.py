"""core/publication.py: what a domain serves over time."""

from __future__ import annotations

from dataclasses import replace

import pytest

from postfix_mtasts.core.names import Domain
from postfix_mtasts.core.policy import parse_policy
from postfix_mtasts.core.publication import WITHDRAWN, Publication, policy_id, publish, served, withdraw

DAY = 86_400.0
NOW = 1_700_000_000.0
D = Domain("example.com")


def text(max_age: float, mode: str = "enforce") -> bytes:
    return f"version: STSv1\nmode: {mode}\nmx: mx.example.com\nmax_age: {max_age:.0f}\n".encode()


def published(old: Publication | None, max_age: float, now: float) -> Publication:
    body = text(max_age)
    return publish(old, D, body, parse_policy(body), now)


def test_a_published_policy_is_served_byte_for_byte() -> None:
    """As its file has it."""
    assert served(published(None, 7 * DAY, NOW), NOW + 100 * DAY) == text(7 * DAY)


def test_the_same_text_again_changes_nothing() -> None:
    """Not even the value: the history is not written again."""
    first = published(None, 7 * DAY, NOW)
    assert published(first, 7 * DAY, NOW + DAY) is first


SERVED_AFTER = [
    ("at once", 0.0, WITHDRAWN),
    ("a second before the policy's max_age is over", 7 * DAY - 1, WITHDRAWN),
    ("max_age after it was last current", 7 * DAY, None),
    ("much later", 700 * DAY, None),
]


@pytest.mark.parametrize(("title", "passed", "want"), SERVED_AFTER, ids=[row[0] for row in SERVED_AFTER])
def test_a_withdrawn_domain(title: str, passed: float, want: bytes | None) -> None:
    """Mode none for as long as a sender may hold the policy, then nothing (RFC 8461 section 8.3)."""
    gone = withdraw(published(None, 7 * DAY, NOW), NOW + 3 * DAY)
    assert served(gone, NOW + 3 * DAY + passed) == want


def test_the_longest_max_age_ever_served_counts() -> None:
    """A shorter policy in between does not shorten what an earlier one promised."""
    short = published(published(None, 30 * DAY, NOW), 1 * DAY, NOW + DAY)
    gone = withdraw(short, NOW + 2 * DAY)
    assert served(gone, NOW + 31 * DAY - 1) == WITHDRAWN
    assert served(gone, NOW + 31 * DAY) is None


def test_an_older_long_policy_that_has_expired_everywhere_counts_no_more() -> None:
    """Then the last one's max_age decides."""
    short = published(published(None, 30 * DAY, NOW), 1 * DAY, NOW + DAY)
    gone = withdraw(short, NOW + 60 * DAY)
    assert served(gone, NOW + 61 * DAY - 1) == WITHDRAWN
    assert served(gone, NOW + 61 * DAY) is None


def test_withdrawing_twice_prolongs_nothing() -> None:
    """The first withdrawal counts."""
    gone = withdraw(published(None, 7 * DAY, NOW), NOW)
    assert withdraw(gone, NOW + 5 * DAY) is gone


def test_a_domain_that_comes_back_is_served_again() -> None:
    """With the same text too, and what it owed before is not forgotten."""
    gone = withdraw(published(None, 30 * DAY, NOW), NOW)
    back = published(gone, 1 * DAY, NOW + DAY)
    assert served(back, NOW + DAY) == text(1 * DAY)
    assert back.owed_until == NOW + 30 * DAY
    assert published(gone, 30 * DAY, NOW + DAY) == replace(gone, current=True)


def test_what_a_withdrawn_domain_serves_is_a_valid_policy() -> None:
    """Mode none, for a day."""
    policy = parse_policy(WITHDRAWN)
    assert (policy.mode, policy.max_age) == ("none", 86_400)


def test_the_id_is_of_the_bytes_as_served() -> None:
    """The first 20 hexadecimal digits of their SHA-256."""
    assert policy_id(b"a") != policy_id(b"a\n")
    assert policy_id(b"") == "e3b0c44298fc1c149afb"
