"""`make demo`, as a newcomer sees it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from demo.owner import FAULTS

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.rst").read_text()
# That of these tests is a file without a name, which nothing can be mounted on
WITHOUT_RESOLV_CONF = ["unshare", "--mount", "sh", "-c", 'umount /etc/resolv.conf && exec "$@"', "sh"]
FATES = [
    ("honest.example", "sent, TLS not verified", "sent, TLS verified"),
    ("stripped.example", "SENT IN CLEAR, for all to read", "kept: not sent to anybody"),
    ("forged.example", "READ BY THE ATTACKER", "kept: not sent to anybody"),
]


def test_the_demo_shows_what_the_daemon_is_for() -> None:
    """Three messages, without the daemon and with it; then lookups, a fault, an attack; and it ends by itself."""
    done = subprocess.run(
        [*WITHOUT_RESOLV_CONF, sys.executable, "-m", "demo.demo"],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stderr
    for domain, without, with_daemon in FATES:
        assert re.search(rf"{domain} +{re.escape(without)} +{re.escape(with_daemon)}\n", done.stdout), done.stdout
    assert "secure match=mx.bank.example:.mail.bank.example servername=hostname" in done.stdout
    assert "the certificate, or one above it, has expired" in done.stdout
    before, repaired = re.split(r"^\* .*", done.stdout, flags=re.MULTILINE)[0], done.stdout.split("\n* ")[1:]
    assert [code for code in FAULTS if f": {code}: " in before] == list(FAULTS)
    left = [[code for code in FAULTS if f" {code}: " in part.split("Now everything")[0]] for part in repaired]
    assert [len(codes) for codes in left] == [4, 3, 2, 1, 0]
    assert "garden.example: fine (2 info)" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


PAGES = README.partition("You send mail\n----")[2].partition("You develop\n----")[0]
SHOWN = re.findall(
    r"^    (?:\$ )?((?:postfix-mtasts|postmap) .*)\n((?:    (?!\$|postfix-mtasts).*\n)*)", PAGES, re.MULTILINE
)
ALSO = ["postfix-mtasts status", "postfix-mtasts status --monitor"]  # in its sentences
USERS = [("root", [], ["postfix reload"]), ("ordinary user", ["unshare", "--map-root-user", "--mount"], [])]


@pytest.mark.parametrize(("who", "before", "more"), USERS, ids=[row[0] for row in USERS])
def test_every_command_of_the_readme_works_as_printed(who: str, before: list[str], more: list[str]) -> None:
    """In `make demo-shell`, by root with a Postfix that runs, by others without; and nothing is left behind."""
    commands = [*SHOWN, *((command, "") for command in [*ALSO, *more])]
    assert len(SHOWN) == 9
    done = subprocess.run(
        [*WITHOUT_RESOLV_CONF, *before, sys.executable, "-m", "demo.shell"],
        cwd=ROOT,
        input="".join(f'{command}\necho "== $?"\n' for command, _ in commands),
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    told = re.split(r"^== (\d+)\n", done.stdout, flags=re.MULTILINE)
    for (command, shown), printed, code in zip(commands, told[::2], told[1::2], strict=False):
        assert (command, code) == (command, "1" if "--explain" in command else "0"), printed + done.stderr
        assert not shown or _words(printed) == _words(shown), command
    assert len(told) == 2 * len(commands) + 1
    assert not [file for file in Path("/proc").glob("[0-9]*/cmdline") if b"postfix-mtasts-demo-" in _read(file)]


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:  # it has just ended
        return b""


def _words(text: str) -> list[str]:
    return re.sub(r"[0-9]+ ms", "N ms", text).split()
