"""`record`: the DNS records to publish, in three formats."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dns.zone
import pytest

from postfix_mtasts.cli.main import main
from tests.support.servers.dnsserver import DnsServer

POLICY = b"version: STSv1\r\nmode: testing\r\nmx: mx.example.com\r\nmax_age: 86400\r\n"
ID = hashlib.sha256(POLICY).hexdigest()[:20]


@pytest.fixture
def server() -> Iterator[DnsServer]:
    with DnsServer() as dns:
        yield dns


@pytest.fixture
def command(server: DnsServer, tmp_path: Path) -> Any:
    config = tmp_path / "config.yml"
    config.write_text(json.dumps({"dns": {"servers": [server.address], "timeout": "2s"}}))
    (tmp_path / "policy.txt").write_bytes(POLICY)
    (tmp_path / "bad.txt").write_bytes(b"version: STS1\n")

    def run(*words: str) -> int:
        words = tuple(str(tmp_path / word[1:]) if word.startswith("@") else word for word in words)
        return main(["record", *words, "--config", str(config)])

    return run


def test_all_records_of_a_zone(command: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """As BIND reads them."""
    words = (
        "--policy",
        "@policy.txt",
        "--host",
        "Web.Example.NET",
        "--rua",
        "mailto:a@example.com",
        "--rua",
        "https://r.example/x",
    )
    assert command("example.com", *words) == 0
    text = capsys.readouterr().out
    zone = dns.zone.from_text(text, "example.com", relativize=False, check_origin=False)
    assert zone.find_rdataset("_mta-sts.example.com.", "TXT")[0].strings == (f"v=STSv1; id={ID};".encode(),)
    assert zone.find_rdataset("mta-sts.example.com.", "CNAME")[0].target.to_text() == "web.example.net."
    reports = zone.find_rdataset("_smtp._tls.example.com.", "TXT")[0].strings
    assert reports == (b"v=TLSRPTv1; rua=mailto:a@example.com,https://r.example/x",)


def test_the_id_changes_with_the_policy_and_only_then(
    command: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first 20 hexadecimal digits of SHA-256 over its bytes."""
    command("example.com", "--policy", "@policy.txt")
    command("other.example", "--policy", "@policy.txt")
    (tmp_path / "policy.txt").write_bytes(POLICY.replace(b"\r\n", b"\n"))
    command("example.com", "--policy", "@policy.txt")
    first, second, third = (line.split("id=")[1] for line in capsys.readouterr().out.splitlines())
    assert first == second == f'{ID};"'
    assert third != first


ESCAPED = [
    ("mailto:a,b@example.com", "mailto:a%2Cb@example.com"),
    ("mailto:a;b!c@example.com", "mailto:a%3Bb%21c@example.com"),
    ("mailto:a%2Cb@example.com", "mailto:a%2Cb@example.com"),
]


@pytest.mark.parametrize(("uri", "written"), ESCAPED)
def test_what_separates_is_escaped_once(
    command: Any, capsys: pytest.CaptureFixture[str], uri: str, written: str
) -> None:
    """RFC 8460 section 3."""
    assert command("example.com", "--id", "1", "--rua", uri, "--format", "json") == 0
    shape = json.loads(capsys.readouterr().out)
    assert json.dumps(shape).count(f"rua={written}") == 1


def test_nsupdate_replaces_and_never_adds(command: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """A second record at the name would make senders ignore both."""
    assert command("example.com", "--id", "7", "--rua", "mailto:a@example.com", "--format", "nsupdate") == 0
    assert capsys.readouterr().out.splitlines() == [
        "update delete _mta-sts.example.com.",
        'update add _mta-sts.example.com. 3600 TXT "v=STSv1; id=7;"',
        "update delete _smtp._tls.example.com.",
        'update add _smtp._tls.example.com. 3600 TXT "v=TLSRPTv1; rua=mailto:a@example.com"',
        "send",
    ]


REFUSED = [
    (("example.com", "--id", "a-b"), 64, "is not 1 to 32 letters and digits"),
    (("example.com", "--id", "1" * 33), 64, "is not 1 to 32 letters and digits"),
    (("example.com", "--policy", "@none.txt"), 64, "No such file"),
    (("example.com", "--policy", "@bad.txt"), 64, "version"),
    (("example.com", "--id", "1", "--rua", "ftp://a.example/"), 64, "neither mailto: nor https:"),
    (("example.com", "--id", "1", "--rua", "a.example"), 64, "is not a URI"),
    (("example.com", "--id", "1", "--host", "x"), 64, "is not a policy domain"),
    (("x", "--id", "1"), 64, "is not a policy domain"),
    (("example.com",), 75, "has no address"),
]


@pytest.mark.parametrize(("words", "code", "says"), REFUSED, ids=[" ".join(row[0])[:60] for row in REFUSED])
def test_what_is_refused(
    command: Any, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], code: int, says: str
) -> None:
    """One line on standard error, and no record."""
    assert command(*words) == code
    out, error = capsys.readouterr()
    assert (out, error.count("\n")) == ("", 1)
    assert says in error


def test_id_and_policy_exclude_each_other(command: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """The id is one or the other's."""
    with pytest.raises(SystemExit, match="64"):
        command("example.com", "--id", "1", "--policy", "@policy.txt")
