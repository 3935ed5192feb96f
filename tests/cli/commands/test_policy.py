"""`policy new` and `policy lint`: what is printed, and how it ends."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from postfix_mtasts.cli.main import main
from postfix_mtasts.core.policy import parse_policy
from tests.support.servers.dnsserver import DnsServer

GOOD = b"version: STSv1\r\nmode: enforce\r\nmx: mx.example.com\r\nmax_age: 1209600\r\n"


@pytest.fixture
def dns() -> Iterator[DnsServer]:
    records: dict[tuple[str, str], Any] = {
        ("example.com", "MX"): ["20 b.example.net.", "10 mx.example.com."],
        ("null.example", "MX"): ["0 ."],
        ("own.example", "A"): ["192.0.2.1"],
        ("odd.example", "MX"): ["10 under_score.example."],
    }
    with DnsServer(records, {("fails.example", "MX"): "SERVFAIL"}) as server:
        yield server


@pytest.fixture
def command(dns: DnsServer, tmp_path: Path) -> Any:
    config = tmp_path / "config.yml"
    config.write_text(json.dumps({"dns": {"servers": [dns.address], "timeout": "2s"}}))
    return lambda *words: main(["policy", *words, "--config", str(config)])


WRITTEN = [
    (
        ("example.com",),
        b"version: STSv1\r\nmode: testing\r\nmx: mx.example.com\r\nmx: b.example.net\r\nmax_age: 86400\r\n",
    ),
    (("own.example", "--mode", "enforce"), b"version: STSv1\r\nmode: enforce\r\nmx: own.example\r\nmax_age: 86400\r\n"),
    (("null.example", "--mode", "none"), b"version: STSv1\r\nmode: none\r\nmax_age: 86400\r\n"),
    (
        ("fails.example", "--mx", "*.Example.ORG", "--mx", "a.example.org", "--max-age", "30d"),
        b"version: STSv1\r\nmode: testing\r\nmx: *.example.org\r\nmx: a.example.org\r\nmax_age: 2592000\r\n",
    ),
]


@pytest.mark.parametrize(("words", "body"), WRITTEN, ids=[" ".join(row[0]) for row in WRITTEN])
def test_new_writes_what_senders_read(
    command: Any, capfdbinary: pytest.CaptureFixture[bytes], words: tuple[str, ...], body: bytes
) -> None:
    """From the MX set in its order, or from --mx; CRLF."""
    assert command("new", *words) == 0
    sys.stdout.flush()
    assert capfdbinary.readouterr().out == body
    assert parse_policy(body).text


REFUSED = [
    (("example.com", "--mode", "report"), 64, "--mode: report is not enforce, testing or none"),
    (("example.com", "--max-age", "400d"), 64, "--max-age"),
    (("example.com", "--max-age", "1500ms"), 64, "--max-age"),
    (("example.com", "--max-age", "long"), 64, "--max-age"),
    (("example.com", "--mx", "bücher.example"), 64, "write xn--bcher-kva.example"),
    (("example.com", "--mx", "*.bücher.example"), 64, "write *.xn--bcher-kva.example"),
    (("example.com", "--mx", "192.0.2.1"), 64, "192.0.2.1 is not a host name"),
    (("example.com", "--mx", "a.*.example"), 64, "is not a host name"),
    (("example.com", "--mx", "a.example\nmode: none"), 64, "is not a host name"),
    (("example.com", "--mx", "localhost"), 64, "is not a host name"),
    (("nothing",), 64, "is not a policy domain"),
    (("null.example",), 2, "takes no mail (null MX); use --mode none"),
    (("gone.example",), 2, "does not exist"),
    (("odd.example",), 2, "under_score.example"),
    (("fails.example",), 3, "SERVFAIL"),
]


@pytest.mark.parametrize(("words", "code", "says"), REFUSED, ids=[" ".join(row[0]) for row in REFUSED])
def test_new_refuses_what_senders_refuse(
    command: Any, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], code: int, says: str
) -> None:
    """One line on standard error, and no policy."""
    assert command("new", *words) == code
    out, error = capsys.readouterr()
    assert out == ""
    assert says in error
    assert error.count("\n") == 1


def file(tmp_path: Path, body: bytes) -> str:
    path = tmp_path / "mta-sts.txt"
    path.write_bytes(body)
    return str(path)


LINTED = [
    ("a good one", GOOD, 0, []),
    ("a warning", GOOD.replace(b"1209600", b"86400"), 1, ["policy-max-age"]),
    ("an error", b"version: STS1\n", 2, ["policy-invalid"]),
    ("for information", GOOD.replace(b"enforce", b"testing"), 0, ["policy-mode"]),
    ("over 64 KiB", GOOD + b"x: y\r\n" * 20_000, 2, ["policy-invalid"]),
]


@pytest.mark.parametrize(("title", "body", "code", "found"), LINTED, ids=[row[0] for row in LINTED])
def test_lint(
    command: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    title: str,
    body: bytes,
    code: int,
    found: list[str],
) -> None:
    """Exit codes as check's; text and JSON say the same."""
    path = file(tmp_path, body)
    assert command("lint", path) == code
    text = capsys.readouterr().out
    assert command("lint", "--json", path) == code
    shape = json.loads(capsys.readouterr().out)
    assert (shape["file"], [each["code"] for each in shape["findings"]]) == (path, found)
    assert all(f": {name}: " in text for name in found)


def test_lint_compares_with_the_mx_set(command: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of --domain: what is not covered, and what is not used."""
    path = file(tmp_path, GOOD.replace(b"max_age", b"mx: old.example.com\r\nmax_age"))
    assert command("lint", "--json", "--domain", "example.com", path) == 2
    found = json.loads(capsys.readouterr().out)["findings"]
    assert [(each["code"], each["subject"]) for each in found] == [
        ("mx-uncovered", "b.example.net"),
        ("mx-unused", "old.example.com"),
    ]
    assert command("lint", "--domain", "fails.example", path) == 3
    assert command("lint", "--domain", "fails", path) == 64


def test_lint_reads_standard_input(
    command: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As CI has it."""

    class Input:
        buffer = io.BytesIO(GOOD)

    monkeypatch.setattr(sys, "stdin", Input())
    assert command("lint", "-") == 0
    assert capsys.readouterr().out == "-: fine\n"


def test_lint_of_a_file_that_is_not_there(command: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Wrong usage, in one line."""
    assert command("lint", str(tmp_path / "none")) == 64
    assert "No such file" in capsys.readouterr().err
