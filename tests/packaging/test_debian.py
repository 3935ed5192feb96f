"""debian/ agrees with the code: what the package ships, needs and says."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from postfix_mtasts import __version__
from postfix_mtasts.config.file import DEFAULT, load, read
from postfix_mtasts.config.settings import DEFAULT_CONFIG_FILE, DEFAULT_DIRECTORY, DEFAULT_MAPS, Settings

ROOT = Path(__file__).parents[2]
DEBIAN = ROOT / "debian"
CONFIG = (DEBIAN / "config.yml").read_text()
README = (DEBIAN / "README.Debian").read_text()
CONTROL = (DEBIAN / "control").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
OURS = {"listen", "socket_group"}  # settings that the package has otherwise than the code
OWNERS = ("publish.", "admin.", "reports.")  # sections of the domain owner's commands, which the daemon does not read
EXAMPLES = {"metrics.listen", "tlsrpt.socket", "shared.url", "shared.key_file"}  # null, but shown with a value


def unit(name: str, key: str) -> list[str]:
    """The values of *key* in a unit file, in order."""
    return re.findall(rf"^{key}=(.*)$", (DEBIAN / f"postfix-mtasts.{name}").read_text(), flags=re.MULTILINE)


def test_the_configuration_is_valid_as_shipped() -> None:
    """It sets what the package needs, and leaves the rest at its default."""
    loaded = read(str(DEBIAN / "config.yml"))
    given = {key for key, origin in loaded.origins.items() if origin != DEFAULT}
    assert given == OURS | {"socket_mode"}
    assert loaded.settings.socket_mode == Settings().socket_mode


def test_what_is_commented_out_is_the_default() -> None:
    """With all of it switched on nothing changes but the examples."""
    switched_on = re.sub(r"^#(?=[a-z]+:|  \S)", "", CONFIG, flags=re.MULTILINE)
    loaded, defaults = load("config.yml", switched_on), load("config.yml", "")
    given = {key for key, origin in loaded.origins.items() if origin != DEFAULT}
    left_out = {key for key in defaults.origins if key not in given and not key.startswith(OWNERS)}
    assert left_out == set(), "a setting that the file does not show"
    for key in given - OURS - EXAMPLES:
        assert value(loaded.settings, key) == value(defaults.settings, key), key


def value(settings: object, key: str) -> object:
    for name in key.split("."):
        settings = getattr(settings, name)
    return settings


def test_systemd_holds_each_address_of_the_configuration() -> None:
    """An address that a passed socket holds is not bound again: the two have to be the same."""
    streams = [f"unix:{each}" if each.startswith("/") else f"inet:{each}" for each in unit("socket", "ListenStream")]
    settings = read(str(DEBIAN / "config.yml")).settings
    assert tuple(streams) == settings.listen
    assert unit("socket", "SocketGroup") == [settings.socket_group]
    assert unit("socket", "SocketMode") == [f"{settings.socket_mode:04o}"]


def test_the_service_uses_the_paths_that_the_code_knows() -> None:
    """State directory, configuration and user are the same in all files."""
    [user] = unit("service", "User")
    [state] = unit("service", "StateDirectory")
    assert f"/var/lib/{state}" == DEFAULT_DIRECTORY
    assert (DEBIAN / "postfix-mtasts.sysusers").read_text().split()[1] == user
    tmpfiles = (DEBIAN / "postfix-mtasts.tmpfiles").read_text()
    assert f"d {DEFAULT_DIRECTORY} 0700 {user} {user} -" in tmpfiles
    assert f"Z {DEFAULT_DIRECTORY} - {user} {user} -" in tmpfiles  # also what root left there
    assert f"z {Path(DEFAULT_CONFIG_FILE).parent} 0755 root root -" in tmpfiles
    assert DEFAULT_DIRECTORY in (DEBIAN / "postfix-mtasts.postrm").read_text()


def test_no_fault_ends_the_service_or_its_socket_for_good() -> None:
    """No start limit and no exit code after which systemd gives up; packaging/try-inside tries it under systemd."""
    assert unit("service", "StartLimitIntervalSec") == ["0"]
    assert unit("service", "Restart") == ["always"]
    assert unit("service", "RestartPreventExitStatus") == []
    assert unit("socket", "TriggerLimitIntervalSec") == ["0"]


def test_the_changelog_has_the_version_of_the_code() -> None:
    """Its newest entry."""
    version = re.match(r"postfix-mtasts \((.*)-[^-]*\) ", (DEBIAN / "changelog").read_text())
    assert version is not None
    assert version[1] == __version__


def requirements() -> list[tuple[str, str]]:
    lines = PROJECT["dependencies"]
    return [(name, least) for name, _, least in (line.partition(">=") for line in lines)]


@pytest.mark.parametrize(("name", "least"), requirements())
def test_the_build_has_each_module_that_the_code_requires(name: str, least: str) -> None:
    """In the same version at least."""
    package = "python3-" + {"PyYAML": "yaml"}.get(name, name).lower().replace("_", "-")
    assert re.search(rf"^ {re.escape(package)} \(>= {re.escape(least)}\)", CONTROL, re.MULTILINE)


def test_the_maps_of_the_readme_exist() -> None:
    """Each table that it tells to put into main.cf ends in the name of a map, and all but the aliases are there."""
    maps = set(re.findall(r"socketmap:(?:unix:postfix-mtasts/socketmap|inet:127\.0\.0\.1:8462):([\w-]+)", README))
    assert maps == set(DEFAULT_MAPS) - {"QUERY", "QUERYwithTLSRPT"}


def test_each_manual_page_is_installed() -> None:
    """And no other."""
    listed = (DEBIAN / "postfix-mtasts.manpages").read_text().split()
    assert sorted(listed) == sorted(f"man/{path.name}" for path in (ROOT / "man").iterdir())


def test_the_project_lives_at_one_place() -> None:
    """Both kinds of package and SECURITY.rst name the same pages and the same maintainer."""
    fields = dict(re.findall(r"^(Homepage|Vcs-Browser|Vcs-Git|Maintainer): (.*)$", CONTROL, re.MULTILINE))
    urls = PROJECT["urls"]
    assert fields["Homepage"] == urls["Homepage"]
    assert fields["Vcs-Browser"] == urls["Source"]
    assert fields["Vcs-Git"] == f"{urls['Source']}.git"
    metadata = (DEBIAN / "upstream/metadata").read_text()
    for name in ("Documentation", "Issues", "Changelog"):
        assert urls[name].startswith(f"{urls['Source']}/-/")
        assert f": {urls[name]}\n" in metadata
    assert urls["Issues"] in (ROOT / "SECURITY.rst").read_text()
    [maintainer] = PROJECT["maintainers"]
    assert fields["Maintainer"] == f"{maintainer['name']} <{maintainer['email']}>"


@pytest.mark.parametrize(
    ("unit_file", "package", "profile"),
    [
        ("postfix-mtasts.service", "postfix-mtasts", "postfix-mtasts"),
        ("postfix-mtasts-owner.postfix-mtasts-serve.service", "postfix-mtasts-owner", "postfix-mtasts-serve"),
    ],
)
def test_each_service_asks_for_the_profile_that_its_package_loads(unit_file: str, package: str, profile: str) -> None:
    """It starts without the profile too: the minus says so."""
    assert f"\nAppArmorProfile=-{profile}\n" in (DEBIAN / unit_file).read_text()
    text = (ROOT / "contrib/apparmor" / profile).read_text()
    assert f"\nprofile {profile} flags=(attach_disconnected) {{\n" in text
    assert f"include if exists <local/{profile}>" in text
    assert f"contrib/apparmor/{profile} etc/apparmor.d\n" in (DEBIAN / f"{package}.install").read_text()
    assert f"dh_apparmor -p{package} --profile-name={profile}\n" in (DEBIAN / "rules").read_text()
