"""adapters/dnsupdate.py and `record --format nsupdate` against knot and bind9: what stood there gives way."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from postfix_mtasts.adapters.dnsupdate import UpdateServer
from postfix_mtasts.core.names import Domain
from postfix_mtasts.core.ownrecords import nsupdate_lines, records
from postfix_mtasts.errors import InputError, UpdateError
from tests.support.servers.debian import ask
from tests.support.servers.primaries import PRIMARY, BindPrimary, KnotPrimary, Primary

ZONE = "update.test"
NAME = "_mta-sts.sub.update.test"
BEFORE = [
    f'{NAME}. 60 IN TXT "old"',
    f'{NAME}. 60 IN TXT "older"',
    "mta-sts.sub.update.test. 60 IN A 192.0.2.1",
    "mta-sts.sub.update.test. 60 IN AAAA 2001:db8::1",
    "_smtp._tls.sub.update.test. 60 IN CNAME reports.example.net.",
    "sub.update.test. 60 IN A 192.0.2.2",
]


@pytest.fixture(params=[KnotPrimary, BindPrimary], ids=["knot", "bind9"])
def primary(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Primary]:
    with request.param(tmp_path / "primary", ZONE, BEFORE) as made:
        yield made


@pytest.fixture
def server(primary: Primary) -> UpdateServer:
    return UpdateServer(PRIMARY, 53, primary.key_file, 60)


def test_a_record_is_replaced_never_added(primary: Primary, server: UpdateServer) -> None:
    """Whatever stood there; the zone is found by asking."""
    server.replace_txt(NAME, "v=STSv1; id=a1;")
    assert primary.texts(NAME) == ['"v=STSv1; id=a1;"']
    server.replace_txt(NAME, 'quoted " and \\ back')
    assert primary.texts(NAME) == ['"quoted \\" and \\\\ back"']
    server.replace_txt(NAME, "x" * 300)
    assert primary.texts(NAME) == [f'"{"x" * 255}" "{"x" * 45}"']


def test_a_record_is_taken_away(primary: Primary, server: UpdateServer) -> None:
    """Also where there is none."""
    server.replace_txt(NAME, None)
    server.replace_txt(NAME, None)
    assert primary.texts(NAME) == []


def test_a_wrong_key_is_refused(primary: Primary, tmp_path: Path) -> None:
    """And the record stays."""
    other = tmp_path / "other.key"
    other.write_text('key "owner" { algorithm hmac-sha256; secret "AAAA"; };')
    with pytest.raises(UpdateError, match=PRIMARY):
        UpdateServer(PRIMARY, 53, other, 60).replace_txt(NAME, "x")
    assert len(primary.texts(NAME)) == 2


def test_a_zone_of_others_is_refused(server: UpdateServer) -> None:
    """The message names what was asked for."""
    with pytest.raises(UpdateError, match=r"which zone _mta-sts\.other\.example\. is in"):
        server.replace_txt("_mta-sts.other.example", "x")


def test_a_server_that_is_away_is_named(tmp_path: Path) -> None:
    """With its port."""
    key = tmp_path / "key"
    key.write_text('key "owner" { algorithm hmac-sha256; secret "AAAA"; };')
    with pytest.raises(UpdateError, match=r"127\.0\.0\.99:53"):
        UpdateServer("127.0.0.99", 53, key, 60).replace_txt(NAME, "x")


BAD_KEYS = ["", "key { };", 'key "k" { algorithm hmac-sha256; };', 'key "k" { algorithm none; secret "AAAA"; };', "\0"]
BAD_KEYS += ['key "k" { algorithm hmac-sha256; secret "not base64!"; };']


@pytest.mark.parametrize("text", BAD_KEYS)
def test_a_key_file_that_is_none_is_named_without_its_secret(text: str, tmp_path: Path) -> None:
    """One sentence."""
    key = tmp_path / "the.key"
    key.write_text(text)
    with pytest.raises(InputError, match=r"the\.key") as raised:
        UpdateServer("127.0.0.99", 53, key, 60).replace_txt(NAME, "x")
    assert "not base64!" not in str(raised.value)


def test_a_key_file_as_bind_s_tools_write_it(primary: Primary, tmp_path: Path) -> None:
    """With comments, and on one line."""
    key = tmp_path / "key"
    text = primary.key_file.read_text().replace("\n", " ")
    key.write_text(f"# by hand\n// too\n/* and so on */ {text}")
    UpdateServer(PRIMARY, 53, key, 60).replace_txt(NAME, "x")
    assert primary.texts(NAME) == ['"x"']


def test_nsupdate_puts_the_records_in_the_place_of_whatever_was_there(primary: Primary) -> None:
    """Addresses give way to an alias, and an alias to text: a server ignores or refuses the one beside the other."""
    own = records(Domain("sub.update.test"), "a1", "web.example.net", ["mailto:tls@update.test"])
    lines = "\n".join([f"server {PRIMARY}", *nsupdate_lines(own, 60)]) + "\n"
    command = ["nsupdate", "-v", "-k", str(primary.key_file)]
    done = subprocess.run(command, input=lines, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    assert primary.texts(NAME) == ['"v=STSv1; id=a1;"']
    assert primary.texts("_smtp._tls.sub.update.test") == ['"v=TLSRPTv1; rua=mailto:tls@update.test"']
    alias = ask(PRIMARY, "mta-sts.sub.update.test", "A").answer
    assert [(rrset.rdtype.name, str(rrset[0])) for rrset in alias] == [("CNAME", "web.example.net.")]
    assert ask(PRIMARY, "sub.update.test", "A").answer, "the domain itself is left alone"
