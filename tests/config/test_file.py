"""The configuration file: what is read, and every fault with its place."""

from __future__ import annotations

import os
import pty
import threading
from pathlib import Path
from textwrap import dedent

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mtasts.config import file as configfile
from postfix_mtasts.config.file import DEFAULT, SIZE_LIMIT, leaves, load, read
from postfix_mtasts.config.settings import MapSettings, Settings
from postfix_mtasts.errors import ConfigError


def faults(text: str) -> list[str]:
    """The faults of *text* as the file c.yml."""
    with pytest.raises(ConfigError) as caught:
        load("c.yml", text)
    return caught.value.faults


# --- what is read


EVERYTHING = """\
listen: [inet:0.0.0.0:8462, unix:/run/x/socketmap]
socket_mode: "0600"
socket_group: root
maps:
  mine: {}
  mine-dane: {dane: true, tlsrpt: yes}
cache: {directory: /srv/cache, negative_limit: 0}
dns:
  servers: [127.0.0.1, '::1']
  timeout: 250ms
  trust_ad: yes
fetch:
  timeout: 10
  parallel: 4096
  ca_file: null
  allow_private_addresses: true
  proxy: http://Proxy.example:3128/
  proxy_password_file: null
  proxy_connect: address
lookup:
  wait: 0
  negative_ttl: 1h
  failure_ttl: 7d
  on_dns_failure: defer
refresh: {recheck: 0.5s, interval: 12h}
metrics:
  listen: inet:[::1]:9462
log: {level: debug, format: json}
tlsrpt: {socket: /run/tlsrpt.sock}
shared:
  url: redis://user@r.example:6379/1
  password_file: /etc/hostname
  prefix: "x:"
  timeout: 1s
  key_file: /etc/hostname
publish:
  directory: /srv/policies
  state_directory: /srv/serve
  listen: [inet:192.0.2.1:443]
  http_listen: []
  certificates: files
  certificate_directory: /etc/letsencrypt/live
  acme: {directory_url: https://acme.example.org/dir, contact: a@example.org, agree_to_terms: true, ca_file: null}
  dns_update: {server: inet:192.0.2.53:53, key_file: /etc/key, ttl: 60}
  rua: [mailto:r@example.org, https://example.org/tlsrpt]
  report_host: Reports.Example.org
admin: {listen: inet:127.0.0.1:8463}
reports: {directory: /srv/reports, keep: 90d, dkim: yes, require_dkim: true}
"""


def test_every_setting_is_read() -> None:
    """One file that changes each of them."""
    settings = load("c.yml", EVERYTHING).settings
    found = leaves(settings)
    assert dict(found.pop("maps")) == {"mine": MapSettings(), "mine-dane": MapSettings(dane=True, tlsrpt=True)}
    assert found == {
        "listen": ("inet:0.0.0.0:8462", "unix:/run/x/socketmap"),
        "socket_mode": 0o600,
        "socket_group": "root",
        "cache.directory": "/srv/cache",
        "cache.negative_limit": 0,
        "dns.servers": ("127.0.0.1:53", "[::1]:53"),
        "dns.timeout": 0.25,
        "dns.trust_ad": "yes",
        "fetch.timeout": 10.0,
        "fetch.parallel": 4096,
        "fetch.ca_file": None,
        "fetch.allow_private_addresses": True,
        "fetch.proxy": "http://proxy.example:3128",
        "fetch.proxy_password_file": None,
        "fetch.proxy_connect": "address",
        "lookup.wait": 0.0,
        "lookup.negative_ttl": 3600.0,
        "lookup.failure_ttl": 604800.0,
        "lookup.on_dns_failure": "defer",
        "refresh.recheck": 0.5,
        "refresh.interval": 43200.0,
        "metrics.listen": "inet:[::1]:9462",
        "log.level": "debug",
        "log.format": "json",
        "tlsrpt.socket": "/run/tlsrpt.sock",
        "shared.url": "redis://user@r.example:6379/1",
        "shared.password_file": "/etc/hostname",
        "shared.prefix": "x:",
        "shared.timeout": 1.0,
        "shared.key_file": "/etc/hostname",
        "publish.directory": "/srv/policies",
        "publish.state_directory": "/srv/serve",
        "publish.listen": ("inet:192.0.2.1:443",),
        "publish.http_listen": (),
        "publish.certificates": "files",
        "publish.certificate_directory": "/etc/letsencrypt/live",
        "publish.acme.directory_url": "https://acme.example.org/dir",
        "publish.acme.contact": "a@example.org",
        "publish.acme.agree_to_terms": True,
        "publish.acme.ca_file": None,
        "publish.dns_update.server": "inet:192.0.2.53:53",
        "publish.dns_update.key_file": "/etc/key",
        "publish.dns_update.ttl": 60.0,
        "publish.rua": ("mailto:r@example.org", "https://example.org/tlsrpt"),
        "publish.report_host": "reports.example.org",
        "admin.listen": "inet:127.0.0.1:8463",
        "reports.directory": "/srv/reports",
        "reports.keep": 90 * 86400.0,
        "reports.dkim": True,
        "reports.require_dkim": True,
    }


