"""`check`: options, exit codes, formats; what is found stands in tests/integration/test_check.py."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from postfix_mtasts.cli.commands import check
from postfix_mtasts.cli.main import main
from postfix_mtasts.core.findings.owner import TABLE
from postfix_mtasts.core.ports import Look
from postfix_mtasts.faults import Fault, Seen
from tests.support.fakes.faults import servfail
from tests.support.fakes.owned import MX, PUBLIC_MX, D, Owned

RECORD = ("txt", f"_mta-sts.{D}")


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    config = tmp_path / "config.yml"
    config.write_text(f"cache: {{directory: {tmp_path / 'store'}}}\n")

    def run(owned: Owned, *words: str) -> int:
        def outside(settings: object, mail: bool, expiry_days: int, held: object) -> Any:
            return owned.world(expiry_days=expiry_days, **({} if mail else {"looks": None}))

        monkeypatch.setattr(check, "outside", outside)
        return main(["check", *words, "--config", str(config)])

    return run


def owned(*, fails: bool = False, absent: bool = False, warns: bool = False) -> Owned:
    domain = Owned()
    if warns:
        domain.records["txt", f"_smtp._tls.{D}"] = ()
    if fails:
        domain.records[RECORD] = servfail()
    if absent:
        domain.records[RECORD] = ()
    return domain


CODES = [
    ("fine", owned(), 0),
    ("warnings", owned(warns=True), 1),
    ("could not be determined", owned(fails=True, warns=True), 3),
    ("errors", owned(absent=True), 2),
]


@pytest.mark.parametrize(("title", "domain", "code"), CODES, ids=[row[0] for row in CODES])
def test_the_exit_code(command: Any, capsys: pytest.CaptureFixture[str], title: str, domain: Owned, code: int) -> None:
    """The same for people, scripts and monitors."""
    for how in ((), ("--json",), ("--monitor",)):
        assert command(domain, *how, D) == code
    out = capsys.readouterr().out
    assert "example.com: " in out


USAGE = [((), "name a domain"), (("nothing",), "is not a policy domain"), ((D, "192.0.2.1"), "is not a policy domain")]


@pytest.mark.parametrize(("words", "says"), USAGE)
def test_wrong_usage(command: Any, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], says: str) -> None:
    """Nothing is examined, not even the domains that are right."""
    domain = owned()
    assert command(domain, *words) == 64
    assert says in capsys.readouterr().err
    assert not domain.asked


@pytest.mark.parametrize("words", [("--expiry-days", "soon"), ("--expiry-days", "-1"), ("--json", "--monitor")])
def test_options_that_argparse_refuses(command: Any, words: tuple[str, ...]) -> None:
    """64 too."""
    with pytest.raises(SystemExit, match="64"):
        command(owned(), *words, D)


def test_a_bad_configuration(tmp_path: Path) -> None:
    """Exit code 78."""
    config = tmp_path / "config.yml"
    config.write_text("dns: {servers: nonsense}\n")
    assert main(["check", D, "--config", str(config)]) == 78


def test_codes_lists_the_table(command: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a domain, and without asking anybody."""
    assert command(owned(), "--codes") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(TABLE)
    assert any(line.startswith("mx-uncovered ") and " error/warning " in line for line in lines)


def test_spellings_of_one_domain_are_examined_once(command: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Upper case and a final dot."""
    assert command(owned(), "--json", D, "EXAMPLE.com.") == 0
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_expiry_days_moves_the_warning(command: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """A certificate with 90 days left."""
    assert command(owned(), "--json", "--expiry-days", "91", D) == 1
    report = json.loads(capsys.readouterr().out)
    assert [each["code"] for each in report["findings"] if each["severity"] == "warning"] == [
        "mail-certificate-expiring"
    ]
    assert command(owned(), "--json", "--expiry-days", "90", D) == 0


def test_no_mail(command: Any) -> None:
    """Nobody is connected to at port 25."""
    domain = owned()
    assert command(domain, "--no-mail", D) == 0
    assert not domain.looked


def test_the_textfile_is_whole_and_can_be_read_by_others(command: Any, tmp_path: Path) -> None:
    """node_exporter is another user."""
    file = tmp_path / "mtasts.prom"
    file.write_text("old")
    assert command(owned(absent=True), "--metrics", str(file), D) == 2
    assert 'mtasts_check_verdict{domain="example.com",verdict="error"} 1' in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert [each.name for each in tmp_path.iterdir() if ".prom" in each.name] == ["mtasts.prom"]


def test_a_textfile_that_cannot_be_written(command: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """69, and one line."""
    assert command(owned(), "--metrics", str(tmp_path / "none" / "x.prom"), D) == 69
    assert "No such file" in capsys.readouterr().err


def test_a_blocked_port_is_hinted_at_once(command: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Of several domains too; then no mail host is to blame."""
    domain = Owned(looks={(MX, PUBLIC_MX): Look(Seen(Fault.MAIL_NOT_CONNECTED, MX, "refused"))})
    assert command(domain, D, "other.example") == 2  # the other has nothing at all
    out = capsys.readouterr().out
    assert out.count("could be reached at port 25") == 1
    assert "warning: mail-unreachable" in out


def test_no_colour_where_nobody_wants_it(command: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Standard output is no terminal here."""
    command(owned(), D)
    assert "\x1b" not in capsys.readouterr().out
