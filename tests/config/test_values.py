"""One value at a time: what is taken, in which form, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from postfix_mtasts.config import values
from postfix_mtasts.config.values import READERS, duration_text, parse_duration, parse_map_name

ANY_TIME = {"low": 0.0, "high": 1e9}
NO_LIMITS: dict[str, object] = {}

DURATIONS = [
    ("milliseconds", "250ms", 0.25),
    ("seconds", "30s", 30.0),
    ("minutes", "5m", 300.0),
    ("hours", "12h", 43200.0),
    ("days", "7d", 604800.0),
    ("plain seconds", "90", 90.0),
    ("plain seconds with a fraction", "0.25", 0.25),
    ("a fraction of a unit", "1.5m", 90.0),
    ("nothing at all", "0", 0.0),
]


@pytest.mark.parametrize(("title", "text", "seconds"), DURATIONS, ids=[row[0] for row in DURATIONS])
def test_a_duration_is_read(title: str, text: str, seconds: float) -> None:
    """Durations become seconds."""
    assert parse_duration(text, ANY_TIME) == seconds


NO_DURATIONS = [
    ("negative", "-5s"),
    ("not a number", ".nan"),
    ("endless", ".inf"),
    ("endless in words", "inf"),
    ("a truth value", "true"),
    ("empty", ""),
    ("a unit alone", "s"),
    ("an unknown unit", "5w"),
    ("a blank before the unit", "5 s"),
    ("upper case", "5M"),
    ("a leading zero, which YAML takes for octal", "010"),
    ("hexadecimal", "0x10"),
    ("an exponent", "1e3"),
    ("sixty-based, as YAML 1.1 has it", "1:30"),
    ("an underscore", "1_000"),
    ("finer than a millisecond", "0.5ms"),
    ("digits of another script", "٣s"),
    ("a line end behind it", "5s\n"),
    ("thousands of digits", "9" * 5000),
]


@pytest.mark.parametrize(("title", "text"), NO_DURATIONS, ids=[row[0] for row in NO_DURATIONS])
def test_what_is_no_duration_is_refused(title: str, text: str) -> None:
    """The fault names the range and the forms that are right."""
    with pytest.raises(
        ValueError, match="is not a duration from 1s to 1m; write it as 250ms, 30s, 5m, 12h, 7d or plain"
    ):
        parse_duration(text, {"low": 1.0, "high": 60.0})


@pytest.mark.parametrize("text", ["999ms", "61s", "2m"])
def test_a_duration_out_of_range_is_refused(text: str) -> None:
    """Both ends of the range hold."""
    with pytest.raises(ValueError, match="from 1s to 1m"):
        parse_duration(text, {"low": 1.0, "high": 60.0})


@given(st.integers(0, 10**11))
def test_a_duration_as_text_is_the_same_duration(milliseconds: int) -> None:
    """What `config show` prints reads as the same value."""
    assert parse_duration(duration_text(milliseconds / 1000), ANY_TIME) == milliseconds / 1000


GOOD = [
    ("an IPv4 address", "listen", "inet:127.0.0.1:8462", "inet:127.0.0.1:8462"),
    ("an IPv6 address, compressed", "listen", "inet:[0:0:0:0:0:0:0:1]:8462", "inet:[::1]:8462"),
    ("a name, in lower case", "listen", "inet:LocalHost:1", "inet:localhost:1"),
    ("the last port", "listen", "inet:mail-1.example.com:65535", "inet:mail-1.example.com:65535"),
    ("a unix socket", "listen", "unix:/run//x/./socketmap", "unix:/run/x/socketmap"),
    ("a unix socket with a colon, since tables split at the last one", "listen", "unix:/run/a:b", "unix:/run/a:b"),
    ("a place for metrics", "inet", "inet:[::1]:9462", "inet:[::1]:9462"),
    ("a resolver with its port", "servers", "192.0.2.1:5353", "192.0.2.1:5353"),
    ("a resolver at port 53", "servers", "192.0.2.1", "192.0.2.1:53"),
    ("an IPv6 resolver", "servers", "2001:DB8::1", "[2001:db8::1]:53"),
    ("an IPv6 resolver in brackets", "servers", "[::1]", "[::1]:53"),
    ("an IPv6 resolver with its port", "servers", "[::1]:5353", "[::1]:5353"),
    ("a mode", "mode", "0660", 0o660),
    ("a mode of three digits", "mode", "600", 0o600),
    ("a path", "path", "//var/lib//x/", "/var/lib/x"),
    ("the group that is everywhere", "group", "root", "root"),
]


@pytest.mark.parametrize(("title", "kind", "text", "value"), GOOD, ids=[row[0] for row in GOOD])
def test_a_good_value_is_read_in_its_one_form(title: str, kind: str, text: str, value: object) -> None:
    """Two spellings of one value come out equal."""
    assert READERS[kind](text, NO_LIMITS) == value


BAD = [
    ("no scheme", "listen", "127.0.0.1:8462", "is not an address; write inet:HOST:PORT, "),
    ("no port", "listen", "inet:127.0.0.1", "is not an address"),
    ("no host", "listen", "inet::8462", "is not an address"),
    ("IPv6 without brackets", "listen", "inet:::1:8462", "is not an address"),
    ("port 0", "listen", "inet:127.0.0.1:0", "port 0 does not exist; write one from 1 to 65535"),
    ("a port above 65535", "listen", "inet:127.0.0.1:65536", "port 65536 does not exist"),
    ("a port with a leading zero", "listen", "inet:127.0.0.1:08462", "port 08462 does not exist"),
    ("a service name", "listen", "inet:127.0.0.1:smtp", "is not an address"),
    ("an address with a number too many", "listen", "inet:127.0.0.1.1:1", "neither an IP address nor a host name"),
    ("half an address", "listen", "inet:127.1:1", "neither an IP address nor a host name"),
    ("a name with an underscore", "listen", "inet:a_b:1", "neither an IP address nor a host name"),
    ("a name that is too long", "listen", f"inet:{'a.' * 127}aa:1", "neither an IP address nor a host name"),
    ("a link-local address with its zone", "listen", "inet:[fe80::1%lo]:1", "is not an address"),
    ("a relative unix path", "listen", "unix:run/x", "is not an absolute path"),
    ("an empty unix path", "listen", "unix:", "is not an absolute path"),
    ("a unix path that is a directory", "listen", "unix:/run/", "is a directory"),
    ("a unix path that is a directory, with a dot", "listen", "unix:/.", "is a directory"),
    ("a unix path with a blank", "listen", "unix:/run/a b", "cannot stand in main.cf"),
    ("a unix path with a comma", "listen", "unix:/run/a,b", "cannot stand in main.cf"),
    ("a unix path with $", "listen", "unix:/run/$a", "cannot stand in main.cf"),
    ("a unix path that goes up", "listen", "unix:/run/../x", "holds '..'"),
    ("metrics at a unix path", "inet", "unix:/run/x", "is not an address; write inet:HOST:PORT or inet:[IPV6]:PORT"),
    ("a resolver by name", "servers", "ns.example.com", "is not a resolver's IP address"),
    ("a resolver by name and port", "servers", "localhost:53", "is not a resolver's IP address"),
    ("a resolver with a zone", "servers", "fe80::1%lo", "is not a resolver's IP address"),
    ("a resolver at port 0", "servers", "127.0.0.1:0", "port 0 does not exist"),
    ("a mode that is not octal", "mode", "0680", "is not a mode"),
    ("a mode of too many digits", "mode", "10660", "is not a mode"),
    ("a relative path", "path", "var/lib", "is not an absolute path"),
    ("a path from a home", "path", "~/x", "is not an absolute path"),
    ("a path with a control character", "path", "/x\x1b[31m", r'"/x\x1b[31m" is not an absolute path'),
    ("a path with half a character", "path", "/\ud800", "is not an absolute path"),
    ("a path that is too long", "path", "/" + "x" * 5000, "is not an absolute path"),
    ("an unknown group", "group", "no-such-group", "there is no group no-such-group"),
    ("a group with a NUL", "group", "a\0b", "there is no group"),
    ("a group with half a character", "group", "\ud800", "there is no group"),
    ("a file of certificates that is absent", "ca_file", "/no/such/file", "there is no file /no/such/file"),
    ("a directory of certificates", "ca_file", "/", "there is no file /"),
]


@pytest.mark.parametrize(("title", "kind", "text", "wrong"), BAD, ids=[row[0] for row in BAD])
def test_a_bad_value_is_refused(title: str, kind: str, text: str, wrong: str) -> None:
    """The fault says what is wrong, and after a semicolon what would be right."""
    with pytest.raises(ValueError, match="; ") as caught:
        READERS[kind](text, NO_LIMITS)
    assert wrong in str(caught.value)


def test_a_ca_file_must_hold_certificates(tmp_path: Path) -> None:
    """Found at the check, not at the first fetch."""
    path = tmp_path / "ca.pem"
    path.write_text("no certificate")
    with pytest.raises(ValueError, match="holds no CA certificates"):
        READERS["ca_file"](str(path), NO_LIMITS)


def test_a_ca_file_with_certificates_is_taken(tmp_path: Path) -> None:
    """One authority is enough."""
    path = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(path))
    assert READERS["ca_file"](str(path), NO_LIMITS) == str(path)


@pytest.mark.parametrize("name", ["postfix", "QUERYwithTLSRPT", "a.b_c-d", "1", "#", "a" * 100])
def test_a_map_name_that_main_cf_can_hold_is_taken(name: str) -> None:
    """Such names need no quoting in main.cf."""
    assert parse_map_name(name) == name


@pytest.mark.parametrize(
    "name", ["", "a b", "a,b", "a:b", "a\tb", "a\n", "{a", "a}", "$a", "ü", "a\x7f", "a\0", "a" * 101]
)
def test_a_map_name_that_main_cf_cannot_hold_is_refused(name: str) -> None:
    """Blanks and commas end a table, colons split it, $ and braces begin something else."""
    with pytest.raises(ValueError, match="a name that main"):
        parse_map_name(name)


@given(
    st.sampled_from(sorted(READERS)),
    st.text() | st.text(st.characters(whitelist_categories=["Cs", "Cc", "L", "N", "P"])),
)
def test_no_text_makes_a_reader_raise_anything_but_a_value_error(kind: str, text: str) -> None:
    """Whatever the file holds becomes a value or a fault of one line."""
    said = ""
    try:
        READERS[kind](text, {"low": 0, "high": 10, "choices": ("a", "b")})
    except ValueError as wrong:
        said = str(wrong)
    assert said.isascii()
    assert not said or said.isprintable()


URLS = [
    ("http://h", "the URL of a Redis"),
    ("redis://", "names no server"),
    ("redis://h/name", "names no server"),
    ("redis://u:sesame@x:y", "is not a URL"),
    ("unix://", "names no socket"),
    ("rediss://h?ssl_cert_reqs=none", "option"),
    ("redis://u:sesame@h?ssl_check_hostname=no", "option"),
    ("unix:///s?db=x", "database"),
]


@pytest.mark.parametrize(("text", "fault"), URLS)
def test_what_is_no_url_of_a_shared_store(text: str, fault: str) -> None:
    """No fault repeats the URL, which may hold a password."""
    with pytest.raises(ValueError, match=fault) as caught:
        values.parse_shared_url(text, {})
    assert "sesame" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("redis://h:1/0", "redis://h:1/0"),
        ("rediss://u:p%40ss@h/1", "rediss://u:***@h/1"),
        ("redis://:sesame@[::1]:6379", "redis://:***@[::1]:6379"),
        ("unix:///s?db=1", "unix:///s?db=1"),
    ],
)
def test_a_url_is_shown_without_its_password(text: str, shown: str) -> None:
    """As `config show` and the log have it."""
    assert values.shown_url(values.parse_shared_url(text, {})) == shown


SECRETS = [("sesame\n", None), ("", "is empty"), ("\n", "is empty"), ("x" * 4_097, "is too long")]


@pytest.mark.parametrize(("text", "fault"), SECRETS)
def test_a_secret_file_holds_one_short_secret(text: str, fault: str | None, tmp_path: Path) -> None:
    """A missing key must not mean that nothing is signed."""
    path = tmp_path / "key"
    path.write_text(text)
    if fault is None:
        assert values.parse_secret_file(str(path), {}) == str(path)
        assert values.read_secret(str(path)) == b"sesame"
    else:
        with pytest.raises(ValueError, match=fault):
            values.parse_secret_file(str(path), {})
    with pytest.raises(ValueError, match="there is no file"):
        values.parse_secret_file(str(tmp_path / "absent"), {})


PROXIES = [
    ("http://proxy.example.org:3128", "http://proxy.example.org:3128"),
    ("http://PROXY:8080/", "http://proxy:8080"),
    ("http://127.0.0.1:3128", "http://127.0.0.1:3128"),
    ("http://[2001:DB8:0::1]:3128", "http://[2001:db8::1]:3128"),
    ("socks5h://localhost:1080", "socks5h://localhost:1080"),
]


@pytest.mark.parametrize(("text", "want"), PROXIES)
def test_the_url_of_a_proxy(text: str, want: str) -> None:
    """A kind, a host and a port."""
    assert values.parse_proxy_url(text, {}) == want


NO_PROXIES = [
    (
        "http://user:sesame@proxy:3128",
        "holds credentials; write USER:PASSWORD into a file, name it in fetch.proxy_pass",
    ),
    ("http://proxy", "is not the URL of a proxy; write http://HOST:PORT or socks5h://HOST:PORT"),
    ("https://proxy:3128", "is not the URL of a proxy; write http://"),
    ("socks5://proxy:1080", "is not the URL of a proxy; write http://"),
    ("proxy:3128", "is not the URL of a proxy"),
    ("http://proxy:3128/path", "is not the URL of a proxy"),
    ("http://proxy:3128?sesame", "is not the URL of a proxy"),
    ("http://-x-:3128", "is not the URL of a proxy"),
    ("http://1.2.3:3128", "is not the URL of a proxy"),
    ("http://[::1%eth0]:3128", "is not the URL of a proxy"),
    ("http://proxy:0", "port 0 does not exist"),
    ("http://proxy:70000", "port 70000 does not exist"),
    ("http://proxy :3128", "is not the URL of a proxy"),
    ("", "is not the URL of a proxy"),
]


@pytest.mark.parametrize(("text", "fault"), NO_PROXIES)
def test_what_is_not_the_url_of_a_proxy(text: str, fault: str) -> None:
    """No fault repeats what may be a password."""
    with pytest.raises(ValueError, match=re.escape(fault)) as caught:
        values.parse_proxy_url(text, {})
    assert "sesame" not in str(caught.value)


def test_socks_needs_its_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Said when the configuration is read, with what to install."""
    monkeypatch.setattr(values.importlib.util, "find_spec", lambda name: None)
    wanted = r"needs the library PySocks; install python3-socks, or postfix-mtasts\[socks\] with pip"
    with pytest.raises(ValueError, match=wanted):
        values.parse_proxy_url("socks5h://proxy:1080", {})


LOGINS = [
    (b"relay:sesame\n", ("relay", "sesame")),
    (b"relay:se:sa me", ("relay", "se:sa me")),
    ("größe:grün\n".encode(), ("größe", "grün")),
    (b"relay:\n", ("relay", "")),
    (b"relay\n", None),
    (b":sesame\n", None),
    (b"relay:sesame\nsecond:line\n", None),
    (b"relay:ses\tame\n", None),
    (b"relay:\xff\n", None),
]


@pytest.mark.parametrize(("data", "want"), LOGINS)
def test_a_file_of_user_and_password(data: bytes, want: tuple[str, str] | None, tmp_path: Path) -> None:
    """One line; no control character could get into a header by it."""
    path = tmp_path / "login"
    path.write_bytes(data)
    if want is None:
        with pytest.raises(ValueError, match="does not hold one line USER:PASSWORD") as caught:
            values.parse_login_file(str(path), {})
        assert "sesame" not in str(caught.value)
    else:
        assert values.parse_login_file(str(path), {}) == str(path)
        assert values.read_login(str(path)) == want
    with pytest.raises(ValueError, match="there is no file"):
        values.parse_login_file(str(tmp_path / "absent"), {})
