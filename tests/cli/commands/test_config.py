"""`config check` and `config show`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mtasts.cli.commands import config
from postfix_mtasts.config import file as configfile
from postfix_mtasts.config.file import leaves, load
from postfix_mtasts.config.settings import Settings
from postfix_mtasts.errors import ConfigError

EVERYTHING = """\
listen: ['inet:[::1]:8462', "unix:/run/a#b/ü"]
socket_mode: "0600"
socket_group: root
maps:
  mine: {}
  "null": {dane: true}
  "a#b'": {dane: true, tlsrpt: true}
cache: {directory: '/srv/"my" cache\\ü#', negative_limit: 0}
dns: {servers: [127.0.0.1, '::1'], timeout: 250ms, trust_ad: yes}
fetch: {timeout: 90, parallel: 1, allow_private_addresses: true}
lookup: {wait: 0, negative_ttl: 1h, failure_ttl: 7d, on_dns_failure: defer}
refresh: {recheck: 0.5s, interval: 12h}
metrics: {listen: "inet:[::1]:9462"}
log: {level: debug, format: json}
tlsrpt: {socket: /run/tlsrpt.sock}
"""


def run(*words: str) -> int:
    """What the command line *words* ends in."""
    parent = argparse.ArgumentParser(add_help=False)
    parent.add_argument("--config")
    parser = argparse.ArgumentParser(prog="postfix-mtasts")
    config.add_parser(parser.add_subparsers(), parent)
    args = parser.parse_args(["config", *words])
    code: Callable[[argparse.Namespace], int] = args.run
    return code(args)


@pytest.fixture
def no_postfix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host without postconf."""
    monkeypatch.setenv("PATH", str(tmp_path))


def written(tmp_path: Path, text: str) -> str:
    path = tmp_path / "c.yml"
    path.write_text(text)
    return str(path)


@pytest.mark.usefixtures("no_postfix")
def test_check_of_a_good_file_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line, exit code 0."""
    path = written(tmp_path, "lookup: {wait: 3s}\n")
    assert run("check", "--config", path) == 0
    assert capsys.readouterr() == (f"{path}: ok\n", "")


@pytest.mark.usefixtures("no_postfix")
def test_check_without_a_file_says_what_it_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The defaults are fine, but nobody should think that a file was read."""
    monkeypatch.setattr(configfile, "DEFAULT_CONFIG_FILE", str(tmp_path / "absent.yml"))
    assert run("check") == 0
    assert capsys.readouterr() == ("/etc/postfix-mtasts/config.yml is not there, the defaults: ok\n", "")


@pytest.mark.usefixtures("no_postfix")
def test_check_says_that_the_environment_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever reads the file alone would be misled."""
    monkeypatch.setenv("MTASTS_LOOKUP_WAIT", "3s")
    path = written(tmp_path, "")
    assert run("check", "--config", path) == 0
    assert capsys.readouterr().out == f"{path} and the environment: ok\n"


def test_show_tells_what_comes_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The variable stands where a file's line would, and a password stays out."""
    monkeypatch.setenv("MTASTS_LOOKUP_WAIT", "3s")
    monkeypatch.setenv("MTASTS_DNS_SERVERS", "127.0.0.1,::1")
    monkeypatch.setenv("MTASTS_SHARED_URL", "redis://:sesame@r.example")
    path = written(tmp_path, "lookup:\n  wait: 1s\n  failure_ttl: 1s\n")
    assert run("show", "--config", path) == 0
    shown = capsys.readouterr().out
    assert (
        f"\n  wait: 3s  # MTASTS_LOOKUP_WAIT\n  negative_ttl: 10m  # default\n  failure_ttl: 1s  # {path}:3\n" in shown
    )
    assert "\n  servers:  # MTASTS_DNS_SERVERS\n" in shown
    assert '\n  url: "redis://:***@r.example"  # MTASTS_SHARED_URL\n' in shown
    assert "sesame" not in shown
    assert run("show", "--json", "--config", path) == 0
    assert json.loads(capsys.readouterr().out)["origins"]["lookup.wait"] == "MTASTS_LOOKUP_WAIT"


