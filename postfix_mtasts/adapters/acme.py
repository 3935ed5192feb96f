"""Certificates from an ACME server (RFC 8555), by HTTP-01, with the acme library.

Blocking, one account, one order a name. An order is a value that outlives the
process: `begin` makes it, the caller keeps it on disk at once, `answers` says
what must be served for it, and `finish` goes on with it however far it got
before. Whether, when and how often to ask is
publishing/certificates.py's.

Debian 12 has acme 2.1, PyPI 5.9: what differs between them (requests and
certificates as objects) stays inside the library's finalize_order here.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import josepy.errors
import requests
from acme import challenges, client, errors, messages
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from josepy.jwa import ES256
from josepy.jwk import JWKEC

from .. import __version__
from ..core.publication import Order
from ..errors import AcmeError
from .files import write_whole

logging.getLogger("urllib3").setLevel(logging.ERROR)  # it warns of odd headers, at any length, with a traceback

TIMEOUT = 30  # seconds for one request to the ACME server
NONCES = 5  # refused twice each, before it counts as a failure (RFC 8555 section 6.5)
POLL_EVERY = 1.0  # seconds between two questions whether the server is done


def new_key() -> str:
    """Return a new ECDSA P-256 private key, PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    form, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, form, plain).decode()


class AcmeServer:
    """An account at one ACME server; made at first use, then kept in *folder*."""

    def __init__(self, directory_url: str, contact: str | None, ca_file: str | None, folder: Path) -> None:
        self._url, self._contact, self._ca_file = directory_url, contact, ca_file
        digest = hashlib.sha256(directory_url.encode()).hexdigest()[:16]
        self._making = threading.Lock()  # of the account, once
        self._account_file = folder / f"account-{digest}.json"  # an account belongs to the server that made it

    def begin(self, name: str) -> Order:
        """Order a certificate for *name*. Raises: AcmeError."""
        with _told(self._url):
            acme = self._connect()
            identifier = messages.Identifier(typ=messages.IDENTIFIER_FQDN, value=name)
            response = _post(acme, acme.directory["newOrder"], messages.NewOrder(identifiers=[identifier]))
            return Order(name, response.headers["Location"], new_key())

    def answers(self, order: Order) -> dict[str, str]:
        """Return what port 80 must answer for *order*: key authorizations by token. Raises: AcmeError."""
        with _told(self._url):
            acme = self._connect()
            body = messages.Order.from_json(_post(acme, order.uri, None).json())
            challs = [_http_challenge(_authorization(acme, uri)).chall for uri in body.authorizations]
            return {chall.encode("token"): chall.key_authorization(acme.net.key) for chall in challs}

    def finish(self, order: Order, seconds: float) -> str:
        """Go on with *order* until its certificate is there, *seconds* at most; return the chain, PEM.

        What `answers` says must be served at its name's port 80 already.
        Raises: AcmeError; its `gone` says that the order is of no further use.
        """
        ends = time.monotonic() + seconds
        with _told(self._url):
            acme = self._connect()
            while time.monotonic() < ends:
                body = messages.Order.from_json(_post(acme, order.uri, None).json())
                if body.status == messages.STATUS_VALID and body.certificate is not None:
                    return _post(acme, body.certificate, None).text
                if body.status == messages.STATUS_INVALID:
                    raise AcmeError(_refusal(acme, body), gone=True)
                if body.status == messages.STATUS_READY:
                    return self._finalize(acme, order, body, ends)
                if body.status == messages.STATUS_PENDING:
                    for uri in body.authorizations:
                        _answer(acme, _authorization(acme, uri))
                time.sleep(POLL_EVERY)
        raise AcmeError(f"{self._url}: the order for {order.name} is not done after {seconds:g} s")

    def _finalize(self, acme: client.ClientV2, order: Order, body: Any, ends: float) -> str:
        resource = messages.OrderResource(body=body, uri=order.uri, authorizations=[], csr_pem=_request_for(order))
        deadline = datetime.datetime.now() + datetime.timedelta(seconds=max(ends - time.monotonic(), 5.0))
        return str(acme.finalize_order(resource, deadline).fullchain_pem)

    def _connect(self) -> client.ClientV2:
        """A client with the account, which is made where there is none yet."""
        with self._making:
            return self._with_account()

    def _with_account(self) -> client.ClientV2:
        try:
            kept = json.loads(self._account_file.read_text())
            key_pem, uri = str(kept["key"]), kept["uri"]
        except FileNotFoundError:
            key_pem, uri = new_key(), None
        key = JWKEC(key=serialization.load_pem_private_key(key_pem.encode(), password=None))
        agent = f"postfix-mtasts/{__version__}"
        trust: Any = self._ca_file or True
        net = client.ClientNetwork(key, alg=ES256, verify_ssl=trust, user_agent=agent, timeout=TIMEOUT)
        acme = client.ClientV2(client.ClientV2.get_directory(self._url, net), net)
        if uri is None:
            self._keep_account(key_pem, None)  # the key first: an account whose key is lost is lost too
            uri = self._register(acme)
            self._keep_account(key_pem, uri)
        net.account = messages.RegistrationResource(body=messages.Registration(), uri=uri)
        return acme

    def _register(self, acme: client.ClientV2) -> str:
        wanted = messages.NewRegistration.from_data(email=self._contact, terms_of_service_agreed=True)
        try:
            return str(acme.new_account(wanted).uri)
        except errors.ConflictError as known:  # the answer of an earlier try was lost
            return str(known.location)

    def _keep_account(self, key_pem: str, uri: str | None) -> None:
        write_whole(self._account_file, json.dumps({"key": key_pem, "uri": uri}).encode())


