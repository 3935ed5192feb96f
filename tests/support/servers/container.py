"""Our daemon in a container: the image of Containerfile, run by podman in a storage of this run's own.

The image is made by `make-image`, in the network that the tests' namespace was
made from, and kept between runs. A container has the network of the tests'
namespace, a root that cannot be written, and no capability.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from postfix_mtasts.config.environment import variable
from tests.support import namespace
from tests.support.servers.daemon import PATIENCE, Daemon

IMAGES = Path("/var/cache/postfix-mtasts-build/containers")
ROOT = Path(__file__).parents[3]
GRACE = 10  # seconds that `podman stop` leaves, as it does by default

# Podman looks for version 2 of cgroups alone, which a machine may have beside version 1.
_PODMAN = ["unshare", "--mount", "sh", "-c", 'mount -t cgroup2 cgroup2 /sys/fs/cgroup; exec "$@"', "sh", "podman"]


def make_image() -> None:
    """Build what has changed since it was built last."""
    namespace.make_outside(ROOT / "tests/support/make-image", IMAGES)


@dataclass(frozen=True, slots=True)
class Process:
    """One process as ps sees it."""

    pid: int
    parent: int
    state: str  # begins with Z where nobody has waited for its end
    words: str


class Podman:
    """Containers below *directory*, on the images of make_image."""

    def __init__(self, directory: Path) -> None:
        self._storage = [
            *("--storage-driver=overlay", f"--storage-opt=overlay.imagestore={IMAGES / 'storage'}"),
            *(f"--root={directory / 'storage'}", f"--runroot={directory / 'run'}", f"--tmpdir={directory / 'tmp'}"),
            *("--cgroup-manager=cgroupfs", "--events-backend=file", "--log-level=fatal"),
        ]

    def command(self, *words: str) -> list[str]:
        return [*_PODMAN, *self._storage, *words]

    def run(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(self.command(*words), stdin=subprocess.DEVNULL, capture_output=True, text=True)
        assert not check or done.returncode == 0, f"podman {words}: {done.stdout[-1000:]}{done.stderr[-3000:]}"
        return done


class Container(Daemon):
    """`with Container(podman, "name", directory, settings):` as Daemon, with *settings* as variables.

    Its store is the volume "store-NAME", which outlives it.
    """

    limits = ("--ulimit=nofile=8192:8192", "--ulimit=nproc=4096:4096")  # podman asks for more than root may have

    def __init__(self, podman: Podman, name: str, directory: Path, settings: Mapping[str, Any]) -> None:
        self.podman, self.name = podman, name
        self._settings = dict(settings)
        super().__init__(directory, {})
        del self.config["cache"]
        self.listen = self.config.pop("listen")[0]
        self.configure(self.config)

    @property
    def address(self) -> str:
        return str(self.listen)

    def command(self) -> list[str]:
        return self.podman.command("run", "--name", self.name, *self.options(), "postfix-mtasts")

    def options(self) -> list[str]:
        """What `podman run` is given but for the name."""
        settings = {"listen": self.listen, **self._settings, "fetch.ca_file": "/ca.pem"}
        return [
            *("--network=host", "--cgroups=disabled", "--no-hosts", *self.limits),
            *("--read-only", "--read-only-tmpfs=false", "--cap-drop=all", "--security-opt=no-new-privileges"),
            *("--volume", f"store-{self.name}:/var/lib/postfix-mtasts"),
            *("--volume", f"{self.config_file}:/etc/postfix-mtasts/config.yml:ro"),
            *("--volume", f"{self._settings['fetch.ca_file']}:/ca.pem:ro"),
            *(f"--env={variable(key)}={value}" for key, value in settings.items()),
        ]

    def exec(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command in the container."""
        return self.podman.run("exec", self.name, *words, check=check)

    def hang_up(self) -> None:
        self.podman.run("kill", "--signal=HUP", self.name)

    def stop(self) -> float:
        """`podman stop`; the daemon must exit 0 before it is killed."""
        began = time.monotonic()
        self.podman.run("stop", f"--time={GRACE}", self.name)
        took = time.monotonic() - began
        code = self._process.wait(PATIENCE)
        self._end()
        assert code == 0, f"exit code {code}: {self._tail()}"
        self.podman.run("rm", self.name)  # the volume stays
        return took

    def kill(self) -> None:
        self.podman.run("rm", "--force", "--time=0", self.name, check=False)
        super().kill()

    def processes(self) -> list[Process]:
        """What runs in the container, but for what tells of it."""
        lines = self.exec("ps", "-eo", "pid,ppid,stat,args", "--no-headers").stdout.splitlines()
        found = [
            Process(int(pid), int(parent), state, words)
            for pid, parent, state, words in (line.split(maxsplit=3) for line in lines)
        ]
        return [process for process in found if not process.words.startswith("ps ")]