EMPTY = [
    ("no text", ""),
    ("comments only", "# nothing\n\n"),
    ("a document marker only", "---\n"),
    ("null", "null\n"),
    ("a mapping without keys", "{}\n"),
    ("a byte order mark", "\ufeff"),
    ("a section without keys", "dns: {}\n"),
]


@pytest.mark.parametrize(("title", "text"), EMPTY, ids=[row[0] for row in EMPTY])
def test_a_file_that_says_nothing_means_the_defaults(title: str, text: str) -> None:
    """No setting has to be given."""
    assert load("c.yml", text).settings == Settings()


def test_no_address_at_all_is_permitted() -> None:
    """systemd may pass the sockets."""
    assert load("c.yml", "listen: []").settings.listen == ()


def test_given_maps_replace_the_default_ones_whole() -> None:
    """A site that names its maps wants no others."""
    assert dict(load("c.yml", "maps: {mine: {}}").settings.maps) == {"mine": MapSettings()}


def test_each_value_knows_where_it_came_from() -> None:
    """`config show` prints it."""
    origins = load("c.yml", "# first\nlookup:\n  wait: 3s\nlisten:\n  - inet:[::1]:1\n").origins
    assert origins["lookup.wait"] == "c.yml:3"
    assert origins["listen"] == "c.yml:4"
    assert {origin for key, origin in origins.items() if key not in ("lookup.wait", "listen")} == {DEFAULT}
    assert list(origins) == list(leaves(Settings()))


# --- faults

TEN_FAULTS = """\
# An example of what can go wrong.
listen:
  - inet:127.0.0.1:8462
  - unix:run/socketmap
  - inet:127.0.0.1:8462
socket_mode: 0660
maps:
  my map: {dane: true}
lookup:
  wiat: 3s
  wait: 5 min
  wait: 5s
fetch:
  parallel: 0
cache:
dns:
  servers: [ns.example.com]
metrics: {listen: unix:/run/metrics}
"""

TEN_LINES = """\
c.yml:4: listen: run/socketmap is not an absolute path; write one such as /var/lib/name
c.yml:5: listen: inet:127.0.0.1:8462 is given twice, first in line 3; keep one of them
c.yml:6: socket_mode: 0660 without quotes is a number to YAML; write it in quotes: "0660"
c.yml:8: maps."my map": "my map" is a name that main.cf cannot hold; use letters, digits, '-', '_' and '.', 100 at most
c.yml:10: lookup.wiat: unknown key; did you mean lookup.wait?
c.yml:11: lookup.wait: "5 min" is not a duration from 0s to 90s; write it as 250ms, 30s, 5m, 12h, 7d or plain seconds
c.yml:12: lookup.wait: given twice, first in line 11; keep one of them
c.yml:14: fetch.parallel: 0 is out of range; write a whole number from 1 to 4096
c.yml:15: cache: is nothing, not a mapping; write "key: value" lines below it, or {} for the defaults
c.yml:17: dns.servers: ns.example.com is not a resolver's IP address; write one such as 127.0.0.1:53, ::1 or '[::1]:53'
c.yml:18: metrics.listen: unix:/run/metrics is not an address; write inet:HOST:PORT or inet:[IPV6]:PORT
"""


def test_all_faults_come_at_once_in_the_order_of_lines() -> None:
    """Nobody has to mend a file fault by fault."""
    assert faults(TEN_FAULTS) == TEN_LINES.splitlines()


