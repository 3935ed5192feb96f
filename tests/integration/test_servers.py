"""The servers that the other integration tests stand on do what those tests take for granted."""

from __future__ import annotations

import os
import socket
import ssl
from http.client import HTTPSConnection
from pathlib import Path

import dns.flags
import dns.rcode
import pytest

from tests.support.servers.debian import UNBOUND, ask, postmap
from tests.support.servers.dnstap import servfail
from tests.support.servers.internet import Internet, policy


def get(internet: Internet, host: str) -> tuple[int, bytes]:
    context = ssl.create_default_context(cafile=str(internet.ca_file))
    connection = HTTPSConnection(host, context=context)
    raw = socket.create_connection(("127.0.0.1", 443), 10)
    connection.sock = context.wrap_socket(raw, server_hostname=host)
    try:
        connection.request("GET", "/.well-known/mta-sts.txt")
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_a_published_domain_is_found_and_an_unknown_name_does_not_exist(internet: Internet) -> None:
    """nsd serves a zone from the moment that `publish` returns."""
    internet.publish("zone.servers.test", policy("mx.servers.test"))
    name = "_mta-sts.zone.servers.test"
    assert '"v=STSv1; id=1;"' in ask("127.0.0.1", name, "TXT").answer[0].to_text()
    internet.publish("zone.servers.test", None, records=["v=STSv1; id=2;"])
    assert '"v=STSv1; id=2;"' in ask("127.0.0.1", name, "TXT").answer[0].to_text()
    assert ask("127.0.0.1", "no.such.servers.test", "TXT").rcode() == dns.rcode.NXDOMAIN


def test_each_policy_host_has_its_own_certificate_and_policy(internet: Internet) -> None:
    """nginx picks both by the name that TLS asks for, and counts requests by it."""
    for name in ("one", "two"):
        internet.publish(f"{name}.servers.test", policy(f"{name}.mx.test"))
    for name in ("one", "two"):
        assert get(internet, f"mta-sts.{name}.servers.test") == (200, policy(f"{name}.mx.test"))
        assert internet.gets(f"{name}.servers.test") == 1


def test_a_host_without_a_certificate_of_ours_is_not_trusted(internet: Internet) -> None:
    """A stranger's certificate fails the handshake."""
    internet.publish("stranger.servers.test", policy("mx.test"), trusted=False)
    with pytest.raises(ssl.SSLCertVerificationError):
        get(internet, "mta-sts.stranger.servers.test")


def test_questions_are_counted_and_broken_at_will(internet: Internet) -> None:
    """What the forwarder is told to break is broken until it is mended."""
    internet.publish("broken.servers.test")
    name = "_mta-sts.broken.servers.test"
    internet.dns.break_(name, "TXT", servfail)
    assert ask("127.0.0.1", name, "TXT").rcode() == dns.rcode.SERVFAIL
    internet.dns.mend(name, "TXT")
    assert ask("127.0.0.1", name, "TXT").rcode() == dns.rcode.NOERROR
    assert internet.txt_queries("broken.servers.test") == 2


def test_a_signed_zone_validates_and_a_forged_one_does_not(internet: Internet, resolver: object) -> None:
    """AD comes with knot's signatures; a zone whose keys do not match is SERVFAIL; the root is unsigned."""
    internet.publish("unsigned.servers.test")
    signed = ask(UNBOUND, "_mta-sts.signed.test", "TXT", dnssec=True)
    assert signed.rcode() == dns.rcode.NOERROR
    assert signed.flags & dns.flags.AD
    assert ask(UNBOUND, "_mta-sts.bogus.test", "TXT").rcode() == dns.rcode.SERVFAIL
    unsigned = ask(UNBOUND, "_mta-sts.unsigned.servers.test", "TXT", dnssec=True)
    assert unsigned.answer
    assert not unsigned.flags & dns.flags.AD


def test_postmap_asks_a_table(tmp_path: Path) -> None:
    """Found, not found and failed can be told apart."""
    table = tmp_path / "table"
    table.write_text("example.org found it\n")
    os.utime(table, (0, 0))  # Postfix waits until a file is older than a second
    assert postmap(tmp_path / "conf", f"texthash:{table}", "example.org") == (0, "found it\n", "")
    assert postmap(tmp_path / "conf", f"texthash:{table}", "example.net") == (1, "", "")
    code, out, err = postmap(tmp_path / "conf", "socketmap:inet:127.0.0.1:1:none", "example.org")
    assert (code, out) == (1, "")
    assert "Connection refused" in err
