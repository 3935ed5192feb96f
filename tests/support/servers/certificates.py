"""Certificates for tests: a CA of one's own, and leaves that are right, or wrong in one way.

`Authority().issue("mta-sts.example.test")` gives PEM bytes, key first, then
the certificate, then the chain: what nginx and ssl.load_cert_chain take.
"""

from __future__ import annotations

import datetime
import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID

DAY = datetime.timedelta(days=1)


@dataclass(frozen=True)
class _Signer:
    """Whose name and key a certificate is signed with, and the certificates to send along."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    chain: bytes = b""


class Authority:
    """A CA; a root unless it comes from intermediate()."""

    def __init__(self, name: str = "Test CA", signer: _Signer | None = None, ends: datetime.timedelta = DAY) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(name, key, -DAY, ends)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        builder = builder.add_extension(_ca_key_usage(), critical=True)
        certificate = _sign(builder, signer or name, key)
        self.pem = certificate.public_bytes(serialization.Encoding.PEM)
        self._signer = _Signer(certificate, key, self.pem + signer.chain if signer else b"")

    @classmethod
    def under(cls, parent: Self, name: str = "Test Intermediate", ends: datetime.timedelta = DAY) -> Self:
        """An intermediate CA; what it issues carries its certificate."""
        return cls(name, parent._signer, ends)

    def write(self, path: Path) -> Path:
        """Write the CA's certificate to *path*, for a `ca_file`."""
        path.write_bytes(self.pem)
        return path

    def issue(
        self,
        *names: str,
        common_name: str = "",
        begins: datetime.timedelta = -DAY,
        ends: datetime.timedelta = DAY,
        usage: x509.ObjectIdentifier = ExtendedKeyUsageOID.SERVER_AUTH,
        with_chain: bool = True,
        with_authority_key: bool = True,
        issuer_url: str = "",
    ) -> bytes:
        """A leaf for *names* (wildcards and addresses too), as PEM: key, certificate, chain.

        Without names it has no subject alternative name. *begins* and *ends* count from now.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(common_name, key, begins, ends)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        if with_authority_key:
            ours = self._signer.key.public_key()
            builder = builder.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ours), critical=False)
        if issuer_url:
            place = x509.UniformResourceIdentifier(issuer_url)
            access = x509.AccessDescription(AuthorityInformationAccessOID.CA_ISSUERS, place)
            builder = builder.add_extension(x509.AuthorityInformationAccess([access]), critical=False)
        if names:
            critical = not common_name  # RFC 5280 section 4.2.1.6: where the subject is empty
            builder = builder.add_extension(x509.SubjectAlternativeName([_name(n) for n in names]), critical=critical)
        certificate = _sign(builder, self._signer, key)
        return _pem(key, certificate) + (self._signer.chain if with_chain else b"")


def self_signed(name: str, ends: datetime.timedelta = DAY) -> bytes:
    """A certificate for *name* that nobody vouches for, as PEM: key, certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder(name, key, -DAY, ends)
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    return _pem(key, _sign(builder, name, key))


def _builder(
    name: str, key: ec.EllipticCurvePrivateKey, begins: datetime.timedelta, ends: datetime.timedelta
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(_subject(name)).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now + begins)
    builder = builder.not_valid_after(now + ends)
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)


def _sign(
    builder: x509.CertificateBuilder, signer: _Signer | str, own_key: ec.EllipticCurvePrivateKey
) -> x509.Certificate:
    """Sign with *signer*, or, where that is the certificate's own name, with its own key."""
    issuer = _subject(signer) if isinstance(signer, str) else signer.certificate.subject
    key = own_key if isinstance(signer, str) else signer.key
    return builder.issuer_name(issuer).sign(key, hashes.SHA256())


def _subject(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)] if common_name else [])


def _name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _ca_key_usage() -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        crl_sign=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> bytes:
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private + certificate.public_bytes(serialization.Encoding.PEM)
