"""cli/checking/text.py: a report as a person reads it; it can neither forge a line nor send a terminal code."""

from __future__ import annotations

import re

from postfix_mtasts.cli.checking.text import PORT_25, WIDTH, hint, whole
from postfix_mtasts.core.dnsdata import Mx
from postfix_mtasts.core.outcome import Stage
from postfix_mtasts.core.ports import Look
from postfix_mtasts.errors import FetchError
from postfix_mtasts.faults import Fault, Seen
from tests.support.fakes.faults import servfail
from tests.support.fakes.owned import HOST, MX, PUBLIC, PUBLIC_MX, D, Owned, presented

EVIL = "\x1b]0;owned\x07\x1b[2J\r\nexample.org: fine\u202e\x9b\x7f\0" + "A" * 10_000


def test_what_is_told_of_a_domain() -> None:
    """Each stage with its time and mark, findings with advice and reference, answers, the verdict."""
    owned = Owned()
    owned.records["txt", f"_mta-sts.{D}"] = ()
    text = "\n".join(whole(owned.audit(), False))
    assert text.startswith("example.com\nrecord  ")
    assert re.search(r"^policy host +[0-9]+ ms  ok   8.8.8.8", text, re.MULTILINE)
    assert "    error: record-absent: no TXT record at _mta-sts.example.com begins with" in text
    assert '-> Publish: _mta-sts.example.com. IN TXT "v=STSv1; id=..."' in text
    assert "(RFC 8461 section 3.1)" in text
    assert "\npostfix, dane: NOTFOUND (no TXT record at _mta-sts.example.com" in text
    assert text.endswith("example.com: not protected as it should be (1 error, 1 info)\n")


def test_colour_changes_no_word() -> None:
    """Without its codes a coloured text is the plain one."""
    report = Owned().audit()
    plain, coloured = ("\n".join(whole(report, colour)) for colour in (False, True))
    assert coloured != plain
    assert re.sub(r"\x1b\[[0-9]+m", "", coloured) == plain


def hostile() -> Owned:
    owned = Owned()
    owned.records["txt", f"_mta-sts.{D}"] = (b"v=STSv1; id=" + EVIL.encode(),)
    owned.records["txt", f"_smtp._tls.{D}"] = (b"v=TLSRPTv1; rua=" + EVIL.encode(),)
    owned.records["mx", D] = (Mx(10, MX), Mx(20, EVIL[:200]))
    owned.records["a", EVIL[:200]] = servfail(EVIL)
    owned.looks[MX, PUBLIC_MX] = Look(Seen(Fault.MAIL_GREETING, MX, EVIL), presented(EVIL))
    owned.bodies[PUBLIC] = b"version: STSv1\nmode: " + EVIL.encode() + b"\n" + EVIL.encode() * 5
    return owned


def test_hostile_text_comes_out_quoted_and_bounded() -> None:
    """Records, banners, certificates, policies, DNS."""
    lines = list(whole(hostile().audit(), False))
    for line in lines:
        assert re.fullmatch(r"[ -~]*", line)
        assert len(line) <= WIDTH
    assert len("\n".join(lines)) < 20_000


def test_a_hostile_header_too() -> None:
    """A redirect's target is remote text."""
    owned = Owned()
    owned.bodies[PUBLIC] = FetchError(Stage.HTTP, Fault.HTTP_REDIRECT, HOST, EVIL)
    assert all(re.fullmatch(r"[ -~]{0,80}", line) for line in whole(owned.audit(), False))


def test_the_hint_about_port_25_fits() -> None:
    """It stands once, at the end."""
    assert all(len(line) <= WIDTH for line in hint(PORT_25))
