"""DANE where one signature in a signed zone is wrong: expired, missing, or of what was there before.

unbound answers SERVFAIL to what depends on it, and everything else of the
zone stays secure. An attacker can bring all of it about, so none of it may
switch MTA-STS off, and none of it may pass for "no DANE".
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.servers.daemon import Daemon
from tests.support.servers.debian import UNBOUND, Knot, Unbound, ask
from tests.support.servers.internet import Internet, Site, policy, zone_lines
from tests.support.servers.signing import presigned

STS = "OK secure match=mx.example.net servername=hostname"
GOOD = policy("mx.example.net")
KEY = "3 1 1 " + "ab" * 32
ZONE = "old.test"

DANE, TEMP = "OK dane-only", "TEMP "

ROWS = [  # domain, answer, the question whose answer is bogus
    ("sound", DANE, None),
    ("expired-mx", TEMP, ("expired-mx", "MX")),
    ("expired-address", TEMP, ("mx.expired-address", "A")),
    ("expired-tlsa", TEMP, ("_25._tcp.mx.expired-tlsa", "TLSA")),
    ("unsigned-tlsa", TEMP, ("_25._tcp.mx.unsigned-tlsa", "TLSA")),
    ("forged-mx", TEMP, ("forged-mx", "MX")),
    ("forged-null-mx", TEMP, ("forged-null-mx", "MX")),
    ("forged-tlsa", TEMP, ("_25._tcp.mx.forged-tlsa", "TLSA")),
    ("denied-tlsa", TEMP, ("_25._tcp.mx.denied-tlsa", "TLSA")),
    ("second-host", DANE, ("_25._tcp.mx.expired-tlsa", "TLSA")),
]


def full(*parts: str) -> str:
    return ".".join([*parts, ZONE])


@pytest.fixture(scope="module")
def broken(internet: Internet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Internet]:
    """The outside world behind a validating resolver, with all of ROWS in a zone that was signed once."""
    directory = tmp_path_factory.mktemp("signatures")
    records = []
    for name, _, _ in ROWS:
        records += [*zone_lines(full(name), Site(GOOD)), f"{full(name)}. 60 IN MX 20 {full('mx', name)}."]
        records += [f"{full('mx', name)}. 60 IN A 127.0.0.2", f"{full('_25._tcp.mx', name)}. 60 IN TLSA {KEY}"]
        internet.serve(full(name), GOOD)
    records.append(f"{full('second-host')}. 60 IN MX 10 {full('mx.expired-tlsa')}.")
    lines, anchor = presigned(
        ZONE,
        records,
        expired=[
            (full("expired-mx"), "MX"),
            (full("mx.expired-address"), "A"),
            (full("_25._tcp.mx.expired-tlsa"), "TLSA"),
        ],
        unsigned=[(full("_25._tcp.mx.unsigned-tlsa"), "TLSA")],
        changed=[
            (f"{full('forged-mx')}. 60 IN MX 20 {full('mx.forged-mx')}.", f"{full('forged-mx')}. 60 IN MX 20 evil."),
            (
                f"{full('forged-null-mx')}. 60 IN MX 20 {full('mx.forged-null-mx')}.",
                f"{full('forged-null-mx')}. 60 IN MX 0 .",
            ),
            (
                f"{full('_25._tcp.mx.forged-tlsa')}. 60 IN TLSA 3 1 1 ab",
                f"{full('_25._tcp.mx.forged-tlsa')}. 60 IN TLSA 3 1 1 cd",
            ),
            (f"{full('_25._tcp.mx.denied-tlsa')}. 60 IN TLSA {KEY}", ""),
        ],
    )
    with (
        Knot(directory / "knot", {}, {ZONE: lines}),
        Unbound(directory / "unbound", [ZONE], [anchor]),
        internet.dns.through(UNBOUND),
    ):
        yield internet


@pytest.fixture(scope="module")
def daemon(broken: Internet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with Daemon(tmp_path_factory.mktemp("daemon"), broken.config()) as daemon:
        yield daemon


@pytest.mark.parametrize(("name", "answer", "bogus"), ROWS, ids=[row[0] for row in ROWS])
def test_a_wrong_signature(daemon: Daemon, name: str, answer: str, bogus: tuple[str, str] | None) -> None:
    """Mail waits, unless another host will do; without DANE the policy is what it always was."""
    if bogus is not None:
        assert ask(UNBOUND, full(bogus[0]), bogus[1]).rcode() == 2, "unbound says SERVFAIL"
    assert daemon.ask("postfix-dane", full(name)).startswith(answer)
    assert daemon.ask("postfix", full(name)) == STS
    if answer == TEMP:
        assert "SERVFAIL" in daemon.wait_for("dane-status", domain=full(name), status="unknown")
