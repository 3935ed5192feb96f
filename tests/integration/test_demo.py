"""`make demo`, as a newcomer sees it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from demo.owner import FAULTS

FATES = [
    ("honest.example", "sent, TLS not verified", "sent, TLS verified"),
    ("stripped.example", "SENT IN CLEAR, for all to read", "kept: not sent to anybody"),
    ("forged.example", "READ BY THE ATTACKER", "kept: not sent to anybody"),
]


def test_the_demo_shows_what_the_daemon_is_for() -> None:
    """Three messages, without the daemon and with it; then lookups, a fault, an attack; and it ends by itself."""
    # /etc/resolv.conf is that of these tests, a file without a name, which nothing can be mounted on
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", f"umount /etc/resolv.conf && exec {sys.executable} -m demo.demo"],
        cwd=Path(__file__).parents[2],
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
