"""Without a Debian package: what `make install`, the wheel and the sdist bring."""

from __future__ import annotations

import configparser
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from postfix_mtasts import __version__

ROOT = Path(__file__).parents[2]
SETUP = configparser.ConfigParser()
SETUP.read(ROOT / "setup.cfg")
DATA = {path for paths in SETUP["options.data_files"].values() for path in paths.split()}
OPENRC, FREEBSD = ROOT / "contrib/openrc", ROOT / "contrib/freebsd"


def make(target: str, destination: Path) -> None:
    """Run make with the Python of the tests."""
    command = ["make", "-s", target, f"DESTDIR={destination}", "PREFIX=/opt/mtasts", f"PYTHON={sys.executable}"]
    environment = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL")}
    subprocess.run(command, cwd=ROOT, env=environment, check=True)


def files(destination: Path) -> set[str]:
    return {str(path.relative_to(destination)) for path in destination.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def destination(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where `make install` was run."""
    place = tmp_path_factory.mktemp("destination")
    make("install", place)
    return place


def test_make_install_brings_all_that_the_wheel_brings(destination: Path) -> None:
    """Manual pages, completion, units, OpenRC, FreeBSD, AppArmor, a configuration."""
    contents = {(destination / path).read_bytes() for path in files(destination)}
    changed = {path for path in DATA if path.endswith(".service")}
    assert {path for path in DATA - changed if (ROOT / path).read_bytes() not in contents} == set()


def test_the_command_is_run_by_the_python_that_was_named(destination: Path) -> None:
    """And finds its modules in a folder of its own, without anything compiled at run time."""
    command = destination / "opt/mtasts/bin/postfix-mtasts"
    lines = command.read_text().splitlines()
    assert lines[0] == f"#!{sys.executable}"
    moved = command.read_text().replace("/opt/mtasts/lib", f"{destination}/opt/mtasts/lib")
    where = "print(__import__('postfix_mtasts').__file__)"
    here = subprocess.run([sys.executable, "-I", "-", "--version"], input=moved, capture_output=True, text=True)
    assert here.stdout == f"postfix-mtasts {__version__}\n"
    library = destination / "opt/mtasts/lib/postfix-mtasts"
    found = subprocess.run(
        [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(library)!r}); {where}"],
        capture_output=True,
        text=True,
    )
    assert found.stdout.strip() == str(library / "postfix_mtasts/__init__.py")
    assert list((library / "postfix_mtasts/__pycache__").glob("__init__.*.pyc"))


def test_the_units_start_the_command_that_was_installed(destination: Path) -> None:
    """Both services; no file of the Debian package is named."""
    units = destination / "opt/mtasts/lib/systemd/system"
    for name, word in (("postfix-mtasts", "daemon"), ("postfix-mtasts-serve", "serve")):
        text = (units / f"{name}.service").read_text()
        assert f"\nExecStart=/opt/mtasts/bin/postfix-mtasts {word}\n" in text
        assert "/usr/bin/postfix-mtasts" not in text
        assert "README.Debian" not in text
        assert (units / f"{name}.socket").exists()


def test_a_configuration_that_is_there_stays(tmp_path: Path) -> None:
    """Through a second install and through uninstall, which removes everything else."""
    make("install", tmp_path)
    config = tmp_path / "etc/postfix-mtasts/config.yml"
    assert config.read_text() == (ROOT / "debian/config.yml").read_text()
    config.write_text("# mine\n")
    make("install", tmp_path)
    assert config.read_text() == "# mine\n"
    make("uninstall", tmp_path)
    assert files(tmp_path) == {"etc/postfix-mtasts/config.yml"}


def test_each_fact_about_the_package_has_one_place() -> None:
    """What pyproject.toml says is not said in setup.cfg again."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["dynamic"] == ["version", "license"]
    assert set(SETUP["metadata"]) == {"license", "license_files"}
    assert set(SETUP["options"]) == {"packages"}
    assert not {"options.extras_require", "options.entry_points"} & set(SETUP)


def test_the_wheel_brings_each_file_that_is_for_its_users() -> None:
    """All of man, completions, contrib, and the units and users of both services."""
    kinds = ("*.service", "*.socket", "*.sysusers", "*.tmpfiles", "config.yml")
    folders = [path for folder in ("man", "completions", "contrib") for path in (ROOT / folder).rglob("*")]
    wanted = [*folders, *(path for kind in kinds for path in (ROOT / "debian").glob(kind))]
    assert {str(path.relative_to(ROOT)) for path in wanted if path.is_file()} == DATA


@pytest.mark.parametrize("script", [OPENRC / "postfix-mtasts.initd", FREEBSD / "postfix_mtasts"], ids=lambda p: p.name)
def test_a_service_script_is_valid_shell(script: Path) -> None:
    """As POSIX sh reads it."""
    subprocess.run(["sh", "-n", script], check=True)


RC_SUBR = """\
load_rc_config() { postfix_mtasts_enable=YES; }
run_rc_command() {
    case $1 in
    start) [ -r "$required_files" ] && eval "$start_precmd" && eval "echo $command $command_args" ;;
    *) eval "eval \\"\\$${1}_cmd\\"" ;;
    esac
}
"""  # what rc.subr(8) of FreeBSD does with the variables, as far as the script counts on it


@pytest.fixture
def rc_script(tmp_path: Path) -> Path:
    """The script of FreeBSD among stand-ins for what it calls."""
    (tmp_path / "rc.subr").write_text(RC_SUBR)
    (tmp_path / "config.yml").touch()
    (tmp_path / "mtasts").write_text('#!/bin/sh\nexit "$(cat "${0%/*}/code")"\n')
    (tmp_path / "mtasts").chmod(0o755)
    (tmp_path / "code").write_text("0")
    text = (FREEBSD / "postfix_mtasts").read_text()
    for path, stand_in in (
        ("/etc/rc.subr", "rc.subr"),
        ("/usr/local/bin/postfix-mtasts", "mtasts"),
        ("/usr/local/etc/postfix-mtasts/config.yml", "config.yml"),
        ("/var/db/postfix-mtasts", "store"),
        ("/var/run/", "run-"),
        (":=_postfix-mtasts}", f":={os.getuid()}}}"),
    ):
        assert path in text
        text = text.replace(path, stand_in if stand_in[0] == ":" else f"{tmp_path}/{stand_in}")
    script = tmp_path / "script"
    script.write_text(text)
    return script


def run(script: Path, word: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["sh", script, word], capture_output=True, text=True)


def test_freebsd_starts_the_daemon_under_daemon8(rc_script: Path) -> None:
    """As one command, after its directory was made."""
    place = rc_script.parent
    started = run(rc_script, "start")
    [line] = started.stdout.splitlines()
    assert line.startswith(f"/usr/sbin/daemon -c -f -R 2 -P {place}/run-postfix_mtasts.pid ")
    assert line.endswith(f" -u {os.getuid()} {place}/mtasts daemon --config {place}/config.yml")
    assert (place / "store").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(("code", "starts"), [("0", True), ("1", True), ("78", False)], ids=["right", "warns", "wrong"])
def test_freebsd_does_not_start_with_a_wrong_configuration(rc_script: Path, code: str, starts: bool) -> None:
    """Warnings of main.cf are no reason."""
    (rc_script.parent / "code").write_text(code)
    assert (run(rc_script, "start").returncode == 0) is starts
    assert (run(rc_script, "checkconfig").returncode == 0) is starts


def test_freebsd_reloads_the_daemon_and_not_its_supervisor(rc_script: Path) -> None:
    """daemon(8) does not pass SIGHUP on."""
    with subprocess.Popen(["sleep", "600"]) as daemon:
        (rc_script.parent / "run-postfix_mtasts.child.pid").write_text(str(daemon.pid))
        assert run(rc_script, "reload").returncode == 0
        assert daemon.wait() == -1  # SIGHUP
