"""When resolvers count as down: a table of questions, and what is made of them."""

from __future__ import annotations

import pytest

from postfix_mtasts.core.dnsdata import DnsResult
from postfix_mtasts.core.silence import Silence

# (title, [(seconds, result), ...], whether a resolver counts as up)
HISTORIES: list[tuple[str, list[tuple[float, str]], bool]] = [
    ("nobody asked", [], True),
    ("all is well", [(0, "noerror"), (90, "nxdomain")], True),
    ("one question was lost", [(0, "timeout")], True),
    ("silence for less than a minute", [(0, "timeout"), (59, "timeout")], True),
    ("silence for a minute", [(0, "timeout"), (30, "unreachable"), (60, "timeout")], False),
    ("a question now and then, and none answered", [(0, "timeout"), (3600, "unreachable")], False),
    ("an answer in between", [(0, "timeout"), (30, "nodata"), (60, "timeout"), (90, "timeout")], True),
    ("an error is an answer", [(0, "timeout"), (30, "servfail"), (60, "timeout")], True),
    ("errors alone", [(0, "servfail"), (90, "refused")], True),
    ("answers again", [(0, "timeout"), (70, "timeout"), (71, "noerror")], True),
]


@pytest.mark.parametrize(("title", "history", "up"), HISTORIES, ids=[h[0] for h in HISTORIES])
def test_whether_a_resolver_counts_as_up(title: str, history: list[tuple[float, str]], up: bool) -> None:
    """No answer from any server for a minute is an outage."""
    silence = Silence()
    for now, result in history:
        silence.note(result, now)
    assert silence.up is up


@pytest.mark.parametrize("result", list(DnsResult))
def test_every_result_is_known(result: DnsResult) -> None:
    """Only silence and a closed port are no answer."""
    silence = Silence()
    silence.note(result, 0.0)
    silence.note(result, 90.0)
    assert silence.up is (result not in (DnsResult.TIMEOUT, DnsResult.UNREACHABLE))
    assert silence.seconds == (0.0 if silence.up else 90.0)