def _post(acme: client.ClientV2, url: str, body: Any) -> requests.Response:
    """POST *body*; None: POST-as-GET (RFC 8555 section 6.3)."""
    for _ in range(NONCES - 1):
        try:
            return acme.net.post(url, body, new_nonce_url=acme.directory["newNonce"])
        except messages.Error as error:
            if error.code != "badNonce":  # the library has tried twice; servers may refuse any number of nonces
                raise
    return acme.net.post(url, body, new_nonce_url=acme.directory["newNonce"])


def _authorization(acme: client.ClientV2, uri: str) -> messages.Authorization:
    authorization: messages.Authorization = messages.Authorization.from_json(_post(acme, uri, None).json())
    return authorization


def _http_challenge(authorization: messages.Authorization) -> Any:
    for challenge in authorization.challenges:
        if isinstance(challenge.chall, challenges.HTTP01):
            return challenge
    raise AcmeError("the ACME server offers no HTTP-01 challenge", gone=True)


def _answer(acme: client.ClientV2, authorization: messages.Authorization) -> None:
    """Tell the server that the challenge can be looked at, if it was not told yet."""
    if authorization.status == messages.STATUS_PENDING:
        challenge = _http_challenge(authorization)
        if challenge.status == messages.STATUS_PENDING:
            acme.answer_challenge(challenge, challenge.chall.response(acme.net.key))


def _refusal(acme: client.ClientV2, order: Any) -> str:
    """Say why the server made *order* invalid: what it saw at the challenge, if it says so."""
    reasons = [str(order.error.detail)] if order.error is not None else []
    for uri in order.authorizations:
        seen = [challenge.error for challenge in _authorization(acme, uri).challenges if challenge.error is not None]
        reasons += [str(error.detail or error.code) for error in seen]
    return "the ACME server refuses: " + ("; ".join(reasons) or "it gives no reason")


def _request_for(order: Order) -> bytes:
    """The certificate signing request, PEM."""
    key: Any = serialization.load_pem_private_key(order.key.encode(), password=None)
    names = x509.SubjectAlternativeName([x509.DNSName(order.name)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).add_extension(names, critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


@contextmanager
def _told(url: str) -> Iterator[None]:
    """Make one AcmeError of the many kinds that the library raises."""
    try:
        yield
    except messages.Error as error:
        gone = error.code in ("malformed", "orderNotReady") or "no order" in str(error.detail).lower()
        raise AcmeError(f"{url}: {error.code}: {error.detail}", gone=gone) from None
    except errors.TimeoutError:
        raise AcmeError(f"{url}: the certificate was not made in time") from None
    except requests.RequestException as error:
        raise AcmeError(f"{url}: {error}") from None
    except (errors.Error, josepy.errors.Error, OSError, KeyError, TypeError, ValueError) as error:
        raise AcmeError(f"{url}: {type(error).__name__}: {error}") from None