def test_the_exception_as_text_is_the_lines() -> None:
    """What the command prints and the daemon logs."""
    with pytest.raises(ConfigError) as caught:
        load("c.yml", TEN_FAULTS)
    assert str(caught.value) + "\n" == TEN_LINES


FAULTS = [
    ("an unknown key without a like", "zzz: 1", "zzz: unknown key; known here: listen, socket_mode, socket_group,"),
    ("a key of one section at the top", "wait: 3s", "wait: unknown key here; did you mean lookup.wait?"),
    ("a key of two sections at the top", "timeout: 3s", "timeout: unknown key here; did you mean dns.timeout or fetch"),
    ("a misspelt section", "lokup: {}", "lokup: unknown key; did you mean lookup?"),
    ("a misspelt map option", "maps: {m: {dan: true}}", "maps.m.dan: unknown key; did you mean maps.m.dane?"),
    ("a key that is a list", "? [a]\n: b", "(key): is a list; a key is one word"),
    ("a merge key", "<<: {listen: []}", "<<: merge keys are not taken; write the settings themselves"),
    ("a section given twice", "dns: {}\ndns: {}", "dns: given twice, first in line 1; keep one of them"),
    ("a map given twice", "maps: {m: {}, m: {}}", "maps.m: given twice, first in line 1; keep one of them"),
    ("a list for a section", "dns: [a]", "dns: is a list, not a mapping; write"),
    ("a word for a section", "dns: 127.0.0.1", "dns: is plain text, not a mapping; write"),
    ("a word for a list", "listen: inet:[::1]:1", 'listen: is plain text, not a list; write a list: "[A, B]", or'),
    ("nothing for a list", "listen:", "listen: is nothing, not a list; write a list"),
    ("a list in a list", "listen: [[a]]", "listen: is a list; write one value"),
    ("nothing in a list", "listen: [null]", "listen: has no value; give one, or leave it out"),
    ("a list for a value", "log: {level: [info]}", "log.level: is a list; write one value"),
    ("a mapping for a value", "log: {level: {a: b}}", "log.level: is a mapping; write one value"),
    ("no value", "lookup:\n  wait:", "lookup.wait: has no value; give one, or leave it out"),
    ("an unknown choice", "log: {level: off}", "log.level: off is not known; write debug or info or warning or error"),
    ("a number for a truth value", "maps: {m: {dane: 1}}", "maps.m.dane: 1 is neither true nor false"),
    ("a truth value in quotes", 'maps: {m: {dane: "yes"}}', "maps.m.dane: yes is neither true nor false"),
    ("a number in quotes", 'fetch: {parallel: "7"}', "fetch.parallel: 7 is text; write the number without quotes"),
    ("a number that YAML takes for octal", "fetch: {parallel: 010}", "fetch.parallel: 010 is out of range"),
    ("a fraction for a number", "fetch: {parallel: 1.5}", "fetch.parallel: 1.5 is out of range"),
    ("a negative duration", "lookup: {wait: -1}", "lookup.wait: -1 is not a duration"),
    ("no end", "lookup: {wait: .inf}", "lookup.wait: .inf is not a duration"),
    ("not a number", "lookup: {wait: .nan}", "lookup.wait: .nan is not a duration"),
    ("a truth value for a duration", "lookup: {wait: true}", "lookup.wait: true is not a duration"),
    ("sixty-based seconds", "lookup: {wait: 1:30}", "lookup.wait: 1:30 is not a duration"),
    ("a duration that Postfix would not wait for", "lookup: {wait: 91s}", "lookup.wait: 91s is not a duration"),
    ("maps without a map", "maps: {}", 'maps: holds no map; write a line such as "postfix: {}"'),
    ("a map without options", "maps:\n  m:", "maps.m: is nothing, not a mapping; write"),
    ("an empty map name", 'maps: {"": {}}', 'maps."": "" is a name that main.cf cannot hold'),
    ("two spellings of one address", "listen: ['inet:[::1]:1', 'inet:[0::1]:1']", "listen: inet:[::1]:1 is given"),
    ("two spellings of one resolver", "dns: {servers: [127.0.0.1, 127.0.0.1:53]}", "dns.servers: 127.0.0.1:53 is"),
    ("metrics where Postfix connects", "metrics: {listen: inet:127.0.0.1:8462}", "metrics.listen: inet:127.0.0.1:84"),
    ("a check that nothing passes", "reports: {dkim: false, require_dkim: true}", "reports.require_dkim: nothing"),
    ("an unknown group", "socket_group: no-such-group", "socket_group: there is no group no-such-group on this system"),
    ("an alias", "listen: *x", "listen: aliases such as *x are not taken; write the value itself"),
    ("an alias for a value", "lookup: {wait: *x }", "lookup.wait: aliases such as *x are not taken"),
    ("an alias as a key", "*x : 1", '"": aliases such as *x are not taken'),
    ("an anchor", "listen: &x []", "listen: anchors such as &x are not taken; leave the anchor out"),
    ("an anchor at a key", "&x listen: []", "listen: anchors such as &x are not taken"),
    ("a tag", "lookup: {wait: !!str 5s}", "lookup.wait: tags such as !x are not taken; leave the tag out"),
    ("a Python tag", "dns: !!python/object/new:os.system {}", "dns: tags such as !x are not taken"),
    ("an anchor at the top", "&x {}", "YAML: anchors such as &x are not taken"),
    ("a list at the top", "- a", 'YAML: is a list, not a mapping; write "key: value" lines'),
    ("a word at the top", "listen", "YAML: is plain text, not a mapping"),
    ("two documents", "listen: []\n---\nlisten: []", "YAML: expected a single document in the stream, but found"),
    ("a bracket that stays open", "listen: [", "YAML: while parsing a flow node"),
    ("a tab", "dns:\n\ttimeout: 1", r"YAML: while scanning for the next token, found character '\t' that cannot start"),
    ("two colons", "dns: timeout: 1", "YAML: mapping values are not allowed here; quote text that"),
    ("an address in brackets without quotes", "dns:\n  servers:\n    - [::1]:53", "YAML: while parsing a flow node"),
    ("YAML of another age", "%YAML 9.0\n--- {}", "YAML: found incompatible YAML document"),
    ("a NUL", "dns: {}\n\0", "YAML: character U+0000 is not allowed; take it out"),
    ("a terminal code", "log: {level: \x1b[31m}", "YAML: character U+001B is not allowed; take it out"),
    ("a terminal code in an escape", r'log: {level: "\e[31m"}', r'log.level: "\x1b[31m" is not known'),
    ("an escape beyond Unicode", r'log: {level: "\UFFFFFFFF"}', "YAML: an escape stands for no character; leave the"),
    ("half a character", r'socket_group: "\ud800"', r'socket_group: there is no group "\ud800"'),
    ("a key with a line end", r'"a\nb": 1', r'"a\nb": unknown key'),
    ("a key of over 1 KB", f"{'k' * 1100}: 1\n", "YAML: mapping values are not allowed here"),
    ("a quoted key of 10 KB", f'? "{"k" * 10000}"\n: 1\n', f"{'k' * 200}...: unknown key"),
]  # fmt: skip


