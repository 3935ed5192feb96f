"""core/quoting.py: remote text can neither forge a line nor send a terminal code."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mtasts.core.quoting import KV, LIMIT, escape, json_line, quote

QUOTED = [
    ("plain", "plain"),
    ("", '""'),
    ("two words", '"two words"'),
    ("a=b", '"a=b"'),
    ('say "so"', r'"say \"so\""'),
    ("back\\slash", r'"back\\slash"'),
    ("line\nbreak", r'"line\nbreak"'),
    ("\x1b[2J", r'"\x1b[2J"'),
    ("\x9b\u202e\u2028", r'"\x9b\u202e\u2028"'),
    (1.5, "1.500"),
    (7, "7"),
]


@pytest.mark.parametrize(("value", "want"), QUOTED, ids=[repr(row[0]) for row in QUOTED])
def test_a_value_is_one_field(value: object, want: str) -> None:
    """In double quotes where it needs them."""
    assert quote(value) == want


def test_quoting_opens_no_file() -> None:
    """The log line that says "Too many open files" must not fail for want of a descriptor itself."""
    script = (
        "import resource, sys; from postfix_mtasts.core.quoting import quote;"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3)); sys.stdout.write(quote('two words'))"
    )
    env = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}  # it opens a file
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ('"two words"', "")


@given(st.text())
def test_no_text_leaves_its_field(text: str) -> None:
    """Visible ASCII on one line, and no quote that is not escaped."""
    quoted = quote(text)
    assert re.fullmatch(r'[!#-<>-\[\]-~]+|"([ !#-\[\]-~]|\\.)*"', quoted)
    assert len(quoted) <= 10 * (LIMIT + 3) + 2


def test_a_long_value_is_cut() -> None:
    """And says so."""
    assert quote("a" * (LIMIT + 1)) == "a" * LIMIT + "..."


@given(st.text())
def test_escaped_text_is_visible_and_can_be_read_back(text: str) -> None:
    """Nothing is lost."""
    escaped = escape(text.encode("utf-8", "surrogatepass").decode("utf-8", "replace"))
    assert re.fullmatch(r"[ -~]*", escaped)


@given(st.recursive(st.text() | st.integers() | st.none(), lambda inner: st.lists(inner, max_size=3), max_leaves=5))
def test_json_is_one_harmless_line(value: object) -> None:
    """ASCII without a control character, DEL too; a reader gets the value back."""
    line = json_line(value)
    assert re.fullmatch(r"[ -~]*", line)
    assert json.loads(line) == value


def test_fields_of_a_log_line() -> None:
    """Formatted only when the line is written."""
    assert str(KV(domain="example.com", reason="it failed")) == 'domain=example.com reason="it failed"'
