"""`postfix-mtasts publish`: files written whole, and nothing made strict that is not ready for it."""

from __future__ import annotations

import io
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from postfix_mtasts.cli.commands import publish
from postfix_mtasts.cli.main import main
from postfix_mtasts.core.names import Domain
from postfix_mtasts.core.policy import parse_policy
from postfix_mtasts.core.publication import WITHDRAWN, Publication, policy_id
from postfix_mtasts.publishing.publisher import History
from tests.support.servers.dnsserver import DnsServer

D = "example.com"
TEXT = b"version: STSv1\r\nmode: testing\r\nmx: mx.example.com\r\nmax_age: 86400\r\n"


class World:
    """A folder of policies, a state, and a resolver that knows what a test tells it."""

    def __init__(self, directory: Path, dns: DnsServer) -> None:
        self.folder, self.state, self.dns = directory / "policies", directory / "state", dns
        self.folder.mkdir()
        self.config = directory / "config.yml"
        places = {"directory": str(self.folder), "state_directory": str(self.state), "rua": ["mailto:r@example.com"]}
        settings = {"publish": places, "dns": {"servers": [f"127.0.0.1:{dns.port}"], "timeout": "2s"}}
        settings["reports"] = {"directory": str(directory / "reports")}
        self.config.write_text(yaml.safe_dump(settings))

    def run(self, *words: str) -> int:
        try:
            return main(["publish", *words, "--config", str(self.config)])
        except SystemExit as error:
            return int(error.code or 0)

    def file(self, domain: str = D) -> Path:
        return self.folder / f"{domain}.txt"


@pytest.fixture
def world(tmp_path: Path) -> World:
    with DnsServer() as dns:
        yield World(tmp_path, dns)