@pytest.mark.parametrize(("title", "text", "wrong"), FAULTS, ids=[row[0] for row in FAULTS])
def test_a_fault_names_place_and_key_and_what_would_be_right(title: str, text: str, wrong: str) -> None:
    """One line a fault, the line counted from 1."""
    (fault,) = faults(text)
    place, _, rest = fault.partition(": ")
    assert rest.startswith(wrong)
    assert place.startswith("c.yml:")
    assert 1 <= int(place.removeprefix("c.yml:")) <= text.count("\n") + 1
    assert "; " in rest
    assert fault.isprintable()


def test_faults_below_an_anchor_or_a_tag_are_found_too() -> None:
    """Only an alias has nothing to read."""
    assert [fault.partition("; ")[0] for fault in faults("dns: &a\n  x: 1\nlog: !t\n  level: a\nfetch: *a\n")] == [
        "c.yml:1: dns: anchors such as &x are not taken",
        "c.yml:2: dns.x: unknown key",
        "c.yml:3: log: tags such as !x are not taken",
        "c.yml:4: log.level: a is not known",
        "c.yml:5: fetch: aliases such as *x are not taken",
    ]


def test_aliases_that_stand_for_gigabytes_are_never_followed() -> None:
    """A billion laughs are nine faults or so."""
    lines = ["a0: &a0 [lol]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    assert len(faults("\n".join(lines))) == 10


@pytest.mark.parametrize("text", ["[" * 100_000, "{a: " * 30_000, "- " * 50_000, "? " * 50_000])
def test_deep_nesting_is_refused(text: str) -> None:
    """Before the interpreter's stack is at its end."""
    assert faults(text) == ["c.yml:1: YAML: nested too deep; no setting needs more than three levels"]


def test_the_name_of_the_file_is_quoted() -> None:
    """It may come from a script."""
    with pytest.raises(ConfigError) as caught:
        load("a\nb.yml", "x: 1")
    assert caught.value.faults[0].startswith(r'"a\nb.yml":1: x: unknown key')


# --- any text

LINES = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.sampled_from([*leaves(Settings()), "dns", "log", "maps", "postfix", "dane", "- ", "? ", "<<"]),
        st.sampled_from(["", "[]", "{}", "null", "5s", "-1", ".nan", "*a", "&a x", "!!int 5", "[a, [b]]", "{a: }", "'"])
        | st.text(max_size=10),
    ).map(lambda row: f"{'  ' * row[0]}{row[1].rpartition('.')[2]}: {row[2]}")
).map("\n".join)


