"""postfix-mtasts at work, in a world of four domains on this machine: `make demo`.

DNS server, policy hosts and daemon run in namespaces of their own. It needs no
internet, and root only where users may make no namespaces. All of it ends
with the command, Ctrl-C too.
"""

from __future__ import annotations

import signal
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from demo import namespaces


def main() -> int:
    if sys.argv[1:] == [namespaces.INSIDE]:
        return _inside()
    return namespaces.run("demo.demo", "demo")


def _inside() -> int:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        from demo.show import show  # late: what it imports takes a moment, and Ctrl-C may come in it

        namespaces.raise_loopback()
        with tempfile.TemporaryDirectory(prefix="postfix-mtasts-demo-") as name, ExitStack() as stack:
            show(Path(name), stack)
    except KeyboardInterrupt:
        print("\nStopped; nothing is left behind.")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
