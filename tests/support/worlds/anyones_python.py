"""This Python with this project, at a place that every user may enter: root's own home is closed to others."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import postfix_mtasts


@contextmanager
def program(directory: Path) -> Iterator[Path]:
    """Yield a file that runs `postfix-mtasts`, for any user.

    Args:
        directory: may be entered by all; the mounts in it are seen by this mount namespace alone.
    """
    places = {
        "python": Path(sys.base_prefix),
        "packages": Path(sysconfig.get_paths()["purelib"]),
        "project": Path(postfix_mtasts.__file__).parents[1],
    }
    with ExitStack() as stack:
        for name, source in places.items():
            (directory / name).mkdir()
            subprocess.run(["mount", "--bind", str(source), str(directory / name)], check=True)
            stack.callback(subprocess.run, ["umount", "--lazy", str(directory / name)], check=True)
        python = directory / "python" / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
        script = directory / "postfix-mtasts"
        path = f"{directory}/project:{directory}/packages"
        variables = f"PYTHONPATH={path} LD_LIBRARY_PATH={directory}/python/lib PYTHONDONTWRITEBYTECODE=1"
        script.write_text(f'#!/bin/sh\nexport {variables}\nexec {python} -m postfix_mtasts "$@"\n')
        script.chmod(0o755)
        yield script
