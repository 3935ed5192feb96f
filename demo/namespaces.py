"""Run a module of the demo in namespaces of its own: port 443 is free there, and nothing of this machine is touched."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys

INSIDE = "--inside"


def run(module: str, target: str) -> int:
    """Run `python -m MODULE --inside` there, and return its exit code; *target* of make is named if it cannot be."""
    unshare = shutil.which("unshare")
    names = ["--net", "--pid", "--fork", "--kill-child"]
    if os.geteuid() != 0:
        names.insert(0, "--map-root-user")
    else:
        names += ["--mount", "--mount-proc"]  # for Postfix, which reads /etc/resolv.conf
    if unshare is None or subprocess.run([unshare, *names, "true"], capture_output=True).returncode != 0:
        print(f"make {target} needs port 443 in a network namespace, which this user cannot make: run it as root.")
        return 1
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for what runs inside, which cleans up
    return subprocess.Popen([unshare, *names, sys.executable, "-m", module, INSIDE]).wait()


def raise_loopback() -> None:
    """What `ip link set lo up` does, which may not be installed."""
    up, set_flags = 0x41, 0x8914  # IFF_UP and IFF_RUNNING; SIOCSIFFLAGS
    with socket.socket() as sock:
        fcntl.ioctl(sock, set_flags, struct.pack("16sh14x", b"lo", up))
