"""A shell in the demo's world, in which every command of README.rst works as printed: `make demo-shell`.

The daemon listens where README.rst says; the programs of Postfix read a
main.cf of the demo's own (MAIL_CONFIG), and `postfix-mtasts` its configuration.
Commands may also come from standard input. All of it ends with the shell.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from demo import namespaces


def main() -> int:
    if sys.argv[1:] == [namespaces.INSIDE]:
        return _inside()
    return namespaces.run("demo.shell", "demo-shell")


def _inside() -> int:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        from demo.stage import Stage  # late: what it imports takes a moment, and Ctrl-C may come in it

        namespaces.raise_loopback()
        with tempfile.TemporaryDirectory(prefix="postfix-mtasts-demo-") as name, ExitStack() as stack:
            stage = Stage(Path(name), stack)
            signal.signal(signal.SIGINT, lambda number, frame: None)  # Ctrl-C is for what the shell runs
            command = ["sh"]
            if interactive := sys.stdin.isatty():
                print(stage.welcome)
                command = ["bash", "--norc"] if shutil.which("bash") else ["sh"]
            code = subprocess.run(command, cwd=stage.home, env=stage.environment, check=False).returncode
            return 0 if interactive else code
    except KeyboardInterrupt:
        print("\nStopped; nothing is left behind.")
        return 130


if __name__ == "__main__":
    sys.exit(main())
