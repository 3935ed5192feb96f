"""Certificates read from DER, for people to see and for names and dates to be judged.

A server's certificate is hostile input: what cannot be read is left out, and
no text is longer than SHOWN characters.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from datetime import UTC
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtensionOID, NameOID

from ..core.certificate import Certificate, Presented, Shown

SHOWN = 100  # characters of a text in a certificate
NAMES = 5_000  # DNS names read of one certificate
CHAIN = 10  # certificates read of one chain


def presented(shown: Shown | None) -> Presented | None:
    """What a server has shown in a handshake, read."""
    return None if shown is None else Presented(shown.version, tuple(_readable(shown.chain)))


def _readable(chain: Sequence[bytes]) -> Iterable[Certificate]:
    for der in chain[:CHAIN]:
        certificate = read(der)
        if certificate is None:
            return
        yield certificate


def read(der: bytes) -> Certificate | None:
    """One certificate; None for what is not one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of odd serial numbers and dates: nobody here can change them
        try:
            parsed = x509.load_der_x509_certificate(der)
            not_before, not_after = _dates(parsed)
            return Certificate(
                names=_names(parsed),
                common_name=_text(parsed.subject, NameOID.COMMON_NAME),
                issuer=_issuer(parsed),
                not_before=not_before,
                not_after=not_after,
                issuer_url=_issuer_url(parsed),
                der=der,
                public_key=parsed.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
            )
        except Exception:  # noqa: BLE001 -- the parser raises many things over hostile bytes, by its version
            return None


def _dates(parsed: x509.Certificate) -> tuple[float, float]:
    """UTC seconds since 1970."""
    if hasattr(parsed, "not_valid_after_utc"):  # cryptography 42 and later
        return parsed.not_valid_before_utc.timestamp(), parsed.not_valid_after_utc.timestamp()
    return parsed.not_valid_before.replace(tzinfo=UTC).timestamp(), parsed.not_valid_after.replace(
        tzinfo=UTC
    ).timestamp()


def _names(parsed: x509.Certificate) -> tuple[str, ...]:
    try:
        extension: Any = parsed.extensions.get_extension_for_oid(ExtensionOID.SUBJECT_ALTERNATIVE_NAME).value
        return tuple(str(name)[: SHOWN * 3] for name in extension.get_values_for_type(x509.DNSName)[:NAMES])
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        return ()


def _issuer(parsed: x509.Certificate) -> str:
    parts = (_text(parsed.issuer, NameOID.ORGANIZATION_NAME), _text(parsed.issuer, NameOID.COMMON_NAME))
    return ", ".join(part for part in parts if part)


def _issuer_url(parsed: x509.Certificate) -> bool:
    try:
        access: Any = parsed.extensions.get_extension_for_oid(ExtensionOID.AUTHORITY_INFORMATION_ACCESS).value
        return any(each.access_method == AuthorityInformationAccessOID.CA_ISSUERS for each in access)
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        return False


def _text(name: x509.Name, oid: x509.ObjectIdentifier) -> str:
    found = name.get_attributes_for_oid(oid)
    return str(found[0].value)[:SHOWN] if found else ""
