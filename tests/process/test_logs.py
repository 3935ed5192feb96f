"""process/logs.py: one event a line, whatever is in it; formats, levels, the journal's priorities."""

from __future__ import annotations

import ast
import errno
import fcntl
import logging
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import postfix_mtasts
from postfix_mtasts.config.settings import LogSettings
from postfix_mtasts.core.quoting import KV
from postfix_mtasts.process.logs import LINES, Log
from tests.support.fakes.loglines import HOSTILE, read_json, read_stamped, read_text

log = logging.getLogger("postfix_mtasts.daemon.test")
PATIENCE = 30.0  # seconds
READERS = {"text": read_stamped, "json": read_json}


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root, ours = logging.getLogger(), logging.getLogger("postfix_mtasts")
    before = root.handlers[:], root.level, ours.level
    yield
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    ours.setLevel(before[2])


@pytest.fixture
def lines(tmp_path: Path) -> Iterator[Any]:
    """Configures the log; returns what gives its lines."""
    made: list[Log] = []

    def configure(form: str, level: str = "debug") -> Any:
        file = tmp_path / "stderr"
        made.append(Log(os.open(file, os.O_WRONLY | os.O_CREAT)))
        made[-1].configure(LogSettings(level=level, format=form))

        def told() -> list[str]:
            made[-1].flushed(PATIENCE)
            return file.read_text().removesuffix("\n").split("\n")

        return told

    yield configure
    for log in made:
        log.end(PATIENCE)
        os.close(log._descriptor)


TEXTS = [*((name, raw.decode("utf-8", "surrogateescape")) for name, raw in HOSTILE.items()), ("nothing", "")]


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize(("name", "text"), TEXTS, ids=[name for name, _ in TEXTS])
def test_a_field_cannot_forge_a_line(name: str, text: str, form: str, lines: Any) -> None:
    """Nor send a terminal code, nor fill the disk; the fields beside it stay what they are."""
    told = lines(form)
    log.warning("fetch-failed %s", KV(domain="example.com", reason=text, failures=3))
    [line] = told()
    event, fields = READERS[form](line)
    assert (event, fields["domain"], str(fields["failures"])) == ("fetch-failed", "example.com", "3")
    assert "forged" not in fields


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize(("name", "text"), TEXTS, ids=[name for name, _ in TEXTS])
def test_a_fault_of_our_own_is_one_line_with_its_place(name: str, text: str, form: str, lines: Any) -> None:
    """The traceback may hold remote text, as a whole or in the error's words."""
    told = lines(form)
    try:
        raise RuntimeError(text)
    except RuntimeError:
        log.exception("internal-error %s", KV(domain="example.com", reason=text))
        log.exception("internal-error")
    for line in told():
        event, fields = READERS[form](line)
        assert event == "internal-error"
        assert "test_a_fault_of_our_own_is_one_line_with_its_place" in fields["traceback"]
        assert len(fields["traceback"]) < 10_000
    assert len(told()) == 2


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize(("name", "text"), TEXTS, ids=[name for name, _ in TEXTS])
def test_a_library_cannot_forge_a_line_either(name: str, text: str, form: str, lines: Any) -> None:
    """Whatever it warns of becomes fields of an event."""
    told = lines(form)
    logging.getLogger("asyncio").warning("socket.send() raised %s", text)
    [line] = told()
    event, fields = READERS[form](line)
    assert event == "library-message"
    assert fields["name"] == "asyncio"


def test_json_keeps_numbers_and_escapes_the_rest(lines: Any) -> None:
    """Null, true and numbers as such; an object's text otherwise."""
    told = lines("json")
    log.info("ready %s", KV(listen="inet:127.0.0.1:8462", number=3, share=0.5, sure=True, none=None, path=Path("/x")))
    _, fields = read_json(told()[0])
    assert {name: fields[name] for name in ("number", "share", "sure", "none", "path", "level")} == {
        "number": 3,
        "share": 0.5,
        "sure": True,
        "none": None,
        "path": "/x",
        "level": "info",
    }


def test_levels_are_obeyed_and_libraries_only_warn(lines: Any) -> None:
    """log.level is ours."""
    told = lines("text")
    logging.getLogger("urllib3").info("connection pool")
    log.debug("lookup %s", KV(map="postfix"))
    logging.getLogger().handlers[0].configure(LogSettings(level="warning"))  # type: ignore[attr-defined]
    log.info("stopped")
    assert [read_stamped(line) for line in told()] == [("lookup", {"map": "postfix"})]


PRIORITIES = [("debug", "<7>"), ("info", "<6>"), ("warning", "<4>"), ("error", "<3>"), ("critical", "<2>")]


