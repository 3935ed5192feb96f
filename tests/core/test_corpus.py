"""Real policies, as domain owners publish them: tests/corpus/README.md."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import pytest

from postfix_mtasts.core.policy import Mode, Policy, parse_policy
from postfix_mtasts.errors import PolicySyntaxError

CORPUS = Path(__file__).parent.parent / "corpus"


def rows(verdict: str) -> Iterator[dict[str, str]]:
    with (CORPUS / "expected.tsv").open(encoding="utf-8", newline="") as file:
        yield from (row for row in csv.DictReader(file, delimiter="\t") if row["verdict"] == verdict)


USABLE, INVALID = list(rows("usable")), list(rows("invalid"))


def body(row: dict[str, str]) -> bytes:
    return (CORPUS / "policies" / f"{row['file']}.txt").read_bytes()


def test_every_policy_of_the_corpus_is_expected_to_be_something() -> None:
    """No file without a row, and none twice."""
    files = sorted(path.stem for path in (CORPUS / "policies").iterdir())
    assert sorted(row["file"] for row in USABLE + INVALID) == files
    assert len(files) == 238


@pytest.mark.parametrize("row", USABLE, ids=[row["file"] for row in USABLE])
def test_a_usable_policy_is_read(row: dict[str, str]) -> None:
    """Mode, max_age and patterns as expected.tsv has them, and nothing set aside."""
    policy = parse_policy(body(row))
    assert policy == Policy(Mode(row["mode or reason"]), int(row["max_age"]), policy.raw)
    assert (policy.mx, policy.unusable) == (tuple(row["mx patterns"].split()), ())
    assert parse_policy(policy.raw) == policy


@pytest.mark.parametrize("row", INVALID, ids=[row["file"] for row in INVALID])
def test_an_invalid_policy_is_refused_for_its_reason(row: dict[str, str]) -> None:
    """The problem begins with expected.tsv's words, and the line is right where it names one."""
    with pytest.raises(PolicySyntaxError) as caught:
        parse_policy(body(row))
    reason = row["mode or reason"]
    told = str(caught.value)
    assert told.removeprefix("" if reason.startswith("line ") else f"line {caught.value.seen.line}: ").startswith(
        reason
    )
