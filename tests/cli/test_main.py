"""cli/main.py: what becomes of errors, interrupts and readers that go away: exit codes, and never a traceback."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

import pytest

from postfix_mtasts import __version__
from postfix_mtasts.cli.commands import config
from postfix_mtasts.cli.main import main
from postfix_mtasts.errors import ConfigError, ListenError, StoreBusyError, StoreError

ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "postfix_mtasts"]


def run(*arguments: str, stdout: int = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
    """The command as a process of its own, which buffers its output as it does for an administrator."""
    return subprocess.run(
        [*COMMAND, *arguments], stdout=stdout, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT, cwd=ROOT
    )


@pytest.fixture
def raising(monkeypatch: pytest.MonkeyPatch) -> list[BaseException | int]:
    """What `config check` ends in: the error, or the code, that a test puts here."""
    ends: list[BaseException | int] = []

    def end(args: argparse.Namespace) -> int:
        (how,) = ends
        if isinstance(how, BaseException):
            raise how
        return how

    monkeypatch.setattr(config, "run_check", end)
    return ends


ENDS = [
    ("success", 0, 0, ""),
    ("a command's own code", 75, 75, ""),
    (
        "a faulty configuration",
        ConfigError(["config.yml:1: one", "config.yml:2: two"]),
        78,
        "config.yml:1: one\nconfig.yml:2: two\n",
    ),
    ("an address in use", ListenError("inet:127.0.0.1:1: in use"), 69, "postfix-mtasts: inet:127.0.0.1:1: in use\n"),
    ("a broken store", StoreError("the store: no"), 69, "postfix-mtasts: the store: no\n"),
    ("a store in use", StoreBusyError("another process"), 69, "postfix-mtasts: another process\n"),
    ("control-C", KeyboardInterrupt(), 130, ""),
]


@pytest.mark.parametrize(("title", "end", "code", "said"), ENDS, ids=[row[0] for row in ENDS])
def test_how_a_command_ends(
    raising: list[BaseException | int],
    capsys: pytest.CaptureFixture[str],
    title: str,
    end: BaseException | int,
    code: int,
    said: str,
) -> None:
    """The exit codes of sysexits.h; the error, whole, on standard error."""
    raising.append(end)
    assert main(["config", "check"]) == code
    assert capsys.readouterr() == ("", said)


def test_a_bug_is_not_hidden(raising: list[BaseException | int]) -> None:
    """Nobody makes an exit code of an error that nobody expected."""
    raising.append(TypeError("a bug"))
    with pytest.raises(TypeError, match="a bug"):
        main(["config", "check"])


@pytest.mark.parametrize(
    "arguments",
    [[], ["nothing"], ["--nothing"], ["config"], ["config", "nothing"], ["query"], ["daemon", "more"]],
    ids=" ".join,
)
def test_a_wrong_command_line(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    """64, the usage, and where help is."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    out, err = capsys.readouterr()
    assert (ended.value.code, out) == (64, "")
    assert err.startswith("usage: postfix-mtasts")
    assert err.endswith("--help\n")


def test_the_version() -> None:
    """On standard output, for scripts."""
    done = run("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"postfix-mtasts {__version__}\n", "")


def empty(directory: Path) -> str:
    """A configuration of defaults: that of this machine may not be for everybody's eyes."""
    (directory / "config.yml").write_text("")
    return str(directory / "config.yml")


@pytest.mark.parametrize(
    "arguments", [["--version"], ["--help"], ["query", "--help"], ["config", "show"]], ids=" ".join
)
def test_a_reader_that_went_away(arguments: list[str], tmp_path: Path) -> None:
    """As in `postfix-mtasts ... | head -0`: it has seen enough."""
    reading, writing = os.pipe()
    os.close(reading)
    options = ["--config", empty(tmp_path)] if "show" in arguments else []
    done = run(*arguments, *options, stdout=writing)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")


LONG = 9_000  # bytes of output: more than is kept back before it is written
FULL = [
    ("short output", ["config", "show"]),
    ("the help", ["--help"]),
    ("the version", ["--version"]),
    ("output that is written at once", ["query", "localhost"]),
    ("output longer than the buffer", ["query", *["localhost"] * (LONG // 80)]),
]


@pytest.mark.parametrize(("title", "arguments"), FULL, ids=[row[0] for row in FULL])
def test_a_full_disk_is_exit_code_74(title: str, arguments: list[str], tmp_path: Path) -> None:
    """One line says so: never exit code 1, which means "no policy", and never a traceback."""
    options = [] if arguments[0].startswith("--") else ["--config", empty(tmp_path)]
    with open("/dev/full", "w") as full:
        done = run(*arguments, *options, stdout=full.fileno())
    assert done.returncode == 74
    assert done.stderr == "postfix-mtasts: stdout: No space left on device; the output is not whole\n"


@pytest.mark.parametrize(
    ("redirection", "code", "said"),
    [
        (">&-", 74, "postfix-mtasts: standard output is closed; nothing was done\n"),
        (">&- 2>&-", 74, ""),
        ("2>&-", 1, ""),
        ("2>/dev/full", 1, ""),
    ],
)
def test_closed_outputs(redirection: str, code: int, said: str, tmp_path: Path) -> None:
    """Without standard output nothing is done; what goes to standard error is lost, and never lands in the output."""
    command = f"exec {sys.executable} -m postfix_mtasts query localhost --config {empty(tmp_path)} {redirection}"
    done = subprocess.run(command, shell=True, env=ENVIRONMENT, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (code, said)
    assert done.stdout in ("", "localhost: NOTFOUND (the name is a single label)\n")


def test_errors_that_cannot_be_told_keep_no_traceback(tmp_path: Path) -> None:
    """The configuration has faults, and standard error is on a full disk."""
    (tmp_path / "wrong.yml").write_text("no_such_key: 1\n")
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*COMMAND, "config", "check", "--config", str(tmp_path / "wrong.yml")],
            stdout=subprocess.PIPE,
            stderr=full.fileno(),
            cwd=ROOT,
            env=ENVIRONMENT,
        )
    assert (done.returncode, done.stdout) == (74, b"")
