"""Run a command in network, mount, process and host-name namespaces of its own.

    python -m tests.support.namespace pytest tests

Inside, all of 127.0.0.0/8 and ::1 is there and nothing else; ports 25, 53 and
443 are free; the resolver is 127.0.0.1; and whatever the command leaves
running dies with it. Nothing of the machine is changed.

Making namespaces takes root: for an ordinary user the command runs where it
is, and tests/integration leaves itself out. What must be fetched from Debian's
mirror is fetched by a command that `make_outside` leads back.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

MARK = "TESTS_NAMESPACE"  # in the environment of what runs inside
_SETUP = "--set-up"
_OUTSIDE = "TESTS_OUTSIDE"  # file descriptors of the namespaces that these were made from: net,mnt

RESOLV_CONF = "nameserver 127.0.0.1\noptions timeout:1 attempts:1 trust-ad edns0\n"


def inside() -> bool:
    """Whether this process runs in namespaces that this module made."""
    return MARK in os.environ


def make_outside(maker: Path, target: Path) -> None:
    """Run `MAKER TARGET` so that it sees the machine's network and files, as before `main`."""
    net, mnt = fds = tuple(int(fd) for fd in os.environ[_OUTSIDE].split(","))
    done = subprocess.run(
        ["nsenter", f"--net=/proc/self/fd/{net}", f"--mount=/proc/self/fd/{mnt}", "--", str(maker), str(target)],
        pass_fds=fds,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, f"{maker.name} could not make {target}: {done.stdout[-5000:]}"


def main(arguments: list[str]) -> None:
    if arguments[0] == _SETUP:
        _set_up()
        os.execvpe(arguments[1], arguments[1:], {**os.environ, MARK: "1"})
    if os.geteuid() != 0:
        os.execvp(arguments[0], arguments)
    fds = [os.open(f"/proc/self/ns/{kind}", os.O_RDONLY) for kind in ("net", "mnt")]
    for fd in fds:
        os.set_inheritable(fd, True)
    os.environ[_OUTSIDE] = ",".join(map(str, fds))
    unshare = ["unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child", "--uts", "--"]
    os.execvp(unshare[0], [*unshare, sys.executable, "-m", "tests.support.namespace", _SETUP, *arguments])


def _set_up() -> None:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    subprocess.run(["hostname", "testhost"], check=True)
    with tempfile.NamedTemporaryFile("w") as file:
        file.write(RESOLV_CONF)
        file.flush()
        os.chmod(file.name, 0o644)
        subprocess.run(["mount", "--bind", file.name, "/etc/resolv.conf"], check=True)


if __name__ == "__main__":
    main(sys.argv[1:])
