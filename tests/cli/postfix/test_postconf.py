"""cli/postfix/postconf.py: how main.cf and master.cf are read, which a script in the place of postconf tells."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from postfix_mtasts.cli.postfix import postconf
from postfix_mtasts.cli.postfix.postconf import Table

LISTS = [
    ("nothing", "", []),
    ("blanks and commas", "a:1, b:2,c:3\td:4", ["a:1", "b:2", "c:3", "d:4"]),
    ("braces hold together", "inline:{ { a=b, c }, d=e } f:1", ["inline:{ { a=b, c }, d=e }", "f:1"]),
    ("a brace that is never closed", "x:{a, b", ["x:{a, b"]),
    ("a brace too many", "x:a} b:1", ["x:a}", "b:1"]),
]


@pytest.mark.parametrize(("title", "text", "want"), LISTS, ids=[row[0] for row in LISTS])
def test_a_list_is_cut_as_postfix_cuts_it(title: str, text: str, want: list[str]) -> None:
    """At blanks and commas that are not in braces (mystrtokq)."""
    assert list(postconf.words(text)) == want


ADDRESSES = [
    ("socketmap:inet:127.0.0.1:8462:postfix", "inet:127.0.0.1:8462", "postfix"),
    ("socketmap:inet:[::1]:8462:postfix", "inet:[::1]:8462", "postfix"),
    ("socketmap:inet:localhost:socketmap:a.b-c", "inet:localhost:socketmap", "a.b-c"),
    ("socketmap:inet:8462:postfix", "inet:8462", "postfix"),
    ("socketmap:unix:run/socket:postfix", "unix:run/socket", "postfix"),
    ("proxy:socketmap:unix:/run/a:b:postfix", "unix:/run/a:b", "postfix"),
    ("socketmap:inet:127.0.0.1:8462", "", ""),
    ("socketmap:inet:127.0.0.1:8462/postfix", "", ""),
    ("socketmap:unix:/run/socket", "", ""),
    ("socketmap:inet:127.0.0.1:8462:", "", ""),
    ("hash:inet:127.0.0.1:8462:postfix", "", ""),
]


@pytest.mark.parametrize(("text", "address", "name"), ADDRESSES)
def test_a_socketmap_table_has_an_address_and_a_name(text: str, address: str, name: str) -> None:
    """Cut at the last colon; empty where Postfix would die on it."""
    (table,) = postconf.tables(text)
    assert (table.address, table.name) == (address, name)


def test_tables_that_are_made_of_tables() -> None:
    """Each of them is found, however deep."""
    (table,) = postconf.tables("proxy:unionmap:{static:a, pipemap:{b:1,c:2}}")
    assert table.proxied
    assert [each.text for each in table.all()] == [
        "proxy:unionmap:{static:a, pipemap:{b:1,c:2}}",
        "static:a",
        "pipemap:{b:1,c:2}",
        "b:1",
        "c:2",
    ]
    assert list(postconf.tables("nothing")) == [Table("nothing", "", "nothing")]


def put_postconf(directory: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Make *script* the only postconf on PATH."""
    program = directory / "postconf"
    program.write_text(f"#!/bin/sh\n{script}")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{directory}:/usr/bin:/bin")


ANSWERS = """\
case "$*" in
-M) cat <<'END'
smtp       inet  n       -       y       -       -       smtpd
smtp       unix  -       -       y       -       -       smtp
relay      unix  -       -       -       -       -       smtp -o smtp_tls_security_level=dane
local      unix  -       n       n       -       -       local
END
;;
'-x -P') echo 'relay/unix/smtp_tls_security_level = dane'; echo 'relay/unix/other = x';;
-m) echo hash; echo static;;
-x*) echo "mail_owner = $OWNER"; echo 'mail_version = 3.10.13'; echo 'smtp_tls_security_level = may';;
esac
"""


def test_what_postconf_says_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each service that runs smtp(8) has main.cf with its own -o; parameters that are not told are empty."""
    owner = pwd.getpwuid(os.getuid())
    monkeypatch.setenv("OWNER", owner.pw_name)
    put_postconf(tmp_path, monkeypatch, ANSWERS)
    facts = postconf.ask()
    assert facts is not None
    assert (facts.version, facts.kinds, facts.owner) == ((3, 10), {"hash", "static"}, owner.pw_name)
    assert owner.pw_gid in facts.groups
    assert [
        (service.name, service.chrooted, service.parameters["smtp_tls_security_level"]) for service in facts.services
    ] == [("smtp", True, "may"), ("relay", False, "dane")]
    assert facts.services[1].parameters["relayhost"] == ""


def test_without_postconf_nothing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Postfix may be in another container."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert postconf.ask() is None


FAILURES = [
    ("a failing postconf", "echo fatal: open main.cf >&2; exit 1", "postconf failed: fatal: open main.cf"),
    ("one that fails in silence", "exit 1", "postconf failed: it gives no reason"),
    ("one that prints something else", "echo hello", "postconf names no version"),
    ("one that is no program", "exec /no/such/program 2>/dev/null", "postconf failed: "),
]


@pytest.mark.parametrize(("title", "script", "reason"), FAILURES, ids=[row[0] for row in FAILURES])
def test_a_postconf_that_cannot_tell_is_an_error(
    title: str, script: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reason is postconf's own."""
    put_postconf(tmp_path, monkeypatch, script)
    with pytest.raises(OSError, match=reason):
        postconf.ask()


def test_a_postconf_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A check in a script must end."""
    monkeypatch.setattr(postconf, "POSTCONF_SECONDS", 0.05)
    put_postconf(tmp_path, monkeypatch, "exec sleep 60")
    with pytest.raises(OSError, match=r"postconf did not end within 0\.05 s"):
        postconf.ask()
