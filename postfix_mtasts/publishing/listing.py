"""Each published domain on one line: what its file says, what senders get, what DNS says.

Read from the folder, the state and DNS, so that it works without a running
`serve`; nothing is written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..adapters.files import look_into
from ..config.settings import PublishSettings
from ..core import publication as rules
from ..core.names import Domain
from ..core.policy import parse_policy
from ..core.record import select_record
from ..errors import DnsError, RecordError, StoreError
from .certfiles import read_file
from .certificates import read_certificate
from .host import HOST_LABEL
from .policyfiles import NOTHING_READ, PolicyFile, Reading, read_folder
from .publisher import publications


@dataclass(frozen=True, slots=True)
class Row:
    """One domain; times are UTC seconds."""

    domain: Domain
    mode: str | None  # as served; None: nothing is
    max_age: int | None
    id: str | None  # of what is served
    dns_id: str | None  # at _mta-sts; None: no valid record, or DNS did not say (then it stands in faults)
    certificate_end: float | None
    withdrawn_until: float | None  # until then mode none is served
    faults: tuple[str, ...]


Txt = Callable[[str], list[bytes]]


def rows(publish: PublishSettings, txt: Txt, now: float) -> list[Row]:
    """Return every domain with a policy file, or one that senders may still hold. Raises: StoreError."""
    reading, history = _read(publish)
    failures = look_into(Path(publish.state_directory) / "failures")
    domains = sorted(reading.files.keys() | history.keys())
    found = (_row(publish, domain, reading, history, failures, txt, now) for domain in domains)
    return [row for row in found if row is not None]


def served_text(publish: PublishSettings, domain: Domain, now: float) -> bytes | None:
    """Return what is served for *domain*, or will be in a moment; None: nothing. Raises: StoreError."""
    _, known = _known(publish, domain, *_read(publish), now)
    return rules.served(known, now) if known is not None else None


def _read(publish: PublishSettings) -> tuple[Reading, dict[Domain, rules.Publication]]:
    folder, state = Path(publish.directory), Path(publish.state_directory)
    reading = read_folder(folder, NOTHING_READ, settled=True)
    if reading.fault:
        raise StoreError(f"publish.directory: {folder}: {reading.fault}")
    try:
        return reading, dict(publications(look_into(state / "domains")))
    except OSError as error:
        raise StoreError(f"publish.state_directory: {state}: {error.strerror or error}; run this as root") from None


def _known(
    publish: PublishSettings, domain: Domain, reading: Reading, history: Mapping[Domain, rules.Publication], now: float
) -> tuple[PolicyFile | None, rules.Publication | None]:
    """The domain's file, and its publication once `serve` has looked at that."""
    file, known = reading.files.get(domain), history.get(domain)
    if file is not None and file.policy is not None:
        return file, rules.publish(known, domain, file.text, file.policy, now)
    if file is None and known is not None:
        return file, rules.withdraw(known, now)
    return file, known


def _row(
    publish: PublishSettings,
    domain: Domain,
    reading: Reading,
    history: Mapping[Domain, rules.Publication],
    failures: Mapping[str, Mapping[str, Any]],
    txt: Txt,
    now: float,
) -> Row | None:
    file, known = _known(publish, domain, reading, history, now)
    faults = [file.fault] if file is not None and file.policy is None else []
    text = rules.served(known, now) if known is not None else None
    if file is None and text is None:
        return None
    dns_id = _dns_id(domain, txt, faults)
    certificate_end = _certificate_end(publish, HOST_LABEL + domain, faults)
    if (failure := failures.get(HOST_LABEL + domain)) is not None:
        faults.append(f"no new certificate: {failure.get('reason')}")
    policy = parse_policy(text) if text is not None else None
    record_id = rules.policy_id(text) if text is not None else None
    if record_id is not None and dns_id is not None and dns_id != record_id:
        faults.append(f"DNS has id {dns_id}: senders do not notice what is served now")
    withdrawn_until = known.owed_until if known is not None and not known.current and text is not None else None
    mode, max_age = (str(policy.mode), policy.max_age) if policy is not None else (None, None)
    return Row(domain, mode, max_age, record_id, dns_id, certificate_end, withdrawn_until, tuple(faults))


def _dns_id(domain: Domain, txt: Txt, faults: list[str]) -> str | None:
    try:
        record = select_record(txt(f"_mta-sts.{domain}"))
    except (DnsError, RecordError) as error:
        faults.append(str(error))
        return None
    if record is None:
        faults.append(f"no record at _mta-sts.{domain}: senders do not look for the policy")
        return None
    return record.id


def _certificate_end(publish: PublishSettings, name: str, faults: list[str]) -> float | None:
    if publish.certificates == "none":
        return None
    if publish.certificates == "acme":
        path = Path(publish.state_directory) / "certificates" / f"{name}.pem"
    else:
        path = Path(publish.certificate_directory or "") / name / "fullchain.pem"
    try:
        return read_certificate(read_file(path)).not_after
    except (OSError, ValueError) as error:
        missing = isinstance(error, FileNotFoundError)
        faults.append(f"no certificate for {name}" if missing else f"certificate of {name}: {error}")
        return None
