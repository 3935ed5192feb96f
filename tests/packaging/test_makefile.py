"""The Makefile: what its targets run."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def recipe(*words: str) -> str:
    """What make would run for *words*, without running it."""
    clean = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "TESTS")}
    done = subprocess.run(["make", "-n", *words], cwd=ROOT, env=clean, check=True, capture_output=True, text=True)
    return done.stdout


def test_make_run_keeps_its_store_in_the_checkout() -> None:
    """Root's files in /var/lib/postfix-mtasts would shut out the service of the package."""
    text = recipe("run")
    assert f"daemon --config {ROOT}/.run/config.yml" in text
    assert f"'{ROOT}/.run'" in text
    assert "/var/lib" not in text


@pytest.mark.parametrize("target", ["check", "test"])
def test_one_file_of_tests_can_be_named(target: str) -> None:
    """TESTS= takes the place of all of them."""
    last = recipe(target, "TESTS=tests/core/test_policy.py").splitlines()[-1]
    assert last.split("pytest ")[1].removeprefix("-q ") == "tests/core/test_policy.py"
    assert "test_policy" not in recipe(target)


def test_make_check_needs_no_package_of_the_system() -> None:
    """An ordinary user runs it."""
    text = recipe("check")
    assert "apt" not in text.replace("adapters", "")
    for tool in ("ruff format --check", "ruff check", "codespell", "mypy", "lint-imports", "pytest"):
        assert tool in text
