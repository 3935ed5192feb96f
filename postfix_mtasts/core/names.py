"""Policy domains, and what a key from Postfix names.

A key is the next-hop as somebody typed it: any case, with or without one
final dot, U-labels or A-labels, a port, an address, anything. Asking DNS,
and what a service name's port is, are not here.

Rule 1: all spellings of a domain give one Domain: one entry, one lookup.
Rule 2: U-labels become A-labels as in Postfix, by UTS 46 non-transitional
        without the checks of IDNA2008, so that emoji domains work.
Rule 3: A-labels are taken as they are: many in use are refused by the idna
        package, and DNS knows best whether they exist.
Rule 4: length is looked at first: what is no domain costs next to nothing.

Source: RFC 1123 section 2.1, RFC 1035 section 2.3.4, RFC 5890 section 2.3,
UTS 46 section 4; Postfix src/util/midna_domain.c.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NewType

import idna

from ..errors import DomainError

Domain = NewType("Domain", str)  # lower-case LDH labels (A-labels), two or more, no final dot, 253 at most

DEFAULT_PORT = "25"

_MAX_LABEL = 63
_MAX_DOMAIN = 253
_MAX_UTF8 = 4 * _MAX_DOMAIN  # bytes: a character takes 4 at most, and one of an A-label at least; dots take 3

_LABEL = r"(?!-)[a-z0-9-]{1,63}(?<!-)"
_DOMAIN = re.compile(rf"(?:{_LABEL}\.)+(?![0-9]+\Z){_LABEL}")
_PORT = re.compile(rb"[0-9]{1,5}")
_SERVICE = re.compile(rb"(?=[0-9-]*[A-Za-z])[A-Za-z0-9-]{1,15}")  # RFC 6335 section 5.1

_TOO_LONG = f"the name is longer than {_MAX_DOMAIN} characters"
_LONG_LABEL = f"a label is longer than {_MAX_LABEL} characters"
_NOT_LDH = "a label is empty or holds more than letters, digits and inner hyphens"

_SHOWN = 60  # characters of a value in a message

idna.uts46_remap("ß")  # newer versions import their tables at first use, which may fail in a busy daemon


@dataclass(frozen=True, slots=True)
class NextHop:
    """A key that names a policy domain."""

    domain: Domain
    port: str  # "25" unless the key says otherwise: a number 1 to 65535 or a service name


@dataclass(frozen=True, slots=True)
class NoDomain:
    """A key that names no policy domain: the answer is NOTFOUND, at once."""

    reason: str  # a short sentence of our own, without remote text


def parse_domain(text: str) -> Domain:
    """Read a domain in any spelling that parse_key takes, without a port.

    For command lines and stored entries. Raises: DomainError, which quotes *text* as far as 60 characters.
    """
    try:
        return _read_domain(text.encode("utf-8", "surrogatepass"))  # lone surrogates are then no UTF-8
    except DomainError as error:
        shown = repr(text[:_SHOWN]) + ("..." if len(text) > _SHOWN else "")
        raise DomainError(f"{shown} is not a policy domain: {error}") from None


def parse_key(key: bytes) -> NextHop | NoDomain:
    """Read a key of smtp_tls_policy_maps: DOMAIN or DOMAIN:PORT.

    Never raises, whatever the bytes.
    """
    host, colon, port = key.partition(b":")
    try:
        return NextHop(_read_domain(host), _read_port(port) if colon else DEFAULT_PORT)
    except DomainError as error:
        return NoDomain(str(error))


def _read_domain(host: bytes) -> Domain:
    """Raises: DomainError with a reason that holds none of *host*."""
    if len(host) > _MAX_UTF8:
        raise DomainError(_TOO_LONG)
    text = host.decode("ascii").lower() if host.isascii() else _map_labels(host)
    text = text.removesuffix(".")
    if len(text) > _MAX_DOMAIN or not _DOMAIN.fullmatch(text):
        raise DomainError(_fault(text))
    return Domain(text)


def _map_labels(host: bytes) -> str:
    """Give U-labels as A-labels; nothing is promised of labels that are ASCII after the mapping."""
    try:
        # Other ASCII than letters, digits and hyphens is left for _DOMAIN: idna's versions differ about it.
        text = idna.uts46_remap(host.decode("utf-8"), std3_rules=False, transitional=False)
    except UnicodeDecodeError:
        raise DomainError("the name is not UTF-8") from None
    except idna.IDNAError:
        raise DomainError("the name has a character that no domain may have (UTS 46)") from None
    if len(text) > _MAX_DOMAIN + 1:  # punycode's time grows with the square of the length
        raise DomainError(_TOO_LONG)
    return ".".join(label if label.isascii() else _encode_label(label) for label in text.split("."))


def _encode_label(label: str) -> str:
    if label.startswith("-") or label.endswith("-"):
        raise DomainError(_NOT_LDH)
    if len(label) > _MAX_LABEL:
        raise DomainError(_LONG_LABEL)
    return "xn--" + label.encode("punycode").decode("ascii")


def _read_port(port: bytes) -> str:
    """The number without leading zeros, as Postfix reads it, or the service name as it is."""
    if _PORT.fullmatch(port) and 1 <= int(port) <= 65535:
        return str(int(port))
    if _SERVICE.fullmatch(port):
        return port.decode("ascii")
    raise DomainError("what follows the colon is neither a port from 1 to 65535 nor a service name")


def _fault(text: str) -> str:
    """Say what *text*, lower case and without one final dot, lacks of a domain."""
    if text.startswith("["):
        return "a host in brackets gets no MX lookup: there is nothing for mx patterns to match"
    if text.startswith("."):
        return "the name begins with a dot: nothing is inherited from a parent domain"
    if not text:
        return "the name is empty"
    if len(text) > _MAX_DOMAIN:
        return _TOO_LONG
    labels = text.split(".")
    if max(map(len, labels)) > _MAX_LABEL:
        return _LONG_LABEL
    if labels[-1].isdigit():
        return "the last label is all digits: an address, not a domain"
    if len(labels) == 1 and _DOMAIN.fullmatch(f"{text}.x"):
        return "the name is a single label"
    return _NOT_LDH
