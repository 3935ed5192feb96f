"""A Debian 13 in a chroot, for its Postfix and its Valkey: made once, kept between runs, left as it was.

`make-trixie` makes it, in the network that the tests' namespace was made
from; another `make-trixie` makes another. What a test writes goes to a file
system in memory at /srv in it.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
from hashlib import sha256
from pathlib import Path

from tests.support import namespace

_MAKER = Path(__file__).parents[1] / "make-trixie"
ROOT = Path(f"/var/cache/postfix-mtasts-tests/trixie-{sha256(_MAKER.read_bytes()).hexdigest()[:8]}")


def make() -> None:
    """Make the chroot if it is not there."""
    ROOT.parent.mkdir(parents=True, exist_ok=True)
    with (ROOT.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another run may be making it
        if not ROOT.is_dir():
            namespace.make_outside(_MAKER, ROOT)


def command(program: str) -> list[str]:
    """Return what runs *program* of Debian 13 on this machine's files, with Debian 13's libraries."""
    make()
    (loader,) = ROOT.glob("lib*/ld-linux-*.so.?")
    (libraries,) = ROOT.glob("usr/lib/*-linux-gnu")
    return [str(loader), "--library-path", str(libraries), str(ROOT / "usr/bin" / program)]


def enter() -> Path:
    """Make the chroot, and fit it out for this mount namespace: a directory in it for files."""
    make()
    if not os.path.ismount(ROOT / "srv"):
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", str(ROOT / "srv")], check=True)
        subprocess.run(["mount", "-t", "proc", "proc", str(ROOT / "proc")], check=True)
        (ROOT / "etc/resolv.conf").touch()
        (ROOT / "srv/resolv.conf").write_text(namespace.RESOLV_CONF)
        subprocess.run(["mount", "--bind", str(ROOT / "srv/resolv.conf"), str(ROOT / "etc/resolv.conf")], check=True)
    return ROOT / "srv"