@given(
    LINES
    | st.text()
    | st.text(st.characters(whitelist_categories=["Cs", "Cc", "P"]))
    | st.text("[]{}&*!|>'\"%@`:-?# \n\tab")
)
def test_no_text_whatever_raises_anything_but_a_config_error(text: str) -> None:
    """It is read, or refused with faults that are one clean line each."""
    found = ["c.yml:"]
    try:
        load("c.yml", text)
    except ConfigError as error:
        found = error.faults
    assert found
    assert all(fault.startswith("c.yml:") and fault.isascii() and fault.isprintable() for fault in found)


# --- reading files


def test_a_file_is_read(tmp_path: Path) -> None:
    """The path as given is the name in origins and faults."""
    path = tmp_path / "c.yml"
    path.write_text("lookup: {wait: 3s}\n")
    loaded = read(str(path))
    assert loaded.settings.lookup.wait == 3.0
    assert loaded.file == str(path)
    assert loaded.origins["lookup.wait"] == f"{path}:1"


def test_the_default_file_may_be_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the defaults are in force, and no file is named."""
    monkeypatch.setattr(configfile, "DEFAULT_CONFIG_FILE", str(tmp_path / "absent.yml"))
    loaded = read(None)
    assert loaded.settings == Settings()
    assert loaded.file is None
    assert set(loaded.origins.values()) == {DEFAULT}


def test_the_default_file_is_read_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without --config."""
    path = tmp_path / "config.yml"
    path.write_text("log: {level: debug}\n")
    monkeypatch.setattr(configfile, "DEFAULT_CONFIG_FILE", str(path))
    assert read(None).settings.log.level == "debug"


