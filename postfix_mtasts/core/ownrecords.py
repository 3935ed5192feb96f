"""The DNS records that a domain publishes, and how they are written down.

Sources: RFC 8461 section 3.1 (_mta-sts), RFC 8460 section 3 (_smtp._tls),
RFC 1035 section 5 (zone files), nsupdate(1).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from .names import Domain
from .tlsrpt import read_record

_STRING = 255  # bytes of one string of a TXT record


@dataclass(frozen=True, slots=True)
class OwnRecord:
    """One record to publish."""

    name: str  # without a final dot
    type: str  # TXT or CNAME
    data: str  # of a TXT record its whole text; of a CNAME a name with a final dot

    @property
    def presentation(self) -> str:
        """The data as a zone file has it: text in strings of 255 bytes at most."""
        if self.type != "TXT":
            return self.data
        pieces = [self.data[at : at + _STRING] for at in range(0, len(self.data), _STRING)]
        return " ".join('"' + piece.replace("\\", "\\\\").replace('"', '\\"') + '"' for piece in pieces)


def mta_sts_text(record_id: str) -> str:
    """Return the text at _mta-sts.D."""
    return f"v=STSv1; id={record_id};"


def tlsrpt_text(uris: Sequence[str]) -> str | None:
    """Return the text at _smtp._tls.D, with what separates URIs escaped inside them; None where there are none.

    Raises: RecordError for a URI that no report can go to.
    """
    if not uris:
        return None
    escaped = [uri.replace("!", "%21").replace(",", "%2C").replace(";", "%3B") for uri in uris]
    text = f"v=TLSRPTv1; rua={','.join(escaped)}"
    read_record([text.encode()])
    return text


def records(domain: Domain, record_id: str, host: str | None, uris: Sequence[str]) -> list[OwnRecord]:
    """Return all records of *domain*; *host*: the web server that mta-sts.D is an alias of. Raises: RecordError."""
    found = [OwnRecord(f"_mta-sts.{domain}", "TXT", mta_sts_text(record_id))]
    if host is not None:
        found.append(OwnRecord(f"mta-sts.{domain}", "CNAME", f"{host}."))
    if (text := tlsrpt_text(uris)) is not None:
        found.append(OwnRecord(f"_smtp._tls.{domain}", "TXT", text))
    return found


def zone_lines(own: Iterable[OwnRecord], ttl: int) -> Iterator[str]:
    """As a zone file has them."""
    for each in own:
        yield f"{each.name}. {ttl} IN {each.type} {each.presentation}"


def nsupdate_lines(own: Iterable[OwnRecord], ttl: int) -> Iterator[str]:
    """As nsupdate reads them: each replaces whatever is at its name, of all types.

    An alias stands alone: servers ignore an update that adds it beside addresses,
    or text beside it, and report success (RFC 2136 section 3.4.2.2).
    """
    for each in own:
        yield f"update delete {each.name}."
        yield f"update add {each.name}. {ttl} {each.type} {each.presentation}"
    yield "send"
