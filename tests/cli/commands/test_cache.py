"""`cache`: the options, what is printed, the exit codes, and who answers.

What the commands do with a daemon beside them is tests/integration/test_cache.py's.
"""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from postfix_mtasts.adapters.store.disk import DiskStore
from postfix_mtasts.cli.main import main
from postfix_mtasts.daemon.operating.codec import to_json
from postfix_mtasts.daemon.operating.numbers import Cold
from tests.support.fakes import told
from tests.support.fakes.control import FakeControl
from tests.support.fakes.entries import DAY, entry
from tests.support.fakes.entries import policy as policy_of
from tests.support.servers.daemon import ENVIRONMENT

HEAVY = ("asyncio", "cryptography", "diskcache", "dns", "prometheus_client", "requests", "sqlite3", "ssl", "urllib3")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where the store is, and config.yml that says so."""
    (tmp_path / "config.yml").write_text(f"cache: {{directory: {tmp_path}/store}}\n")
    (tmp_path / "store").mkdir(mode=0o700)
    return tmp_path / "store"


def cache(directory: Path, *words: str, stdin: bytes = b"", monkeypatch: pytest.MonkeyPatch | None = None) -> int:
    """Run `cache` on the store in *directory*; its exit code."""
    if monkeypatch is not None:
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(stdin)))
    return main(["cache", *words, "--config", str(directory.parent / "config.yml")])


@pytest.mark.parametrize("command", ["list", "stats", "export"])
def test_who_only_asks_the_daemon_imports_little(command: str, directory: Path) -> None:
    """Half of the time that a command takes would be imports it has no use for."""
    code = (
        "import sys; before = set(sys.modules); from postfix_mtasts.cli.main import main; main(sys.argv[1:]);"
        f"print(*((set(sys.modules) - before) & {set(HEAVY)!r}))"
    )
    with FakeControl(directory, lambda request: []) as control:
        done = subprocess.run(
            [sys.executable, "-c", code, "cache", command, "--config", str(directory.parent / "config.yml")],
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert (done.stdout, done.stderr) == ("\n", "")
    assert control.requests == [{"do": command}]


LOOKING = [(["list"], 1), (["show", "a.example"], 1), (["stats"], 0), (["export"], 1)]


@pytest.mark.parametrize(("words", "code"), LOOKING, ids=[row[0][0] for row in LOOKING])
def test_who_only_looks_makes_no_store(words: list[str], code: int, directory: Path) -> None:
    """What is not there holds nothing."""
    directory.rmdir()
    assert cache(directory, *words) == code
    assert not directory.exists()


def row(domain: str, mode: str = "enforce", left: float = 6 * DAY, failures: int = 0) -> dict[str, Any]:
    return {
        "domain": domain,
        "mode": mode,
        "age": 3_600.0,
        "left": left,
        "mx": ["mx.example.net", "*.example.net"],
        "failures": failures,
    }


ROWS = [row("a.example"), row("b.example", "testing", left=DAY), row("c.example", failures=3), row("d.example", "none")]
FILTERS = [
    ([], ["a.example", "b.example", "c.example", "d.example"]),
    (["--mode", "enforce"], ["a.example", "c.example"]),
    (["--expiring", "2d"], ["b.example"]),
    (["--failing"], ["c.example"]),
    (["--failing", "--mode", "testing"], []),
]


@pytest.mark.parametrize(("words", "domains"), FILTERS, ids=[" ".join(case[0]) or "all" for case in FILTERS])
def test_list(words: list[str], domains: list[str], directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A table, or JSON lines with the same rows; exit code 1 where there are none."""
    with FakeControl(directory, lambda request: ROWS):
        assert cache(directory, "list", *words) == (0 if domains else 1)
        table = capsys.readouterr().out.splitlines()
        assert cache(directory, "list", "--json", *words) == (0 if domains else 1)
    assert [line.split()[0] for line in table] == ([*["DOMAIN"], *domains] if domains else [])
    assert [json.loads(line)["domain"] for line in capsys.readouterr().out.splitlines()] == domains
    assert not domains or table[1].split() == [domains[0], *table[1].split()[1:4], "mx.example.net,*.example.net"]


