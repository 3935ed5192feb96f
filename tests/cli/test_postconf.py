"""What `config check` says about Postfix; a script in the place of postconf tells it what to judge."""

from __future__ import annotations

from pathlib import Path

import pytest

from postfix_mtasts.cli import postconf
from postfix_mtasts.config.file import load

MAIN = {
    "mail_version": "3.10.13",
    "queue_directory": "/var/spool/postfix",
    "smtp_dns_support_level": "",
    "smtp_tls_CAfile": "/etc/ssl/certs/ca-certificates.crt",
    "smtp_tls_CApath": "",
    "smtp_tls_policy_maps": "socketmap:inet:127.0.0.1:8462:postfix",
    "smtp_tls_security_level": "may",
    "tls_append_default_CA": "no",
}
NOT_CHROOTED = """\
smtp       inet  n       -       y       -       -       smtpd
smtp       unix  -       -       n       -       -       smtp
relay      unix  -       -       -       -       -       smtp -o syslog_name=postfix/$service_name
"""
CHROOTED = """\
smtp       unix  -       -       y       -       -       smtp
relay      unix  -       -       y       -       -       smtp -o syslog_name=postfix/$service_name
local      unix  -       n       n       -       -       local
"""
DANE = {"smtp_tls_security_level": "dane", "smtp_dns_support_level": "dnssec"}
UNIX = "listen: [unix:/var/spool/postfix/postfix-mtasts/socketmap]"


def table(text: str) -> dict[str, str]:
    return {"smtp_tls_policy_maps": text}


