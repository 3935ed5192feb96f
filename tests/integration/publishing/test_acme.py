"""Certificates from a real ACME server, with real validation against our port 80."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.servers.internet import Internet, policy
from tests.support.servers.pebble import Pebble
from tests.support.servers.serve import Serve, fetch

GOOD = policy("mx.example.net")


@pytest.fixture
def pebble(internet: Internet, tmp_path: Path) -> Iterator[Pebble]:
    with Pebble(tmp_path / "pebble", f"{internet.dns.address}:53") as pebble:
        yield pebble


def serving(internet: Internet, pebble: Pebble, directory: Path) -> Serve:
    """A policy host on 127.0.0.9, whose certificates come from pebble."""
    publish = {
        "listen": ["inet:127.0.0.9:443"],
        "http_listen": ["inet:127.0.0.9:80"],
        "acme": {"directory_url": pebble.directory_url, "agree_to_terms": True, "ca_file": str(pebble.ca_file)},
    }
    return Serve(directory, publish, dns=internet.config()["dns"])


def test_a_domain_gets_a_certificate_and_keeps_it(internet: Internet, pebble: Pebble, tmp_path: Path) -> None:
    """From an empty folder to HTTPS; a restart orders nothing."""
    internet.add("mta-sts.one.acme.test. 60 IN A 127.0.0.9")
    with serving(internet, pebble, tmp_path / "serve") as serve:
        serve.publish("one.acme.test", GOOD)
        assert serve.wait_for("certificate-obtained", name="mta-sts.one.acme.test")
        root = pebble.root()
        status, body, headers = fetch("mta-sts.one.acme.test", root, ("127.0.0.9", 443))
        assert (status, body, headers["content-type"]) == (200, GOOD, "text/plain")
    with serve:
        assert fetch("mta-sts.one.acme.test", root, ("127.0.0.9", 443))[1] == GOOD
    assert pebble.orders() == 1
