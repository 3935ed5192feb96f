"""A published policy in time: current, changed, withdrawn, gone.

A sender may keep a policy for its max_age after it last fetched it, so what
was ever served binds its owner that long: a domain without a policy file is
served `mode: none` until nobody can hold an older policy any more (RFC 8461
section 8.3), and only then nothing.

Values and `now` in, values out. Reading the folder, the history on disk, DNS
and HTTP are publishing/'s work.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

from .names import Domain
from .policy import Policy

WITHDRAWN = b"version: STSv1\r\nmode: none\r\nmax_age: 86400\r\n"  # section 8.3: what a withdrawn domain serves


@dataclass(frozen=True, slots=True)
class Publication:
    """What this host serves, or still owes, for one domain.

    Invariant: whoever fetched any policy of the domain from this host holds it
    until `owed_until` at the latest, or, while `current`, until max_age from now.
    """

    domain: Domain
    text: bytes  # the last valid policy, byte for byte
    max_age: int  # seconds, of *text*
    current: bool  # its file is there; else the domain is withdrawn
    owed_until: float  # UTC seconds: the last policy that is not current any more has expired everywhere then


@dataclass(frozen=True, slots=True)
class Order:
    """One certificate that is being ordered from an ACME server (RFC 8555 section 7.4)."""

    name: str  # the policy host, lower-case A-labels
    uri: str  # of the order, at the server
    key: str  # the new certificate's private key, PEM


def publish(old: Publication | None, domain: Domain, text: bytes, policy: Policy, now: float) -> Publication:
    """Return the publication once *text*, which reads as *policy*, is the domain's current policy.

    Returns *old* itself where nothing changes.
    """
    if old is not None and old.current and old.text == text:
        return old
    return Publication(domain, text, policy.max_age, True, _owed(old, now))


def withdraw(old: Publication, now: float) -> Publication:
    """Return the publication once the domain's policy file is gone; *old* itself if it was gone before."""
    return replace(old, current=False, owed_until=_owed(old, now)) if old.current else old


def served(publication: Publication, now: float) -> bytes | None:
    """Return the policy to serve at *now* (UTC seconds); None: 404."""
    if publication.current:
        return publication.text
    return WITHDRAWN if now < publication.owed_until else None


def policy_id(text: bytes) -> str:
    """Return the record id of a policy as served: it changes if, and only if, the policy does.

    The first 20 hexadecimal digits of SHA-256, which fit the 32 characters of
    RFC 8461 section 3.1.
    """
    return hashlib.sha256(text).hexdigest()[:20]


def _owed(old: Publication | None, now: float) -> float:
    """When the last holder of what was served up to *now* lets go of it."""
    if old is None:
        return 0.0
    return max(old.owed_until, now + old.max_age) if old.current else old.owed_until
