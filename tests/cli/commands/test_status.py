"""`status`: what the screen says, the look of it with and without rich, JSON, and no daemon."""

from __future__ import annotations

import io
import json
import os
import re
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from postfix_mtasts.adapters.store.place import Place
from postfix_mtasts.cli.commands import status
from postfix_mtasts.cli.main import main
from postfix_mtasts.config.file import DEFAULT, Loaded
from postfix_mtasts.config.settings import Settings
from postfix_mtasts.errors import ForbiddenError
from tests.support.fakes.control import FakeControl

BOUNDS = ("0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1.0", "2.5", "5.0", "10.0", "15.0", "+Inf")
STATUS: dict[str, Any] = {
    "version": "1.2.3",
    "pid": 4711,
    "started_at": 1_700_000_000.0,
    "uptime": 276_480.0,
    "loaded": True,
    "faults": [],
    "directory": "/var/lib/postfix-mtasts",
    "listen": ["inet:127.0.0.1:8462", "unix:/var/spool/postfix/postfix-mtasts/socketmap"],
    "metrics": "inet:127.0.0.1:9462",
    "connections": 12,
    "policies": {"enforce": 9_000, "testing": 900, "none": 100},
    "nearest_expiry": 129_600.0,
    "negatives": 54_321,
    "lookups": {"postfix": {"secure": 1_000_000, "notfound": 2_000_000, "temp": 7}, "no-map": {"perm": 1}},
    "cold": {
        "number": 200,
        "seconds": 50.0,
        "within": dict(zip(BOUNDS, (0, 0, 1, 20, 90, 120, 180, 190, 198, 199, 200, 200, 200), strict=True)),
    },
    "refresh": {"due": 3, "lag": 150.0, "failing": 2},
    "dns_up": True,
    "store_up": True,
    "workers": {"up": True, "running": 2, "deaths": 0},
    "shared": {"up": None, "policies": None, "requests": {}},
    "shared_away": "",
    "proxy_up": None,
    "process": {"memory": 40_000_000, "cpu": 14.5},
    "fetches": {"sts-webpki-invalid": 4, "ok": 1_234},
    "dns_queries": {"TXT": {"ok": 5_000}},
    "reports": {"sent": 4},
    "errors": 0,
    "failures": [
        {
            "kind": "sts-webpki-invalid",
            "domains": 2,
            "worst": [
                {
                    "domain": "example.com",
                    "mode": "enforce",
                    "left": 129_600.0,
                    "failures": 17,
                    "ago": None,
                    "reason": "the certificate, or one above it, has expired",
                },
                {
                    "domain": "example.org",
                    "mode": "testing",
                    "left": 7_200.0,
                    "failures": 2,
                    "ago": None,
                    "reason": "the certificate is for www.example.org",
                },
            ],
        },
        {
            "kind": "dns",
            "domains": 1,
            "worst": [
                {
                    "domain": "example.net",
                    "mode": None,
                    "left": None,
                    "failures": None,
                    "ago": 60.0,
                    "reason": "no TXT answer for _mta-sts.example.net: SERVFAIL",
                }
            ],
        },
    ],
}
GOLDEN = Path(__file__).parent / "golden" / "status.txt"
EVIL = "\x1b]0;owned\x07\x1b[2J\r\n[red]x[/red]\u202e\x9b\x7f\0" + "A" * 10_000


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "config.yml").write_text(f"cache: {{directory: {tmp_path}}}\n")
    return tmp_path


@pytest.fixture
def command(directory: Path) -> Iterator[Callable[..., int]]:
    """Runs `status` beside a daemon that answers STATUS, changed as the test says; its exit code."""
    told: dict[str, Any] = {}
    with FakeControl(directory, lambda request: [told] if request == {"do": "status"} else []):

        def run(*words: str, **changes: Any) -> int:
            told.clear()
            told.update(STATUS | changes)
            return main(["status", "--config", str(directory / "config.yml"), *words])

        yield run


