"""cli/postfix/reach.py: an address in main.cf, and whether we listen there; who may open it is in test_check.py."""

from __future__ import annotations

import pytest

from postfix_mtasts.cli.postfix.postconf import Postfix
from postfix_mtasts.cli.postfix.reach import place_of, served
from postfix_mtasts.config.file import load

POSTFIX = Postfix((3, 10), {"queue_directory": "/var/spool/postfix/"}, ())
PLACES = [
    ("inet:127.0.0.1:8462", True, "inet:127.0.0.1:8462"),
    ("inet:LOCALHOST:8462", False, "inet:localhost:8462"),
    ("unix:run/x", False, "unix:/var/spool/postfix/run/x"),
    ("unix:run/x", True, "unix:/var/spool/postfix/run/x"),
    ("unix:/run/x", False, "unix:/run/x"),
    ("unix:/run/x", True, "unix:/var/spool/postfix/run/x"),
    ("inet:127.0.0.1:smtp", False, "inet:127.0.0.1:smtp"),
]


@pytest.mark.parametrize(("address", "chrooted", "place"), PLACES)
def test_the_place_of_an_address(address: str, chrooted: bool, place: str) -> None:
    """A unix path is relative to the queue directory, which is the root of who is chrooted."""
    assert place_of(address, POSTFIX, chrooted) == place


SERVED = [
    ("the same", "inet:127.0.0.1:8462", "inet:127.0.0.1:8462", True),
    ("another port", "inet:127.0.0.1:8462", "inet:127.0.0.1:8463", False),
    ("another address", "inet:127.0.0.1:8462", "inet:192.0.2.1:8462", False),
    ("localhost", "inet:127.0.0.1:8462", "inet:localhost:8462", True),
    ("localhost by IPv6", "inet:[::1]:8462", "inet:localhost:8462", True),
    ("localhost, and we listen elsewhere", "inet:192.0.2.1:8462", "inet:localhost:8462", False),
    ("everywhere", "inet:0.0.0.0:8462", "inet:192.0.2.1:8462", True),
    ("a name that only DNS knows", "inet:192.0.2.1:8462", "inet:mail.example.org:8462", True),
    ("a unix path", "unix:/run/x", "unix:/run/x", True),
    ("another unix path", "unix:/run/x", "unix:/run/y", False),
]


@pytest.mark.parametrize(("title", "listen", "place", "want"), SERVED, ids=[case[0] for case in SERVED])
def test_whether_we_listen_there(title: str, listen: str, place: str, want: bool) -> None:
    """Of names but localhost only the port can be compared."""
    assert served(place, load("c.yml", f"listen: ['{listen}']").settings) is want
