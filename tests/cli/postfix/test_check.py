"""cli/postfix/check.py: what `config check` says about Postfix, which a script in the place of postconf describes."""

from __future__ import annotations

import grp
import os
import pwd
import socket
import tempfile
from pathlib import Path

import pytest

from postfix_mtasts.cli.postfix import check, postconf
from postfix_mtasts.config.file import load

ME, MY_GROUP = pwd.getpwuid(os.getuid()).pw_name, grp.getgrgid(os.getgid()).gr_name
MAIN = {
    "mail_owner": "nobody-here",
    "mail_version": "3.10.13",
    "proxy_read_maps": "hash:/etc/aliases $smtp_tls_policy_maps",
    "queue_directory": "/var/spool/postfix",
    "relayhost": "",
    "smtp_dns_support_level": "",
    "smtp_tls_CAfile": "/etc/passwd",
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
KINDS = "cidr hash inline pipemap proxy randmap regexp socketmap static tcp texthash unionmap unix"
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
    values = MAIN | main  # $name is expanded by postconf -x
    values["proxy_read_maps"] = values["proxy_read_maps"].replace(
        "$smtp_tls_policy_maps", values["smtp_tls_policy_maps"]
    )
    lines = "".join(f"{name} = {value}\n" for name, value in values.items())
    return (
        'case "$*" in\n'
        f"-M) cat <<'END'\n{master}END\n;;\n"
        f"-m) echo {KINDS};;\n"
        f"'-x -P') cat <<'END'\n{overrides}END\n;;\n"
        f"'-x mail_owner mail_version '*) cat <<'END'\n{lines}END\n;;\n"
        "*) echo unexpected: $* >&2; exit 1;;\nesac\n"
    )


def judged(
    directory: Path,
    monkeypatch: pytest.MonkeyPatch,
    main: dict[str, str],
    master: str = NOT_CHROOTED,
    overrides: str = "",
    config: str = "",
) -> list[str]:
    """What is said of a site."""
    put_postconf(directory, monkeypatch, answers(main, master, overrides))
    facts = postconf.ask()
    assert facts is not None
    return [str(each) for each in check.misfits(facts, load("c.yml", config).settings)]


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
    (
        "among other tables",
        "",
        table("inline:{ { a.example=may }, b.example=encrypt }, socketmap:inet:127.0.0.1:8462:postfix,static:may"),
        NOT_CHROOTED,
        [],
    ),
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
    assert [str(each) for each in check.misfits(facts, load("c.yml", config).settings)] == said


def test_tables_of_single_services_count_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A site may give -o smtp_tls_policy_maps in master.cf only."""
    overrides = "relay/unix/smtp_tls_policy_maps = socketmap:inet:127.0.0.1:8462:nosuch\n"
    put_postconf(tmp_path, monkeypatch, answers(table("cdb:/x"), NOT_CHROOTED, overrides))
    facts = postconf.ask()
    assert facts is not None
    (misfit,) = check.misfits(facts, load("c.yml", "").settings)
    assert (misfit.place, misfit.right[:10]) == ("master.cf: relay", "use one of")
    assert "there is no map nosuch here" in misfit.wrong


WAITS = "so all mail waits"
EXAMPLE = "write socketmap:ADDRESS:MAP, such as socketmap:inet:127.0.0.1:8462:postfix"
OURS = "socketmap:inet:127.0.0.1:8462:postfix"
SLIPS = [
    (
        "a table without a map's name",
        "socketmap:inet:127.0.0.1:8462",
        f"the address or the map's name is missing, smtp(8) dies on it, {WAITS}; {EXAMPLE}",
    ),
    (
        "a slash before the map's name",
        "socketmap:inet:127.0.0.1:8462/postfix",
        f"the address or the map's name is missing, smtp(8) dies on it, {WAITS}; {EXAMPLE}",
    ),
    (
        "an address without its kind",
        "socketmap:127.0.0.1:8462:postfix",
        f"the address or the map's name is missing, smtp(8) dies on it, {WAITS}; {EXAMPLE}",
    ),
    (
        "tcp instead of socketmap",
        "tcp:127.0.0.1:8462",
        f"tcp_table(5) is another protocol than ours, lookups fail, {WAITS}; "
        "write socketmap:inet:127.0.0.1:8462:postfix",
    ),
    (
        "inet without socketmap",
        "inet:127.0.0.1:8462:postfix",
        f"Postfix has no such table, lookups fail, {WAITS}; write socketmap:inet:127.0.0.1:8462:postfix",
    ),
    (
        "no type at all",
        "127.0.0.1:8462:postfix",
        f"Postfix has no table of type 127.0.0.1, lookups fail, {WAITS}; {EXAMPLE}",
    ),
]


@pytest.mark.parametrize(("title", "text", "said"), SLIPS, ids=[row[0] for row in SLIPS])
def test_a_slip_of_the_pen_is_told_as_what_it_does(
    title: str, text: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never as "Postfix does not ask": each of these holds up all mail."""
    assert judged(tmp_path, monkeypatch, table(text)) == [f"main.cf: {text}: {said}"]


@pytest.mark.parametrize("quotes", ['"', "'"])
def test_quotes_are_a_part_of_the_name(quotes: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Postfix does not take them off."""
    (said,) = judged(tmp_path, monkeypatch, table(f"{quotes}{OURS}{quotes}"))
    assert said.endswith(f": Postfix takes quotes as a part of the name, {WAITS}; take them out")


BESIDE = [
    (
        "a table in front that is not there",
        f"hash:/no/such/table, {OURS}",
        f"hash:/no/such/table: there is no file /no/such/table.db, lookups fail, {WAITS}; "
        "make it with `postmap /no/such/table`, or take it out",
    ),
    (
        "a table of text that is not there",
        f"{OURS} proxy:texthash:/no/such/table",
        f"proxy:texthash:/no/such/table: there is no file /no/such/table, lookups fail, {WAITS}; "
        "make it, or take it out",
    ),
    (
        "a table that answers for every domain in front",
        f"static:may {OURS}",
        "static:may answers for every domain and stands in front, so no policy is ever asked for; put it behind ours",
    ),
    (
        "one of several answers for every domain in front",
        f"randmap:{{may,encrypt}} {OURS}",
        "randmap:{may,encrypt} answers for every domain and stands in front, so no policy is ever asked for; "
        "put it behind ours",
    ),
    (
        "a pipemap",
        f"pipemap:{{{OURS}, inline:{{a=b}}}}",
        f'"pipemap:{{{OURS}, inline:{{a\\=b}}}}": pipemap gives one table\'s answer to the next one as its key, '
        "which is no use with ours; list the tables one after another",
    ),
    (
        "a unionmap",
        f"unionmap:{{inline:{{a=b}},{OURS}}}",
        f'"unionmap:{{inline:{{a\\=b}},{OURS}}}": unionmap joins the answers of its tables, and mail waits where two '
        "of them answer; list the tables one after another",
    ),
    (
        "a kind of table that this Postfix does not have",
        f"pcre:/etc/passwd {OURS}",
        f"pcre:/etc/passwd: Postfix has no table of type pcre, lookups fail, {WAITS}; "
        "install what it needs (`postconf -m` lists what there is), or take it out",
    ),
]


@pytest.mark.parametrize(("title", "text", "said"), BESIDE, ids=[row[0] for row in BESIDE])
def test_tables_beside_ours(title: str, text: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that hold up mail, and those that keep ours from being asked."""
    assert [line.replace("\\=", "=") for line in judged(tmp_path, monkeypatch, table(text))] == [
        f"main.cf: {said}".replace("\\=", "=")
    ]


def test_a_table_that_proxymap_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """proxy_read_maps names what it reads."""
    main = table(f"proxy:{OURS}") | {"proxy_read_maps": "hash:/etc/aliases"}
    assert judged(tmp_path, monkeypatch, main) == [
        f"main.cf: proxy:{OURS}: proxymap(8) does not let smtp(8) read this table, {WAITS}; "
        f"add it to proxy_read_maps, or write {OURS}"
    ]


def test_a_ca_file_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """smtp(8) then switches TLS off."""
    assert judged(tmp_path, monkeypatch, {"smtp_tls_CAfile": "/no/such/file.pem"}) == [
        "main.cf: smtp_tls_CAfile = /no/such/file.pem: there is no such file, smtp(8) then uses no TLS at all, and "
        "mail under a policy waits; set smtp_tls_CAfile = /etc/ssl/certs/ca-certificates.crt"
    ]
    (said,) = judged(tmp_path, monkeypatch, {"smtp_tls_CAfile": "", "smtp_tls_CApath": "/no/such/directory"})
    assert said.startswith("main.cf: there is no CA to verify certificates with")


def test_a_relayhost_in_brackets_has_no_policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless a table in front may have its level; one without brackets is a domain like another."""
    assert judged(tmp_path, monkeypatch, {"relayhost": "[mail.example.org]:587"}) == [
        "main.cf: relayhost = [mail.example.org]:587: mail goes to this host, which has no policy, and no policy of "
        "a recipient's domain is asked for; put a table in front that holds `[mail.example.org]:587 secure`"
    ]
    assert judged(tmp_path, monkeypatch, {"relayhost": "example.org"}) == []
    front = {"relayhost": "[mail.example.org]"} | table(f"inline:{{a=b}} {OURS}")
    assert judged(tmp_path, monkeypatch, front) == []


def test_a_level_of_dane_in_master_cf_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """-o of a service; the others are judged by main.cf."""
    overrides = "relay/unix/smtp_tls_security_level = dane\n"
    assert judged(tmp_path, monkeypatch, {}, NOT_CHROOTED, overrides) == [
        "master.cf: relay: smtp_tls_security_level = dane, and map postfix would put MTA-STS in the place of DANE "
        "(RFC 8461 section 2); use the map postfix-dane"
    ]


def test_a_service_may_do_without_us(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`-o smtp_tls_policy_maps=` is what docs/postfix.rst says for mail inside the company."""
    assert judged(tmp_path, monkeypatch, {}, NOT_CHROOTED, "relay/unix/smtp_tls_policy_maps = \n") == []


UNIX_MAIN = {"mail_owner": ME, "queue_directory": "QUEUE"} | table("socketmap:unix:sub/socketmap:postfix")
SOCKETS = [
    ("everybody may", 'socket_mode: "0666"', 0o755, None),
    ("its group may", f"socket_group: {MY_GROUP}", 0o755, None),
    ("the directory gives its group", "", 0o2755, None),
    ("the group may not", 'socket_mode: "0600"', 0o755, "may not connect to this socket (mode 0600)"),
    ("another group", "socket_mode: '0660'", 0o755, "may not connect to this socket (mode 0660)"),
    ("a directory that is shut", 'socket_mode: "0666"', 0o700 & ~0o070, "may not enter"),
]


@pytest.mark.parametrize(("title", "config", "mode", "said"), SOCKETS, ids=[row[0] for row in SOCKETS])
def test_whether_postfix_may_open_the_unix_socket(
    title: str, config: str, mode: int, said: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By mode, group, and the directories above; here the user of the test is Postfix's."""
    with tempfile.TemporaryDirectory() as name:
        queue = Path(name).resolve()
        queue.chmod(0o755)
        (queue / "sub").mkdir()
        (queue / "sub").chmod(mode)
        main = UNIX_MAIN | {"queue_directory": str(queue)}
        found = judged(queue, monkeypatch, main, config=f"listen: [unix:{queue}/sub/socketmap]\n{config}")
    assert found == [] if said is None else [said in line for line in found] == [True]


def test_a_socket_that_is_there_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever made it, systemd or a daemon with other settings."""
    with tempfile.TemporaryDirectory() as name, socket.socket(socket.AF_UNIX) as sock:
        queue = Path(name).resolve()
        queue.chmod(0o755)
        (queue / "sub").mkdir(mode=0o755)
        sock.bind(str(queue / "sub/socketmap"))
        main = UNIX_MAIN | {"queue_directory": str(queue)}
        for mode, number in ((0o600, 1), (0o666, 0)):
            (queue / "sub/socketmap").chmod(mode)
            config = f"listen: [unix:{queue}/sub/socketmap]"
            assert len(judged(queue, monkeypatch, main, config=config)) == number
