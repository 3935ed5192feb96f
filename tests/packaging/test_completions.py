"""completions/: they are what the parser says, and the shells take them."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COMPLETIONS = ROOT / "completions"


def generated() -> dict[str, str]:
    """What packaging/completions would write."""
    loader = importlib.machinery.SourceFileLoader("completions", str(ROOT / "packaging/completions"))
    spec = importlib.util.spec_from_loader("completions", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    texts: dict[str, str] = module.completions()
    return texts


def test_they_are_what_the_parser_says() -> None:
    """After a change of commands or options: `make completions`."""
    written = {path.name: path.read_text() for path in COMPLETIONS.iterdir()}
    assert written == generated(), "run: make completions"


ASK = {
    "bash": """
        source completions/postfix-mtasts
        COMP_WORDS=(postfix-mtasts config c) COMP_CWORD=2
        _shtab_postfix_mtasts
        printf '%s\\n' "${COMPREPLY[@]}" """,
    "fish": "source completions/postfix-mtasts.fish; complete -C 'postfix-mtasts config c'",
    "zsh": """
        compdef() { }
        _arguments() { }; _describe() { eval "print -l \\${(P)2}" }
        source completions/_postfix-mtasts
        _shtab_postfix_mtasts_config_commands""",
}


@pytest.mark.parametrize("shell", ASK)
def test_the_shell_offers_the_commands(shell: str) -> None:
    """`postfix-mtasts config c` becomes check."""
    if shutil.which(shell) is None:
        pytest.skip(f"this machine has no {shell}")
    done = subprocess.run([shell, "-c", ASK[shell]], cwd=ROOT, capture_output=True, text=True)
    assert "check" in [line.partition("\t")[0].partition(":")[0] for line in done.stdout.splitlines()], done.stderr
