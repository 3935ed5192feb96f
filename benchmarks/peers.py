"""Other daemons that do the same job, measured beside ours: same DNS, same CA, caches in memory.

postfix-mta-sts-resolver comes from PyPI. postfix-tlspol is a Go program that has to be on the PATH; its
configuration is written from its documentation.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks.rig import Bench, Place
from tests.support.servers.debian import NSD
from tests.support.servers.internet import Internet


@dataclass(frozen=True, slots=True)
class Server:
    """A daemon that is measured; *pid* is None where somebody else started it."""

    place: Place
    pid: int | None = None


Servers = dict[str, Server]  # by name


def start(stack: ExitStack, bench: Bench, internet: Internet, programs: dict[str, str]) -> Servers:
    """Start the peers whose *programs* are there, and say which are not."""
    servers: Servers = {}
    for name, program in programs.items():
        if shutil.which(program) is None:
            print(f"{name} is not measured: there is no program {program}", flush=True)
        else:
            servers[name] = stack.enter_context(_CONTEXTS[name](bench, program, internet))
    return servers


@contextmanager
def _mta_sts_resolver(bench: Bench, program: str, internet: Internet) -> Iterator[Server]:
    config = {
        "host": "127.0.0.1",
        "port": 18461,
        "cache": {"type": "internal", "options": {"cache_size": 200_000}},
        "default_zone": {"strict_testing": False, "timeout": 10},
    }
    Path("/etc/resolv.conf").write_text(f"nameserver {NSD}\n")  # of this namespace
    with _running(bench, internet, config, (program, "-v", "error", "-c"), ("inet:127.0.0.1:18461", "postfix")) as it:
        yield it


@contextmanager
def _tlspol(bench: Bench, program: str, internet: Internet) -> Iterator[Server]:
    address = "127.0.0.1:18463"
    cache = bench.directory / "tlspol.db"
    config = {
        "server": {"address": address, "prefetch": False, "cache-file": str(cache), "log-level": "error"},
        "dns": {"address": f"{NSD}:53"},
    }
    with _running(bench, internet, config, (program, "-config"), (f"inet:{address}", "QUERY")) as it:
        yield it


_CONTEXTS = {"mta-sts-resolver": _mta_sts_resolver, "tlspol": _tlspol}


@contextmanager
def _running(
    bench: Bench, internet: Internet, config: dict[str, Any], command: tuple[str, ...], place: Place
) -> Iterator[Server]:
    """Run *command*, whose last argument is the name of a file that holds *config*."""
    stem = bench.directory / Path(command[0]).name
    stem.with_suffix(".yml").write_text(yaml.safe_dump(config))
    with stem.with_suffix(".log").open("wb") as log:
        process = subprocess.Popen(
            [*command, stem.with_suffix(".yml")],
            env={**os.environ, "SSL_CERT_FILE": str(internet.ca_file)},
            stdout=log,
            stderr=log,
        )
        try:
            bench.wait_for(place)
            yield Server(place, process.pid)
        finally:
            process.kill()
            process.wait()
