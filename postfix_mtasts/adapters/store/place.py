"""The directory that a store lives in, and the lock that decides who holds it.

Rule 1: the lock is on the directory itself (flock): it needs no file, so it
        can be taken on a full disk and on a read-only mount, and the kernel
        gives it back whatever becomes of the process.
Rule 2: a directory that this user can never use is refused with the reason;
        one that is only full or read-only now is taken.
Rule 3: a path can lead to another directory later. `moved` tells, and nothing
        at the new place is touched before its lock is held.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import pwd
import stat
from collections.abc import Iterator
from pathlib import Path

from ...errors import StoreBusyError, StoreError

HOLDER = "lock"  # the file that names the process, for the message of the next one
DATABASE = "cache.db"  # diskcache's name for it
_FILES = (DATABASE, f"{DATABASE}-wal", f"{DATABASE}-shm", HOLDER)
_LATER = (errno.EROFS, errno.ENOSPC, errno.EDQUOT)  # a change that may work another time


class Place:
    """The directory of a store; hold() before anything in it is used."""

    def __init__(self, directory: Path) -> None:
        self.directory = Path(os.path.abspath(directory))
        self._lock = -1  # a descriptor of the directory, with the lock

    def hold(self) -> None:
        """Make the directory if it is not there, check it, and take its lock; does nothing if that is held.

        Raises: StoreBusyError, StoreError.
        """
        _prepare(self.directory)
        try:
            found = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise _unusable(self.directory, error) from error
        if self._lock >= 0 and os.path.sameopenfile(self._lock, found):
            os.close(found)
            return
        try:
            fcntl.flock(found, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(found)
            raise StoreBusyError(
                f"{self.directory}: in use by {_holder(self.directory)}; one process at a time can hold a store"
            ) from None
        except OSError as error:
            os.close(found)
            raise _unusable(self.directory, error) from error
        self.release()
        self._lock = found
        _tell_holder(self.directory)

    def moved(self) -> bool:
        """Whether the path no longer leads to the directory whose lock is held. Raises: OSError."""
        try:
            return self._lock < 0 or not os.path.samestat(os.stat(self.directory), os.fstat(self._lock))
        except (FileNotFoundError, NotADirectoryError):
            return True

    def release(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def holder(directory: Path) -> int | None:
    """Return the process that holds the lock, and leave the lock alone; None if nobody does, or if that cannot be told.

    Source: proc_locks(5), which leaves out processes of other containers. The
    file HOLDER can be older than the lock, on a read-only mount.
    """
    try:
        found = os.stat(directory)
        locks = Path("/proc/locks").read_text().splitlines()
    except OSError:
        return None
    place = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    for _, kind, _, _, process, where, *_ in map(str.split, locks):
        if (kind, where) == ("FLOCK", place) and int(process) > 0:
            return int(process)
    return None


def _prepare(directory: Path) -> None:
    """Make *directory* with mode 0700, or see that it is ours and give it that mode. Raises: StoreError."""
    if os.path.expandvars(directory) != str(directory):
        raise StoreError(f"{directory}: diskcache would replace the $ name; choose a path without one")
    try:
        with contextlib.suppress(FileExistsError):
            directory.mkdir(mode=0o700, parents=True)
        found = directory.stat()
        if not stat.S_ISDIR(found.st_mode):
            raise StoreError(f"{directory}: not a directory; name one, or a path where one can be made")
        for name in (".", *_FILES):
            _check_owner(directory, name)
        if stat.S_IMODE(found.st_mode) != 0o700:
            with _later():
                directory.chmod(0o700)
    except OSError as error:
        raise _unusable(directory, error) from error


def _check_owner(directory: Path, name: str) -> None:
    """Refuse a file of the store that another user owns: SQLite would only say that it cannot open it."""
    path, user = directory / name, os.geteuid()
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if found.st_uid != user and (user != 0 or path == directory):  # root may use all files, not take over the store
        raise StoreError(
            f"{path}: belongs to {_user(found.st_uid)}, not to {_user(user)} who runs this; "
            f"run it as the owner, or `chown -R {_user(user)} {directory}`"
        )
    if path != directory and path.exists() and not path.is_file():
        raise StoreError(f"{path}: not a regular file; remove it")


@contextlib.contextmanager
def _later() -> Iterator[None]:
    """Pass over what a full disk or a read-only mount refuses now."""
    try:
        yield
    except OSError as error:
        if error.errno not in _LATER:
            raise


def _tell_holder(directory: Path) -> None:
    """Write down which process holds the lock; where that fails only a message is poorer."""
    with contextlib.suppress(OSError):
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        file = os.open(directory / HOLDER, flags, 0o600)
        try:
            os.write(file, b"%d\n" % os.getpid())
        finally:
            os.close(file)


def _holder(directory: Path) -> str:
    if process := holder(directory):
        return f"process {process}"
    try:
        file = os.open(directory / HOLDER, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            said = os.read(file, 20).strip()
        finally:
            os.close(file)
    except OSError:
        return "another process"
    return f"process {said.decode()}" if said.isdigit() else "another process"


def _user(uid: int) -> str:
    """Return the user's name; the number if there is none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _unusable(directory: Path, error: OSError) -> StoreError:
    place = error.filename if isinstance(error.filename, str) else directory
    return StoreError(
        f"{place}: {error.strerror or error}; the store needs a directory that user {_user(os.geteuid())} can write to"
    )
