"""HACKING, ARCHITECTURE, CONTRIBUTING and SECURITY name what there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = ["ARCHITECTURE.rst", "CONTRIBUTING.rst", "HACKING.rst", "README.rst", "SECURITY.rst"]
PLACES = (ROOT, ROOT / "postfix_mtasts", ROOT / "docs/monitoring")
OWNERS = {"check", "policy", "record", "report", "serve"}  # commands of the owner's side, and what only they print with
OWNERS_WORDS = {"checking", "libraries", "policywords", "reporting", "windows"}
MADE = {".run/", "cli/commands/NAME.py", "adapters/store/NAME.py"}  # at run time, or by who reads this


def paths(text: str) -> set[str]:
    """What is in double backquotes and looks like a path of ours, and what a link goes to."""
    quoted = re.findall(r"``([\w./-]+)``", text)
    links = re.findall(r"<([\w./-]+)>`_", text)
    return {path for path in quoted if re.search(r"\w/|\.(py|cfg|yml|rst|toml)$", path)} | set(links)


@pytest.mark.parametrize("page", PAGES)
def test_each_path_exists(page: str) -> None:
    """In the checkout or below the package; a moved file must not leave a wrong signpost."""
    named = {path for path in paths((ROOT / page).read_text()) if not path.startswith("/")} - MADE
    assert [path for path in sorted(named) if not any((place / path).exists() for place in PLACES)] == []


def test_the_picture_has_each_room() -> None:
    """Of the package, and of the daemon."""
    picture = (ROOT / "ARCHITECTURE.rst").read_text().partition("The rooms\n")[2].partition("Imports go downward")[0]
    package = ROOT / "postfix_mtasts"
    for room in (*package.glob("*/__init__.py"), *(package / "daemon").glob("*/__init__.py")):
        assert re.search(rf"\b{room.parent.name}\b", picture), room.parent.name


def test_each_folder_of_the_package_has_a_map() -> None:
    """The docstring of its __init__.py names each module and folder in it."""
    for init in (ROOT / "postfix_mtasts").rglob("__init__.py"):
        if init.parent.name in ("postfix_mtasts", "core", "commands"):  # their names say it
            continue
        text = init.read_text()
        members = {path.stem for path in init.parent.glob("*.py")} | {
            path.parent.name for path in init.parent.glob("*/__init__.py")
        }
        missing = {name for name in members - {"__init__"} if not re.search(rf"\b{name}\b", text)}
        assert not missing, f"{init.relative_to(ROOT)}: {sorted(missing)}"


def test_each_module_of_the_command_line_has_a_test_file() -> None:
    """Of its own, at the same place; those of the owner's side are tested by what their commands print."""
    package = ROOT / "postfix_mtasts/cli"
    modules = [path.relative_to(package) for path in package.rglob("*.py") if path.stem != "__init__"]
    modules = [path for path in modules if not {*path.parts, path.stem} & (OWNERS | OWNERS_WORDS)]
    tests = [ROOT / "tests/cli" / path.parent / f"test_{path.name}" for path in modules]
    assert [str(path.relative_to(ROOT)) for path in tests if not path.exists()] == []
