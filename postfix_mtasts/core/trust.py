"""Whether a report mail is authentic."""

from __future__ import annotations

from dataclasses import dataclass

OUTCOMES = ("pass", "fail", "none", "unchecked")


@dataclass(frozen=True, slots=True)
class Trust:
    """What DKIM says of a mail."""

    dkim: str  # one of OUTCOMES
    domain: str | None = None  # the signing domain, of "pass" only
    again: bool = False  # DNS did not say: another time it may


FAIL = Trust("fail")  # there are signatures, and each is wrong, or its key is absent or revoked
NONE = Trust("none")  # there is no signature
UNCHECKED = Trust("unchecked")  # DKIM is off, this is not a mail, or it is too large
SILENT = Trust("unchecked", again=True)  # DNS did not say
