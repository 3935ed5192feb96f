"""Dynamic DNS updates (RFC 2136), signed by TSIG (RFC 8945), with dnspython.

Blocking; TCP throughout, since an update must not be lost. The zone of a name
is what the update server says it is.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dns.exception
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdatatype
import dns.tsig
import dns.update

from ..core.ownrecords import OwnRecord
from ..errors import InputError, UpdateError

TIMEOUT = 10.0  # seconds for one exchange
KEY_FILE_LIMIT = 64 * 1024  # bytes

_KEY = re.compile(r'\bkey\s+"?([^\s"{;]+)"?\s*\{([^}]*)\}', re.IGNORECASE)
_FIELD = re.compile(r'\b(algorithm|secret)\s+"?([^\s";]+)"?\s*;', re.IGNORECASE)
_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*|#[^\n]*", re.DOTALL)


class UpdateServer:
    """A primary name server that takes updates of our records."""

    def __init__(self, address: str, port: int, key_file: Path, ttl: int) -> None:
        """*ttl*: seconds, of the records that are written."""
        self._address, self._port, self._key_file, self._ttl = address, port, key_file, ttl

    def replace_txt(self, name: str, text: str | None) -> None:
        """Let *name* have one TXT record, *text*, and no other; None: no TXT record at all.

        Raises: UpdateError; InputError for a key file that cannot be used.
        """
        key = read_key(self._key_file)  # read anew each time: keys are rolled
        with _told(f"{self._address}:{self._port}"):
            owner = dns.name.from_text(name)
            zone = self._zone_of(owner)
            update = dns.update.UpdateMessage(zone, keyring=key)
            if text is None:
                update.delete(owner, "TXT")
            else:
                update.replace(owner, self._ttl, "TXT", OwnRecord(name, "TXT", text).presentation)
            answer = dns.query.tcp(update, self._address, timeout=TIMEOUT, port=self._port)
            if answer.rcode() != dns.rcode.NOERROR:
                code = dns.rcode.to_text(answer.rcode())
                raise UpdateError(f"{self._address}:{self._port} refuses to change {name} in zone {zone}: {code}")

    def _zone_of(self, owner: dns.name.Name) -> dns.name.Name:
        """Ask whose zone *owner* is in."""
        query = dns.message.make_query(owner, dns.rdatatype.SOA, use_edns=0)
        answer = dns.query.tcp(query, self._address, timeout=TIMEOUT, port=self._port)
        for rrset in [*answer.answer, *answer.authority]:
            if rrset.rdtype == dns.rdatatype.SOA and owner.is_subdomain(rrset.name):
                return rrset.name
        code = dns.rcode.to_text(answer.rcode())
        raise UpdateError(f"{self._address}:{self._port} does not say which zone {owner} is in ({code})")


def read_key(path: Path) -> dns.tsig.Key:
    """Read a TSIG key as BIND writes it: key "NAME" { algorithm hmac-sha256; secret "..."; };

    Raises: InputError, which names the file and never quotes the secret.
    """
    try:
        with path.open("rb") as stream:
            text = _COMMENT.sub(" ", stream.read(KEY_FILE_LIMIT).decode("ascii", "replace"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    match = _KEY.search(text)
    fields = {name.lower(): value for name, value in _FIELD.findall(match[2])} if match else {}
    if match is None or set(fields) != {"algorithm", "secret"}:
        raise InputError(f'{path}: is not a key; write key "NAME" {{ algorithm hmac-sha256; secret "..."; }};')
    try:
        secret = base64.b64decode(fields["secret"], validate=True)
        key = dns.tsig.Key(match[1], secret, fields["algorithm"].lower())
        dns.tsig.get_context(key)  # type: ignore[no-untyped-call]  # it knows the algorithms
    except (binascii.Error, dns.exception.DNSException, NotImplementedError, ValueError):
        raise InputError(f"{path}: the algorithm or the secret of key {match[1]} cannot be used") from None
    return key


@contextmanager
def _told(server: str) -> Iterator[None]:
    try:
        yield
    except dns.exception.Timeout:
        raise UpdateError(f"{server} does not answer within {TIMEOUT:g} s") from None
    except (dns.exception.DNSException, OSError, EOFError, ValueError) as error:
        raise UpdateError(f"{server}: {type(error).__name__}: {error}") from None
