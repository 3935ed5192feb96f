"""The demo's outside world, apart from DNS: a CA and the policy hosts."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY = timedelta(days=1)

POLICY = "version: STSv1\r\nmode: {mode}\r\nmx: mx.{domain}\r\nmx: *.mail.{domain}\r\nmax_age: 604800\r\n"


@dataclass(frozen=True, slots=True)
class Site:
    """A policy domain."""

    mode: str  # of its policy
    days: int  # that its policy host's certificate is still valid; negative: ended so long ago
    policy: str = POLICY


class Authority:
    """A CA and the certificates it gives out."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "The demo's CA")])
        usage = x509.BasicConstraints(ca=True, path_length=None)
        self._certificate = self._sign(self._name, self._key.public_key(), usage, 90)
        self.pem = self._certificate.public_bytes(serialization.Encoding.PEM)

    def issue(self, host: str, days: int) -> bytes:
        """Key and certificate of *host* (PEM), valid for *days* from now; negative: ended so long ago."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([x509.DNSName(host)])
        certificate = self._sign(x509.Name([]), key.public_key(), names, days)
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return private + certificate.public_bytes(serialization.Encoding.PEM)

    def _sign(self, subject: x509.Name, key: Any, extension: x509.ExtensionType, days: int) -> x509.Certificate:
        now = datetime.now()
        own = x509.SubjectKeyIdentifier.from_public_key(self._key.public_key())
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - 30 * DAY)
            .not_valid_after(now + days * DAY)
            .add_extension(extension, critical=True)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own), critical=False)
        )
        if isinstance(extension, x509.BasicConstraints):
            builder = builder.add_extension(own, critical=False)
        else:
            builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        return builder.sign(self._key, hashes.SHA256())


class PolicyHosts:
    """All the policy hosts: one HTTPS server at 127.0.0.1:443, a certificate for each name."""

    def __init__(self, directory: Path, authority: Authority, sites: Mapping[str, Site]) -> None:
        self._directory, self._authority = directory, authority
        self._contexts: dict[str, ssl.SSLContext] = {}
        for domain, site in sites.items():
            self._certify(domain, site)
        first = next(iter(self._contexts.values()))

        def choose(sock: ssl.SSLSocket, name: str | None, context: ssl.SSLContext) -> None:
            sock.context = self._contexts.get(name or "", first)

        first.sni_callback = choose  # type: ignore[assignment]
        self._server = _Server(("127.0.0.1", 443), _Handler)
        self._server.sites = dict(sites)
        self._server.socket = first.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, place: TracebackType | None
    ) -> None:
        self.stop()

    def change(self, domain: str, site: Site) -> None:
        """Serve *site* in place of what was served, with a new certificate."""
        self._certify(domain, site)
        self._server.sites[domain] = site

    def _certify(self, domain: str, site: Site) -> None:
        host = f"mta-sts.{domain}"
        file = self._directory / f"{host}.pem"
        file.write_bytes(self._authority.issue(host, site.days))
        self._contexts[host] = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._contexts[host].load_cert_chain(file)

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    sites: dict[str, Site]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that refuses our certificate, as one does here, is nothing to report."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        domain = self.headers.get("Host", "").removeprefix("mta-sts.")
        site = self.server.sites[domain]
        body = site.policy.format(domain=domain, mode=site.mode).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """The demo shows the daemon's log, not this one's."""