def test_list_says_how_old_and_how_long(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In the largest unit; one that has expired has less than nothing left."""
    with FakeControl(directory, lambda request: [row("a.example", left=-90)]):
        cache(directory, "list")
    assert capsys.readouterr().out.splitlines()[1].split()[1:4] == ["enforce", "1.0h", "-1.5m"]


WRONG = [["list", "--mode", "Enforce"], ["list", "--expiring", "soon"], ["show", "-"], ["refresh"], ["forget", "a b"]]


@pytest.mark.parametrize("words", WRONG, ids=[" ".join(words) for words in WRONG])
def test_wrong_usage(words: list[str], directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 64, and nothing is opened."""
    with pytest.raises(SystemExit) as ended:
        cache(directory, *words)
    assert ended.value.code == 64
    assert list(directory.iterdir()) == []
    assert capsys.readouterr().err.startswith("usage: postfix-mtasts cache ")


def test_a_file_that_is_not_there(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same exit code; its name is quoted."""
    assert cache(directory, "import", "no\nsuch") == 64
    assert capsys.readouterr().err == 'postfix-mtasts cache: "no\\nsuch": No such file or directory; name a file\n'


def exported(domain: str = "example.com", **changes: Any) -> dict[str, Any]:
    plain = {"domain": domain, "record_id": "1", "fetched_at": time.time() - 60, "used_at": 0.0}
    return plain | {"policy": policy_of().text} | changes


REFUSED: list[tuple[str, bytes, str]] = [
    ("no JSON", b"nonsense", "not a JSON object"),
    ("half a row", b'{"domain": "a', "not a JSON object"),
    ("a list", b"[]", "not a JSON object"),
    ("nested too deep", b"[" * 50_000, "not a JSON object"),
    ("no UTF-8", b"\xff\xfe", "not a JSON object"),
    ("longer than any row", b"{" + b" " * 3_000_000 + b"}", "not a JSON object"),
    ("no domain", json.dumps(exported("localhost")).encode(), "single label"),
    ("no policy", json.dumps(exported(policy="mode: enforce")).encode(), "version"),
    ("no time", json.dumps(exported(fetched_at="now")).encode(), "fetched"),
    ("a time that is none", json.dumps(exported(fetched_at=float("nan"))).encode(), "fetched"),
    ("an id that is none", json.dumps(exported(record_id="\x1b[2J")).encode(), "id"),
    ("a policy that has expired", json.dumps(exported(fetched_at=1_000.0)).encode(), "the policy has expired"),
    ("a domain with a terminal code", json.dumps(exported("\x1b[2J.example")).encode(), "\\\\x1b"),
]


@pytest.mark.parametrize(("title", "line", "reason"), REFUSED, ids=[case[0] for case in REFUSED])
def test_import_refuses_a_line(
    title: str,
    line: bytes,
    reason: str,
    directory: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With its number and why; the lines around it are taken."""
    good = [json.dumps(exported(f"{name}.example")).encode() for name in "ab"]
    assert cache(directory, "import", stdin=b"\n".join([good[0], b"", line, good[1]]), monkeypatch=monkeypatch) == 0
    said = capsys.readouterr()
    assert said.out == "2 taken, 0 older than what is held, 1 refused\n"
    assert said.err.startswith("line 3: refused: ")
    assert reason in said.err
    assert re.fullmatch(r"[ -~]{1,300}\n", said.err)


def stored(directory: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, Any]]:
    """What `export` prints, by domain."""
    cache(directory, "export")
    rows = map(json.loads, capsys.readouterr().out.splitlines())
    return {each["domain"]: each for each in rows}


def test_import_cuts_a_fetch_of_the_future_to_now(
    directory: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A clock that was wrong must not prolong a policy."""
    line = json.dumps(exported(fetched_at=time.time() + 30 * DAY)).encode()
    assert cache(directory, "import", stdin=line, monkeypatch=monkeypatch) == 0
    capsys.readouterr()
    assert stored(directory, capsys)["example.com"]["fetched_at"] <= time.time()


def test_import_never_replaces_a_newer_fetch(
    directory: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whether it is held already or stands in the same file, in any order."""
    now = time.time()
    lines = [json.dumps(exported(fetched_at=now - age, record_id=str(age))).encode() for age in (300, 100, 200)]
    assert cache(directory, "import", stdin=b"\n".join(lines), monkeypatch=monkeypatch) == 0
    assert capsys.readouterr().out == "2 taken, 1 older than what is held, 0 refused\n"
    assert cache(directory, "import", stdin=b"\n".join(lines), monkeypatch=monkeypatch) == 0
    assert capsys.readouterr().out == "0 taken, 3 older than what is held, 0 refused\n"
    assert stored(directory, capsys)["example.com"]["record_id"] == "100"


def test_what_was_exported_is_imported_as_it_was(
    directory: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """More rows than one request takes."""
    lines = [json.dumps(exported(f"d{number}.example")) for number in range(450)]
    cache(directory, "import", stdin="\n".join(lines).encode(), monkeypatch=monkeypatch)
    assert capsys.readouterr().out.startswith("450 taken,")
    assert stored(directory, capsys) == {each["domain"]: each for each in map(json.loads, lines)}


def test_the_bounds_of_a_histogram_are_in_the_order_of_numbers(
    directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As text, 10 would come before 2.5."""
    within = {"10": 3, "2.5": 2, "+Inf": 4, "0.5": 1}
    stats = {"uptime": 1.0} | to_json(replace(told.NUMBERS, cold=Cold(4, 30.0, within)))
    with FakeControl(directory, lambda request: [stats]):
        assert cache(directory, "stats") == 0
    bounds = re.findall(r"^cold within (\S+): ", capsys.readouterr().out, re.MULTILINE)
    assert bounds == ["0.5", "2.5", "10", "+Inf"]


def test_warm_says_what_came_of_it(
    directory: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Sums, and the reasons of failures by their number; a line that is no domain is one, a comment is none."""
    results = {"a.example": "fetched", "b.example": "known", "c.example": "none", "d.example": "failed"}
    lines = (
        b"a.example\n\n B.example. \r\nc.example\n  # these hang\nd.example\nd.example\n\x1b[2J\xff\n"
        + b"x" * 9_000
        + b".example\n"
    )

    def fetched(request: dict[str, Any]) -> list[dict[str, Any]]:
        return [
            {"domain": domain, "result": results[domain], "reason": "refused\x1b[2J"} for domain in request["domains"]
        ]

    with FakeControl(directory, fetched) as control:
        assert cache(directory, "warm", "-", stdin=lines, monkeypatch=monkeypatch) == 0
    assert control.requests == [
        {
            "do": "fetch",
            "domains": ["a.example", "b.example", "c.example", "d.example", "d.example"],
            "again": False,
            "local": False,
        }
    ]
    said = capsys.readouterr()
    assert said.out.splitlines() == [
        "2 have policies (1 known before), 1 have none",
        "4 failed",
        "      2  not a domain",
        '      2  "refused\\x1b[2J"',
    ]
    assert [line[:30] for line in said.err.splitlines()] == [
        r"line 8: '\\x1b[2J\ufffd' is no",
        f"line 9: '{'x' * 21}",
    ]
    assert re.fullmatch(r"[ -~\n]*", said.err)


def test_warm_names_the_lines_that_are_not_domains_and_no_flood_of_them(
    directory: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Somebody gives the wrong file, of any length."""
    with FakeControl(directory, lambda request: []):
        assert cache(directory, "warm", "-", stdin=b"localhost\n" * 1_000, monkeypatch=monkeypatch) == 1
    said = capsys.readouterr()
    assert [line.split(":")[0] for line in said.err.splitlines()] == [f"line {number}" for number in range(1, 21)]
    assert said.out.splitlines()[1:] == ["1000 failed", "   1000  not a domain"]


def test_warm_writes_the_domains_that_failed_so_that_they_can_be_tried_again(
    directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--failed FILE` holds one domain a line, and nothing that was no domain; a run without failures empties it."""
    names, again = directory.parent / "names", directory.parent / "again"
    names.write_text("a.example\nb.example\nlocalhost\nc.example\n")
    bad = {"a.example", "c.example"}

    def fetched(request: dict[str, Any]) -> list[dict[str, Any]]:
        return [
            {"domain": domain, "result": "failed" if domain in bad else "none", "reason": "refused"}
            for domain in request["domains"]
        ]

    with FakeControl(directory, fetched) as control:
        cache(directory, "warm", "--failed", str(again), str(names))
        assert again.read_text() == "a.example\nc.example\n"
        bad.clear()
        cache(directory, "warm", "--failed", str(names), str(again))
    assert control.requests[1] == {"do": "fetch", "domains": ["a.example", "c.example"], "again": False, "local": False}
    assert names.read_text() == ""


def test_warm_does_not_overwrite_what_it_reads(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 64, and the list is still there."""
    names = directory.parent / "names"
    names.write_text("a.example\n")
    assert cache(directory, "warm", "--failed", str(names), str(names)) == 64
    assert names.read_text() == "a.example\n"
    assert "name another one" in capsys.readouterr().err


def test_a_closed_standard_input_is_one_line(directory: Path) -> None:
    """Exit code 64; a traceback would look as if the program were broken."""
    config = directory.parent / "config.yml"
    command = f"exec {sys.executable} -m postfix_mtasts cache import --config {config} <&-"
    done = subprocess.run(command, shell=True, env=ENVIRONMENT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (64, "postfix-mtasts cache: standard input is closed; name a file\n")


@pytest.mark.parametrize("command", ["import", "warm"])
def test_an_input_that_cannot_be_read_is_one_line(
    command: str, directory: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It names the line."""

    class Failing(io.BytesIO):
        def readline(self, limit: int | None = -1) -> bytes:
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=Failing()))
    assert cache(directory, command, "-") == 64
    assert capsys.readouterr().err == ("postfix-mtasts cache: line 1 of the input cannot be read: Input/output error\n")


def test_warm_can_be_broken_off_and_gone_on_with(directory: Path) -> None:
    """^C: what is done is told, and known at the next run."""
    known: set[str] = set()
    interrupted = threading.Event()

    def fetched(request: dict[str, Any]) -> Iterator[dict[str, Any]]:
        for domain in request["domains"]:
            if domain == "slow.example" and not interrupted.wait(60):
                return
            yield {"domain": domain, "result": "known" if domain in known else "fetched", "reason": "mode enforce"}
            known.add(domain)

    (directory.parent / "domains").write_text("a.example\nb.example\nslow.example\nc.example\n")
    command = [sys.executable, "-m", "postfix_mtasts", "cache", "warm", "-"]
    command += ["--config", str(directory.parent / "config.yml")]
    with FakeControl(directory, fetched), (directory.parent / "domains").open() as domains:
        ours, theirs = os.openpty()  # on a terminal it says how far it is
        first = subprocess.Popen(command, env=ENVIRONMENT, stdin=domains, stdout=subprocess.PIPE, stderr=theirs)
        os.close(theirs)
        said = b""
        while b"2 done" not in said:
            said += os.read(ours, 1_000)
        first.send_signal(signal.SIGINT)
        out, _ = first.communicate(timeout=60)
        interrupted.set()
        os.close(ours)
        assert first.returncode == 130
        assert out.startswith(b"2 have policies (0 known before), 0 have none\n0 failed\n")
        domains.seek(0)
        second = subprocess.run(command, env=ENVIRONMENT, stdin=domains, capture_output=True, timeout=60)
    assert second.stdout.startswith(b"4 have policies (2 known before), 0 have none\n")


def test_a_store_in_use_by_somebody_who_does_not_answer(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The lock is held and there is no control socket: exit code 69, nothing is read or written."""
    store = DiskStore(directory)
    try:
        store.put([entry()])
        assert cache(directory, "list") == 69
    finally:
        store.close()
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert str(directory) in said.err


def _hostile(request: dict[str, Any]) -> list[dict[str, Any]]:
    """What a store could hold that somebody else has written to."""
    domains = request.get("domains", [EVIL])
    return {
        "list": [row(EVIL) | {"mx": [EVIL]}],
        "show": [
            to_json(told.POLICY)
            | {"record_id": EVIL, "policy": f"{EVIL}\n{EVIL}", "failure": EVIL, "dane": EVIL, "answers": {EVIL: EVIL}}
        ],
        "stats": [{"uptime": 1.0} | to_json(replace(told.NUMBERS, version=EVIL, policies={EVIL: 1}))],
        "fetch": [{"domain": EVIL, "result": "failed", "reason": EVIL} for _ in domains],
        "forget": [{"domain": EVIL, "result": "unknown"} for _ in domains],
        "export": [exported(EVIL, policy=EVIL)],
        "import": [{"result": "refused", "reason": EVIL} for _ in request.get("rows", [])],
    }[request["do"]]


EVIL = "\x1b]0;owned\x07\x1b[2J\r\nexample.org: OK\u202e\u2028\x9b\x7f\0" + "A" * 5_000
COMMANDS = ("list", "list --json", "show a.example", "stats", "refresh a.example", "forget a.example", "export")


@pytest.mark.parametrize("words", [*COMMANDS, "warm -", "import -"])
def test_hostile_text_comes_out_quoted(
    words: str, directory: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither a terminal code nor a line of its own."""
    with FakeControl(directory, _hostile):
        cache(directory, *words.split(), stdin=b"a.example\n", monkeypatch=monkeypatch)
    said = capsys.readouterr()
    assert re.fullmatch(r"[ -~\n]+", said.out + said.err)
    assert "example.org: OK" not in [line[:15] for line in (said.out + said.err).splitlines()]


def test_what_is_not_gone_from_the_disk_is_not_forgotten(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 69, with the reason."""
    told = [{"domain": "a.example", "result": "failed", "reason": "the disk is full"}]
    with FakeControl(directory, lambda request: told):
        assert cache(directory, "forget", "a.example") == 69
    assert capsys.readouterr().out == 'a.example: failed: "the disk is full"\n'


def test_a_refusal_comes_out_quoted(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The daemon's words may hold what was asked."""
    with FakeControl(directory, lambda request: [{"error": EVIL}]):
        assert cache(directory, "stats") == 64
    assert re.fullmatch(r"[ -~]+\n", capsys.readouterr().err)
