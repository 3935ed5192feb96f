"""daemon/logs.py: one event a line, whatever is in it; formats, levels, the journal's priorities."""

from __future__ import annotations

import ast
import io
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import postfix_mtasts
from postfix_mtasts.config.settings import LogSettings
from postfix_mtasts.core.quoting import KV
from postfix_mtasts.daemon import logs
from tests.support.fakes.loglines import HOSTILE, read_json, read_stamped, read_text

log = logging.getLogger("postfix_mtasts.daemon.test")
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
def lines(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Configures the log; returns what gives its lines."""
    err = io.StringIO()

    def configure(form: str) -> Any:
        monkeypatch.setattr(sys, "stderr", err)  # in the test itself: pytest sets it anew after the fixtures
        logs.configure(LogSettings(level="debug", format=form))
        return lambda: err.getvalue().removesuffix("\n").split("\n")

    return configure


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
    logs.configure(LogSettings(level="warning"))
    log.info("stopped")
    assert [read_stamped(line) for line in told()] == [("lookup", {"map": "postfix"})]


PRIORITIES = [("debug", "<7>"), ("info", "<6>"), ("warning", "<4>"), ("error", "<3>"), ("critical", "<2>")]


@pytest.mark.parametrize(("level", "priority"), PRIORITIES)
def test_the_journal_is_told_priorities(
    level: str, priority: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where JOURNAL_STREAM names standard error (systemd.exec(5)); time and level are the journal's."""
    with (tmp_path / "stderr").open("w") as err:
        status = os.fstat(err.fileno())
        monkeypatch.setattr(sys, "stderr", err)
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        logs.configure(LogSettings(level="debug"))
        getattr(log, level)("temp %s", KV(reason="x\ny"))
    line = (tmp_path / "stderr").read_text()
    assert line == f'{priority}temp reason="x\\ny"\n'
    assert read_text(line[3:-1]) == ("temp", {"reason": '"x\\ny"'})


@pytest.mark.parametrize("stream", ["", "nonsense", "1", "1:2"])
def test_what_is_not_the_journal_is_told_the_time(stream: str, lines: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """JOURNAL_STREAM may be inherited by a program whose standard error goes elsewhere."""
    monkeypatch.setenv("JOURNAL_STREAM", stream)
    told = lines("text")
    log.info("stopped")
    assert read_stamped(told()[0]) == ("stopped", {})


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
