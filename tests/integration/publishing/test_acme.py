"""Certificates from a real ACME server, with real validation against our port 80."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.servers.internet import Internet, policy
from tests.support.servers.pebble import Pebble
from tests.support.servers.serve import Serve, fetch
from tests.support.waiting import wait_until

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


def test_kill_9_in_the_middle_makes_no_second_order(internet: Internet, pebble: Pebble, tmp_path: Path) -> None:
    """Wherever it comes: an order under way is gone on with at the next start."""
    names = [f"d{number}.acme.test" for number in range(8)]
    internet.add(*(f"mta-sts.{name}. 60 IN A 127.0.0.9" for name in names))
    serve = serving(internet, pebble, tmp_path / "serve")
    for name in names:
        serve.publish(name, GOOD)
    told, kills = [], 4
    for kill in range(kills):
        with serve:
            serve.wait_for("certificate-ordered" if kill % 2 else "started")
            serve.kill()
        told += serve.events("certificate-ordered")
    with serve:
        for name in names:
            wait_until(lambda name=name: certified(serve, name), f"{name} has a certificate")  # type: ignore[misc]
        assert fetch(f"mta-sts.{names[0]}", pebble.root(), ("127.0.0.9", 443))[1] == GOOD
    told += serve.events("certificate-ordered")
    assert [sum(f" name=mta-sts.{name} " in f"{line} " for line in told) <= 1 for name in names] == [True] * len(names)
    assert len(names) <= pebble.orders() <= len(names) + kills  # each kill may cost the order that is being made


def certified(serve: Serve, name: str) -> bool:
    return (serve.state / "certificates" / f"mta-sts.{name}.pem").exists()


def test_a_name_without_an_address_waits_and_one_that_cannot_be_reached_backs_off(
    internet: Internet, pebble: Pebble, tmp_path: Path
) -> None:
    """Nothing is ordered for the first; the second is tried again in an hour."""
    internet.add("mta-sts.away.acme.test. 60 IN A 127.0.0.99")
    with serving(internet, pebble, tmp_path / "serve") as serve:
        serve.publish("absent.acme.test", GOOD)
        serve.publish("away.acme.test", GOOD)
        assert serve.wait_for("no-address-yet", name="mta-sts.absent.acme.test")
        assert serve.wait_for("certificate-failed", name="mta-sts.away.acme.test")
        assert pebble.orders() == 1
        internet.add("mta-sts.absent.acme.test. 60 IN A 127.0.0.9")
        serve.hang_up()
        assert serve.wait_for("certificate-obtained", name="mta-sts.absent.acme.test")