def test_a_default_file_that_cannot_be_read_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is there for a reason: never the defaults instead."""
    monkeypatch.setattr(configfile, "DEFAULT_CONFIG_FILE", str(tmp_path))  # a directory
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        read(None)


UNREADABLE = [
    ("absent", "/no/such/file", "/no/such/file: cannot be read: No such file or directory; name a readable file"),
    ("a directory", "/", "/: cannot be read: Is a directory; name a readable file"),
    ("no path at all", "a\0b", r'"a\x00b": cannot be read: embedded null byte; name a readable file'),
]


@pytest.mark.parametrize(("title", "path", "wrong"), UNREADABLE, ids=[row[0] for row in UNREADABLE])
def test_a_named_file_that_cannot_be_read_is_an_error(title: str, path: str, wrong: str) -> None:
    """One fault without a line."""
    with pytest.raises(ConfigError) as caught:
        read(path)
    assert caught.value.faults == [wrong]


@pytest.mark.parametrize("writer", [False, True], ids=["that nobody writes", "that is open for writing"])
def test_a_pipe_is_not_read_again(writer: bool, tmp_path: Path) -> None:
    """It would hold up a reload for as long as nobody writes, and cannot be read twice."""
    path = tmp_path / "config.yml"
    os.mkfifo(path)
    end = os.open(path, os.O_RDWR) if writer else None
    with pytest.raises(ConfigError, match=r"config\.yml: a pipe or a terminal cannot be read again; name a regular"):
        read(str(path), again=True)
    if end is not None:
        os.close(end)


def test_a_terminal_is_not_read_again() -> None:
    """As /dev/stdin may be."""
    ours, theirs = pty.openpty()
    with pytest.raises(ConfigError, match="a pipe or a terminal cannot"):
        read(os.ttyname(theirs), again=True)
    os.close(ours)
    os.close(theirs)


def test_an_empty_device_gives_the_defaults() -> None:
    """/dev/null is what people name for no configuration."""
    assert read("/dev/null").settings == read("/dev/null", again=True).settings == Settings()


def test_bytes_that_are_no_utf_8_are_placed(tmp_path: Path) -> None:
    """The first bad byte and its line."""
    path = tmp_path / "c.yml"
    path.write_bytes(b"# fine\nsocket_group: m\xfcller\n")
    with pytest.raises(ConfigError) as caught:
        read(str(path))
    assert caught.value.faults == [f"{path}:2: YAML: byte 0xfc is not UTF-8; save the file as UTF-8"]


def test_a_file_that_is_too_large_is_not_read_on(tmp_path: Path) -> None:
    """Neither a disk image nor an endless device fills the memory."""
    path = tmp_path / "c.yml"
    path.write_bytes(b"#" + "ü".encode() * (SIZE_LIMIT // 2))
    with pytest.raises(ConfigError, match="over 128 KiB; a configuration is smaller"):
        read(str(path))
    with pytest.raises(ConfigError, match="over 128 KiB"):
        read("/dev/zero")


def test_a_pipe_is_read(tmp_path: Path) -> None:
    """As in: config check --config <(make-config)."""
    reader, writer = os.pipe()
    try:
        os.write(writer, dedent("log:\n  format: json\n").encode())
        os.close(writer)
        assert read(f"/dev/fd/{reader}").settings.log.format == "json"
    finally:
        os.close(reader)


def test_a_named_pipe_that_nobody_writes_into_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before, a start waited for ever without a word."""
    monkeypatch.setattr(configfile, "WRITER_WAIT", 0.01)
    path = tmp_path / "config.yml"
    os.mkfifo(path)
    with pytest.raises(ConfigError) as caught:
        read(str(path))
    assert caught.value.faults == [f"{path}: cannot be read: nobody writes into this pipe; name a readable file"]


def test_a_named_pipe_whose_writer_comes_later_is_read(tmp_path: Path) -> None:
    """As in: make-config >pipe & postfix-mtasts daemon --config pipe."""
    path = tmp_path / "config.yml"
    os.mkfifo(path)
    writing = threading.Thread(target=path.write_text, args=("log: {format: json}\n",))
    writing.start()
    assert read(str(path)).settings.log.format == "json"
    writing.join()


def test_a_pipe_whose_writer_takes_time_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long, as long as it has the pipe open."""
    monkeypatch.setattr(configfile, "WRITER_WAIT", 0.01)
    reader, writer = os.pipe()
    set_blocking = os.set_blocking

    def later(descriptor: int, blocking: bool) -> None:  # reading begins
        set_blocking(descriptor, blocking)
        os.write(writer, b"log: {format: json}\n")
        os.close(writer)

    monkeypatch.setattr(os, "set_blocking", later)
    assert read(f"/dev/fd/{reader}").settings.log.format == "json"
    os.close(reader)


def test_a_setting_of_an_earlier_version_is_passed_over() -> None:
    """An upgrade must not stop a daemon whose file still has it; another value than it had is a fault."""
    assert load("c.yml", "cache: {backend: diskcache, negative_limit: 5}").settings.cache.negative_limit == 5
    with pytest.raises(ConfigError) as raised:
        load("c.yml", "cache:\n  backend: redis\n")
    assert raised.value.faults == [
        "c.yml:2: cache.backend: is not a setting any more; leave the line out, or keep diskcache"
    ]


def test_two_passwords_of_the_shared_store_are_a_fault() -> None:
    """Nobody could tell which counts; the fault names neither."""
    text = "shared:\n  url: redis://:sesame@r.example\n  password_file: /etc/hostname\n"
    with pytest.raises(ConfigError) as caught:
        load("c.yml", text)
    assert caught.value.faults == ["c.yml:3: shared.password_file: the URL holds a password too; give one of them"]
