"""`postfix-mtasts serve`, the process: its start, its signals, its end.

Order of the start: configuration, state and its lock, sockets, the policies
that the history knows, READY.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import pwd
import socket
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from .. import __version__
from ..adapters.files import make_private
from ..config.file import Loaded
from ..config.settings import Settings
from ..core.quoting import KV
from ..errors import ConfigError, StoreBusyError, StoreError
from ..process import signals, systemd
from ..process.logs import Log
from .parts import Parts
from .sockets import Use, open_sockets
from .tls import unraisable

log = logging.getLogger(__name__)

STDERR = 2
LOG_FLUSH = 0.2  # seconds for the log
DRAIN = 5.0  # seconds that SIGTERM leaves to what is under way


def run(loaded: Loaded) -> None:
    """Run until SIGTERM or SIGINT. Raises: ConfigError, ListenError, StoreError, StoreBusyError."""
    settings = loaded.settings
    _check(loaded)
    output = Log(STDERR)
    output.configure(settings.log)
    sys.unraisablehook = unraisable
    try:
        state = _state_directory(Path(settings.publish.state_directory))
        with _locked(state):
            sockets = open_sockets(settings)
            asyncio.run(_main(settings, state, sockets))
    finally:
        signals.ignore()
        output.end(LOG_FLUSH)


def _check(loaded: Loaded) -> None:
    """Raises: ConfigError for settings that are each right and together wrong."""
    publish, faults = loaded.settings.publish, []

    def fault(key: str, wrong: str) -> None:
        place = loaded.origins[key]
        faults.append(f"{place if place != 'default' else loaded.file or 'no configuration file'}: {key}: {wrong}")

    if publish.certificates == "acme" and not publish.acme.agree_to_terms:
        fault("publish.acme.agree_to_terms", "is false; write true once you agree to its terms of service")
    if publish.certificates == "files" and publish.certificate_directory is None:
        fault("publish.certificate_directory", "is null; with certificates: files, name the folder of certificates")
    if (publish.dns_update.server is None) != (publish.dns_update.key_file is None):
        fault("publish.dns_update.key_file", "server and key_file go together; give both, or none")
    if faults:
        raise ConfigError(faults)


def _state_directory(path: Path) -> Path:
    try:
        owner = make_private(path).stat().st_uid
    except OSError as error:
        raise StoreError(f"publish.state_directory: {path}: {error.strerror or error}") from None
    if os.geteuid() == 0 and owner != 0:  # files that root makes there would be unreadable to its owner
        user = _user(owner)
        raise StoreError(f"publish.state_directory: {path} belongs to {user}; run this as {user}, as the service does")
    return path


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"


@contextlib.contextmanager
def _locked(state: Path) -> Iterator[None]:
    """Hold the lock that says whose *state* is. Raises: StoreBusyError, StoreError."""
    try:
        descriptor = os.open(state / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreError(f"publish.state_directory: {state}: {error.strerror or error}") from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreBusyError(f"{state}: another postfix-mtasts serve uses it") from None
        yield
    finally:
        os.close(descriptor)


async def _main(settings: Settings, state: Path, sockets: Mapping[socket.socket, Use]) -> None:
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    for number in signals.END:
        loop.add_signal_handler(number, ended.set)
    try:
        parts = Parts(settings, state)
    except OSError as error:
        raise StoreError(f"publish.state_directory: {error.filename or state}: {error.strerror or error}") from None
    loop.add_signal_handler(signals.RELOAD, parts.look_again)
    servers = parts.servers()
    for sock, use in sockets.items():
        servers[use].listen(sock)
    parts.start()
    log.info("started %s", KV(version=__version__, policies=len(parts.host.table)))
    systemd.notify("READY=1")
    await ended.wait()
    systemd.notify("STOPPING=1")
    log.info("stopping")
    parts.stop()
    await asyncio.gather(*(server.close(DRAIN) for server in servers.values()))
    log.info("stopped")
