"""TLS to a policy host: which address is connected to, and which certificate is believed.

What is asked and answered over it is fetch.py's.

What was judged is what is connected to: no name is resolved here. SNI and the
certificate's names go by the policy host's name. Time and number of bytes are
bounded by transfer.py.

Source: RFC 8461 section 3.3; result types from RFC 8460 section 4.3.2.2;
certificate names by RFC 6125 (DNS-ID).
"""

from __future__ import annotations

import errno
import os
import select
import socket
import ssl
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from ...core.certificate import Shown
from ...core.outcome import Stage, no_note
from ...errors import ConfigError, FetchError
from ...faults import Fault
from .stream import Stream
from .transfer import Fetch

Connect: TypeAlias = Callable[[Fetch, Sequence[str], int], socket.socket]  # connect(), or a proxy's

CONNECT_LIMIT = 5.0  # seconds to connect to one address
_ENCODING_DER = 2  # of the module _ssl, for Python before 3.13
_SHOWN = 100  # characters of a certificate's text

_CERTIFICATE_FAULTS = {  # X509_V_ERR_* in OpenSSL's x509_vfy.h
    2: Fault.CERTIFICATE_ISSUER,
    9: Fault.CERTIFICATE_NOT_YET,
    10: Fault.CERTIFICATE_EXPIRED,
    18: Fault.CERTIFICATE_SELF_SIGNED,
    19: Fault.CERTIFICATE_CA,
    20: Fault.CERTIFICATE_ISSUER,
    21: Fault.CERTIFICATE_ISSUER,
    26: Fault.CERTIFICATE_PURPOSE,
    62: Fault.CERTIFICATE_NAME,
}

_TLS_FAULTS = {  # OpenSSL's reasons, by what brings them about
    "WRONG_VERSION_NUMBER": Fault.TLS_NONE,
    "RECORD_LAYER_FAILURE": Fault.TLS_NONE,
    "PACKET_LENGTH_TOO_LONG": Fault.TLS_NONE,
    "HTTP_REQUEST": Fault.TLS_NONE,
    "UNSUPPORTED_PROTOCOL": Fault.TLS_OLD,
    "TLSV1_ALERT_PROTOCOL_VERSION": Fault.TLS_OLD,
    "TLSV1_UNRECOGNIZED_NAME": Fault.TLS_NAME_REFUSED,
    "UNEXPECTED_EOF_WHILE_READING": Fault.TLS_BROKE_OFF,  # Python 3.11.2 has no SSLEOFError for it
}


