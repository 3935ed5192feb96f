"""Settings from the environment: each of them, what is refused, and which source counts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mtasts.cli.commands.config import plain
from postfix_mtasts.config.environment import variable
from postfix_mtasts.config.file import leaves, load, read
from postfix_mtasts.config.settings import MapSettings, Settings
from postfix_mtasts.errors import ConfigError
from tests.config.test_file import EVERYTHING

CHANGED = leaves(load("c.yml", EVERYTHING).settings)  # every setting, none at its default but those that are null
DEFAULTS = leaves(Settings())


def in_words(key: str) -> str:
    """The value of *key* in CHANGED as a variable holds it."""
    shape: Any = plain(load("c.yml", EVERYTHING).settings)
    for name in key.split("."):
        shape = shape[name]
    if isinstance(shape, list):
        return " ".join(shape) or "[]"
    return shape if isinstance(shape, str) else json.dumps(shape)


def faults(environ: dict[str, str], text: str = "") -> list[str]:
    """The faults of *environ* beside *text* as the file c.yml."""
    with pytest.raises(ConfigError) as caught:
        load("c.yml", text, environ)
    return caught.value.faults


@pytest.mark.parametrize("key", list(DEFAULTS))
def test_each_setting_is_read_from_its_variable(key: str) -> None:
    """MTASTS_ and the key in capitals, and the origin says so; nothing else changes."""
    more = {"MTASTS_REPORTS_DKIM": "true"} if key == "reports.require_dkim" else {}
    loaded = load("c.yml", "", {variable(key): in_words(key), **more})
    assert leaves(loaded.settings) == DEFAULTS | {key: CHANGED[key]}
    assert variable(key) == "MTASTS_" + "_".join(key.split(".")).upper()
    assert loaded.origins[key] == variable(key)


@pytest.mark.parametrize("key", list(DEFAULTS))
def test_each_setting_of_the_file_gives_way_to_its_variable(key: str) -> None:
    """Also to the word null, where that is the default."""
    text = "null" if DEFAULTS[key] is None else in_words(key)
    loaded = load("c.yml", EVERYTHING, {variable(key): text})
    assert leaves(loaded.settings) == CHANGED | {key: None if text == "null" else CHANGED[key]}
    assert loaded.origins[key] == variable(key)


def test_no_two_settings_have_one_variable() -> None:
    """A dot and an underscore look the same in capitals."""
    assert len({variable(key) for key in DEFAULTS}) == len(DEFAULTS)


READ = [
    ("words with blanks", "MTASTS_DNS_SERVERS", "127.0.0.1:53 ::1", "dns.servers", ("127.0.0.1:53", "[::1]:53")),
    ("words with commas", "MTASTS_DNS_SERVERS", "127.0.0.1, [::1]:54", "dns.servers", ("127.0.0.1:53", "[::1]:54")),
    ("an empty list", "MTASTS_LISTEN", "[]", "listen", ()),
    ("maps as YAML", "MTASTS_MAPS", "{m: {tlsrpt: yes}}", "maps", {"m": MapSettings(tlsrpt=True)}),
    ("a mode without quotes", "MTASTS_SOCKET_MODE", "0600", "socket_mode", 0o600),
    ("a newline at the end", "MTASTS_LOG_LEVEL", "debug\n", "log.level", "debug"),
    ("what YAML would cut", "MTASTS_CACHE_DIRECTORY", "/srv/a #b: [", "cache.directory", "/srv/a #b: ["),
    ("nothing", "MTASTS_LOG_LEVEL", "", "log.level", "info"),
    ("nothing but blanks", "MTASTS_LISTEN", "  ", "listen", ("inet:127.0.0.1:8462",)),
    ("a retired setting", "MTASTS_CACHE_BACKEND", "diskcache", "log.level", "info"),
    ("a variable of somebody's own", "MTASTS_IMAGE_TAG", "1", "log.level", "info"),
    ("another program's", "MTA_STS_LISTEN", "x", "log.level", "info"),
    ("Kubernetes' address", "MTASTS_PORT", "tcp://10.0.0.1:8462", "log.level", "info"),
    ("Kubernetes' port", "MTASTS_PORT_8462_TCP_ADDR", "10.0.0.1", "log.level", "info"),
    ("Kubernetes' service", "MTASTS_SERVICE_PORT_SOCKETMAP", "8462", "log.level", "info"),
]


@pytest.mark.parametrize(("title", "name", "text", "key", "want"), READ, ids=[row[0] for row in READ])
def test_what_a_variable_holds_is_taken_as_it_stands(title: str, name: str, text: str, key: str, want: Any) -> None:
    """No quotes anywhere, but in maps."""
    assert leaves(load("c.yml", "", {name: text}).settings)[key] == want


REFUSED = [
    ("not a duration", "MTASTS_FETCH_TIMEOUT", "soon", "fetch.timeout: soon is not a duration from 100ms to 10m; "),
    ("quotes", "MTASTS_LOG_LEVEL", '"info"', r'log.level: "\"info\"" is not known; write debug or'),
    ("not a number", "MTASTS_FETCH_PARALLEL", "1.5", "fetch.parallel: 1.5 is out of range; write a whole number"),
    ("not true", "MTASTS_REPORTS_DKIM", "1", "reports.dkim: 1 is neither true nor false; write one of them"),
    ("null", "MTASTS_LOG_FORMAT", "null", "log.format: has no value; give one, or leave it out"),
    ("one twice", "MTASTS_DNS_SERVERS", "::1 ::1", "dns.servers: [::1]:53 is given twice; keep one of them"),
    ("maps that are a word", "MTASTS_MAPS", "postfix", "maps: is plain text, not a mapping; "),
    ("maps that are not YAML", "MTASTS_MAPS", "{a: {", "maps: YAML: while parsing a flow node, "),
    ("maps with an alias", "MTASTS_MAPS", "{a: *b}", "maps.a: aliases such as *x are not taken"),
    ("maps with a wrong option", "MTASTS_MAPS", "{a: {b: 1}}", "maps.a.b: unknown key; known here: dane, tlsrpt"),
    ("a slip of the pen", "MTASTS_FETCH_TIMEOT", "1", "unknown variable; did you mean MTASTS_FETCH_TIMEOUT?"),
    ("a section", "MTASTS_LOG", "debug", "unknown variable; did you mean MTASTS_LOG_LEVEL?"),
    ("no setting of a section", "MTASTS_FETCH_X", "1", "unknown variable; did you mean MTASTS_FETCH_"),
    ("a retired setting", "MTASTS_CACHE_BACKEND", "redis", "cache.backend: is not a setting any more; "),
]


@pytest.mark.parametrize(("title", "name", "text", "wrong"), REFUSED, ids=[row[0] for row in REFUSED])
def test_a_fault_names_the_variable(title: str, name: str, text: str, wrong: str) -> None:
    """In the place of file and line."""
    (fault,) = faults({name: text})
    assert fault.startswith(f"{name}: {wrong}")


def test_all_faults_come_in_one_go() -> None:
    """Those of the file first, by line; a variable does not hide what is wrong in the file."""
    text = "log: {level: loud}\nfetch:\n  timeout: never\n"
    environ = {"MTASTS_FETCH_TIMEOUT": "2s", "MTASTS_LISTEN": "x", "MTASTS_LOG_X\n": ""}
    assert [fault.partition("; ")[0] for fault in faults(environ, text)] == [
        "c.yml:1: log.level: loud is not known",
        "c.yml:3: fetch.timeout: never is not a duration from 100ms to 10m",
        "MTASTS_LISTEN: listen: x is not an address",
        r'"MTASTS_LOG_X\n": unknown variable',
    ]
    assert [fault[:10] for fault in faults(environ, "log: [")] == ["c.yml:1: Y", "MTASTS_LIS", '"MTASTS_LO']


def test_settings_that_do_not_go_together_are_found_across_both() -> None:
    """The place is where the later of them stands."""
    text = "metrics:\n  listen: inet:127.0.0.1:9462\n"
    (fault,) = faults({"MTASTS_LISTEN": "inet:127.0.0.1:9462"}, text)
    assert fault.startswith("c.yml:2: metrics.listen: inet:127.0.0.1:9462 is in listen too")
    (fault,) = faults({"MTASTS_METRICS_LISTEN": "inet:127.0.0.1:8462"})
    assert fault.startswith("MTASTS_METRICS_LISTEN: metrics.listen: inet:127.0.0.1:8462 is in listen too")


def test_a_password_is_in_no_fault() -> None:
    """Whatever is wrong with the URL that holds it."""
    for url in ("redis://:sesame@", "http://:sesame@r.example", "redis://:sesame@r.example/?x=1"):
        (fault,) = faults({"MTASTS_SHARED_URL": url})
        assert fault.startswith("MTASTS_SHARED_URL: shared.url: ")
        assert "sesame" not in fault


def test_the_environment_of_the_process_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside the file, and where there is none; at a reload too."""
    monkeypatch.setenv("MTASTS_LOG_LEVEL", "debug")
    path = tmp_path / "c.yml"
    path.write_text("log: {level: error, format: json}\n")
    for again in (False, True):
        settings = read(str(path), again=again).settings
        assert (settings.log.level, settings.log.format) == ("debug", "json")
    monkeypatch.setattr("postfix_mtasts.config.file.DEFAULT_CONFIG_FILE", str(tmp_path / "absent.yml"))
    assert read(None).settings.log.level == "debug"


@given(st.dictionaries(st.sampled_from([variable(key) for key in DEFAULTS]), st.text(), max_size=5))
def test_no_text_whatever_raises_anything_but_a_config_error(environ: dict[str, str]) -> None:
    """It is read, or refused with faults that are one clean line each."""
    found: list[str] = []
    try:
        load("c.yml", "", environ)
    except ConfigError as error:
        found = error.faults
    assert all(fault.startswith("MTASTS_") and fault.isascii() and fault.isprintable() for fault in found)
