"""`report`: options, what is printed, exit codes."""

from __future__ import annotations

import builtins
import csv
import io
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from postfix_mtasts.cli.main import main
from tests.support.fakes.reports import DAY, JUNE, detail, document, mail, policy
from tests.support.servers.daemon import ENVIRONMENT

CORPUS = Path(__file__).parents[2] / "reports" / "corpus"
JUNE_ON = ("--since", "2026-06-01")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where the store is, and config.yml that says so."""
    (tmp_path / "config.yml").write_text(f"reports: {{directory: {tmp_path}/store, dkim: false}}\n")
    return tmp_path / "store"


def report(directory: Path, *words: str) -> int:
    return main(["report", *words, "--config", str(directory.parent / "config.yml")])


def receive(directory: Path, data: bytes, monkeypatch: pytest.MonkeyPatch) -> int:
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data)))
        return report(directory, "receive")


def given(directory: Path, *documents: bytes) -> None:
    """Import reports."""
    directory.parent.joinpath("in").mkdir(exist_ok=True)
    for number, data in enumerate(documents):
        directory.parent.joinpath("in", f"{number}.json").write_bytes(data)
    assert report(directory, "import", str(directory.parent / "in")) == 0


def listed(directory: Path, capsys: pytest.CaptureFixture[str], *words: str) -> list[dict[str, Any]]:
    capsys.readouterr()
    report(directory, "list", "--json", *words)
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


# --- receive


def test_a_mail_is_stored_once(
    directory: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Delivered twice, it is there once, and both deliveries succeed."""
    message = mail(document(policy(5, 1, detail(1))))
    assert [receive(directory, message, monkeypatch) for _ in range(2)] == [0, 0]
    (row,) = listed(directory, capsys, *JUNE_ON)
    assert row == {
        "organization": "Sender Inc.",
        "submitter": "sender.example",
        "report_id": "1",
        "begin": "2026-06-01T00:00:00Z",
        "end": "2026-06-01T23:59:59Z",
        "domains": ["example.org"],
        "policies": [{"type": "sts", "domain": "example.org", "successful": 5, "failed": 1, "counted": True}],
        "successful": 5,
        "failed": 1,
        "results": {"certificate-expired": 1},
        "odd": [],
        "conflict": False,
        "dkim": "unchecked",
        "dkim_domain": None,
        "received": row["received"],
    }


ASIDE = [
    ("a plain mail", b"Subject: hello\n\nhello\n", "hello", "not a TLS report"),
    ("nothing", b"", "", "not a TLS report"),
    (
        "a damaged report",
        mail(document(policy(1)))[:-40],
        "Report Domain: example.org Submitter: sender.example",
        "damaged gzip",
    ),
    ("an automatic answer", (CORPUS / "syn-bounce.eml").read_bytes(), "Undelivered", "not a TLS report"),
]