def test_how_it_looks(command: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    """In a pipe: plain text; WRITE_GOLDEN=1 writes it anew."""
    assert command() == 0
    text = capsys.readouterr().out
    if os.environ.get("WRITE_GOLDEN"):
        GOLDEN.write_text(text)
    assert text == GOLDEN.read_text()


FRESH: dict[str, Any] = {
    "loaded": False,
    "policies": {"enforce": 0, "testing": 0, "none": 0},
    "nearest_expiry": None,
    "metrics": None,
    "lookups": {},
    "cold": {"number": 0, "seconds": 0.0, "within": dict.fromkeys(BOUNDS, 0)},
    "refresh": {"due": 0, "lag": 0.0, "failing": 0},
    "fetches": {},
    "reports": {},
    "failures": [],
}
LINES: list[tuple[str, dict[str, Any], list[str]]] = [
    (
        "a daemon that has just begun",
        FRESH,
        [
            "health          well, but the stored policies are still being read",
            "metrics         none",
            "domains         0        0     0    0    54321                 -",
            "none yet       0          0         0     0     0",
            "cold lookups  none yet",
            "refresher     nothing is due",
            "fetches       none yet",
        ],
    ),
    ("what is not well", {"faults": ["the disk is full", "it is late"]}, ['"the disk is full"; "it is late"']),
    (
        "what is not well from the start",
        FRESH | {"faults": ["the disk is full"]},
        ['health          "the disk is full"'],
    ),
    ("errors of its own", {"errors": 2}, ["own errors    2: see the log, internal-error"]),
    (
        "lookups slower than any bound",
        {"cold": {"number": 2, "seconds": 60.0, "within": dict.fromkeys(BOUNDS, 0) | {"+Inf": 2}}},
        ["cold lookups  2, mean 30 s, half over 15 s, 99% over 15 s"],
    ),
]


@pytest.mark.parametrize(("title", "changes", "lines"), LINES, ids=[case[0] for case in LINES])
def test_what_it_says(
    title: str,
    changes: dict[str, Any],
    lines: list[str],
    command: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Of a daemon that is not as usual."""
    assert command(**changes) == (1 if changes.get("faults") else 0)
    out = capsys.readouterr().out
    assert [line for line in lines if line not in out] == []


def test_json_is_what_the_daemon_said(command: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    """One object on one line."""
    assert command("--json") == 0
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert json.loads(out) == STATUS


SHARED = [
    (True, "", "shared          in use, 7 policies came from others"),
    (False, "redis://h: x\x1b", "shared          away: "),
]


@pytest.mark.parametrize(("up", "reason", "line"), SHARED, ids=["in use", "away"])
def test_how_the_shared_store_is(
    up: bool,
    reason: str,
    line: str,
    monkeypatch: pytest.MonkeyPatch,
    command: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One line where there is to be one; away is not unwell: the daemon does its work."""
    monkeypatch.setitem(STATUS, "shared", {"up": up, "policies": 7, "requests": {}})
    monkeypatch.setitem(STATUS, "shared_away", reason)
    assert command() == 0
    out = capsys.readouterr().out
    assert line in out
    assert "\x1b" not in out


HOSTILE = {
    "faults": [EVIL],
    "listen": [EVIL],
    "lookups": {EVIL: {"secure": 1}},
    "fetches": {EVIL: 1},
    "failures": [
        {
            "kind": EVIL,
            "domains": 1,
            "worst": [{"domain": EVIL, "mode": EVIL, "left": 1.0, "failures": 1, "ago": None, "reason": EVIL}],
        }
    ],
}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("words", [[], ["--json"]])
def test_hostile_text_comes_out_quoted(
    words: list[str], command: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    """A reason is the words of anybody's server."""
    assert command(*words, **HOSTILE) == 1  # a fault makes it unwell
    assert re.fullmatch(r"[ -~\n]*", capsys.readouterr().out)


def test_rich_says_the_same_in_colour(
    command: Callable[..., int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a terminal: each word of the plain text, and codes for colour alone; brackets are no markup."""
    changes = {"failures": HOSTILE["failures"]}
    assert command(**changes) == 0
    plain = capsys.readouterr().out
    out = Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "3000")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert command(**changes) == 0
    text = re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue())
    assert text != out.getvalue()
    assert re.fullmatch(r"[ -~\n─]*", text)
    assert text.replace("─", "").split() == plain.split()


def test_a_terminal_without_rich_gets_plain_text(command: Callable[..., int], monkeypatch: pytest.MonkeyPatch) -> None:
    """It is optional."""
    out = Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setitem(sys.modules, "rich.console", None)
    assert command() == 0
    assert out.getvalue() == GOLDEN.read_text()


def test_without_a_daemon_it_says_so(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line, exit code 69."""
    assert main(["status", "--config", str(directory / "config.yml")]) == 69
    said = capsys.readouterr()
    assert (said.out, said.err) == (
        "",
        f"postfix-mtasts: no daemon runs on {directory}; `cache` shows what is stored there\n",
    )


def test_a_daemon_without_a_control_socket_is_not_called_absent(
    directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a read-only mount it can make none, and answers Postfix all the same."""
    place = Place(directory)
    place.hold()
    try:
        assert main(["status", "--config", str(directory / "config.yml")]) == 69
    finally:
        place.release()
    assert capsys.readouterr().err == (
        f"postfix-mtasts: {directory}: process {os.getpid()} holds the store, "
        "but it offers no control socket; see its log\n"
    )


def test_looking_for_a_daemon_leaves_no_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A store's directory made by root would shut the daemon out."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    settings = replace(Settings(), cache=replace(Settings().cache, directory=str(tmp_path / "var")))
    monkeypatch.setattr(status, "read", lambda file: Loaded(settings, None, {"cache.directory": DEFAULT}))
    assert main(["status"]) == 69
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr().err.startswith(f"postfix-mtasts: no daemon runs on {tmp_path}/cache/postfix-mtasts;")


ANSWERS = [
    ("it says nothing", lambda request: iter(()), "no daemon runs on"),
    ("it does not know the request", lambda request: [{"error": "no such request"}], "the daemon refuses: no such"),
]


@pytest.mark.parametrize(("title", "answers", "want"), ANSWERS, ids=[case[0] for case in ANSWERS])
def test_a_daemon_that_cannot_answer(
    title: str, answers: Any, want: str, directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An older one, say."""
    with FakeControl(directory, answers):
        assert main(["status", "--config", str(directory / "config.yml")]) == 69
    assert want in capsys.readouterr().err


def test_a_daemon_that_stands_still_is_not_waited_for(
    directory: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It has ten seconds, here a tenth of one."""
    monkeypatch.setattr("postfix_mtasts.cli.commands.status.PATIENCE", 0.1)
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(str(directory / "control"))
        deaf.listen()
        assert main(["status", "--config", str(directory / "config.yml")]) == 69
    assert capsys.readouterr().err == "postfix-mtasts: the daemon does not answer on its control socket\n"


MONITORED: list[tuple[str, dict[str, Any], int, str]] = [
    ("well", {}, 0, "MTASTS OK - 10000 policies, up 3.2d | "),
    ("loading", FRESH, 0, "MTASTS OK - 0 policies, up 3.2d, the stored policies are still being read | "),
    (
        "behind",
        {"refresh": {"due": 9, "lag": 7_200.0, "failing": 0}},
        1,
        "MTASTS WARNING - the refresher is 2.0h behind | ",
    ),
    (
        "many policies fail",
        {"refresh": {"due": 0, "lag": 0.0, "failing": 1_001}},
        1,
        "MTASTS WARNING - 1001 of 10000 policies cannot be fetched again and will expire | ",
    ),
    (
        "a tenth may stay broken",
        {"refresh": {"due": 0, "lag": 0.0, "failing": 1_000}},
        0,
        "MTASTS OK - 10000 policies, up 3.2d | ",
    ),
    (
        "alone",
        {"shared": {"up": False, "policies": 0, "requests": {}}, "shared_away": "refused"},
        1,
        "MTASTS WARNING - the shared store is away: refused | ",
    ),
    ("unwell", {"faults": ["the disk is full", "no DNS"]}, 2, "MTASTS CRITICAL - the disk is full; no DNS | "),
    ("hostile", {"faults": ["a|b\n\x1b[2J"]}, 2, r"MTASTS CRITICAL - a/b\n\x1b[2J | "),
]


@pytest.mark.parametrize(("title", "changes", "code", "begin"), MONITORED, ids=[case[0] for case in MONITORED])
def test_for_monitors_it_is_one_line(
    title: str,
    changes: dict[str, Any],
    code: int,
    begin: str,
    command: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """State, reason, performance data; exit code 0 OK, 1 WARNING, 2 CRITICAL."""
    assert command("--monitor", **changes) == code
    out = capsys.readouterr().out
    assert out.startswith(begin)
    assert re.fullmatch(r"[ -~]+\|( [a-z_]+=[0-9]+[sc]?(;[0-9]+)?)+\n", out)
    assert out.count("|") == 1


def test_the_performance_data(command: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    """Counts, the refresher's lag with its limit, and a counter."""
    command("--monitor")
    assert capsys.readouterr().out.partition(" | ")[2] == (
        "policies=10000 without=54321 connections=12 failing=3 refresh_due=3 refresh_lag=150s;3600 errors=0c\n"
    )


def test_monitors_are_told_what_is_not_known(
    directory: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No daemon is CRITICAL; who may not ask, or has a faulty configuration, knows nothing."""
    words = ["status", "--monitor", "--config", str(directory / "config.yml")]
    assert main(words) == 2
    assert capsys.readouterr().out.startswith(f"MTASTS CRITICAL - no daemon runs on {directory}; ")

    def forbidden(*args: Any) -> Any:
        raise ForbiddenError("control: Permission denied; only root may")

    monkeypatch.setattr(status, "ask_daemon", forbidden)
    assert main(words) == 3
    assert capsys.readouterr().out == "MTASTS UNKNOWN - control: Permission denied; only root may\n"
    (directory / "config.yml").write_text("x: 1\n")
    assert main(words) == 3
    assert "config.yml:1: x: unknown key" in capsys.readouterr().out