def put_postconf(directory: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Make *script* the only postconf on PATH."""
    program = directory / "postconf"
    program.write_text(f"#!/bin/sh\n{script}")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{directory}:/usr/bin:/bin")


def answers(main: dict[str, str], master: str, overrides: str = "") -> str:
    """A postconf that knows these settings, as the real one prints them."""
    lines = "".join(f"{name} = {value}\n" for name, value in (MAIN | main).items())
    return (
        'case "$*" in\n'
        f"-M) cat <<'END'\n{master}END\n;;\n"
        f"'-x -P */*/smtp_tls_policy_maps') cat <<'END'\n{overrides}END\n;;\n"
        f"'-x mail_version '*) cat <<'END'\n{lines}END\n;;\n"
        "*) echo unexpected: $* >&2; exit 1;;\nesac\n"
    )


CASES = [
    ("an ordinary site", "", {}, NOT_CHROOTED, []),
    ("a site at level dane", "", DANE | table("socketmap:inet:127.0.0.1:8462:postfix-dane"), NOT_CHROOTED, []),
    (
        "level dane-only",
        "",
        DANE | {"smtp_tls_security_level": "dane-only"} | table("socketmap:inet:127.0.0.1:8462:QUERY"),
        NOT_CHROOTED,
        [],
    ),
    ("TLS reports with Postfix 3.10", "", table("socketmap:inet:127.0.0.1:8462:postfix-tlsrpt"), NOT_CHROOTED, []),
    ("Postfix from a snapshot", "", {"mail_version": "3.12-20260821"}, NOT_CHROOTED, []),
    ("by proxymap", "", table("proxy:socketmap:inet:127.0.0.1:8462:postfix"), CHROOTED, []),
    ("by name", "", table("socketmap:inet:localhost:8462:postfix"), NOT_CHROOTED, []),
    ("by a name that only DNS knows", "", table("socketmap:inet:mail.example.com:8462:postfix"), NOT_CHROOTED, []),
    (
        "we listen everywhere",
        "listen: [inet:0.0.0.0:8462]",
        table("socketmap:inet:192.0.2.1:8462:postfix"),
        NOT_CHROOTED,
        [],
    ),
    ("systemd holds the sockets", "listen: []", table("socketmap:unix:run/socketmap:postfix"), CHROOTED, []),
    ("among other tables", "", table("hash:/a, socketmap:inet:127.0.0.1:8462:postfix,cdb:/b"), NOT_CHROOTED, []),
    (
        "besides a socketmap server of another kind",
        "",
        table("socketmap:inet:127.0.0.1:99:other socketmap:inet:127.0.0.1:8462:postfix"),
        NOT_CHROOTED,
        [],
    ),
    ("a relative unix path, chrooted", UNIX, table("socketmap:unix:postfix-mtasts/socketmap:postfix"), CHROOTED, []),
    (
        "a relative unix path, not chrooted",
        UNIX,
        table("socketmap:unix:postfix-mtasts/socketmap:postfix"),
        NOT_CHROOTED,
        [],
    ),
    (
        "an absolute unix path, not chrooted",
        UNIX,
        table("socketmap:unix:/var/spool/postfix/postfix-mtasts/socketmap:postfix"),
        NOT_CHROOTED,
        [],
    ),
    (
        "an absolute unix path, chrooted, by proxymap",
        UNIX,
        table("proxy:socketmap:unix:/var/spool/postfix/postfix-mtasts/socketmap:postfix"),
        CHROOTED,
        [],
    ),
    (
        "an absolute unix path inside the chroot",
        "listen: [unix:/var/spool/postfix/run/x]",
        table("socketmap:unix:/run/x:postfix"),
        CHROOTED,
        [],
    ),
    ("the default CAs of OpenSSL", "", {"smtp_tls_CAfile": "", "tls_append_default_CA": "yes"}, NOT_CHROOTED, []),
    ("a directory of CAs", "", {"smtp_tls_CAfile": "", "smtp_tls_CApath": "/etc/ssl/certs"}, NOT_CHROOTED, []),
    (
        "TLS reports with an older Postfix",
        "",
        {"mail_version": "3.9.14"} | table("socketmap:inet:127.0.0.1:8462:postfix-tlsrpt"),
        NOT_CHROOTED,
        [
            "main.cf: map postfix-tlsrpt has tlsrpt: true, and Postfix 3.9 defers all mail on its attributes, "
            "which exist from 3.10; use the map postfix"
        ],
    ),
    (
        "TLS reports with an older Postfix at level dane: one advice",
        "",
        {"mail_version": "3.9.14"} | DANE | table("socketmap:inet:127.0.0.1:8462:postfix-tlsrpt"),
        NOT_CHROOTED,
        [
            "main.cf: map postfix-tlsrpt has tlsrpt: true, and Postfix 3.9 defers all mail on its attributes, "
            "which exist from 3.10; use the map postfix-dane",
            "main.cf: smtp_tls_security_level = dane, and map postfix-tlsrpt would put MTA-STS in the place of DANE "
            "(RFC 8461 section 2); use the map postfix-dane",
        ],
    ),
    (
        "a plain map at level dane",
        "",
        DANE,
        NOT_CHROOTED,
        [
            "main.cf: smtp_tls_security_level = dane, and map postfix would put MTA-STS in the place of DANE "
            "(RFC 8461 section 2); use the map postfix-dane"
        ],
    ),
    (
        "a plain map at level dane, and no other map",
        "maps: {postfix: {}}",
        DANE,
        NOT_CHROOTED,
        [
            "main.cf: smtp_tls_security_level = dane, and map postfix would put MTA-STS in the place of DANE "
            "(RFC 8461 section 2); use a map with dane: true and tlsrpt: false"
        ],
    ),
    (
        "a dane map without DNSSEC",
        "",
        {"smtp_tls_security_level": "dane"} | table("socketmap:inet:127.0.0.1:8462:postfix-dane"),
        NOT_CHROOTED,
        [
            "main.cf: map postfix-dane has dane: true, but Postfix does no DANE by itself; set smtp_tls_security_level "
            "= dane and smtp_dns_support_level = dnssec, or use the map postfix"
        ],
    ),
    (
        "a dane map at another level",
        "",
        {"smtp_dns_support_level": "dnssec"} | table("socketmap:inet:127.0.0.1:8462:postfix-dane-tlsrpt"),
        NOT_CHROOTED,
        [
            "main.cf: map postfix-dane-tlsrpt has dane: true, but Postfix does no DANE by itself; set "
            "smtp_tls_security_level = dane and smtp_dns_support_level = dnssec, or use the map postfix-tlsrpt"
        ],
    ),
    (
        "no CA",
        "",
        {"smtp_tls_CAfile": ""},
        NOT_CHROOTED,
        [
            "main.cf: there is no CA to verify certificates with, so mail under a policy is deferred; "
            "set smtp_tls_CAfile = /etc/ssl/certs/ca-certificates.crt or tls_append_default_CA = yes"
        ],
    ),
    (
        "an absolute unix path in the queue directory, chrooted",
        UNIX,
        table("socketmap:unix:/var/spool/postfix/postfix-mtasts/socketmap:postfix"),
        CHROOTED,
        [
            "main.cf: socketmap:unix:/var/spool/postfix/postfix-mtasts/socketmap:postfix: smtp(8) is chrooted to "
            "/var/spool/postfix (smtp, relay in master.cf) and does not see this path; "
            "write socketmap:unix:postfix-mtasts/socketmap:postfix"
        ],
    ),
    (
        "a unix path outside the chroot",
        "listen: [unix:/run/x]",
        table("socketmap:unix:/run/x:postfix"),
        CHROOTED + "x unix - - n - - smtp\n",
        [
            "main.cf: socketmap:unix:/run/x:postfix: smtp(8) is chrooted to /var/spool/postfix (smtp, relay in "
            "master.cf) and does not see this path; listen on unix:/var/spool/postfix/postfix-mtasts/socketmap "
            "and write socketmap:unix:postfix-mtasts/socketmap:postfix"
        ],
    ),
    (
        "no table of ours",
        "",
        table("hash:/etc/postfix/tls_policy"),
        NOT_CHROOTED,
        [
            "main.cf: smtp_tls_policy_maps names no map of ours, so Postfix does not ask; "
            "add socketmap:inet:127.0.0.1:8462:postfix"
        ],
    ),
    (
        "no table of ours, with a unix socket in the queue directory",
        UNIX,
        table(""),
        CHROOTED,
        [
            "main.cf: smtp_tls_policy_maps names no map of ours, so Postfix does not ask; "
            "add socketmap:unix:postfix-mtasts/socketmap:postfix"
        ],
    ),
    (
        "a map that the configuration does not have",
        "maps: {mine: {}, yours: {}}",
        {},
        NOT_CHROOTED,
        [
            "main.cf: socketmap:inet:127.0.0.1:8462:postfix: there is no map postfix here, so all mail is deferred; "
            "use one of mine, yours"
        ],
    ),
    (
        "a port where nobody listens",
        "",
        table("socketmap:inet:127.0.0.1:8642:QUERY") | DANE,
        NOT_CHROOTED,
        [
            "main.cf: socketmap:inet:127.0.0.1:8642:QUERY: listen has no such address, so mail is deferred; "
            "listen has inet:127.0.0.1:8462"
        ],
    ),
    (
        "a port by its service's name, which listen cannot have",
        "",
        table("socketmap:inet:127.0.0.1:mtasts:postfix"),
        NOT_CHROOTED,
        [
            "main.cf: socketmap:inet:127.0.0.1:mtasts:postfix: listen has no such address, so mail is deferred; "
            "listen has inet:127.0.0.1:8462"
        ],
    ),
    (
        "another host's port",
        "listen: [inet:127.0.0.1:8462, inet:192.0.2.1:8462]",
        table("socketmap:inet:192.0.2.9:8462:postfix"),
        NOT_CHROOTED,
        [
            "main.cf: socketmap:inet:192.0.2.9:8462:postfix: listen has no such address, so mail is deferred; "
            "listen has inet:127.0.0.1:8462, inet:192.0.2.1:8462"
        ],
    ),
    (
        "a unix path where nobody listens",
        UNIX,
        table("socketmap:unix:run/x:postfix"),
        NOT_CHROOTED,
        [
            "main.cf: socketmap:unix:run/x:postfix: listen has no such address, so mail is deferred; "
            "listen has unix:/var/spool/postfix/postfix-mtasts/socketmap"
        ],
    ),
    (
        "Postfix of 2018",
        "",
        {"mail_version": "3.3.22"},
        NOT_CHROOTED,
        ["Postfix 3.3 does not know servername= and defers on it; 3.4 or later is needed"],
    ),
]


@pytest.mark.parametrize(("title", "config", "main", "master", "said"), CASES, ids=[row[0] for row in CASES])
def test_what_would_defeat_the_answers_is_told(
    title: str,
    config: str,
    main: dict[str, str],
    master: str,
    said: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each warning says what is wrong, and after a semicolon what would be right; a good site gets none."""
    put_postconf(tmp_path, monkeypatch, answers(main, master))
    facts = postconf.ask()
    assert facts is not None
    assert postconf.warnings(facts, load("c.yml", config).settings) == said


def test_tables_of_single_services_count_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A site may give -o smtp_tls_policy_maps in master.cf only."""
    overrides = "relay/unix/smtp_tls_policy_maps = socketmap:inet:127.0.0.1:8462:nosuch\n"
    put_postconf(tmp_path, monkeypatch, answers(table("cdb:/x"), NOT_CHROOTED, overrides))
    facts = postconf.ask()
    assert facts is not None
    (warning,) = postconf.warnings(facts, load("c.yml", "").settings)
    assert "there is no map nosuch here" in warning


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
