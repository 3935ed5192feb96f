"""The text that a store keeps of an entry.

Rule 1: a row is JSON with a version. Of version 1 are
        {"v": 1, "id": RECORD_ID, "fetched": SECONDS, "used": SECONDS, "policy": TEXT, "sum": HEX}
        and the key is the policy domain. The sum is the CRC-32 of the key and
        of what stands before it: a flipped bit on the disk must not become
        another policy. A row without one is of an older program.
Rule 2: a row is believed no more than a policy host: the policy is parsed
        again from its text, and everything else is checked. What fails is
        passed over and stays where it is, as does a row of another version.
Rule 3: nothing is ever unpickled.
"""

from __future__ import annotations

import json
import re
from zlib import crc32

from ...core.entry import Entry, one_day
from ...core.names import Domain, parse_domain
from ...core.policy import BODY_LIMIT, Policy, parse_policy
from ...errors import InputError

VERSION = 1
ROW_LIMIT = 400_000  # characters; 64 KiB of policy text, each byte written as \u0000, and the rest

_KEYS = {"v", "id", "fetched", "used", "policy"}  # of a row without a sum
_SUM = re.compile(r', "sum": "([0-9a-f]{8})"\}\Z')
_SHOWN = 60  # characters of a damaged row in a message
_LATEST = 253_402_300_799  # 9999-12-31T23:59:59Z: what any calendar can still show


def encode(entry: Entry) -> str:
    """Return the row of *entry*, in ASCII."""
    row = json.dumps(
        {
            "v": VERSION,
            "id": entry.record_id,
            "fetched": entry.fetched_at,
            "used": entry.used_at,
            "policy": entry.policy.text,
        }
    ).removesuffix("}")
    return f'{row}, "sum": "{_sum(entry.domain, row)}"}}'


def _sum(domain: str, row: str) -> str:
    return f"{crc32(row.encode('utf-8', 'replace'), crc32(domain.encode('utf-8', 'replace'))):08x}"


def decode(domain: str, text: str) -> Entry:
    """Read the row *text* stored under *domain*.

    Raises: InputError, in a sentence, for a row that is damaged or of another version.
    """
    if len(text) > ROW_LIMIT:
        raise InputError(f"row of {len(text)} characters; {ROW_LIMIT} is the most")
    summed = _SUM.search(text)
    if summed is not None and summed[1] != _sum(domain, text[: summed.start()]):
        raise InputError(f"row {_show(text)} is not what was written: its sum is wrong")
    row = _object(text)
    version = row.get("v")
    if type(version) is not int or version != VERSION:
        raise InputError(f"row of version {_show(version)}; this program reads version {VERSION}")
    if summed is None and row.keys() > _KEYS:
        raise InputError(f"row {_show(text)} is not what was written: it has no sum")
    record_id, policy = row.get("id"), row.get("policy")
    if not isinstance(record_id, str) or not (record_id.isascii() and record_id.isalnum() and len(record_id) <= 32):
        raise InputError(f'"id" {_show(record_id)} is not 1 to 32 letters and digits')
    if not isinstance(policy, str):
        raise InputError(f'"policy" {_show(policy)} is not text')
    return Entry(_domain(domain), _policy(policy), record_id, _time(row, "fetched"), one_day(_time(row, "used")))


def _object(text: str) -> dict[str, object]:
    try:
        row = json.loads(text)
    except (ValueError, RecursionError):
        raise InputError(f"row {_show(text)} is not JSON") from None
    if not isinstance(row, dict):
        raise InputError(f"row {_show(text)} is not a JSON object")
    return row


def _domain(text: str) -> Domain:
    domain = parse_domain(text)
    if domain != text:
        raise InputError(f"key {_show(text)} should read {_show(domain)}")
    return domain


def _policy(text: str) -> Policy:
    try:
        body = text.encode()
    except UnicodeEncodeError:
        raise InputError('"policy" holds half a surrogate pair') from None
    if len(body) > BODY_LIMIT:  # no fetch takes in as much, and Postfix could not be told of it
        raise InputError(f'"policy" of {len(body)} bytes; {BODY_LIMIT} is the most')
    return parse_policy(body)


def _time(row: dict[str, object], key: str) -> float:
    value = row.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LATEST:
        raise InputError(f'"{key}" {_show(value)} is not UTC seconds since 1970')
    return float(value)


def _show(value: object) -> str:
    if isinstance(value, str):
        return repr(value[:_SHOWN])
    return repr(value) if isinstance(value, int | float | None) else f"of type {type(value).__name__}"
