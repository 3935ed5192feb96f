"""postfix-mtasts at work, in a world of four domains on this machine: `make demo`.

DNS server, policy hosts and daemon run in namespaces of their own, so that
port 443 is free and nothing of this machine is touched or asked. It needs no
internet, and root only where users may make no namespaces. All of it ends
with the command, Ctrl-C too.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

INSIDE = "--inside"


def main() -> int:
    if sys.argv[1:] == [INSIDE]:
        return _inside()
    unshare = shutil.which("unshare")
    names = ["--net", "--pid", "--fork", "--kill-child"]
    if os.geteuid() != 0:
        names.insert(0, "--map-root-user")
    else:
        names += ["--mount", "--mount-proc"]  # for Postfix, which reads /etc/resolv.conf
    if unshare is None or subprocess.run([unshare, *names, "true"], capture_output=True).returncode != 0:
        print("make demo needs port 443 in a network namespace, which this user cannot make: run it as root.")
        return 1
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the demo inside, which cleans up
    return subprocess.Popen([unshare, *names, sys.executable, "-m", "demo.demo", INSIDE]).wait()


def _inside() -> int:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        from demo.show import show  # late: what it imports takes a moment, and Ctrl-C may come in it

        _raise_loopback()
        with tempfile.TemporaryDirectory(prefix="postfix-mtasts-demo-") as name, ExitStack() as stack:
            show(Path(name), stack)
    except KeyboardInterrupt:
        print("\nStopped; nothing is left behind.")
        return 130
    return 0


def _raise_loopback() -> None:
    """What `ip link set lo up` does, which may not be installed."""
    up, set_flags = 0x41, 0x8914  # IFF_UP and IFF_RUNNING; SIOCSIFFLAGS
    with socket.socket() as sock:
        fcntl.ioctl(sock, set_flags, struct.pack("16sh14x", b"lo", up))


if __name__ == "__main__":
    sys.exit(main())