@pytest.mark.parametrize("command", ["check", "show"])
def test_faults_are_raised_for_the_command_line_to_print(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """cli.main prints them and exits with 78; nothing else is printed."""
    path = written(tmp_path, "x: 1\nlookup: {wait: soon}\n")
    with pytest.raises(ConfigError) as caught:
        run(command, "--config", path)
    assert [fault.partition(";")[0] for fault in caught.value.faults] == [
        f"{path}:1: x: unknown key",
        f"{path}:2: lookup.wait: soon is not a duration from 0s to 90s",
    ]
    assert capsys.readouterr() == ("", "")


@pytest.fixture
def old_postfix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Postfix that nothing fits."""
    program = tmp_path / "postconf"
    program.write_text("#!/bin/sh\necho mail_version = 3.3.1\necho tls_append_default_CA = yes\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")


WARNINGS = [
    "Postfix 3.3 does not know servername= and defers on it; 3.4 or later is needed",
    "main.cf: smtp_tls_policy_maps names no map of ours, so Postfix does not ask; "
    "add socketmap:inet:127.0.0.1:8462:postfix",
]


@pytest.mark.usefixtures("old_postfix")
@pytest.mark.parametrize(("words", "code"), [([], 1), (["--strict"], 78)])
def test_warnings_about_postfix_have_an_exit_code(
    words: list[str], code: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The configuration is right all the same, and a script has to be able to tell."""
    path = written(tmp_path, "")
    assert run("check", "--config", path, *words) == code
    assert capsys.readouterr() == (
        f"{path}: ok, with warnings\n",
        "".join(f"warning: {warning}\n" for warning in WARNINGS),
    )


@pytest.mark.usefixtures("old_postfix")
def test_warnings_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One object: file, faults, and warnings with place, what is wrong, and what would be right."""
    path = written(tmp_path, "")
    assert run("check", "--json", "--config", path) == 1
    shape = json.loads(capsys.readouterr().out)
    assert list(shape) == ["file", "faults", "warnings"]
    assert (shape["file"], shape["faults"]) == (path, [])
    assert shape["warnings"] == [
        {"place": place, "wrong": wrong, "right": right}
        for place, wrong, right in (
            ("", *WARNINGS[0].split("; ")),
            ("main.cf", *WARNINGS[1].removeprefix("main.cf: ").split("; ")),
        )
    ]


def test_faults_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same object, with the lines that are printed else."""
    path = written(tmp_path, "x: 1\n")
    assert run("check", "--json", "--config", path) == 78
    shape = json.loads(capsys.readouterr().out)
    assert (shape["file"], len(shape["faults"]), shape["warnings"]) == (path, 1, [])
    assert shape["faults"][0].startswith(f"{path}:1: x: unknown key")


def test_a_postconf_that_fails_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What it says cannot colour the terminal."""
    program = tmp_path / "postconf"
    program.write_text("#!/bin/sh\nprintf 'fatal: \\033[31mred\\n' >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert run("check", "--config", written(tmp_path, "")) == 1
    said = capsys.readouterr().err
    assert said == (
        f"warning: Postfix was not looked at: {program} failed: fatal: \\x1b[31mred; try `postconf` by hand\n"
    )


DEFAULTS_SHOWN = """\
# /etc/postfix-mtasts/config.yml is not there, the defaults
listen:  # default
  - inet:127.0.0.1:8462
socket_mode: "0660"  # default
socket_group: null  # default
maps:  # default
  postfix: {}
  postfix-tlsrpt: {tlsrpt: true}
  postfix-dane: {dane: true}
  postfix-dane-tlsrpt: {dane: true, tlsrpt: true}
  QUERY: {dane: true}
  QUERYwithTLSRPT: {dane: true, tlsrpt: true}
cache:
  directory: /var/lib/postfix-mtasts  # default
  negative_limit: 100000  # default
dns:
  servers: []  # default
  timeout: 5s  # default
  trust_ad: auto  # default
fetch:
  timeout: 1m  # default
  parallel: 256  # default
  ca_file: null  # default
  allow_private_addresses: false  # default
  proxy: null  # default
  proxy_password_file: null  # default
  proxy_connect: name  # default
lookup:
  wait: 15s  # default
  negative_ttl: 10m  # default
  failure_ttl: 5m  # default
  on_dns_failure: skip  # default
refresh:
  recheck: 5m  # default
  interval: 1d  # default
metrics:
  listen: null  # default
log:
  level: info  # default
  format: text  # default
tlsrpt:
  socket: null  # default
shared:
  url: null  # default
  password_file: null  # default
  prefix: "mtasts:"  # default
  timeout: 200ms  # default
  key_file: null  # default
publish:
  directory: /etc/postfix-mtasts/policies  # default
  state_directory: /var/lib/postfix-mtasts-serve  # default
  listen:  # default
    - inet:[::]:443
  http_listen:  # default
    - inet:[::]:80
  certificates: acme  # default
  certificate_directory: null  # default
  acme:
    directory_url: https://acme-v02.api.letsencrypt.org/directory  # default
    contact: null  # default
    agree_to_terms: false  # default
    ca_file: null  # default
  dns_update:
    server: null  # default
    key_file: null  # default
    ttl: 5m  # default
  rua: []  # default
  report_host: null  # default
admin:
  listen: null  # default
reports:
  directory: /var/lib/postfix-mtasts-reports  # default
  keep: 400d  # default
  dkim: true  # default
  require_dkim: false  # default
"""


def test_show_prints_every_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The whole text, as an administrator without a file sees it."""
    monkeypatch.setattr(configfile, "DEFAULT_CONFIG_FILE", str(tmp_path / "absent.yml"))
    assert run("show") == 0
    assert capsys.readouterr().out == DEFAULTS_SHOWN


def test_show_tells_where_each_value_came_from(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """FILE:LINE, or default."""
    path = written(tmp_path, "\nlookup:\n  wait: 90\nmaps: {m: {}}\nlisten: []\n")
    assert run("show", "--config", path) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"# {path}"
    assert f"  wait: 90s  # {path}:3" in lines
    assert f"maps:  # {path}:4" in lines
    assert f"listen: []  # {path}:5" in lines
    assert "  failure_ttl: 5m  # default" in lines


@pytest.mark.parametrize("text", ["", EVERYTHING, "listen: []\nmaps: {'-': {}, '1.5': {}}\n"])
def test_what_show_prints_loads_to_the_same_settings(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """So that it can be saved and used."""
    assert run("show", "--config", written(tmp_path, text)) == 0
    shown = capsys.readouterr().out
    assert shown.isascii()
    assert load("shown.yml", shown).settings == load("c.yml", text).settings


@given(
    st.fixed_dictionaries(
        {
            "maps": st.dictionaries(
                st.text(
                    st.characters(max_codepoint=127, whitelist_categories=["L", "N", "P", "S"]), min_size=1, max_size=4
                ),
                st.just({"dane": True}),
                min_size=1,
                max_size=3,
            ),
            "cache": st.fixed_dictionaries({"directory": st.text(max_size=8).map("/{}".format)}),
            "listen": st.just([]) | st.text(max_size=4).map(lambda text: [f"unix:/{text}", "inet:127.0.0.1:1"]),
            "lookup": st.fixed_dictionaries({"wait": st.integers(0, 90_000).map("{}ms".format)}),
        }
    )
)
def test_whatever_loads_is_shown_so_that_it_loads_again(shape: dict[str, object]) -> None:
    """Quotes, comment signs, brackets and letters of any script included."""
    try:
        loaded = load("c.yml", json.dumps(shape))
    except ConfigError:
        return
    assert load("shown.yml", "\n".join(config.yaml_lines(loaded))).settings == loaded.settings


def test_show_as_json_has_a_stable_shape(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """file, settings and origins; the settings are again a configuration."""
    path = written(tmp_path, EVERYTHING)
    assert run("show", "--json", "--config", path) == 0
    shape = json.loads(capsys.readouterr().out)
    assert list(shape) == ["file", "settings", "origins"]
    assert shape["file"] == path
    assert shape["settings"]["lookup"] == {
        "wait": "0s",
        "negative_ttl": "1h",
        "failure_ttl": "7d",
        "on_dns_failure": "defer",
    }
    assert shape["settings"]["maps"]["mine"] == {"dane": False, "tlsrpt": False}
    assert shape["origins"]["maps"] != "default"
    assert shape["origins"]["socket_mode"] == f"{path}:2"
    assert list(shape["origins"]) == list(leaves(Settings()))
    assert load("again.yml", json.dumps(shape["settings"])).settings == load("c.yml", EVERYTHING).settings


@pytest.mark.parametrize("form", [[], ["--json"]], ids=["yaml", "json"])
def test_show_holds_no_password(form: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """That of the shared store's URL is replaced by asterisks."""
    path = written(tmp_path, "shared: {url: 'rediss://mtasts:sesame@r.example/0'}\n")
    assert run("show", *form, "--config", path) == 0
    out = capsys.readouterr().out
    assert "rediss://mtasts:***@r.example/0" in out
    assert "sesame" not in out