def make_context(ca_file: str | None, alpn: Sequence[str] = ("http/1.1",)) -> ssl.SSLContext:
    """Set everything that TLS must be by hand, because Python's defaults differ from version to version.

    *ca_file* holds the trusted certificates (PEM); None means the system's. Raises: ConfigError.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    context.check_hostname = True
    context.hostname_checks_common_name = False
    # Python 3.11.2 (Debian 12) sets this: anybody on the way could then end a body that has no length.
    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
    # What is in the trust store is trusted, a root or not. No VERIFY_X509_STRICT, which Python 3.13
    # would have by default: it refuses certificates in use that browsers take.
    context.verify_flags = ssl.VERIFY_X509_TRUSTED_FIRST | ssl.VERIFY_X509_PARTIAL_CHAIN
    context.set_alpn_protocols(alpn)
    if ca_file is None:
        context.set_default_verify_paths()
        return context
    try:
        context.load_verify_locations(cafile=ca_file)
    except OSError as error:
        why = "it holds no CA certificates" if isinstance(error, ssl.SSLError) else words(error)
        wanted = "name a readable file of PEM certificates, or null for the system's"
        raise ConfigError([f"fetch.ca_file: {ca_file}: {why}; {wanted}"]) from None
    return context


def open_tls(fetch: Fetch, addresses: Sequence[str], port: int, context: ssl.SSLContext, connect: Connect) -> Stream:
    """Open verified TLS to the first of *addresses* that takes a connection by *connect*. Raises: FetchError."""
    stream = secure(fetch, connect(fetch, addresses, port), context)
    fetch.stage = Stage.HTTP
    return stream


def make_curious_context(alpn: Sequence[str] = ()) -> ssl.SSLContext:
    """For a look at a certificate that was refused: nothing that comes over such a connection is believed."""
    context = make_context(None, alpn)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def secure(fetch: Fetch, plain: socket.socket, context: ssl.SSLContext) -> Stream:
    """TLS over *plain*. Raises: FetchError."""
    fetch.stage = Stage.TLS
    try:
        return _handshake(fetch, plain, context)
    except ssl.SSLCertVerificationError as error:
        fault = _CERTIFICATE_FAULTS.get(error.verify_code, Fault.CERTIFICATE_OTHER)
        raise fetch.failure(fault, error.verify_message) from error
    except OSError as error:
        raise fetch.failure(_tls_fault(error), words(error)) from error


def connect(fetch: Fetch, addresses: Sequence[str], port: int) -> socket.socket:
    """Connect to the first address that answers. Raises: FetchError with each address and why."""
    failures = []
    for address in addresses:
        limit = min(CONNECT_LIMIT, fetch.remaining())
        if limit <= 0:
            failures.append(f"{address}: no time was left")
            break
        try:
            sock = _connect_to(fetch, address, port, limit)
        except OSError as error:
            fetch.check()
            failures.append(f"{address}: {connect_words(error, limit)}")
        else:
            fetch.note(Stage.ADDRESS, f"connected to {address}")
            return sock
    raise fetch.failure(Fault.NOT_CONNECTED, "; ".join(failures) or "it has no address")


def _connect_to(fetch: Fetch, address: str, port: int, limit: float) -> socket.socket:
    """Connect to one address. Raises: FetchError if given up; OSError, as gaierror if *address* is none."""
    numeric = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV  # never a name
    family, kind, protocol, _, place = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM, flags=numeric)[0]
    sock = socket.socket(family, kind, protocol)
    fetch.transfer.watch(sock)
    sock.setblocking(False)
    code = sock.connect_ex(place)
    fetch.check()  # from here on abort() finds a connection to shut down
    if code == errno.EINPROGRESS:
        code = _await_connection(sock, limit)
        fetch.check()
    if code:
        raise OSError(code, os.strerror(code))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # the request must not wait for an ACK
    return sock


def _await_connection(sock: socket.socket, limit: float) -> int:
    """Wait for a connection and return its error number, 0 for none. Raises: TimeoutError."""
    poll = select.poll()
    poll.register(sock, select.POLLOUT)
    if not poll.poll(limit * 1000):
        raise TimeoutError
    return sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)


def connect_words(error: OSError, limit: float) -> str:
    if isinstance(error, socket.gaierror):
        return "not an address"
    if isinstance(error, TimeoutError) and not error.errno:
        return f"no answer within {round(limit, 1):g} s"
    return words(error)


def _handshake(fetch: Fetch, plain: socket.socket, context: ssl.SSLContext) -> Stream:
    """Raises: FetchError, OSError, ValueError."""
    name = fetch.host.encode("idna").decode()

    def broken(error: OSError) -> FetchError:
        return fetch.failure(*_broken(error))

    stream = Stream(fetch, plain, context, name, broken)
    stream.shake_hands()
    if fetch.note is not no_note:  # reading a certificate takes longer than the request
        fetch.transfer.shown = Shown(stream.tls.version() or "", tuple(_chain(stream.tls)))
        fetch.note(Stage.TLS, f"{stream.tls.version()}, {_describe(stream.tls.getpeercert() or {})}")
    return stream


def _chain(tls: ssl.SSLObject) -> list[bytes]:
    """The certificates as the other side sent them, DER, its own first."""
    public: Any = getattr(tls, "get_unverified_chain", None)  # Python 3.13
    if public is not None:
        return list(public() or ())
    private: Any = getattr(getattr(tls, "_sslobj", None), "get_unverified_chain", None)
    if private is not None:
        return [certificate.public_bytes(_ENCODING_DER) for certificate in private() or ()]
    own = tls.getpeercert(binary_form=True)
    return [own] if own else []


def words(error: OSError) -> str:
    """Say what happened to a connection, in the words of the system or of OpenSSL."""
    if isinstance(error, ssl.SSLError):
        return (error.reason or "no reason given").replace("_", " ").lower()
    return os.strerror(error.errno).lower() if error.errno else "no reason given"


def _tls_fault(error: OSError) -> Fault:
    """Name what ended a handshake, certificates apart."""
    if isinstance(error, (ssl.SSLEOFError, ConnectionResetError, BrokenPipeError)):  # one thing, by Python's version
        return Fault.TLS_BROKE_OFF
    return _TLS_FAULTS.get(getattr(error, "reason", None) or "", Fault.TLS_OTHER)


def _broken(error: OSError) -> tuple[Fault, str]:
    """Name what ended a connection after the handshake, and say it in words."""
    fault = _tls_fault(error)
    return (Fault.HTTP_BROKE_OFF, "") if fault is Fault.TLS_BROKE_OFF else (Fault.HTTP_CONNECTION, words(error))


def _describe(certificate: Any) -> str:
    """Describe a verified certificate, as getpeercert() gives it, in one bounded line."""
    names = [value[:_SHOWN] for kind, value in certificate.get("subjectAltName", ()) if kind == "DNS"]
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    issuer = {key: value for part in certificate.get("issuer", ()) for key, value in part}
    issued_by = ", ".join(issuer[key][:_SHOWN] for key in ("organizationName", "commonName") if key in issuer)
    ends = certificate.get("notAfter")
    return f"certificate of {', '.join(names[:3])}{more}, valid until {ends}, issued by {issued_by}"
