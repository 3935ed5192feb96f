"""238 policies as domain owners publish them, fetched and judged by the running daemon."""

from __future__ import annotations

import csv
from pathlib import Path

from tests.support.servers.daemon import Daemon
from tests.support.servers.internet import Internet, Site

CORPUS = Path(__file__).parents[1] / "corpus"


def expected() -> dict[str, dict[str, str]]:
    with (CORPUS / "expected.tsv").open() as lines:
        return {row["file"]: row for row in csv.DictReader(lines, delimiter="\t")}


def answer_to(row: dict[str, str]) -> str:
    """What Postfix gets for a policy that is judged as *row* says."""
    if (row["verdict"], row["mode or reason"]) != ("usable", "enforce"):
        return "NOTFOUND "
    patterns = (pattern.lower().removeprefix("*") for pattern in row["mx patterns"].split())
    return f"OK secure match={':'.join(dict.fromkeys(patterns))} servername=hostname"


def test_every_real_policy_is_taken_as_it_should_be(internet: Internet, tmp_path: Path) -> None:
    """The answer, and in the log the mode and max_age of a usable policy, the result type of an invalid one."""
    rows = expected()
    assert len(rows) == 238
    internet.publish_all(
        {f"c{file}.corpus.test": Site((CORPUS / "policies" / f"{file}.txt").read_bytes()) for file in rows}
    )
    answers: dict[str, str] = {}
    with Daemon(tmp_path, internet.config()) as daemon:
        with daemon.client() as client:
            for file in rows:
                answers[file] = client.ask("postfix", f"c{file}.corpus.test")
        for file, row in rows.items():
            domain = f"c{file}.corpus.test"
            if row["verdict"] == "usable":
                daemon.wait_for("policy-new", domain=domain, mode=row["mode or reason"], max_age=row["max_age"])
            else:
                daemon.wait_for("fetch-failed", domain=domain, result="sts-policy-invalid")
    assert answers == {file: answer_to(row) for file, row in rows.items()}
