"""A zone signed here and served as it is, so that single signatures in it can be wrong.

knot keeps all that it signs right; what has expired, or was changed after it
was signed, has to be made by hand.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

import dns.dnssec
import dns.dnssectypes
import dns.name
import dns.rdatatype
import dns.rrset
import dns.transaction
import dns.zone
from cryptography.hazmat.primitives.asymmetric import ec

from tests.support.servers.debian import zone_head

DAY = 86_400  # seconds


def presigned(
    zone: str,
    records: Iterable[str],
    *,
    expired: Iterable[tuple[str, str]] = (),
    unsigned: Iterable[tuple[str, str]] = (),
    changed: Sequence[tuple[str, str]] = (),
) -> tuple[list[str], str]:
    """The zone file's lines for *records* with their signatures, and the key as a line that a resolver trusts.

    Args:
        records: lines of a zone file, names absolute.
        expired: (name, type) of the records whose signature ended ten days ago, far beyond any skew of clocks.
        unsigned: (name, type) of the records that have no signature at all.
        changed: (text, other text): what to put in place of a text after everything was signed.
    """
    parsed = dns.zone.from_text("\n".join([*zone_head(zone), *records]), zone, relativize=False)
    key = ec.generate_private_key(ec.SECP256R1())
    dnskey = dns.dnssec.make_dnskey(key.public_key(), dns.dnssectypes.Algorithm.ECDSAP256SHA256, flags=257)
    origin = dns.name.from_text(zone)
    past, bare = _keys(expired), _keys(unsigned)
    now = int(time.time())

    def sign(txn: dns.transaction.Transaction, rrset: dns.rrset.RRset) -> None:
        if (rrset.name, rrset.rdtype) in bare:
            return
        ends = now - 10 * DAY if (rrset.name, rrset.rdtype) in past else now + 10 * DAY
        rrsig = dns.dnssec.sign(rrset, key, origin, dnskey, inception=ends - 30 * DAY, expiration=ends, origin=origin)
        txn.add(rrset.name, rrset.ttl, rrsig)

    with parsed.writer() as txn:
        dns.dnssec.sign_zone(parsed, txn, [(key, dnskey)], dnskey_ttl=60, rrset_signer=sign)
    text = parsed.to_text(relativize=False)
    for before, after in changed:
        assert before in text, f"{before} is not in the zone"
        text = text.replace(before, after)
    return text.splitlines(), f"{zone}. 60 IN DNSKEY {dnskey}"


def _keys(names: Iterable[tuple[str, str]]) -> set[tuple[dns.name.Name, dns.rdatatype.RdataType]]:
    return {(dns.name.from_text(name), dns.rdatatype.from_text(rdtype)) for name, rdtype in names}