@pytest.mark.parametrize(("level", "priority"), PRIORITIES)
def test_the_journal_is_told_priorities(
    level: str, priority: str, lines: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where JOURNAL_STREAM names standard error (systemd.exec(5))."""
    (tmp_path / "stderr").touch()
    status = (tmp_path / "stderr").stat()
    monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
    told = lines("text")
    getattr(log, level)("temp %s", KV(reason="x\ny"))
    [line] = told()
    assert line == f'{priority}temp reason="x\\ny"'
    assert read_text(line[3:]) == ("temp", {"reason": '"x\\ny"'})


@pytest.mark.parametrize("stream", ["", "nonsense", "1", "1:2"])
def test_what_is_not_the_journal_is_told_the_time(stream: str, lines: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """JOURNAL_STREAM may be inherited by a program whose standard error goes elsewhere."""
    monkeypatch.setenv("JOURNAL_STREAM", stream)
    told = lines("text")
    log.info("stopped")
    assert read_stamped(told()[0]) == ("stopped", {})


class Pipe:
    """A log whose reader reads when the test says so."""

    def __init__(self) -> None:
        self.read_end, self.write_end = os.pipe()
        fcntl.fcntl(self.write_end, fcntl.F_SETPIPE_SZ, 4096)
        self.log = Log(self.write_end)
        self.log.configure(LogSettings(level="info"))

    def fill(self, number: int) -> None:
        """Log *number* lines, of which four fill the pipe."""
        for position in range(number):
            log.info("policy-new %s", KV(number=position, filling="x" * 1000))

    def read(self) -> list[tuple[str, dict[str, Any]]]:
        """All that is written until the log ends."""
        chunks: list[bytes] = []
        reader = threading.Thread(target=lambda: chunks.extend(iter(lambda: os.read(self.read_end, 1 << 16), b"")))
        reader.start()
        self.log.end(PATIENCE)
        os.close(self.write_end)
        reader.join()
        self.write_end = os.open(os.devnull, os.O_WRONLY)  # to be closed in its place
        return [read_stamped(line) for line in b"".join(chunks).decode().splitlines()]


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    pipe.log.end(0.0)
    for end in (pipe.read_end, pipe.write_end):
        os.close(end)


@pytest.mark.parametrize("blocking", [True, False], ids=["a blocking pipe", "a pipe made non-blocking by others"])
def test_a_reader_that_stops_holds_up_nobody(pipe: Pipe, blocking: bool) -> None:
    """What finds no room is counted and told of once, behind the lines that found some; all others arrive, in order."""
    os.set_blocking(pipe.write_end, blocking)
    pipe.fill(3 * LINES)  # with a writer that waits this would not return
    lines = pipe.read()
    kept = [fields["number"] for event, fields in lines if event == "policy-new"]
    [dropped] = [fields["number"] for event, fields in lines if event == "log-dropped"]
    assert len(kept) + int(dropped) == 3 * LINES
    assert kept == sorted(kept, key=int)
    assert len(kept) >= LINES
    assert lines[-1][0] == "log-dropped"


def test_a_full_pipe_does_not_hold_up_the_end(pipe: Pipe) -> None:
    """The end waits as long as it was told, and no longer."""
    pipe.fill(100)
    pipe.log.end(0.01)  # with a writer that is waited for this would not return


def test_lines_that_cannot_be_written_are_told_of_later(lines: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk costs lines, and no more."""
    told = lines("text")
    full = [True]

    def write(descriptor: int, data: bytes) -> None:
        if full[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        os.write(descriptor, data)

    monkeypatch.setattr("postfix_mtasts.process.logs._write_all", write)
    log.info("stopped")
    assert told() == [""]
    full[0] = False
    log.info("ready")
    assert [read_stamped(line) for line in told()] == [("ready", {}), ("log-dropped", {"number": "1"})]


def test_a_line_that_cannot_be_made_costs_no_answer(lines: Any) -> None:
    """It is told of in place of the line."""

    class Odd:
        def __str__(self) -> str:
            raise ValueError("odd")

    told = lines("text")
    log.info("ready %s", KV(listen=Odd()))
    [(event, fields)] = [read_stamped(line) for line in told()]
    assert (event, fields["place"], fields["reason"]) == ("internal-error", "log", '"ValueError: odd"')


def test_every_line_is_an_event_with_fields() -> None:
    """No call in the package puts text of its own into a line: `event`, or `event %s` and KV(...)."""
    calls = 0
    for path in Path(postfix_mtasts.__path__[0]).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("log."):
                if node.func.attr in ("isEnabledFor", "setLevel"):  # type: ignore[attr-defined]
                    continue
                words = node.args[1:] if node.func.attr == "log" else node.args  # type: ignore[attr-defined]
                place = f"{path.name}:{node.lineno}"
                assert len(words) == 1 or ast.unparse(words[1]).startswith("KV("), place
                assert len(words) <= 2, place
                assert isinstance(words[0], ast.Name | ast.Constant), place
                calls += 1
    assert calls > 30
