"""Certificates that somebody else keeps: NAME/fullchain.pem and NAME/privkey.pem, as certbot lays them out.

Read again when they change. A pair that does not belong together, as in the
moment of a renewal, is left alone: the certificate in use stays in use.
"""

from __future__ import annotations

import logging
import os
import stat
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from ..core.quoting import KV
from .certificates import Certificate, read_certificate

log = logging.getLogger(__name__)

LOOK_EVERY = 5.0  # seconds between two looks
SIZE_LIMIT = 1 << 20  # bytes of one file


class CertificateFiles:
    """The certificates in a folder of folders."""

    def __init__(self, folder: Path, changed: Callable[[str, Certificate], None]) -> None:
        """*changed* is called with each new certificate; it raises ValueError for one that does not fit its key."""
        self._folder, self._changed = folder, changed
        self._stamps: dict[str, tuple[int, ...]] = {}
        self.certificates: dict[str, Certificate] = {}
        self.faults: dict[str, str] = {}  # name -> one sentence
        self._names: tuple[str, ...] = ()
        self._wake = threading.Event()
        self._stopped = False

    def want(self, names: Iterable[str]) -> None:
        """Read the files for *names* from now on, and look at once."""
        self._names = tuple(names)
        self._wake.set()

    def look_again(self) -> None:
        """Look at once."""
        self._wake.set()

    def run(self) -> None:
        """Look every few seconds until `stop`."""
        while not self._stopped:
            self.look(self._names)
            self._wake.wait(LOOK_EVERY)
            self._wake.clear()

    def stop(self) -> None:
        """End `run` soon."""
        self._stopped = True
        self._wake.set()

    def look(self, names: Iterable[str]) -> None:
        """Read what changed of the files for *names*."""
        for name in names:
            try:
                self._look_at(name)
                self.faults.pop(name, None)
            except (OSError, ValueError) as error:
                reason = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else str(error)
                if self.faults.get(name) != reason:
                    log.warning("certificate-unreadable %s", KV(name=name, reason=reason))
                self.faults[name] = reason

    def _look_at(self, name: str) -> None:
        files = [self._folder / name / "privkey.pem", self._folder / name / "fullchain.pem"]
        stamp = tuple(part for file in files for part in _stamp(file))
        if self._stamps.get(name) == stamp:
            return
        pem = b"\n".join(read_file(file) for file in files)
        certificate = read_certificate(pem)
        self._changed(name, certificate)
        self.certificates[name], self._stamps[name] = certificate, stamp
        log.info("certificate-read %s", KV(name=name, ends=certificate.not_after))


def _stamp(file: Path) -> tuple[int, ...]:
    status = file.stat()
    return status.st_mtime_ns, status.st_size, status.st_ino


def read_file(file: Path) -> bytes:
    """Read one file, without waiting for who might write into a pipe. Raises: OSError, ValueError."""
    with open(os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:
        if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            raise ValueError(f"{file}: is not a regular file")
        return stream.read(SIZE_LIMIT)
