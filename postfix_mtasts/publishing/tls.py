"""TLS of the policy host: one certificate a name, chosen by SNI, replaced without a restart.

A handshake for a name without a certificate, or without a name, is refused:
there is nothing that it could be answered with.
"""

from __future__ import annotations

import os
import ssl
import sys
from collections.abc import Callable
from typing import Any

REFUSED = ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME


class NamedContext(ssl.SSLContext):
    """A server's context that knows which SNI name it was chosen for."""

    name = ""


class Names:
    """The contexts by name."""

    def __init__(self, unknown: Callable[[str], None]) -> None:
        """*unknown* is told each SNI name, hostile text, that is refused, while its handshake waits."""
        self._contexts: dict[str, NamedContext] = {}
        self._unknown = unknown
        self.front = _context()  # what each handshake begins with
        self.front.sni_callback = self._choose

    def put(self, name: str, pem: bytes) -> None:
        """Use the key and chain in *pem* for *name* from the next handshake on. Raises: ValueError, OSError."""
        context = _context()
        context.name = name
        _load(context, pem)
        self._contexts[name] = context

    def drop(self, name: str) -> None:
        """Refuse handshakes for *name*."""
        self._contexts.pop(name, None)

    def __contains__(self, name: str) -> bool:
        return name in self._contexts

    def _choose(self, tls: ssl.SSLObject, name: str | None, front: ssl.SSLContext) -> int | None:
        context = self._contexts.get((name or "").lower())
        if context is None:
            self._unknown(name or "")
            return REFUSED
        tls.context = context
        return None


def unraisable(seen: Any) -> None:
    """Say nothing of SNI names that are not ASCII, as `sys.unraisablehook`: ssl refuses them, with a traceback each."""
    if not isinstance(seen.exc_value, UnicodeDecodeError):
        sys.__unraisablehook__(seen)


def chosen_name(tls: Any) -> str:
    """Return the SNI name of a connection; *tls* is its transport's ssl_object."""
    context = tls.context
    return context.name if isinstance(context, NamedContext) else ""


def _context() -> NamedContext:
    context = NamedContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_alpn_protocols(["http/1.1"])
    return context


def _load(context: ssl.SSLContext, pem: bytes) -> None:
    """Load a key and chain that are in memory: the ssl module reads files only."""
    descriptor = os.memfd_create("certificate", os.MFD_CLOEXEC)
    with open(descriptor, "wb") as stream:
        stream.write(pem)
        stream.flush()
        try:
            context.load_cert_chain(f"/proc/self/fd/{descriptor}")
        except ssl.SSLError as error:
            raise ValueError(f"not a key and its certificates: {error}") from None