@pytest.fixture(autouse=True)
def ready(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing speaks against enforce unless a test says so."""
    monkeypatch.setattr(publish, "_reasons_against", lambda loaded, domain, text: [])


def test_a_first_policy_is_in_testing_for_a_day_with_the_mx_hosts_of_dns(world: World) -> None:
    """In CRLF lines, readable by others."""
    world.dns.records = {(D, "MX"): ["20 mx2.example.net.", "10 MX1.example.com."]}
    assert world.run("set", D) == 0
    policy = parse_policy(world.file().read_bytes())
    assert (policy.mode, policy.max_age, policy.mx) == ("testing", 86_400, ("mx1.example.com", "mx2.example.net"))
    assert world.file().read_bytes().count(b"\r\n") == 5
    assert world.file().stat().st_mode & 0o777 == 0o644


def test_what_is_not_given_stays(world: World) -> None:
    """Each option changes its own part."""
    world.file().write_bytes(TEXT)
    assert world.run("set", D, "--max-age", "14d") == 0
    assert world.run("set", D, "--mode", "enforce") == 0
    policy = parse_policy(world.file().read_bytes())
    assert (policy.mode, policy.max_age, policy.mx) == ("enforce", 14 * 86_400, ("mx.example.com",))
    assert world.run("set", D, "--mx", "a.example.net", "--mx", "*.b.example.net") == 0
    assert parse_policy(world.file().read_bytes()).mx == ("a.example.net", "*.b.example.net")


def test_a_file_is_taken_byte_for_byte(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a path or from standard input."""
    given = tmp_path / "given.txt"
    given.write_bytes(TEXT.replace(b"\r\n", b"\n"))
    assert world.run("set", D, "--file", str(given)) == 0
    assert world.file().read_bytes() == given.read_bytes()
    stdin = io.TextIOWrapper(io.BytesIO(TEXT))
    monkeypatch.setattr(sys, "stdin", stdin)
    assert world.run("set", D, "--file", "-") == 0
    assert world.file().read_bytes() == TEXT


WRONG: list[tuple[Sequence[str], str]] = [
    (["nodomain"], "not a policy domain"),
    ([D, "--mode", "report"], "--mode"),
    ([D, "--max-age", "2y"], "--max-age"),
    ([D, "--mx", "192.0.2.1"], "--mx"),
    ([D, "--mx", "m\u00fcller.example"], "xn--"),
    ([D, "--file", "/nowhere"], "/nowhere"),
    ([D, "--file", "/dev/null"], "version"),
    ([D, "--file", "/dev/null", "--mode", "none"], "leave --mode"),
    (["null.example"], "null MX"),
    (["absent.example"], "does not exist"),
]


@pytest.mark.parametrize(("words", "said"), WRONG, ids=[" ".join(words) for words, _ in WRONG])
def test_what_senders_would_refuse_is_not_written(
    words: Sequence[str], said: str, world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 64, and one line that says why."""
    world.dns.records = {("null.example", "MX"): ["0 ."], (D, "MX"): ["10 mx.example.com."]}
    assert world.run("set", *words) == 64
    assert said in capsys.readouterr().err
    assert list(world.folder.iterdir()) == []


def test_enforce_is_refused_with_every_reason(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And forced only by who says so; a policy that is strict already may be changed."""
    asked: list[bytes] = []

    def reasons(loaded: object, domain: Domain, text: bytes) -> list[str]:
        asked.append(text)
        return ["mail-starttls: mx.example.com: no STARTTLS\x1b[31m", "5 failed sessions were reported: x"]

    monkeypatch.setattr(publish, "_reasons_against", reasons)
    world.file().write_bytes(TEXT)
    assert world.run("set", D, "--mode", "enforce") == 1
    assert world.file().read_bytes() == TEXT
    said = capsys.readouterr().err
    assert "no STARTTLS" in said
    assert "5 failed sessions" in said
    assert "\x1b" not in said
    assert parse_policy(asked[0]).mode == "enforce"
    assert world.run("set", D, "--mode", "enforce", "--force") == 0
    assert len(asked) == 1
    assert world.run("set", D, "--max-age", "30d") == 0
    assert len(asked) == 1


def test_a_domain_is_withdrawn_once(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """The second time there is nothing."""
    world.file().write_bytes(TEXT)
    assert world.run("withdraw", D) == 0
    assert not world.file().exists()
    assert world.run("withdraw", D) == 1
    assert "no policy of example.com" in capsys.readouterr().err


def test_show_prints_what_is_served_and_the_records(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """Ready to be pasted into a zone."""
    world.file().write_bytes(TEXT)
    assert world.run("show", D) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(TEXT.decode().replace("\r\n", "\n"))
    assert f'_mta-sts.{D}. 3600 IN TXT "v=STSv1; id={policy_id(TEXT)};"' in shown
    assert f'_smtp._tls.{D}. 3600 IN TXT "v=TLSRPTv1; rua=mailto:r@example.com"' in shown
    assert world.run("show", "other.example") == 1


def test_list_tells_file_history_and_dns(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """A line a domain; a refused file shows what is still served."""
    now = time.time()
    history = History(world.state / "domains")
    history.save(Publication(Domain("refused.example"), TEXT, 86_400, True, 0.0))
    history.save(Publication(Domain("gone.example"), TEXT, 86_400, False, now + 1000))
    history.save(Publication(Domain("forgotten.example"), TEXT, 86_400, False, now - 1000))
    world.file("refused.example").write_bytes(b"version: STSv1\nmode: x\n")
    world.file().write_bytes(TEXT)
    world.dns.records = {(f"_mta-sts.{D}", "TXT"): [f'"v=STSv1; id={policy_id(TEXT)};"']}
    assert world.run("list", "--json") == 0
    rows = {row["domain"]: row for row in map(json.loads, capsys.readouterr().out.splitlines())}
    assert rows.keys() == {D, "gone.example", "refused.example"}
    assert (rows[D]["mode"], rows[D]["max_age"], rows[D]["dns_id"]) == ("testing", 86_400, policy_id(TEXT))
    assert rows[D]["faults"] == [f"no certificate for mta-sts.{D}"]
    assert (rows["gone.example"]["id"], rows["gone.example"]["mode"]) == (policy_id(WITHDRAWN), "none")
    assert rows["gone.example"]["withdrawn_until"] == pytest.approx(now + 1000, abs=1)
    assert rows["refused.example"]["id"] == policy_id(TEXT)
    assert "mode 'x'" in rows["refused.example"]["faults"][0]
    assert world.run("list") == 0
    assert "DOMAIN" in capsys.readouterr().out


def test_list_of_nothing_and_of_a_folder_that_is_not_there(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """1 and 69; neither makes a state directory."""
    assert world.run("list") == 1
    world.folder.rmdir()
    assert world.run("list") == 69
    assert str(world.folder) in capsys.readouterr().err
    assert not world.state.exists()
