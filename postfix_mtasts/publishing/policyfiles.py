"""The folder of policies: DOMAIN.txt, each a policy byte for byte as it is served.

Editors, git and configuration management work on these files. A symbolic link
to another domain's file gives an alias domain its policy.

Rule 1: a file counts once it stood still between two readings of the folder,
        and is gone once two readings missed it: half a file that is being
        written, or the moment in which an editor swaps files, is never served.
Rule 2: what cannot be read now is a fault, and nothing is withdrawn for it: a
        folder that is not mounted must not end everybody's protection.
Rule 3: names that are not DOMAIN.txt are ignored.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from ..adapters.https.fetch import BODY_LIMIT
from ..core.names import Domain, parse_domain
from ..core.policy import Policy, parse_policy
from ..errors import DomainError, PolicySyntaxError

SUFFIX = ".txt"


@dataclass(frozen=True, slots=True)
class PolicyFile:
    """One file that was read: a valid policy, or the reason why it is refused."""

    text: bytes
    policy: Policy | None  # None: refused
    fault: str = ""  # one sentence, where policy is None


Stamp: TypeAlias = tuple[int, ...]  # what changes when a file does


@dataclass(frozen=True, slots=True)
class Reading:
    """The folder as the last looks found it."""

    files: Mapping[Domain, PolicyFile]
    stamps: Mapping[Domain, Stamp]  # of what stands in `files`
    fault: str = ""  # why the folder as a whole could not be read; all else is then as before
    seen: Mapping[Domain, Stamp] | None = None  # at the last look that could be made
    seen_before: Mapping[Domain, Stamp] | None = None  # at the one before it

    def is_gone(self, domain: Domain) -> bool:
        """Tell whether two looks in a row missed the file of *domain*."""
        return all(seen is not None and domain not in seen for seen in (self.seen, self.seen_before))


NOTHING_READ = Reading({}, {})


def path_of(folder: Path, domain: Domain) -> Path:
    """Return where the policy file of *domain* stands in *folder*."""
    return folder / f"{domain}{SUFFIX}"


def read_folder(folder: Path, before: Reading, settled: bool = False) -> Reading:
    """Read what changed in *folder* since *before*.

    Args:
        settled: take files at the first sight of them, as a command does that reads the folder once.

    Never raises OSError: what cannot be read stays as it was, with a fault.
    """
    try:
        seen = _stamps(folder)
    except OSError as error:
        return replace(before, fault=f"the folder cannot be read: {error.strerror or error}")
    files: dict[Domain, PolicyFile] = {}
    stamps: dict[Domain, Stamp] = {}
    for domain, stamp in seen.items():
        old = before.files.get(domain)
        if old is not None and before.stamps[domain] == stamp:
            files[domain], stamps[domain] = old, stamp
        elif settled or (before.seen or {}).get(domain) == stamp:
            files[domain], stamps[domain] = _read(path_of(folder, domain)), stamp
        elif old is not None:  # it changes just now: the old text counts until it stands still
            files[domain], stamps[domain] = old, before.stamps[domain]
    return Reading(files, stamps, "", seen, seen if settled else before.seen)


def _stamps(folder: Path) -> dict[Domain, Stamp]:
    """What changes when a file does, of each DOMAIN.txt, links followed."""
    found: dict[Domain, Stamp] = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            domain = _domain_of(entry.name)
            if domain is None:
                continue
            try:
                status = entry.stat()
                found[domain] = (status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino, status.st_dev)
            except OSError as error:  # a link to nowhere, or a loop of them
                found[domain] = (error.errno or 0,)
    return found


def _domain_of(name: str) -> Domain | None:
    """The domain that a file name stands for; only the one spelling in lower-case A-labels counts."""
    text = name.removesuffix(SUFFIX)
    if text == name:
        return None
    try:
        domain = parse_domain(text)
    except DomainError:
        return None
    return domain if domain == text else None


def _read(path: Path) -> PolicyFile:
    try:
        # Not blocking: a pipe in the file's place would hold the reader up for ever.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:
            text = stream.read(BODY_LIMIT + 1)
    except OSError as error:
        return PolicyFile(b"", None, f"cannot be read: {error.strerror or error}")
    return examine(text or b"")


def examine(text: bytes) -> PolicyFile:
    """Read *text* as senders do: our own parser decides what may be published."""
    if len(text) > BODY_LIMIT:
        return PolicyFile(text, None, f"over {BODY_LIMIT // 1024} KiB: senders refuse it (RFC 8461 section 3.3)")
    try:
        return PolicyFile(text, parse_policy(text))
    except PolicySyntaxError as error:
        return PolicyFile(text, None, str(error))