@pytest.mark.parametrize(("title", "data", "name", "reason"), ASIDE, ids=[row[0] for row in ASIDE])
def test_what_is_not_a_report_is_set_aside_and_never_bounces(
    title: str,
    data: bytes,
    name: str,
    reason: str,
    directory: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Exit code 0, once in the list, byte for byte in a file."""
    assert [receive(directory, data, monkeypatch) for _ in range(2)] == [0, 0]
    capsys.readouterr()
    assert report(directory, "list", "--unreadable", "--json") == 0
    (entry,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert set(entry) == {"received", "name", "reason", "file"}
    assert entry["reason"] == reason
    assert entry["name"].startswith(name)
    assert Path(entry["file"]).read_bytes() == data


def test_a_mail_over_64_mib_is_set_aside_unparsed(
    directory: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whole, and its report is not read."""
    data = mail(document(policy(1))) + b"\n" * (64 << 20)
    assert receive(directory, data, monkeypatch) == 0
    assert listed(directory, capsys, *JUNE_ON) == []
    (entry,) = listed(directory, capsys, "--unreadable")
    assert entry["reason"] == "the mail is over 64 MiB"
    assert Path(entry["file"]).stat().st_size == len(data)


def test_a_mail_with_a_readable_and_an_unreadable_report_is_stored_and_set_aside(
    directory: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither hides the other."""
    broken = b"--b\nContent-Type: application/tlsrpt+json\n\n<html>\n--b--\n"
    assert receive(directory, mail(document(policy(1))).replace(b"--b--\n", broken), monkeypatch) == 0
    assert len(listed(directory, capsys, *JUNE_ON)) == 1
    assert [entry["reason"] for entry in listed(directory, capsys, "--unreadable")] == ["not JSON"]


def run(directory: Path, *words: str, **more: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "postfix_mtasts", "report", *words]
    more = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | more
    return subprocess.run(command, env=ENVIRONMENT, text=True, check=False, **more)


def test_receive_knows_two_exit_codes(directory: Path, tmp_path: Path) -> None:
    """0 and 75; pipe(8) bounces mail on all others."""
    (tmp_path / "bad.yml").write_text("reports: {keep: soon}\n")
    (tmp_path / "file").write_text("")
    (tmp_path / "off.yml").write_text(f"reports: {{directory: {tmp_path}/file/store}}\n")
    for words in (
        ["--bogus"],
        ["--config"],
        ["--config", "bad.yml"],
        ["--config", "absent.yml"],
        ["--config", "off.yml"],
    ):
        done = run(directory, "receive", *words, input="Subject: x\n\n", cwd=tmp_path)
        assert done.returncode == 75, words
        assert done.stdout == ""
        assert "Traceback" not in done.stderr


def test_receive_with_closed_streams(directory: Path) -> None:
    """A mail that cannot be read comes again; output that nobody takes changes nothing."""
    command = f"{sys.executable} -m postfix_mtasts report receive --config {directory.parent}/config.yml"
    codes = {}
    for streams in ("<&-", ">&- 2>&- </dev/null", ">/dev/full 2>/dev/full </dev/null"):
        codes[streams] = subprocess.run(["sh", "-c", f"{command} {streams}"], env=ENVIRONMENT, check=False).returncode
    assert list(codes.values()) == [75, 0, 0]


LIBRARIES = [("receive", 75), ("import", 69)]


@pytest.mark.parametrize(("command", "code"), LIBRARIES)
def test_a_missing_library_is_one_line(
    command: str, code: int, directory: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """That says what to install."""
    (directory.parent / "config.yml").write_text(f"reports: {{directory: {directory}}}\n")
    real = builtins.__import__

    def missing(name: str, *rest: Any) -> Any:
        if name == "dkim":
            raise ModuleNotFoundError("No module named 'dkim'", name="dkim")
        return real(name, *rest)

    monkeypatch.delitem(sys.modules, "dkim", raising=False)
    monkeypatch.delitem(sys.modules, "postfix_mtasts.adapters.signatures", raising=False)
    monkeypatch.setattr(builtins, "__import__", missing)
    words = [command, *(["/nonexistent"] if command == "import" else [])]
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"")))
    assert report(directory, *words) == code
    said = capsys.readouterr().err
    assert "the Python library dkim is missing; install python3-dkim, or postfix-mtasts[owner] with pip" in said
    assert "Traceback" not in said


# --- import


def test_import_counts_and_can_be_run_again(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The corpus: every report once, what is unreadable with the reason, other mail nowhere."""
    assert report(directory, "import", str(CORPUS)) == 1
    said = capsys.readouterr()
    assert said.out == "97 read, 88 new, 9 already there, 9 unreadable\n"
    assert "syn-gz-truncated.json.gz: damaged gzip" in said.err
    assert "syn-plain-mail" not in said.err
    assert report(directory, "import", str(CORPUS)) == 1
    assert capsys.readouterr().out == "97 read, 0 new, 97 already there, 9 unreadable\n"
    assert report(directory, "list", "--unreadable") == 1


def test_import_of_a_path_that_is_not_there(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is unreadable, and the others are read."""
    good = CORPUS / "syn-minimal.json"
    assert report(directory, "import", "/nonexistent", str(good)) == 1
    said = capsys.readouterr()
    assert said.out == "1 read, 1 new, 0 already there, 1 unreadable\n"
    assert said.err == "/nonexistent: No such file or directory\n"


def test_import_of_a_file_whose_name_is_not_utf_8(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its name may be where the submitter and the domain stand."""
    name = os.fsencode(directory.parent) + b"/\xff\n!b.example!1780272000!1780358399.json"
    with open(name, "wb") as file:
        file.write(b'{"report-id": 1, "policies": [{"policy": {}}]}')
    assert report(directory, "import", os.fsdecode(name)) == 0
    (row,) = listed(directory, capsys, *JUNE_ON)
    assert (row["submitter"], row["domains"]) == ("\ufffd\n", ["b.example"])


# --- list


def test_list_marks_what_contradicts_and_what_does_not_add_up(
    directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In text and in JSON."""
    given(directory, document(policy(1, 2, detail(1))), document(policy(9)))
    rows = listed(directory, capsys, *JUNE_ON)
    assert [row["conflict"] for row in rows] == [True, True]
    assert [row["odd"] for row in rows] == [["a policy counts 2 failed sessions, its details 1"], []]
    report(directory, "list", *JUNE_ON)
    text = capsys.readouterr().out
    assert "conflict: another report has the same id" in text
    assert "its details 1" in text


WINDOWS = [
    ([*JUNE_ON], ["1", "2", "3"]),
    (["--since", "2026-06-02"], ["2", "3"]),
    ([*JUNE_ON, "--until", "2026-06-02"], ["1"]),
    ([*JUNE_ON, "--until", "2026-06-02T00:00:01Z"], ["1", "2"]),
    ([*JUNE_ON, "--domain", "Other.Example."], ["3"]),
    ([*JUNE_ON, "--dkim", "pass"], []),
    (["--since", "36500d", "--until", "2026-06-02"], ["1"]),
]


@pytest.mark.parametrize(("words", "want"), WINDOWS, ids=[" ".join(row[0]) for row in WINDOWS])
def test_a_window(words: list[str], want: list[str], directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """since <= begin < until."""
    days = [document(policy(1), id=str(day + 1), day=JUNE + day * DAY) for day in range(2)]
    given(directory, *days, document(policy(1, domain="other.example"), id="3", day=JUNE + 5 * DAY))
    assert [row["report_id"] for row in listed(directory, capsys, *words)] == want
    assert report(directory, "list", *words) == (0 if want else 1)


@pytest.mark.parametrize(
    "words",
    [
        ["--since", "soon"],
        ["--since", "-1d"],
        ["--since", "20260601"],
        ["--since", ""],
        ["--dkim", "maybe"],
        ["--since", "2026-06-02", "--until", "2026-06-01"],
    ],
)
def test_a_wrong_option_is_exit_code_64(words: list[str], directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With one line that says what is wrong."""
    with pytest.raises(SystemExit) as caught:
        report(directory, "list", *words)
    assert caught.value.code == 64
    assert "Traceback" not in capsys.readouterr().err


def test_a_store_that_cannot_be_used_is_exit_code_69(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With one line that names it."""
    directory.write_text("")
    assert report(directory, "list") == 69
    assert capsys.readouterr().err == f"postfix-mtasts: {directory}: File exists\n"


def test_hostile_text_comes_out_quoted(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither a terminal code nor a line of its own, from reports and from names of files."""
    evil = "\x1b]0;owned\x07\x1b[2J\r\nexample.org\u202e\u2028\x9b\x7f\0" + "A" * 5_000
    given(directory, document(policy(1, 1, detail(1, evil, evil), domain=evil, type=evil), organization=evil, id=evil))
    bad = directory.parent / "in" / "\x1b[2J\n.json"
    bad.write_bytes(b"{")
    report(directory, "import", str(bad))
    for words in (["list"], ["list", "--json"]):
        report(directory, *words, *JUNE_ON)
    said = capsys.readouterr()
    assert re.fullmatch(r"[ -~\n]+", said.out + said.err)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_root_leaves_files_that_the_owner_can_write(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command run by root acts as the directory's owner; it reads its input as root."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:  # pytest's own is closed to other users
        os.chmod(name, 0o755)
        directory = Path(name) / "store"
        directory.mkdir(mode=0o700)
        os.chown(directory, 12345, 12346)
        (directory.parent / "config.yml").write_text(f"reports: {{directory: {directory}, dkim: false}}\n")
        secret = directory.parent / "secret.json"
        secret.write_bytes(document(policy(1)))
        secret.chmod(0o600)
        assert report(directory, "import", str(secret)) == 0
        assert receive(directory, b"Subject: x\n\n", monkeypatch) == 0
        found = [directory, *directory.rglob("*")]
        assert len(found) >= 4
        assert {(path.stat().st_uid, path.stat().st_gid) for path in found} == {(12345, 12346)}
        assert os.geteuid() == 0


# --- show, html, digest, forget


def shown(directory: Path, capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    capsys.readouterr()
    assert report(directory, "show", "--json", *words) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


BROKEN = document(policy(90, 10, detail(10, mx="mx2.example.org", reason="too old")))


def test_show_json(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every key."""
    given(directory, BROKEN)
    found = shown(directory, capsys, *JUNE_ON, "--until", "2026-07-01")
    (result,) = found.pop("results")
    assert (result.pop("meaning"), result.pop("advice")) != ("", "")
    assert result == {
        "result": "certificate-expired",
        "sessions": 10,
        "sources": ["Sender Inc."],
        "mx": ["mx2.example.org"],
    }
    assert found == {
        "since": "2026-06-01T00:00:00Z",
        "until": "2026-07-01T00:00:00Z",
        "domain": None,
        "reports": 1,
        "sessions": 100,
        "successful": 90,
        "failed": 10,
        "share": 0.1,
        "first": "2026-06-01T00:00:00Z",
        "last": "2026-06-01T00:00:00Z",
        "sources": [{"source": "Sender Inc.", "sessions": 100, "failed": 10, "addresses": ["192.0.2.1"]}],
    }


@pytest.mark.parametrize("by", ["result", "source", "day", "mx", "policy", "domain"])
def test_show_by(by: str, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The totals, the key, the rows; CSV has the same rows and names."""
    given(directory, BROKEN)
    found = shown(directory, capsys, *JUNE_ON, "--by", by)
    assert (found["by"], found["sessions"], "results" in found) == (by, 100, False)
    names = ["domain", "type", "policy"] if by == "policy" else [by]
    assert [list(row) for row in found["rows"]] == [[*names, "sessions", "successful", "failed"]] * len(found["rows"])
    assert sum(row["sessions"] for row in found["rows"]) == 100
    report(directory, "show", "--csv", "--by", by, *JUNE_ON)
    lines = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert lines == [{name: str(value) for name, value in row.items()} for row in found["rows"]]
    assert report(directory, "show", "--by", by, *JUNE_ON) == 0


def test_csv_holds_no_formula(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Spreadsheets run what begins with = + - @, tab or CR."""
    results = ["=cmd|' /C calc'!A0", "+1", "-1", "@SUM(1)", "\tx", "\rx", '"=1"', "plain"]
    given(directory, document(policy(0, 8, *[detail(1, result) for result in results])))
    capsys.readouterr()
    for words in (["--by", "result"], []):
        report(directory, "show", "--csv", *words, *JUNE_ON)
        cells = [row["result"] for row in csv.DictReader(io.StringIO(capsys.readouterr().out, newline=""))]
        assert {cell[0] for cell in cells} <= {"'", "p", '"', "x"}
        assert "'=cmd|' /C calc'!A0" in cells


def test_show_as_text(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whether, what, since when, from whom, what to do: in this order."""
    given(directory, BROKEN)
    capsys.readouterr()
    assert report(directory, "show", *JUNE_ON) == 0
    said = capsys.readouterr().out
    order = (
        *("10 of 100 sessions failed (10.0 %).", "certificate-expired: 10 failed", "on 2026-06-01", "Sender Inc."),
        *("mx2.example.org", "has expired", "Renew the certificate", "too old", "192.0.2.1"),
    )
    places = [said.index(words) for words in order]
    assert places == sorted(places)


def test_show_says_that_all_is_well(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """First, and exit code 0."""
    given(directory, document(policy(7)))
    capsys.readouterr()
    assert report(directory, "show", *JUNE_ON) == 0
    assert capsys.readouterr().out.startswith(
        "All is well: none of 7 sessions failed. 1 report from 1 organization tells"
    )


@pytest.mark.parametrize(
    "words", ["show", "show --json", "show --csv", "show --by mx", "list", "list --json", "list --unreadable", "html"]
)
def test_nothing_found_is_exit_code_1(words: str, directory: Path) -> None:
    """In every form."""
    assert report(directory, *words.split()) == 1


def test_html_replaces_a_file_whole(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On standard output it is the same."""
    given(directory, BROKEN)
    path = directory.parent / "page.html"
    path.write_text("old")
    assert report(directory, "html", *JUNE_ON, "-o", str(path)) == 0
    page = path.read_text()
    assert page.startswith("<!DOCTYPE html>")
    assert "10 of 100 sessions failed" in page
    assert report(directory, "html", *JUNE_ON, "-o", "/nonexistent/page.html") == 69
    assert "/nonexistent" in capsys.readouterr().err


def test_html_without_jinja2_says_what_to_install(
    directory: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line, exit code 69."""
    monkeypatch.setitem(sys.modules, "jinja2", None)
    monkeypatch.delitem(sys.modules, "postfix_mtasts.reports.page", raising=False)
    assert report(directory, "html") == 69
    assert "install python3-jinja2, or postfix-mtasts[owner] with pip" in capsys.readouterr().err


def test_digest_is_silent_when_all_is_well(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 0; --always writes, failures write and are 1."""
    given(directory, document(policy(7)))
    capsys.readouterr()
    assert report(directory, "digest") == 0
    assert capsys.readouterr().out == ""
    assert report(directory, "digest", "--always") == 0
    assert "All is well" in capsys.readouterr().out
    given(directory, BROKEN)
    capsys.readouterr()
    assert report(directory, "digest") == 1
    assert "NEW" in capsys.readouterr().out


def test_digest_since_last_tells_each_report_once(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And the next one what came after it."""
    given(directory, BROKEN)
    assert report(directory, "digest", "--since-last") == 1
    assert report(directory, "digest", "--since-last") == 0
    given(directory, document(policy(5, 5, detail(5)), id="2", day=JUNE + DAY))
    capsys.readouterr()
    assert report(directory, "digest", "--since-last") == 1
    said = capsys.readouterr().out
    assert "1 TLS report about 10\nsessions: 5 sessions failed" in said
    assert "GOT WORSE" in said


def test_digest_that_could_not_be_written_is_told_again(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is remembered only after the text was written."""
    given(directory, BROKEN)
    with open("/dev/full", "w") as full:
        done = run(directory, "digest", "--since-last", "--config", str(directory.parent / "config.yml"), stdout=full)
    assert done.returncode == 74, done.stderr
    assert report(directory, "digest", "--since-last") == 1


def test_forget(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By reports.keep, or before a time."""
    given(directory, BROKEN, document(policy(1), id="2", day=JUNE + 5 * DAY))
    capsys.readouterr()
    assert report(directory, "forget", "--before", "2026-06-03") == 0
    assert capsys.readouterr().out == "forgot 1 reports and 0 unreadable mails from before 2026-06-03T00:00:00Z\n"
    assert [row["report_id"] for row in listed(directory, capsys, *JUNE_ON)] == ["2"]
    (directory.parent / "config.yml").write_text(f"reports: {{directory: {directory}, dkim: false, keep: 1d}}\n")
    assert report(directory, "forget") == 0
    assert listed(directory, capsys, *JUNE_ON) == []


def test_keys_are_those_of_the_summary() -> None:
    """Written twice so that the parser imports little."""
    from postfix_mtasts.cli.commands.report import KEYS
    from postfix_mtasts.reports import summary

    assert summary.KEYS == KEYS
